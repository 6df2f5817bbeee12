"""The tables of double horizon on Ant-v4 and Humanoid, from the committed results."""

import csv

from mujoco_tables import one_seed
from read_results import RESULTS

ANT = {
    "as it is": "ant_v4_mbpo_dh",
    "rests between refits": "ant_v4_updates_at_refit",
    "fits four times as long (`--model.max-epochs 60 --model.patience 100`)": "ant_v4_fit_budget",
    "another fit": "ant_v4_better_fit",
}


def turned_over() -> str:
    """What a policy imagines of an ant on its back, and what becomes of it."""
    names = {folder: name for name, folder in ANT.items()}
    lines = [
        "| | share of steps | Q | after 50 steps: feet down, imagined / real | reward of that step, imagined / real |",
        "|---" * 5 + "|",
    ]
    for kind in ("upright", "on its back"):
        for folder, name in names.items():
            path = RESULTS / "turned_over" / f"{folder.removeprefix('ant_v4_')}.csv"
            with path.open() as file:
                (row,) = (row for row in csv.DictReader(file) if row["kind"] == kind and row["steps"] == "50")
            feet, reward = (
                [float(row[f"{where}_{what}"]) for where in ("imagined", "real")] for what in ("feet_down", "reward")
            )
            cells = [f"{kind}: {name.partition(' (')[0]}", f"{float(row['share']):.0%}", f"{float(row['q']):.0f}"]
            cells += [" / ".join(f"{share:.0%}" for share in feet), " / ".join(f"{it:.1f}" for it in reward)]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


TABLES = {
    "ant_variants": lambda: one_seed(ANT, 0, range(7500, 37_501, 2500)),
    "turned_over": turned_over,
    "humanoid": lambda: one_seed({"return": "humanoid_v4_mbpo_dh"}, 0, range(5000, 20_001, 2500)),
}
