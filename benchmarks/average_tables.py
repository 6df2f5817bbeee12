"""The table of averages of double horizon's actor, from the committed results."""

from statistics import fmean, stdev

from read_results import RESULTS, rows

GONE_ON_WITH = {
    "Ant in the torso's frame, from 30,000": "ant",
    "Walker2d-v4, from 50,000": "walker2d",
}


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
            table.append(f"| {run} | {int(path.stem.split('-')[1])} | {' | '.join(cells)} |")
    return "\n".join([f"| run | seed | {' | '.join(heads)} |", "|---" * (len(heads) + 2) + "|", *table])


TABLES = {"actor_average": actor_average}
