"""Train one task with many seeds and commit what came out.

    python benchmarks/seeds.py Pendulum-v1 --seeds 20 --steps 1000 --eval-freq 100 \
        --eval-episodes 100 --out benchmarks/results/pendulum

One seed is one process on one core, several at a time. A run that was interrupted goes on where
its checkpoint stands; a seed that is finished is not run again; a seed that fails is reported
and the others go on. Besides each seed's settings and records, a table (`summary.csv`), the
figure (`curves.png`) and the command with the machine it ran on (`run.json`) are written.
Options this script does not know are handed to `mbpo train`.

With `--first 3` the seeds begin at 3. Seeds that the results already hold stay in the table and
the figure, and their commands in `run.json`, if their settings are the same in all else.
"""

import argparse
import csv
import json
import os
import shutil
import statistics
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from mbpo.training.comparison import train_command
from mbpo.training.config import RunConfig
from mbpo.training.logbook import read_records
from mbpo.training.run_folder import commit, read_description, versions
from mbpo.training.runner import Event, Job, LocalRunner
from mbpo.training.signals import Interrupted
from mbpo.viz.curves import plot_curves


def summarise(folders: dict[int, Path], out: Path) -> list[dict[str, float]]:
    """A row for each evaluated step: the seeds' mean returns, sorted away into quantiles."""
    returns: dict[int, list[float]] = {}
    for folder in folders.values():
        for record in read_records(folder):
            if "eval_return_mean" in record:
                returns.setdefault(record["env_step"], []).append(record["eval_return_mean"])
    rows = []
    for step, values in sorted(returns.items()):
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        rows.append(
            {
                "env_step": step,
                "seeds": len(values),
                "median": round(statistics.median(values), 2),
                "mean": round(statistics.fmean(values), 2),
                "std": round(spread, 2),
                "worst": round(min(values), 2),
                "best": round(max(values), 2),
            }
        )
    with (out / "summary.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return rows


def settings(folder: Path) -> RunConfig:
    """A run's settings but for its seed; those that its version did not know are as they were then."""
    return replace(read_description(folder).config, seed=0)


def of_other_settings(finished: dict[int, Path], out: Path) -> Path | None:
    """A run among those whose results lie there already, and are not replaced, that is not like these."""
    these = settings(next(iter(finished.values())))
    kept = [path for path in sorted(out.glob("seed-*")) if int(path.name.removeprefix("seed-")) not in finished]
    return next((path for path in kept if settings(path) != these), None)


def write_results(finished: dict[int, Path], out: Path, about: dict[str, Any]) -> list[dict[str, float]]:
    """Copy what is to be kept of each run, then sum up all seeds that lie there."""
    out.mkdir(parents=True, exist_ok=True)
    described = out / "run.json"
    earlier = []
    if described.exists():
        before = json.loads(described.read_text())
        earlier = [before, *before.pop("earlier", [])]
    for seed, folder in finished.items():
        kept = out / f"seed-{seed:02d}"
        kept.mkdir(exist_ok=True)
        for name in ("config.json", "metrics.jsonl"):
            shutil.copy(folder / name, kept / name)
    # Descriptions older than this key have none: all their seeds.
    others = [one for one in earlier if not set(one.get("seeds", [])) <= set(finished)]
    described.write_text(json.dumps(about | ({"earlier": others} if others else {}), indent=2) + "\n")
    folders = {int(path.name.removeprefix("seed-")): path for path in sorted(out.glob("seed-*"))}
    plot_curves(list(folders.values()), out / "curves.png")
    return summarise(folders, out)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("env_id")
    parser.add_argument("--seeds", type=int, default=20, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True, help="where the results to commit go")
    parser.add_argument("--work", type=Path, default=Path("runs/benchmarks"), help="where the runs themselves go")
    known, options = parser.parse_known_args()
    seeds = range(known.first, known.first + known.seeds)
    folders = {seed: known.work / known.out.name / f"seed-{seed:02d}" for seed in seeds}
    failures: dict[int, str | None] = dict.fromkeys(folders)
    jobs: dict[str, Job] = {}
    for seed, folder in folders.items():
        command = train_command(folder, known.steps, [known.env_id, "--seed", str(seed), *options])
        if command is None:
            print(f"seed {seed}: done (0 s)", flush=True)
        else:
            jobs[str(seed)] = Job(str(seed), command, folder.with_suffix(".log"))

    def show(event: Event) -> None:
        if event.outcome is not None:
            failures[int(event.job.name)] = None if event.outcome.ok else event.outcome.message
            print(
                f"seed {event.job.name}: {event.outcome.message or 'done'} ({event.outcome.seconds:.0f} s)", flush=True
            )

    try:
        LocalRunner().run(list(jobs.values()), show)
    except Interrupted as stop:
        print(f"Stopped by {stop}. To go on, give the same command again.")
        return 130
    finished = {seed: folder for seed, folder in folders.items() if failures[seed] is None}
    if not finished:
        return 1
    if other := of_other_settings(finished, known.out):
        print(f"{other} is of other settings than these runs. Delete it and give the same command again.")
        return 1
    described = json.loads((next(iter(finished.values())) / "config.json").read_text())
    about = {
        "command": " ".join(["python", *sys.argv]),
        "seeds": list(finished),
        "commit": commit(),
        "versions": versions(),
        "device": described.get("device"),
        "cores": os.cpu_count(),
        "failed_seeds": {seed: wrong for seed, wrong in failures.items() if wrong is not None},
    }
    for row in write_results(finished, known.out, about):
        print("  ".join(f"{name} {value}" for name, value in row.items()))
    return 0 if len(finished) == len(folders) else 1


if __name__ == "__main__":
    sys.exit(main())
