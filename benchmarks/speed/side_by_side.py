"""Seeds side by side: SAC's updates of several seeds in one process, on the CPU and on a GPU where JAX finds one.

Each seed has networks, optimisers and a buffer of its own. An update a second here is one update of
every seed: times the seeds, what the device does in all.
"""

import os
import statistics
import subprocess
import sys
from typing import Any

from benchmarks.speed.harness import Options, Side, Worker, WorkerFailed
from benchmarks.speed.sac import ACT, BATCH, OBS, ROWS, UPDATES

SEEDS = {"cpu": (1, 4, 16), "gpu": (1, 4, 16, 64)}
REPEATS = 3
CALLS = {"cpu": 10, "gpu": 100}
"""Calls of 20 updates with one seed; fewer with more."""


def measure(threads: int, options: Options) -> dict[str, Any]:
    """One process for each device and number of seeds, one after the other."""
    turns: list[dict[str, Any]] = []
    devices: dict[str, dict[str, Any]] = {}
    versions: dict[str, str] = {}
    for platform in ("cpu", *(["gpu"] if gpu_found() else [])):
        device = devices.setdefault(platform, {"kind": platform, "updates_per_second": {}, "failures": {}})
        for seeds in SEEDS[platform][: 2 if options.quick else None]:
            try:
                found, versions = run_once(platform, seeds, threads, 1 if options.quick else REPEATS)
            except WorkerFailed as failure:
                device["failures"][str(seeds)] = str(failure)
                continue
            turns += [{"platform": platform, "seeds": seeds, **turn} for turn in found]
            device["kind"] = found[0]["device"]
            rates = [turn["units"] / turn["seconds"] for turn in found]
            device["updates_per_second"][str(seeds)] = statistics.median(rates)
    return {"turns": turns, "versions": versions, "summary": {"devices": devices}}


def run_once(platform: str, seeds: int, threads: int, repeats: int) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """One process: its turns and its versions."""
    job = {"obs_dim": OBS, "action_dim": ACT, "batch_size": BATCH, "hidden_sizes": [256, 256], "rows": ROWS}
    side = Side("mbpo", "our_seeds.py", {**job, "updates_per_call": UPDATES, "seeds": seeds}, platform=platform)
    worker = Worker(side, threads)
    try:
        worker.measure(1)
        calls = max(CALLS[platform] // seeds, 1)
        return [worker.measure(calls) for _ in range(repeats)], worker.versions
    finally:
        worker.close()


def gpu_found() -> bool:
    """Asked in a process of its own: JAX takes hold of the devices that it finds."""
    variables = {**os.environ, "JAX_PLATFORMS": "cuda"}
    asked = [sys.executable, "-c", "import jax; jax.devices()"]
    return subprocess.run(asked, capture_output=True, env=variables).returncode == 0


def lines(measured: dict[str, Any]) -> list[str]:
    """For the terminal."""
    found = []
    for platform, device in measured["summary"]["devices"].items():
        for seeds, rate in device["updates_per_second"].items():
            in_all = int(seeds) * rate
            found.append(
                f"{platform} ({device['kind']}), {seeds:>2} seeds: {rate:8.1f} updates/s each, {in_all:.1f} in all"
            )
        found += [f"{platform}, {seeds} seeds: could not run: {why}" for seeds, why in device["failures"].items()]
    if "gpu" not in measured["summary"]["devices"]:
        found.append("gpu: JAX finds none here (one needs the package jax[cuda12] and a driver)")
    return found
