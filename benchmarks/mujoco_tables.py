"""The tables of the MuJoCo tasks, from the committed results; `benchmarks/tables.py` puts them into the pages."""

import csv

from read_results import RESULTS, evaluations, learning_curve, rows

from mbpo.training.logbook import read_records
from mbpo.viz.published import chosen, read_published

DOUBLE_HORIZON = {
    "Hopper-v4": "hopper_v4_mbpo_dh",
    "mbpo/HopperUnclippedObs-v4": "hopper_unclipped_mbpo_dh",
    "HalfCheetah-v4": "half_cheetah_v4_angles",
    "Walker2d-v4": "walker2d_v4_mbpo_dh",
    "mbpo/Walker2dUnclippedObs-v4": "walker2d_unclipped_mbpo_dh",
    "mbpo/Walker2dRestoredObs-v4": "walker2d_restored_mbpo_dh",
    "Ant-v4": "ant_v4_unseen_noise",
    "mbpo/AntTorsoFrame-v4": "ant_v4_torso_frame",
    "mbpo/HumanoidTorsoFrame-v4": "humanoid_v4_torso_frame",
}
SHARED = {
    "Walker2d-v4": "three on two cores",
    "mbpo/Walker2dRestoredObs-v4": "two or more on two cores",
    "mbpo/HumanoidTorsoFrame-v4": "five on a GPU",
}
"""What else ran beside a seed, where it had no core of its own."""
HALF_CHEETAH = {
    "learns all along": "half_cheetah_v4_mbpo_dh",
    "rests between refits": "half_cheetah_v4_updates_at_refit",
    "rests, pitch as an angle": "half_cheetah_v4_angles",
}
"""Variants of double horizon, each a change to the one before."""
HOPPER = {"learns all along": "hopper_v4_mbpo_dh", "rests between refits": "hopper_v4_updates_at_refit"}
LEARNED = 15_000
"""Real steps after which an episode that pays less than half of what one paid before has failed."""


def terminations() -> str:
    """Termination rules against the environments."""
    lines = [
        "| environment | observations | transitions | ends | wrong by rounding | farthest from a bound |",
        "|---" * 6 + "|",
    ]
    found: dict[str, list[dict[str, str]]] = {}
    with (RESULTS / "terminations" / "agreement.csv").open() as file:
        for row in csv.DictReader(file):
            found.setdefault(row["env"], []).append(row)
    for env, some in found.items():
        counts = [sum(int(row[name]) for row in some) for name in ("transitions", "ends", "wrong_by_rounding")]
        farthest = max((float(row["farthest_wrong"]) for row in some if row["farthest_wrong"]), default=0.0)
        cells = [
            env,
            some[0]["observations"],
            *(f"{count:,}" for count in counts),
            f"{farthest:.1g}" if farthest else "-",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def hidden_ends() -> str:
    """Ends that Hopper's observation does not show, by where the states came from."""
    lines = ["| environment | states | transitions | largest speed, rad/s | ended unseen |", "|---" * 5 + "|"]
    with (RESULTS / "terminations" / "agreement.csv").open() as file:
        for row in csv.DictReader(file):
            if row["env"].startswith("Hopper"):
                cells = [row[name] for name in ("env", "source", "transitions", "largest_speed", "wrong_by_clipping")]
                lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def learned_ends() -> str:
    """Return with a learned termination and with the rule, at some steps."""
    folders = {
        ("InvertedPendulum-v4", "rule"): "inverted_pendulum_v4",
        ("InvertedPendulum-v4", "learned"): "termination/inverted_pendulum_v4_learned",
        ("InvertedPendulum-v5", "rule"): "termination/inverted_pendulum_v5_rule",
        ("InvertedPendulum-v5", "learned"): "termination/inverted_pendulum_v5_learned",
    }
    steps = (500, 750, 1000, 1250, 1500)
    lines = [
        "| task | ends | seeds | " + " | ".join(f"{step}" for step in steps) + " |",
        "|---" * (len(steps) + 3) + "|",
    ]
    for (task, ends), folder in folders.items():
        if not (RESULTS / folder).exists():
            continue
        at = {row["env_step"]: row for row in rows(RESULTS / folder / "summary.csv")}
        cells = [f"{at[step]['mean']:.0f} ± {at[step]['std']:.0f}" for step in steps]
        lines.append(f"| {task} | {ends} | {at[steps[-1]]['seeds']:.0f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def double_horizon() -> str:
    """Return over seeds beside the published one, and how long the runs took."""
    lines = [
        "| task | real steps | seeds | mean ± std over seeds | worst | best | published, 8 seeds | "
        "minutes a seed, on one core unless said |",
        "|---" * 8 + "|",
    ]
    published = read_published()
    for task, folder in DOUBLE_HORIZON.items():
        (curve,) = chosen(published, task, ["DHMBPO"])
        points = zip(curve.steps, curve.mean, curve.std, strict=True)
        theirs = {step: f"{mean:.0f} ± {std:.0f}" for step, mean, std in points}
        runs = [read_records(path) for path in sorted((RESULTS / folder).glob("seed-*"))]
        for row in rows(RESULTS / folder / "summary.csv"):
            if row["env_step"] not in (10_000, 15_000, 20_000, 25_000, 30_000, 35_000, 40_000, 45_000, 50_000):
                continue
            reached = [[record for record in run if record["env_step"] >= row["env_step"]] for run in runs]
            minutes = sorted(later[0]["wall_time"] / 60 for later in reached if later)
            step, seeds, mean, std, worst, best = (
                f"{row[name]:.0f}" for name in ("env_step", "seeds", "mean", "std", "worst", "best")
            )
            took = "–".join(dict.fromkeys(f"{some:.0f}" for some in (minutes[0], minutes[-1])))
            returns = [mean, "-", "-"] if seeds == "1" else [f"{mean} ± {std}", worst, best]
            took += f" ({SHARED[task]})" if task in SHARED else ""
            cells = [task, step, seeds, *returns, theirs.get(row["env_step"], "-"), took]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def variants(folders: dict[str, str], steps: range) -> str:
    """What changes to an algorithm do, as far as they were run; in brackets how many seeds, where fewer were so far."""
    lines = [f"| | seeds | {' | '.join(map(str, steps))} |", "|---" * (len(steps) + 2) + "|"]
    for name, folder in folders.items():
        at = {row["env_step"]: row for row in rows(RESULTS / folder / "summary.csv")}
        seeds, cells = max(row["seeds"] for row in at.values()), []
        for step in steps:
            if step not in at:
                cells.append("-")
                continue
            spread = f" ± {at[step]['std']:.0f}" if at[step]["seeds"] > 1 else ""
            fewer = f" ({at[step]['seeds']:.0f})" if at[step]["seeds"] < seeds else ""
            cells.append(f"{at[step]['mean']:.0f}{spread}{fewer}")
        lines.append(f"| {name} | {seeds:.0f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def new_statistics() -> str:
    """Pendulum-v1, where actor and critics take up new statistics of observations, and where they do not."""
    ways = {"as published": "pendulum_mbpo_dh_default", "their first layers take it up": "pendulum_mbpo_dh_absorb"}
    return variants(ways, range(250, 601, 50))


def one_seed(folders: dict[str, str], seed: int, steps: range) -> str:
    """What changes to double horizon do to one seed: mean and standard deviation over the episodes of an evaluation, as
    far as each went."""
    lines = [f"| seed {seed} | {' | '.join(map(str, steps))} |", "|---" * (len(steps) + 1) + "|"]
    for name, folder in folders.items():
        lines.append(f"| {name} | {' | '.join(evaluations(folder, seed, steps))} |")
    return "\n".join(lines)


def failed_episodes() -> str:
    """How many of the episodes that it learns from fail on HalfCheetah, and the best of them all."""
    lines = [
        f"| | failed, of the episodes after {LEARNED:,} steps, by seed | best episode, by seed |",
        "|---" * 3 + "|",
    ]
    for name, folder in HALF_CHEETAH.items():
        found = []
        for path in sorted((RESULTS / folder).glob("seed-*")):
            episodes = [record for record in read_records(path) if "train_return" in record]
            returns = [(record["env_step"], record["train_return"]) for record in episodes]
            later = [i for i, (step, _) in enumerate(returns) if step > LEARNED]
            failed = [i for i in later if returns[i][1] < max(paid for _, paid in returns[:i]) / 2]
            found.append((f"{len(failed)} of {len(later)}", f"{max(paid for _, paid in returns):.0f}"))
        lines.append(f"| {name} | {' | '.join(', '.join(cells) for cells in zip(*found, strict=True))} |")
    return "\n".join(lines)


def falls() -> str:
    """What HalfCheetah does after a fall: steps of each kind after LEARNED steps, and the reward of one."""
    kinds = ("upright", "turned", "overturned")
    heads = ("upright", "upright after a turn", "overturned")
    lines = [
        f"| | seed | {' | '.join(f'{head}: share of steps, reward a step' for head in heads)} |",
        "|---" * 5 + "|",
    ]
    for path in sorted((RESULTS / "falls").glob("*-[0-9][0-9].csv")):
        name, seed = path.stem.rsplit("-", 1)
        later = [row for row in rows(path) if row["episode"] >= LEARNED / 1000]
        cells = []
        for kind in kinds:
            steps, reward = (sum(row[f"{kind}_{what}"] for row in later) for what in ("steps", "reward"))
            paid = f", {reward / steps:.1f}" if steps else ""
            cells.append(f"{100 * steps / (1000 * len(later)):.1f} %{paid}")
        shown = next(variant for variant, folder in HALF_CHEETAH.items() if folder.endswith(name))
        lines.append(f"| {shown} | {int(seed)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def pitch_as_angle() -> str:
    """A model's error on HalfCheetah with the pitch as a number, and as an angle."""
    kinds = ("upright", "turned", "overturned", "all")
    heads = ("held-out error", "upright", "upright after a turn", "overturned", "all")
    lines = [f"| pitch as | rows | {' | '.join(heads)} |", "|---" * 7 + "|"]
    with (RESULTS / "falls" / "fits.csv").open() as file:
        for fit in csv.DictReader(file):
            errors = [f"{float(fit[kind]):.2f}" if fit[kind] else "-" for kind in ("holdout_error", *kinds)]
            lines.append(f"| {fit['pitch']} | {int(fit['rows']):,} | {' | '.join(errors)} |")
    return "\n".join(lines)


def fit_budget() -> str:
    """What a fit's arithmetic buys: one line for each way to fit, at three sizes of the data."""
    lines = [
        "| rows a gradient step | learning rate | gradient steps a fit | CPU s a fit | error on the next transitions, "
        "after 5,000 / 10,000 / 15,000 rows |",
        "|---" * 5 + "|",
    ]
    for path in sorted((RESULTS / "fit_budget").glob("dh-*.csv"), key=lambda path: int(path.stem.split("-")[1])):
        with path.open() as file:
            fits = list(csv.DictReader(file))
        size, rate = path.stem.removeprefix("dh-").split("-", 1)
        seconds = sum(float(fit["cpu_seconds"]) for fit in fits) / len(fits)
        errors = " / ".join(f"{float(fit['next_error']):.3f}" for fit in fits)
        steps = max(int(fit["grad_steps"]) for fit in fits)
        lines.append(f"| {size} | {rate} | {steps} | {seconds:.0f} | {errors} |")
    return "\n".join(lines)


def warm_refits() -> str:
    """Refits of a model whose run kept none: that run's own, and others on the same transitions."""
    lines = [
        "| rows | that run: epoch kept, held-out error | p < 0.1: epoch kept, held-out error, error on the next 1000 | "
        "last epoch: epoch kept, held-out error, error on the next 1000 |",
        "|---" * 4 + "|",
    ]
    records = read_records(RESULTS / "mbpo_dh_first" / "hopper_rejected_refits")
    fits = {}
    for variant in ("dh-gated", "dh"):
        with (RESULTS / "fit_budget" / f"warm-{variant}.csv").open() as file:
            for fit in csv.DictReader(file):
                errors = f"{float(fit['holdout_error']):.3f}, {float(fit['next_error']):.3f}"
                fits.setdefault(int(fit["rows"]), []).append(f"{fit['best_epoch']}, {errors}")
    for size, cells in sorted(fits.items()):
        # A fit to so many rows is in the records from the next step on.
        then = next(record for record in records if record["env_step"] > size)
        own = f"{then['model_best_epoch']:.0f}, {then['model_holdout_error']:.3f}"
        lines.append(f"| {size:,} | {own} | {' | '.join(cells)} |")
    return "\n".join(lines)


def mbpo_fit_budget() -> str:
    """The same for MBPO's model, refitted every 250 rows from 5,000 to 8,000: the mean of the later half."""
    lines = [
        "| fit | gradient steps a refit | CPU s a refit | error on the next 250 transitions | −log likelihood |",
        "|---" * 5 + "|",
    ]
    for path in sorted((RESULTS / "fit_budget").glob("mbpo*.csv")):
        with path.open() as file:
            fits = list(csv.DictReader(file))
        later = fits[len(fits) // 2 :]
        names = ("grad_steps", "cpu_seconds", "next_error", "next_nll")
        steps, seconds, error, nll = (sum(float(fit[name]) for fit in later) / len(later) for name in names)
        lines.append(f"| {path.stem} | {steps:.0f} | {seconds:.1f} | {error:.3f} | {nll:.1f} |")
    return "\n".join(lines)


TABLES = {
    "double_horizon": double_horizon,
    "new_statistics": new_statistics,
    "terminations": terminations,
    "hidden_ends": hidden_ends,
    "learned_ends": learned_ends,
    "half_cheetah": lambda: variants(HALF_CHEETAH, range(10_000, 50_001, 5000)),
    "hopper_variants": lambda: variants(HOPPER, range(10_000, 35_001, 5000)),
    "failed_episodes": failed_episodes,
    "falls": falls,
    "pitch_as_angle": pitch_as_angle,
    "fit_budget": fit_budget,
    "warm_refits": warm_refits,
    "mbpo_fit_budget": mbpo_fit_budget,
    "hopper": lambda: learning_curve("hopper_v4_mbpo_dh", (10_000, 15_000, 20_000, 25_000, 30_000, 35_000)),
    "half_cheetah_angles": lambda: learning_curve(
        "half_cheetah_v4_angles", (10_000, 20_000, 25_000, 30_000, 40_000, 50_000)
    ),
    "hopper_mbpo": lambda: learning_curve(
        "hopper_unclipped_mbpo", (10_000, 15_000, 20_000, 25_000, 30_000, 35_000, 40_000)
    ),
    "inverted_pendulum_v4": lambda: learning_curve("inverted_pendulum_v4", (500, 750, 1000, 1250, 1500)),
}
