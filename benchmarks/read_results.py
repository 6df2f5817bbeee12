"""Reading committed results, and the table that many of them share."""

import csv
from pathlib import Path
from typing import Any

from mbpo.training.logbook import read_records

RESULTS = Path(__file__).parent / "results"


def rows(path: Path) -> list[dict[str, float]]:
    with path.open() as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def evaluations(folder: str, seed: int, steps: range) -> list[str]:
    """Mean and standard deviation over the episodes of one seed's evaluations; `-` where it did not get so far."""
    records = read_records(RESULTS / folder / f"seed-{seed:02d}")
    at = {record["env_step"]: record for record in records if "eval_return_mean" in record}
    found = [at.get(step) for step in steps]
    return [f"{it['eval_return_mean']:.0f} ± {it['eval_return_std']:.0f}" if it else "-" for it in found]


def ended_in(records: list[dict[str, Any]], begin: int, end: int) -> list[dict[str, Any]]:
    """Of the training episodes that ended after `begin` real steps, and by `end`; none where a run stopped before."""
    if records[-1]["env_step"] < end:
        return []
    return [record for record in records if "train_return" in record and begin < record["env_step"] <= end]


def by_seed(folder: str, seeds: range, steps: range) -> str:
    """Mean and standard deviation over the episodes of each seed's evaluations."""
    lines = [f"| seed | {' | '.join(map(str, steps))} |", "|---" * (len(steps) + 1) + "|"]
    lines += [f"| {seed} | {' | '.join(evaluations(folder, seed, steps))} |" for seed in seeds]
    return "\n".join(lines)


def by_way(head: str, ways: dict[str, str], steps: range) -> str:
    """As `by_seed`, for each way and its folder, with all seeds there are; `head` says what the ways are of."""
    lines = [f"| {head}| seed | {' | '.join(map(str, steps))} |", "|---" * (len(steps) + 2) + "|"]
    for name, folder in ways.items():
        for path in sorted((RESULTS / folder).glob("seed-*")):
            seed = int(path.name.removeprefix("seed-"))
            lines.append(f"| {name} | {seed} | {' | '.join(evaluations(folder, seed, steps))} |")
    return "\n".join(lines)


def learning_curve(folder: str, steps: tuple[int, ...]) -> str:
    """Return over seeds at some steps, of a folder that `seeds.py` wrote."""
    lines = ["| real steps | median | mean ± std over seeds | worst seed | best seed |", "|---|---|---|---|---|"]
    for row in rows(RESULTS / folder / "summary.csv"):
        if row["env_step"] in steps:
            cells = (row["median"], row["mean"], row["std"], row["worst"], row["best"])
            median, mean, std, worst, best = (f"{cell:.0f}" for cell in cells)
            lines.append(f"| {row['env_step']:.0f} | {median} | {mean} ± {std} | {worst} | {best} |")
    return "\n".join(lines)
