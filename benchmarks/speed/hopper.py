"""MBPO at Hopper's sizes: what an environment step costs beside its SAC updates alone, and its memory.

Obs 11, act 3, 20 updates of 2×256 per step, seven members of 4×200, 100,000 branches per refit.
"""

import statistics
from typing import Any

from benchmarks.speed.harness import Options, Side, Worker

CYCLE = 250
"""Environment steps between refits."""
ALLOWED_MB = 600.0


def measure(threads: int, options: Options) -> dict[str, Any]:
    """Three cycles with rollouts of 1, 8 and 15 steps."""
    cycle_steps = 25 if options.quick else CYCLE
    worker = Worker(Side("mbpo", "our_hopper.py", {"profile": False, "cycle": cycle_steps}), threads)
    try:
        found = worker.measure(1)
    finally:
        worker.close()
    cycles = found["cycles"]
    summary = {
        "ratio": statistics.fmean(cycle["ratio"] for cycle in cycles),
        "ratios": {f"{cycle['rollout_length']:.0f}": cycle["ratio"] for cycle in cycles},
        "ms_per_step": 1000 * statistics.fmean(cycle["seconds"] for cycle in cycles) / cycle_steps,
        "pure_ms_per_step": 20_000 * statistics.fmean(cycle["pure_seconds_per_update"] for cycle in cycles),
        "buffers_mb": found["buffers_mb"],
        "peak_rss_mb": found["peak_rss_mb"],
        "memory_limit_mb": 1.2 * found["buffers_mb"] + ALLOWED_MB,
    }
    return {"turns": [found], "versions": worker.versions, "summary": summary}


def lines(measured: dict[str, Any]) -> list[str]:
    """For the terminal."""
    summary = measured["summary"]
    by_length = ", ".join(f"k = {k}: {ratio:.2f}" for k, ratio in summary["ratios"].items())
    return [
        f"{summary['ms_per_step']:.1f} ms per step, {summary['ratio']:.2f} of its updates alone ({by_length})",
        f"peak memory {summary['peak_rss_mb']:.0f} MB; buffers {summary['buffers_mb']:.0f} MB",
    ]
