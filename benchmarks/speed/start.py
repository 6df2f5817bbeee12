"""From the command to the first environment step, and all compilation of a run, cold and warm.

`mbpo train` on Pendulum-v1 to just after its first refit, rollouts, updates, evaluation and
checkpoint. Cold begins with an empty compilation cache and fills it; warm follows on the same one.
Compilation is all that JAX reports: tracing, lowering, and compiling or fetching from the cache.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.speed.harness import Options, cores, environment, pinned, spread

STEPS, REPEATS = 230, 3
ENV_ID = "benchmarks.speed.first_step:noted/Pendulum-v1"
ROOT = Path(__file__).resolve().parent.parent.parent


def measure(threads: int, options: Options) -> dict[str, Any]:
    """Cold and warm runs in turns."""
    runs = []
    for repeat in range(1 if options.quick else REPEATS):
        with tempfile.TemporaryDirectory() as scratch:
            for kind in ("cold", "warm"):
                runs.append({"kind": kind, **run_once(Path(scratch), f"{kind}-{repeat}", threads)})
    summary = {
        kind: {name: spread([run[name] for run in runs if run["kind"] == kind]) for name in runs[0] if name != "kind"}
        for kind in ("cold", "warm")
    }
    return {"turns": runs, "summary": summary}


def run_once(scratch: Path, name: str, threads: int) -> dict[str, float]:
    """One process."""
    notes = scratch / f"{name}.json"
    variables = {**environment(threads), "XDG_CACHE_HOME": str(scratch / "cache"), "NOTES": str(notes)}
    variables["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    variables.pop("JAX_COMPILATION_CACHE_DIR", None)
    command = [sys.executable, "-m", "mbpo.cli.main", "train", ENV_ID, "--termination", "never"]
    command += ["--steps", str(STEPS), "--final-episodes", "0", "--out", str(scratch / name)]
    started, clock = time.time(), time.perf_counter()
    with pinned(cores(threads)):
        subprocess.run(command, check=True, env=variables, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - clock
    noted = json.loads(notes.read_text())
    first_step = noted["first_step"] - started
    return {"first_step_seconds": first_step, "compile_seconds": noted["compile_seconds"], "seconds": seconds}


def lines(measured: dict[str, Any]) -> list[str]:
    """For the terminal."""
    form = "{}: first step after {:.1f} s, compilation {:.1f} s, {:.1f} s to {} steps"
    found = []
    for kind, summary in measured["summary"].items():
        medians = [summary[name]["median"] for name in ("first_step_seconds", "compile_seconds", "seconds")]
        found.append(form.format(kind, *medians, STEPS))
    return found
