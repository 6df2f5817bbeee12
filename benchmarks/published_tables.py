"""The tables of what the authors of double horizon measured, from `results/published`, and of ours beside it."""

import csv
import math
from itertools import accumulate
from statistics import fmean

import numpy as np
from read_results import RESULTS

from mbpo.training.logbook import read_records
from mbpo.viz.published import PublishedCurve, read_published

TASKS = ("Hopper", "HalfCheetah", "Walker2d", "Ant", "Humanoid")
AT = (30_000, 50_000)
OURS = {
    "ours, velocities as they are (`mbpo/Walker2dUnclippedObs-v4`)": "walker2d_unclipped_mbpo_dh",
    "ours, told from positions (`mbpo/Walker2dRestoredObs-v4`)": "walker2d_restored_mbpo_dh",
    "the same with two updates a step": "walker2d_restored_utd_2",
    "ours, clipped (Walker2d-v4)": "walker2d_v4_mbpo_dh",
}
STEPS = range(10_000, 50_001, 10_000)
"""Where the published runs were evaluated."""


def variants() -> dict[str, dict[str, PublishedCurve]]:
    """The curve of each variant on each task, the method itself first."""
    found: dict[str, dict[str, PublishedCurve]] = {}
    for curve in read_published(RESULTS / "published" / "variants.csv"):
        found.setdefault(curve.method, {})[curve.env] = curve
    return found


def at(curve: PublishedCurve, step: int) -> tuple[float, float, int]:
    """Mean and standard deviation at a step, and the number of seeds."""
    (place,) = np.flatnonzero(curve.steps == step)
    return float(curve.mean[place]), float(curve.std[place]), curve.seeds[0]


def published_variants() -> str:
    """Each variant at two moments on each task: mean and standard deviation over seeds."""
    heads = " | ".join(f"{task}, {step // 1000}k" for task in TASKS for step in AT)
    lines = [f"| | seeds | {heads} |", "|---" * (2 + len(TASKS) * len(AT)) + "|"]
    for method, curves in variants().items():
        seeds = sorted({count for curve in curves.values() for count in curve.seeds})
        numbers = [at(curves[task], step) for task in TASKS for step in AT]
        cells = " | ".join(f"{mean:.0f} ± {std:.0f}" for mean, std, _ in numbers)
        lines.append(f"| {method} | {' to '.join(map(str, seeds))} | {cells} |")
    return "\n".join(lines)


def swings(returns: list[float]) -> tuple[int, int]:
    """Evaluations but the first that are below half of the best before them, and how many there are."""
    best = list(accumulate(returns, max))
    return sum(now < before / 2 for now, before in zip(returns[1:], best[:-1], strict=True)), len(returns) - 1


def published_swings() -> str:
    """How often a walker's evaluation is below half of its best so far, every 10,000 steps to 50,000."""
    runs: dict[str, list[list[float]]] = {}
    by_seed: dict[str, list[float]] = {}
    with (RESULTS / "published" / "seeds.csv").open() as file:
        for row in csv.DictReader(file):
            if row["env"] == "Walker2d" and int(row["step"]) in STEPS:
                by_seed.setdefault(row["seed"], []).append(float(row["return"]))
    runs["published"] = list(by_seed.values())
    for name, folder in OURS.items():
        records = (read_records(path) for path in sorted((RESULTS / folder).glob("seed-*")))
        runs[name] = [
            [it["eval_return_mean"] for it in run if "eval_return_mean" in it and it["env_step"] in STEPS]
            for run in records
        ]
    lines = ["| | seeds | mean at 50,000 | below half of the best before, 20,000 to 50,000 |", "|---" * 4 + "|"]
    for name, seeds in runs.items():
        fell, counted = map(sum, zip(*(swings(seed) for seed in seeds), strict=True))
        lines.append(f"| {name} | {len(seeds)} | {fmean(s[-1] for s in seeds):.0f} | {fell} of {counted} |")
    return "\n".join(lines)


def standard_errors(one: tuple[float, float, int], other: tuple[float, float, int]) -> float:
    """How many standard errors two means lie apart; each is a mean, a standard deviation and a number of seeds."""
    return (one[0] - other[0]) / math.sqrt(one[1] ** 2 / one[2] + other[1] ** 2 / other[2])


def published_differences() -> str:
    """What each variant has more or less than the method at 50,000 steps, in standard errors."""
    found = {
        method: {task: at(curve, AT[-1]) for task, curve in curves.items()} for method, curves in variants().items()
    }
    method = found.pop("DHMBPO")
    lines = [f"| | {' | '.join(TASKS)} |", "|---" * (1 + len(TASKS)) + "|"]
    for name, here in found.items():
        pairs = [(here[task], method[task]) for task in TASKS]
        cells = " | ".join(f"{one[0] - other[0]:+.0f} ({standard_errors(one, other):+.1f})" for one, other in pairs)
        lines.append(f"| {name} | {cells} |")
    return "\n".join(lines)


TABLES = {
    "published_differences": published_differences,
    "published_variants": published_variants,
    "published_swings": published_swings,
}
