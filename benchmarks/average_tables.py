"""The table of averages of double horizon's actor, from the committed results."""

from read_results import RESULTS, rows

GONE_ON_WITH = {
    "Ant in the torso's frame, seed 0, from 30,000": "ant-00",
    "Walker2d-v4, seed 0, from 50,000": "walker2d-00",
}


def actor_average() -> str:
    """Runs gone on with: the actor beside its averages, evaluated from the same starts."""
    heads, table = [], []
    for run, name in GONE_ON_WITH.items():
        found: dict[float, list[str]] = {}
        lines = rows(RESULTS / "actor_average" / f"{name}.csv")
        first, second, *_ = sorted({line["env_step"] for line in lines})
        for row in lines:
            found.setdefault(row["rate"], []).append(f"{row['return_mean']:.0f} ± {row['return_std']:.0f}")
        for rate, cells in found.items():
            heads = [f"{(second - first) * (i + 1):.0f}" for i in range(len(cells))]
            what = "the actor" if rate == 1 else f"its average at {rate:g}"
            table.append(f"| {run} | {what} | {' | '.join(cells)} |")
    return "\n".join([f"| run | after so many steps | {' | '.join(heads)} |", "|---" * (len(heads) + 2) + "|", *table])


TABLES = {"actor_average": actor_average}
