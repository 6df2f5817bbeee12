"""MBPO at Hopper's sizes: what an environment step costs beside its SAC updates alone, and its memory.

Obs 11, act 3, 20 updates of 2×256 per step, seven members of 4×200, 100,000 branches per refit.
"""

import statistics
import tempfile
from typing import Any

from benchmarks.speed.harness import Options, Side, Worker

CYCLE, SHORT_CYCLE = 250, 25
"""Environment steps between refits: to be timed, and where only memory is asked for."""
ALLOWED_MB = 600.0


def measure(threads: int, options: Options) -> dict[str, Any]:
    """Three cycles with rollouts of 1, 8 and 15 steps, timed; before that their memory, compiling and with a cache."""
    cycle_steps = SHORT_CYCLE if options.quick else CYCLE
    with tempfile.TemporaryDirectory() as cache:
        memory = {"kind": "memory", "cycle": SHORT_CYCLE, "cache": cache}
        cold, warm = (run_once(memory, threads)[0] for _ in range(2))
    found, versions = run_once({"kind": "cycles", "cycle": cycle_steps}, threads)
    cycles = found["cycles"]
    summary = {
        "ratio": statistics.fmean(cycle["ratio"] for cycle in cycles),
        "ratios": {f"{cycle['rollout_length']:.0f}": cycle["ratio"] for cycle in cycles},
        "ms_per_step": 1000 * statistics.fmean(cycle["seconds"] for cycle in cycles) / cycle_steps,
        "pure_ms_per_step": 20_000 * statistics.fmean(cycle["pure_seconds_per_update"] for cycle in cycles),
        "buffers_mb": warm["buffers_mb"],
        "peak_rss_mb": {"cold": cold["peak_rss_mb"], "warm": warm["peak_rss_mb"]},
        "memory_limit_mb": 1.2 * warm["buffers_mb"] + ALLOWED_MB,
    }
    return {"turns": [found], "versions": versions, "summary": summary}


def run_once(job: dict[str, Any], threads: int) -> tuple[dict[str, Any], dict[str, str]]:
    """One process: what it found, and its versions."""
    worker = Worker(Side("mbpo", "our_hopper.py", job), threads)
    try:
        return worker.measure(1), worker.versions
    finally:
        worker.close()


def lines(measured: dict[str, Any]) -> list[str]:
    """For the terminal."""
    summary = measured["summary"]
    by_length = ", ".join(f"k = {k}: {ratio:.2f}" for k, ratio in summary["ratios"].items())
    return [
        f"{summary['ms_per_step']:.1f} ms per step, {summary['ratio']:.2f} of its updates alone ({by_length})",
        "peak memory, compiling {cold:.0f} MB, with a cache {warm:.0f} MB; ".format(**summary["peak_rss_mb"])
        + f"buffers {summary['buffers_mb']:.0f} MB",
    ]
