"""The tables of double horizon on Ant-v4, from the committed results."""

import csv

from mujoco_tables import one_seed, variants
from read_results import RESULTS, by_way, learning_curve

ANT = {
    "as it is": "ant_v4_mbpo_dh",
    "rests between refits": "ant_v4_updates_at_refit",
    "fits four times as long (`--model.max-epochs 60 --model.patience 100`)": "ant_v4_fit_budget",
    "another fit": "ant_v4_better_fit",
}
ALL_ROWS = {"every row, weights that decay (0.6)": "ant_v4_all_rows"}
LONGER = {"every row, a decay that falls with more rows, longer fits": "ant_v4_all_rows_longer"}
FITTED = {"every row, a decay that falls with more rows": "ant_v4_fitted_noise"}
UNSEEN = {"every row, a decay that falls, **noise as wide as the model is wrong**": "ant_v4_unseen_noise"}
TORSO = {"the same in the torso's frame": "ant_v4_torso_frame"}
FRAMES = {"the world's frame, as Gymnasium shows it": "ant_v4_unseen_noise", "the torso's": "ant_v4_torso_frame"}
"""Three seeds each with Ant's preset."""
ENDS = {
    "an end counts nothing, as published": "ant_v4_torso_frame",
    "critics judge at ends (`--learner.judge-ends`)": "ant_v4_torso_judge_ends",
}
KINDS = {
    "dh": "the setting for all tasks",
    "unseen": "that, and `--model.unseen-noise`",
    "ant": "Ant's, with the noise of training",
    "ant-unseen": "Ant's",
}
"""What forecasts.py calls them."""
MEMBER_ROWS = {
    "a bootstrap of 80 %, as it is": "rows-bootstrap",
    "a bootstrap of 80 %, weights decay": "rows-bootstrap-decay",
    "95 %, the same for all": "rows-all",
    "95 %, the same for all, weights decay": "rows-all-decay",
}
"""Ways to fit the same transitions of Ant: files of fit_budget.py."""
ELSEWHERE = {
    "Hopper-v4: the setting for all tasks": "hopper_v4_mbpo_dh",
    "Hopper-v4: Ant's fit": "hopper_v4_ant_fit",
    "Walker2d-v4: the setting for all tasks": "walker2d_v4_mbpo_dh",
    "Walker2d-v4: Ant's fit": "walker2d_v4_ant_fit",
    "HalfCheetah-v4: its preset": "half_cheetah_v4_angles",
    "HalfCheetah-v4: Ant's fit, learns all along": "half_cheetah_v4_ant_fit",
}
"""Ant's fit on other tasks, and what they have without it."""


def member_rows() -> str:
    """What a bootstrap costs a model of Ant: errors on what comes next, of the members' mean and of a member."""
    shown = (5000, 6000, 8000, 10_000, 12_000)
    heads = " | ".join(f"{size:,} rows" for size in shown)
    lines = [f"| a member learns from | CPU s a refit | {heads} |", "|---" * (len(shown) + 2) + "|"]
    for name, variant in MEMBER_ROWS.items():
        with (RESULTS / "fit_budget" / f"ant-{variant}.csv").open() as file:
            fits = {int(fit["rows"]): fit for fit in csv.DictReader(file)}
        refits = [float(fit["cpu_seconds"]) for size, fit in fits.items() if size > shown[0]]
        errors = [
            " / ".join(f"{float(fits[size][error]):.2f}" for error in ("next_error", "next_member_error"))
            for size in shown
        ]
        lines.append(f"| {name} | {sum(refits) / len(refits):.0f} | {' | '.join(errors)} |")
    return "\n".join(lines)


def fitted_anew() -> str:
    """The same policy from the same states on the back: in the model it learned in, in ones fitted anew, and really."""
    shown = [  # What, in which file of turned_over.py, in which of its columns.
        ("its own model", "all_rows", "imagined"),
        ("fitted anew", "all_rows", "anew"),
        ("longer, less decay", "all_rows_longer", "anew"),
        ("longer, a bootstrap", "all_rows_bootstrap", "anew"),
        ("MuJoCo", "all_rows", "real"),
    ]
    found = {}
    for file_name in {name for _, name, _ in shown}:
        with (RESULTS / "turned_over" / f"{file_name}.csv").open() as file:
            found[file_name] = {row["steps"]: row for row in csv.DictReader(file) if row["kind"] == "on its back"}
    lines = [f"| after so many steps | {' | '.join(head for head, _, _ in shown)} |", "|---" * (len(shown) + 1) + "|"]
    for steps in found["all_rows"]:
        shares = [(found[name][steps], where) for _, name, where in shown]
        cells = [
            f"{float(row[f'{where}_feet_down']):.0%}, {float(row[f'{where}_reward']):.1f}" for row, where in shares
        ]
        lines.append(f"| {steps} | {' | '.join(cells)} |")
    return "\n".join(lines)


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


def forecasts() -> str:
    """How far branches go astray and how far they spread, along real episodes."""
    with (RESULTS / "forecasts" / "ant.csv").open() as file:
        lines = list(csv.DictReader(file))
    steps = list(dict.fromkeys(line["steps"] for line in lines))
    table = [f"| after so many steps | {' | '.join(steps)} |", "|---" * (len(steps) + 1) + "|"]
    for kind, name in KINDS.items():
        cells = []
        for step in steps:
            some = [line for line in lines if (line["kind"], line["steps"]) == (kind, step)]
            error, spread = (sum(float(line[what]) for line in some) / len(some) for what in ("error", "spread"))
            cells.append(f"{error:.2f} / {spread:.2f}")
        table.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(table)


def upright() -> str:
    """How much of their time ants stood and lay on their backs, while they learned."""
    with (RESULTS / "upright.csv").open() as file:
        lines = [row for row in csv.DictReader(file) if int(row["from_step"]) >= 5000 and int(row["steps"]) >= 1000]
    blocks = sorted({int(line["from_step"]) for line in lines if int(line["from_step"]) < 25_000})
    heads = " | ".join(f"{first:,} to {first + 5000:,}" for first in blocks)
    table = [f"| upright / on its back | seed | {heads} |", "|---" * (len(blocks) + 2) + "|"]
    for name, folder in (ALL_ROWS | LONGER | FITTED | UNSEEN | TORSO).items():
        for seed in sorted({line["seed"] for line in lines if line["run"] == folder}):
            some = {int(it["from_step"]): it for it in lines if (it["run"], it["seed"]) == (folder, seed)}
            cells = [
                f"{float(some[first]['upright']):.0%} / {float(some[first]['on_its_back']):.0%}"
                if first in some
                else "-"
                for first in blocks
            ]
            table.append(f"| {name} | {int(seed.removeprefix('seed-'))} | {' | '.join(cells)} |")
    return "\n".join(table)


def frame_errors() -> str:
    """What the world's frame costs a model of Ant."""
    table = [
        "| frame | rows | linear velocity, m/s: error, change | angular velocity, rad/s: error, change | "
        "error of the reward |",
        "|---" * 5 + "|",
    ]
    with (RESULTS / "torso_frame.csv").open() as file:
        for row in csv.DictReader(file):
            cells = [row["frame"], f"{int(row['rows']):,}"]
            for what in ("velocity", "angular"):
                cells.append(", ".join(f"{float(row[f'{what}_{name}']):.2f}" for name in ("error", "change")))
            cells.append(f"{float(row['reward_error']):.2f}")
            table.append(f"| {' | '.join(cells)} |")
    return "\n".join(table)


TABLES = {
    "ant_frames": lambda: by_way("seen ", FRAMES, range(7500, 30_001, 2500)),
    "frame_errors": frame_errors,
    "ant_ends": lambda: one_seed(ENDS, 0, range(7500, 30_001, 2500)),
    "ant_torso": lambda: learning_curve("ant_v4_torso_frame", (10_000, 15_000, 20_000, 25_000, 27_500, 30_000)),
    "upright": upright,
    "ant": lambda: learning_curve("ant_v4_unseen_noise", (10_000, 12_500, 15_000, 17_500, 20_000)),
    "forecasts": forecasts,
    "member_rows": member_rows,
    "ant_variants": lambda: one_seed(ANT | ALL_ROWS | LONGER | FITTED | UNSEEN, 0, range(7500, 37_501, 2500)),
    "ant_seed_1": lambda: one_seed(ALL_ROWS | FITTED | UNSEEN, 1, range(7500, 25_001, 2500)),
    "ants_fit": lambda: variants(ELSEWHERE, range(10_000, 50_001, 5000)),
    "fitted_anew": fitted_anew,
    "turned_over": turned_over,
}
