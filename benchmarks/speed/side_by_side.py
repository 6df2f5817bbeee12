"""Seeds side by side: SAC's updates of several seeds in one process, on the CPU and on a GPU where JAX finds one.

Each seed has networks, optimisers and a buffer of its own. An update a second here is one update of
every seed: times the seeds, what the device does in all.
"""

import os
import statistics
import subprocess
import sys
from typing import Any

from benchmarks.speed.harness import Options, Side, Worker
from benchmarks.speed.sac import ACT, BATCH, OBS, ROWS, UPDATES

SEEDS = {"cpu": (1, 4, 16), "gpu": (1, 4, 16, 64)}
REPEATS = 3
CALLS = {"cpu": 10, "gpu": 100}
"""Calls of 20 updates with one seed; fewer with more."""


def measure(threads: int, options: Options) -> dict[str, Any]:
    """One process for each device and number of seeds, one after the other."""
    turns: list[dict[str, Any]] = []
    devices: dict[str, dict[str, Any]] = {}
    for platform in ("cpu", *(["gpu"] if gpu_found() else [])):
        for seeds in SEEDS[platform][: 2 if options.quick else None]:
            job = {"obs_dim": OBS, "action_dim": ACT, "batch_size": BATCH, "hidden_sizes": [256, 256], "rows": ROWS}
            side = Side("mbpo", "our_seeds.py", {**job, "updates_per_call": UPDATES, "seeds": seeds}, platform=platform)
            worker = Worker(side, threads)
            try:
                worker.measure(1)
                calls = max(CALLS[platform] // seeds, 1)
                found = [worker.measure(calls) for _ in range(1 if options.quick else REPEATS)]
            finally:
                worker.close()
            turns += [{"platform": platform, "seeds": seeds, **turn} for turn in found]
            rates = devices.setdefault(platform, {"kind": found[0]["device"], "updates_per_second": {}})
            rates["updates_per_second"][str(seeds)] = statistics.median(
                turn["units"] / turn["seconds"] for turn in found
            )
    return {"turns": turns, "versions": worker.versions, "summary": {"devices": devices}}


def gpu_found() -> bool:
    """Asked in a process of its own: JAX takes hold of the devices that it finds."""
    variables = {name: value for name, value in os.environ.items() if name != "JAX_PLATFORMS"}
    asked = "import jax; print(jax.default_backend())"
    said = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, env=variables).stdout
    return said.strip() == "gpu"


def lines(measured: dict[str, Any]) -> list[str]:
    """For the terminal."""
    found = []
    for platform, device in measured["summary"]["devices"].items():
        for seeds, rate in device["updates_per_second"].items():
            in_all = int(seeds) * rate
            found.append(
                f"{platform} ({device['kind']}), {seeds:>2} seeds: {rate:8.1f} updates/s each, {in_all:.1f} in all"
            )
    if "gpu" not in measured["summary"]["devices"]:
        found.append("gpu: JAX finds none here (one needs the package jax[cuda12] and a driver)")
    return found
