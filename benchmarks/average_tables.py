"""The table of averages of double horizon's actor, from the committed results."""

from statistics import fmean, stdev

from mujoco_tables import variants
from read_results import RESULTS, rows

GONE_ON_WITH = {
    "Ant in the torso's frame, from 30,000": "ant",
    "Walker2d-v4, from 50,000": "walker2d",
}

SHORT = {"the actor": "mbpo_dh_actor", "its average": "mbpo_dh"}
"""Runs from the start on, which learn the same."""


def short(task: str, steps: range) -> str:
    """A task of some hundred steps, evaluated both ways."""
    return variants({what: f"{task}_{folder}" for what, folder in SHORT.items()}, steps)


def actor_average() -> str:
    """Runs gone on with: the actor and its averages over five evaluations each, from the same starts."""
    heads: list[str] = []
    table = []
    for run, name in GONE_ON_WITH.items():
        for path in sorted((RESULTS / "actor_average").glob(f"{name}-*.csv")):
            found: dict[float, list[float]] = {}
            for row in rows(path):
                found.setdefault(row["rate"], []).append(row["return_mean"])
            heads = ["the actor" if rate == 1 else f"its average at {rate:g}" for rate in found]
            cells = [f"{fmean(some):.0f} ± {stdev(some):.0f}, {min(some):.0f}" for some in found.values()]
            seed = path.stem.removeprefix(f"{name}-0").replace("-first", ", gone on with before")
            table.append(f"| {run} | {seed} | {' | '.join(cells)} |")
    return "\n".join([f"| run | seed | {' | '.join(heads)} |", "|---" * (len(heads) + 2) + "|", *table])


TABLES = {
    "actor_average": actor_average,
    "average_pendulum": lambda: short("pendulum", range(250, 601, 50)),
    "average_inverted_pendulum": lambda: short("inverted_pendulum_v4", range(300, 1501, 200)),
}
