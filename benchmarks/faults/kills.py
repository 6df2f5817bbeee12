"""SIGKILL at random instants over a small MBPO run, each resumed, until the run is done; over and over.

    python benchmarks/faults/kills.py --kills 200 --out benchmarks/results/faults/kills

The run (`short_task.py`) is trained once without interruption. Then it is trained again from the
start as often as it takes: each process is killed at a random instant and resumed by the next, which
is killed in its turn. Most of a process's time goes into starting (imports, compiled code), so one kill in eight is
drawn uniformly from the time of a whole run, and seven fall up to 60 ms after an environment step drawn uniformly
from the next 150. Checkpoints are written after every episode (20 steps) however long they take, so that many
kills fall inside a write. Every process is forked from one that has
imported everything and computed nothing, which saves imports and nothing else.

Writes `kills.csv`, a line for each process, and `summary.json`; the same command again goes on.
"""

import argparse
import csv
import json
import mmap
import os
import random
import shutil
import signal
import struct
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import short_task

from mbpo.errors import CheckpointError
from mbpo.training import loop
from mbpo.training.algorithms import MBPO
from mbpo.training.checkpoint import saved_step
from mbpo.training.logbook import read_records
from mbpo.training.manifest import read_manifest
from mbpo.training.run_folder import commit, versions

STEPS = 600
COLUMNS = (
    "run",
    "process",
    "end",
    "seconds",
    "began_at",
    "step",
    "checkpoint_step",
    "repeated",
    "half_written",
    "same_as_whole",
)


def train(folder: Path, board: mmap.mmap) -> None:
    """In a process of its own: begin the run or go on with it, telling at which step it is."""
    loop.CHECKPOINT_SHARE = float("inf")

    def tell(run: Any) -> None:
        board[:8] = struct.pack("q", run.env_step)

    if (folder / "checkpoint" / "manifest.json").exists():
        agent = MBPO.load(folder, resume=True)
    else:
        shutil.rmtree(folder, ignore_errors=True)  # Killed before its first checkpoint: there is nothing to go on from.
        agent = MBPO(short_task.ENV_ID, seed=0, out=folder, **short_task.RUN_SETTINGS)
    board[:] = struct.pack("qq", agent.env_step, agent.env_step)
    if agent.env_step < STEPS:
        agent.learn(STEPS - agent.env_step, progress=tell)
    agent.close()


def process(folder: Path, delay: float | None, steps: int | None = None) -> dict[str, Any]:
    """Fork one, and kill it unless it is done before.

    Args:
        delay: Seconds until the kill; None for no kill.
        steps: Environment steps to wait for first.
    """
    board = mmap.mmap(-1, 16)
    board[:] = struct.pack("qq", -1, -1)
    reached = started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        log = os.open(folder.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        status = 1
        try:
            train(folder, board)
            status = 0
        finally:
            os._exit(status)
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            end = "finished" if status == 0 else f"failed {status}"
            break
        if steps is not None:
            step, began_at = struct.unpack("qq", board[:])
            if began_at < 0 or step < began_at + steps:
                time.sleep(0.0002)
                continue
            steps, reached = None, time.monotonic()
        if delay is not None and time.monotonic() - reached >= delay:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            end = "killed"
            break
        time.sleep(0.0002)
    step, began_at = struct.unpack("qq", board[:])
    try:
        kept = saved_step(folder / "checkpoint") or 0
    except CheckpointError:
        kept = -1
    return {
        "end": end,
        "seconds": round(time.monotonic() - started, 3),
        "began_at": began_at,
        "step": step,
        "checkpoint_step": kept,
        "repeated": max(step - kept, 0) if step >= 0 else 0,
        "half_written": len(list(folder.rglob("*.tmp"))),
    }


def result(folder: Path) -> tuple[Any, ...]:
    """All that a finished run left, but for the time it took: checksums of every array, and the records."""
    manifest = read_manifest(folder / "checkpoint")
    records = [{k: v for k, v in record.items() if k != "wall_time"} for record in read_records(folder)]
    return [stored.sha256 for stored in manifest.files], records


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="draws the instants")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    table = arguments.out / "kills.csv"
    before = list(csv.DictReader(table.open())) if table.exists() else []
    if sum(row["end"] == "killed" for row in before) < arguments.kills:
        kill(table, before, arguments.kills, arguments.seed)
    told = list(csv.DictReader(table.open()))
    killed = [row for row in told if row["end"] == "killed"]
    summary = {
        "kills": len(killed),
        "runs_finished": sum(row["end"] == "finished" for row in told),
        "runs_lost": sum(row["end"].startswith("failed") for row in told),
        "runs_with_other_weights_or_records": sum(row["same_as_whole"] == "False" for row in told),
        "kills_before_the_first_checkpoint": sum(int(row["checkpoint_step"]) == 0 for row in killed),
        "kills_inside_a_write": sum(int(row["half_written"]) > 0 for row in killed),
        "most_steps_repeated": max(int(row["repeated"]) for row in killed),
        "episode_steps": short_task.EPISODE_STEPS,
        "command": " ".join(["python", *sys.argv]),
        "commit": commit(),
        "versions": versions(),
    }
    (arguments.out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    print(json.dumps(summary, indent=1))
    if summary["runs_lost"] or summary["runs_with_other_weights_or_records"]:
        sys.exit(1)


def kill(table: Path, before: list[dict[str, str]], wanted: int, seed: int) -> None:
    """Add lines to the table until it holds as many kills."""
    work = Path(tempfile.mkdtemp())
    process(work / "warm-up", None)  # Fills the compilation cache.
    whole = process(work / "whole", None)
    expected = result(work / "whole")
    kills = sum(row["end"] == "killed" for row in before)
    run = 1 + max((int(row["run"]) for row in before), default=-1)
    rng = random.Random(seed + run)
    with table.open("a", newline="") as file:
        rows = csv.DictWriter(file, COLUMNS)
        if not before:
            rows.writeheader()
        while kills < wanted:
            folder, number, end = work / f"run-{run:03d}", 0, "killed"
            while end == "killed":
                if rng.random() < 1 / 8:
                    row = process(folder, rng.uniform(0, whole["seconds"]))
                else:
                    row = process(folder, rng.uniform(0, 0.06), rng.randint(1, 150))
                end = row["end"]
                kills += end == "killed"
                same = "" if end != "finished" else result(folder) == expected
                rows.writerow({"run": run, "process": number, **row, "same_as_whole": same})
                file.flush()
                number += 1
            run += 1
            shutil.rmtree(folder)
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
