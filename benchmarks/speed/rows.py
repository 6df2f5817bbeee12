"""Cost per environment step from a thousand to a million stored transitions: acting, updates, a 250th of a refit."""

import statistics
from typing import Any

from benchmarks.speed.harness import Options, Side, Worker

SIZES = (1_000, 10_000, 100_000, 1_000_000)
REPEATS = 3


def measure(threads: int, options: Options) -> dict[str, Any]:
    """All sizes in turns."""
    sizes = SIZES[:2] if options.quick else SIZES
    job = {"obs_dim": 17, "action_dim": 6, "rows": sizes[-1], "sizes": sizes}
    worker = Worker(Side("mbpo", "our_rows.py", job), threads)
    try:
        turns = [worker.measure(2) for _ in range(1 if options.quick else REPEATS)]
    finally:
        worker.close()
    summary: dict[str, Any] = {}
    for i, rows in enumerate(sizes):
        found = [turn["sizes"][i] for turn in turns]
        names = ("step_seconds", "learn_seconds", "grad_steps", "seconds")
        summary[str(rows)] = {name: statistics.median(entry[name] for entry in found) for name in names}
    totals = [summary[str(rows)]["seconds"] for rows in sizes]
    steps = [summary[str(rows)]["step_seconds"] for rows in sizes]
    largest = {"largest_over_smallest": max(totals) / min(totals), "step_only": max(steps) / min(steps)}
    return {"turns": turns, "versions": worker.versions, "summary": {"sizes": summary, **largest}}


def lines(measured: dict[str, Any]) -> list[str]:
    """For the terminal."""
    summary = measured["summary"]
    found = [
        f"{int(rows):9,} rows: {1000 * entry['seconds']:7.1f} ms per step; act and improve "
        f"{1000 * entry['step_seconds']:.1f} ms, a refit {entry['learn_seconds']:.2f} s"
        for rows, entry in summary["sizes"].items()
    ]
    both = summary["largest_over_smallest"], summary["step_only"]
    return [*found, "largest over smallest: {:.2f}; without refits {:.2f}".format(*both)]
