"""The tables of double horizon on Walker2d, and of velocities that are clipped, from the committed results."""

import csv
from statistics import fmean, stdev

from mujoco_tables import one_seed, variants
from read_results import RESULTS, by_seed, by_way, ended_in, learning_curve, rows

from mbpo.training.logbook import read_records

WALKER2D = {
    "learns all along": "walker2d_unclipped_mbpo_dh",
    "rests between refits": "walker2d_unclipped_updates_at_refit",
}
WALKER2D_SEED_1 = {
    "as it is": "walker2d_unclipped_mbpo_dh",
    "the actor hears critics at ends (`--learner.judge-ends`)": "walker2d_unclipped_judge_ends",
    "fits up to three times as long (`--model.max-epoch-batches 300`)": "walker2d_unclipped_fit_budget",
    "rests between refits": "walker2d_unclipped_updates_at_refit",
    "every row, weights that decay (0.3)": "walker2d_unclipped_all_rows",
}
SEEN = {
    "clipped, as Walker2d-v4 shows them": "walker2d_v4_mbpo_dh",
    "told from mean ones": "walker2d_v4_restored",
    "told by the trapezoidal rule (`mbpo/Walker2dRestoredObs-v4`)": "walker2d_restored_mbpo_dh",
    "as they are (`mbpo/Walker2dUnclippedObs-v4`)": "walker2d_unclipped_mbpo_dh",
}
"""Ways to see Walker2d's velocities, with the same settings."""
TOLD = {seen: folder for seen, folder in SEEN.items() if seen.startswith("told")}
MODELS_OF = {
    "Walker2d-v4, seed 2": "walker2d",
    "mbpo/Walker2dUnclippedObs-v4, seed 1 with every row and weights that decay": "walker2d_unclipped",
}
"""Whose transitions were fitted, and the files of restored_velocities.py."""
ONE_BY_ONE = {
    "as it is": "walker2d_restored_mbpo_dh",
    "critics without LayerNorm (`--learner.no-critic-layer-norm`)": "walker2d_restored_no_layer_norm",
    "critics in units of return, targets not cut (`--learner.bound-quantile None`)": "walker2d_restored_no_bounds",
    "gradients through one step (`--learner.horizon 1`)": "walker2d_restored_horizon_1",
    "targets of the model as they are (`--model.no-normalize-targets`)": "walker2d_restored_raw_targets",
    "an entropy of -3 (`--learner.target-entropy -3`)": "walker2d_restored_entropy_3",
    "two updates a step (`--utd-ratio 2 --first-updates 10000`)": "walker2d_restored_utd_2",
}
"""With velocities told by the trapezoidal rule, from the start on: one thing changed at a time."""
TO_THE_END = {way: ONE_BY_ONE[way] for way in ONE_BY_ONE if way.startswith(("as it is", "two updates"))}
"""Those that were run to 50,000 steps."""
BLOCK = 5000


def clipped_velocities() -> str:
    """A model's error where it sees velocities, and where it sees them clipped."""
    lines = [
        "| rows | faster than 10, of the next rows | error on these | with clipped velocities | error on all | "
        "with clipped velocities |",
        "|---" * 6 + "|",
    ]
    for row in rows(RESULTS / "clipped_velocities" / "hopper.csv"):
        names = ("fast_error", "fast_error_clipped", "error", "error_clipped")
        errors = " | ".join(f"{row[name]:.3f}" for name in names)
        lines.append(f"| {row['rows']:,.0f} | {100 * row['fast_share']:.0f} % | {errors} |")
    return "\n".join(lines)


def told_velocities() -> str:
    """How far off ways to tell velocities beyond the limit are."""
    lines = [
        "| what is taken for it | root mean square error, rad/s | mean absolute | median absolute |",
        "|---" * 4 + "|",
    ]
    with (RESULTS / "told_velocities.csv").open() as file:
        for row in csv.DictReader(file):
            errors = (float(row[name]) for name in ("root_mean_square", "mean_absolute", "median_absolute"))
            lines.append(f"| {row['way']} | {' | '.join(f'{error:.2f}' for error in errors)} |")
    return "\n".join(lines)


def errors_by_velocities() -> str:
    """Each run's own held-out error at some steps, by how it sees velocities: the mean over seeds, and how many."""
    steps = range(10_000, 50_001, 5000)
    lines = [f"| velocities | {' | '.join(map(str, steps))} |", "|---" * (len(steps) + 1) + "|"]
    for seen, folder in SEEN.items():
        runs = [read_records(path) for path in sorted((RESULTS / folder).glob("seed-*"))]
        cells = []
        for step in steps:
            found = [it["model_holdout_error"] for run in runs for it in run if it["env_step"] == step]
            cells.append(f"{fmean(found):.3f} ({len(found)})" if found else "-")
        lines.append(f"| {seen} | {' | '.join(cells)} |")
    return "\n".join(lines)


def restored_velocities() -> str:
    """A model's error on what comes next, by how velocities are seen: on all rows / on those with one at the limit."""
    sizes = range(10_000, 25_001, 5000)
    lines = [f"| transitions of | seen | {' | '.join(f'{size:,} rows' for size in sizes)} |", "|---" * 6 + "|"]
    for run, name in MODELS_OF.items():
        found: dict[str, dict[int, str]] = {}
        with (RESULTS / "clipped_velocities" / f"{name}.csv").open() as file:
            for row in csv.DictReader(file):
                errors = f"{float(row['error']):.3f} / {float(row['fast_error']):.3f}"
                found.setdefault(row["seen"], {})[int(row["rows"])] = errors
        for seen, at in found.items():
            lines.append(f"| {run} | {seen} | {' | '.join(at.get(size, '-') for size in sizes)} |")
    return "\n".join(lines)


def paid_in_training(head: str, ways: dict[str, str], blocks: range) -> str:
    """What the episodes that it learns from pay, actions sampled: the mean over those that ended in each block."""
    heads = " | ".join(f"to {block + BLOCK:,}" for block in blocks)
    lines = [f"| {head}| seed | {heads} |", "|---" * (len(blocks) + 2) + "|"]
    for way, folder in ways.items():
        for path in sorted((RESULTS / folder).glob("seed-*")):
            records = read_records(path)
            cells = []
            for block in blocks:
                paid = [it["train_return"] for it in ended_in(records, block, block + BLOCK)]
                cells.append(f"{fmean(paid):.0f}" if paid else "-")
            lines.append(f"| {way} | {int(path.name.removeprefix('seed-'))} | {' | '.join(cells)} |")
    return "\n".join(lines)


def values_one_by_one() -> str:
    """What critics say, and how steep the actor's gradient is: means over the records between 20,000 and 25,000."""
    digits = {"q_mean": 0, "q_low": 0, "q_high": 0, "actor_grad_norm": 1, "alpha": 3}
    lines = [
        "| | seed | mean Q | its bounds: low | high | norm of the actor's gradient | temperature | "
        "training episodes pay |",
        "|---" * 8 + "|",
    ]
    for way, folder in ONE_BY_ONE.items():
        for path in sorted((RESULTS / folder).glob("seed-*")):
            records = read_records(path)
            last = [record for record in records if 20_000 < record["env_step"] <= 25_000]
            cells = [f"{fmean(record[name] for record in last):.{places}f}" for name, places in digits.items()]
            cells.append(f"{fmean(it['train_return'] for it in ended_in(records, 20_000, 25_000)):.0f}")
            lines.append(f"| {way} | {int(path.name.removeprefix('seed-'))} | {' | '.join(cells)} |")
    return "\n".join(lines)


def walker2d_last() -> str:
    """The last five evaluations of each seed: their mean and the worst; and the seeds' means."""
    steps = range(40_000, 50_001, 2500)
    lines = ["| velocities | seed 0: mean, worst | seed 1 | seed 2 | mean ± std over seeds |", "|---" * 5 + "|"]
    for seen in ("clipped, as", "told by the trap", "as they are"):
        name = next(name for name in SEEN if name.startswith(seen))
        means, cells = [], []
        for path in sorted((RESULTS / SEEN[name]).glob("seed-*")):
            found = {it["env_step"]: it.get("eval_return_mean") for it in read_records(path) if it["env_step"] in steps}
            returns = [found[step] for step in steps]
            means.append(fmean(returns))
            cells.append(f"{means[-1]:.0f}, {min(returns):.0f}")
        lines.append(f"| {name} | {' | '.join(cells)} | {fmean(means):.0f} ± {stdev(means):.0f} |")
    return "\n".join(lines)


TABLES = {
    "walker2d_last": walker2d_last,
    "clipped_velocities": clipped_velocities,
    "walker2d_variants": lambda: variants(WALKER2D, range(10_000, 50_001, 5000)),
    "walker2d_ablations": lambda: one_seed(WALKER2D_SEED_1, 1, range(7500, 25_001, 2500)),
    "walker2d": lambda: learning_curve(
        "walker2d_unclipped_mbpo_dh", (10_000, 20_000, 25_000, 30_000, 40_000, 45_000, 50_000)
    ),
    "walker2d_seeds": lambda: by_seed("walker2d_v4_mbpo_dh", range(3), range(20_000, 50_001, 2500)),
    "restored_velocities": restored_velocities,
    "walker2d_training": lambda: paid_in_training("velocities ", SEEN, range(5000, 50_000, BLOCK)),
    "walker2d_one_by_one": lambda: by_way("", ONE_BY_ONE, range(7500, 25_001, 2500)),
    "walker2d_one_by_one_training": lambda: paid_in_training("", ONE_BY_ONE, range(5000, 25_000, BLOCK)),
    "walker2d_one_by_one_values": values_one_by_one,
    "walker2d_two_updates": lambda: by_way("", TO_THE_END, range(27_500, 50_001, 2500)),
    "told_velocities": told_velocities,
    "errors_by_velocities": errors_by_velocities,
    "walker2d_restored": lambda: by_way("velocities ", TOLD, range(10_000, 50_001, 5000)),
}
