"""The tables of what the authors of double horizon measured, from `results/published`, and of ours beside it."""

import csv
import math
from itertools import accumulate
from statistics import fmean

from read_results import RESULTS

from mbpo.training.logbook import read_records

TASKS = ("Hopper", "HalfCheetah", "Walker2d", "Ant", "Humanoid")
AT = (30_000, 50_000)
OURS = {
    "ours, velocities as they are (`mbpo/Walker2dUnclippedObs-v4`)": "walker2d_unclipped_mbpo_dh",
    "ours, told from positions (`mbpo/Walker2dRestoredObs-v4`)": "walker2d_restored_mbpo_dh",
    "ours, clipped (Walker2d-v4)": "walker2d_v4_mbpo_dh",
}
STEPS = range(10_000, 50_001, 10_000)
"""Where the published runs were evaluated."""


def published_variants() -> str:
    """Each variant at two moments on each task: mean and standard deviation over seeds."""
    found: dict[str, dict[tuple[str, int], str]] = {}
    seeds: dict[str, set[int]] = {}
    with (RESULTS / "published" / "variants.csv").open() as file:
        for row in csv.DictReader(file):
            found.setdefault(row["method"], {})[row["env"], int(row["step"])] = f"{row['mean']} ± {row['std']}"
            seeds.setdefault(row["method"], set()).add(int(row["n_seeds"]))
    heads = " | ".join(f"{task}, {step // 1000}k" for task in TASKS for step in AT)
    lines = [f"| | seeds | {heads} |", "|---" * (2 + len(TASKS) * len(AT)) + "|"]
    for method, at in found.items():
        cells = " | ".join(at[task, step] for task in TASKS for step in AT)
        lines.append(f"| {method} | {' to '.join(map(str, sorted(seeds[method])))} | {cells} |")
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
    found: dict[str, dict[str, tuple[float, float, int]]] = {}
    with (RESULTS / "published" / "variants.csv").open() as file:
        for row in csv.DictReader(file):
            if int(row["step"]) == AT[-1]:
                numbers = float(row["mean"]), float(row["std"]), int(row["n_seeds"])
                found.setdefault(row["method"], {})[row["env"]] = numbers
    method = found.pop("DHMBPO")
    lines = [f"| | {' | '.join(TASKS)} |", "|---" * (1 + len(TASKS)) + "|"]
    for name, at in found.items():
        cells = (
            f"{at[task][0] - method[task][0]:+.0f} ({standard_errors(at[task], method[task]):+.1f})" for task in TASKS
        )
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


TABLES = {
    "published_differences": published_differences,
    "published_variants": published_variants,
    "published_swings": published_swings,
}
