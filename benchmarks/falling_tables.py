"""The tables of why Walker2d's policies fall again and again, from the committed results."""

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import fmean

from read_results import RESULTS, by_way, ended_in, evaluations

from mbpo.training.logbook import read_records

TRIED = {
    "as it is": "walker2d_v4_mbpo_dh",
    "the pull of a start state limited (`--learner.row-limit 1`)": "walker2d_v4_row_limit",
    "ends that come early (`--model.end-margin 0.3`)": "walker2d_v4_end_margin",
    "real rows for the critics, a clearer and slower actor": "walker2d_v4_steadier",
    "noise as wide as the model is wrong (`--model.unseen-noise`)": "walker2d_v4_unseen_noise",
}
BLOCK, LONGEST = 5000, 1000
"""Real steps of a cell; the time limit of an episode."""
GONE_ON_FROM = 33_001
"""Real steps at which runs went on under other settings; the episode of then is of both."""
GONE_ON = {
    "as it is": "end_margin/restored-0{seed}-0.csv",
    "the model fitted nearly as published, to 38,000": "gone_on/restored-0{seed}-published_fit.csv",
    "real rows for the critics": "gone_on/restored-0{seed}-real_rows.csv",
    "a clearer, slower actor": "gone_on/restored-0{seed}-clearer.csv",
    "both": "gone_on/restored-0{seed}-both.csv",
    "optimisers keep their moments over refits": "gone_on/restored-0{seed}-kept_moments.csv",
    "the average of the actor explores": "gone_on/restored-0{seed}-average_explores.csv",
    "noise as wide as the model is wrong (`--model.unseen-noise`)": "gone_on/restored-0{seed}-unseen_noise.csv",
}
WENT_ON = "walker2d_restored_unseen_noise"
NOISE = {"as it is": "walker2d_v4_restored", "`--model.unseen-noise`": "walker2d_restored_unseen_noise_whole"}
"""With velocities told from the mean, from the start on."""
HELD_OUT = {
    "as it is": "walker2d_restored_mbpo_dh",
    "noise of held-out rows": "walker2d_restored_held_out_noise",
}
"""With velocities told by the trapezoidal rule, from the start on."""
ABLATED = {
    "as it is": "trapezoid-02-as_it_is.csv",
    "H = 1 (`--learner.horizon 1`)": "trapezoid-02-horizon_1.csv",
    "entropy aimed at: -3, not -6 (`--learner.target-entropy -3`)": "trapezoid-02-entropy_3.csv",
    "bounds of Q from all soft rewards (`--learner.bound-quantile 0`)": "trapezoid-02-wide_bounds.csv",
}
"""Seed 2 of walker2d_restored_mbpo_dh."""
ABLATED_FROM = 33_413
"""Real steps at which that seed went on."""
RUNS = {
    "restored-00": "velocities told from the mean, at 33,001 steps, seed 0",
    "restored-01": "velocities told from the mean, at 33,001 steps, seed 1",
    "steadier-00": "Walker2d-v4, real rows, a clearer and slower actor, seed 0",
    "trapezoid-00": "velocities told by the trapezoidal rule, at 50,000 steps, seed 0",
    "trapezoid-01": "velocities told by the trapezoidal rule, at 50,000 steps, seed 1",
    "trapezoid-02": "velocities told by the trapezoidal rule, at 50,000 steps, seed 2",
    "unseen_noise-00": "Walker2d-v4, unseen noise from the start on, seed 0",
}
"""Whose branches were followed."""
AFTER = (10, 20, 40, 80)
"""Steps after which branches are counted."""
GONE_ON_HEADS = (
    "training episodes, of these fallen",
    "mean return of all",
    "evaluations: how many; their mean, worst, best",
)


def lines_of(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def tried() -> Iterator[tuple[str, str, int]]:
    """(seed and what was tried, folder, seed), seed by seed."""
    found = {name: sorted((RESULTS / folder).glob("seed-*")) for name, folder in TRIED.items()}
    pairs = sorted((int(path.name.removeprefix("seed-")), name) for name, paths in found.items() for path in paths)
    order = list(TRIED)
    for seed, name in sorted(pairs, key=lambda pair: (pair[0], order.index(pair[1]))):
        yield f"{seed} | {name}", TRIED[name], seed


def returns_tried() -> str:
    """Evaluations of each seed, by what was tried."""
    steps = range(10_000, 50_001, 5000)
    lines = [f"| seed | | {' | '.join(map(str, steps))} |", "|---" * (len(steps) + 2) + "|"]
    lines += [f"| {head} | {' | '.join(evaluations(folder, seed, steps))} |" for head, folder, seed in tried()]
    return "\n".join(lines)


def falls_tried() -> str:
    """Episodes of training that ended before the time limit, and the mean return of all that ended, block by block."""
    blocks = range(10_000, 50_000, BLOCK)
    heads = " | ".join(f"to {block + BLOCK:,}" for block in blocks)
    lines = [f"| seed | | {heads} |", "|---" * (len(blocks) + 2) + "|"]
    for head, folder, seed in tried():
        records = read_records(RESULTS / folder / f"seed-{seed:02d}")
        cells = []
        for block in blocks:
            inside = ended_in(records, block, block + BLOCK)
            falls = sum(it["train_length"] < LONGEST for it in inside)
            cells.append(f"{falls}, {fmean(it['train_return'] for it in inside):.0f}" if inside else "-")
        lines.append(f"| {head} | {' | '.join(cells)} |")
    return "\n".join(lines)


def actor_noise() -> str:
    """Signal and noise in the actor's gradient, by horizon, without a limit and with one."""
    lines = [
        "| seed | horizon | limit | noise / signal | cosine, one batch | cosine, the limited mean | "
        "share of the steepest 5 % |",
        "|---" * 7 + "|",
    ]
    for path in sorted((RESULTS / "actor_noise").glob("walker2d-*.csv")):
        for row in lines_of(path):
            if row["limit"] not in ("", "1.0"):
                continue
            steepest = f"{100 * float(row['steepest']):.0f} %" if row["steepest"] else ""
            limit, near = (row["limit"], f"{float(row['cosine']):.2f}") if row["limit"] else ("none", "")
            numbers = f"{float(row['noise']) / float(row['signal']):.1f} | {float(row['one_batch']):.2f} | {near}"
            lines.append(f"| {path.stem.split('-')[1]} | {row['horizon']} | {limit} | {numbers} | {steepest} |")
    return "\n".join(lines)


def posture() -> str:
    """Medians of height and angle, and how many episodes ended, block by block."""
    found: dict[tuple[str, str], dict[int, str]] = {}
    for path in sorted((RESULTS / "posture").glob("*.csv")):
        for row in lines_of(path):
            ends = sum(int(row[f"ended_{how}"]) for how in ("low", "high", "backward", "forward"))
            cell = f"{float(row['height_50']):.2f}, {float(row['angle_50']):.2f}, {ends}"
            if int(row["to_step"]) - int(row["from_step"]) == BLOCK:
                found.setdefault((row["env_id"], row["seed"]), {})[int(row["from_step"])] = cell
    blocks = sorted({block for at in found.values() for block in at})
    heads = " | ".join(f"to {block + BLOCK:,}" for block in blocks)
    lines = [f"| environment | seed | {heads} |", "|---" * (len(blocks) + 2) + "|"]
    for (env, seed), at in found.items():
        lines.append(f"| {env} | {seed} | {' | '.join(at.get(block, '-') for block in blocks)} |")
    return "\n".join(lines)


def before_falls() -> str:
    """Means over falls of what critics and model say, by steps before the end."""
    lines = [
        "| seed | steps before the end | falls | value | alive at the end | alive 40 steps later | real rest |",
        "|---" * 7 + "|",
    ]
    names = ("value", "alive_at_the_end", "alive_beyond", "real_rest")
    for path in sorted((RESULTS / "before_falls").glob("restored-*.csv")):
        at: dict[int, list[dict[str, str]]] = {}
        for row in lines_of(path):
            at.setdefault(int(row["before"]), []).append(row)
        for before, some in at.items():
            value, ends, beyond, rest = (fmean(float(row[name]) for row in some) for name in names)
            lines.append(
                f"| {int(path.stem.split('-')[1])} | {before} | {len(some)} | {value:.0f} | {100 * ends:.0f} % | "
                f"{100 * beyond:.0f} % | {rest:.0f} |"
            )
    return "\n".join(lines)


def real_branches() -> str:
    """How many branches are alive after so many steps, in the simulator and in models of the same rows."""
    lines = []
    for path in sorted((RESULTS / "real_branches").glob("*.csv")):
        run, models = RUNS[path.stem], {}
        for row in lines_of(path):
            models.setdefault(row["model"], {})[int(row["after"])] = row
        own = next(iter(models.values()))
        rows = [("the simulator", own, "real"), *((f"the model, {name}", at, "model") for name, at in models.items())]
        for name, at, kind in rows:
            alive = " | ".join(f"{100 * float(at[after][f'alive_{kind}']):.0f} %" for after in AFTER)
            lines.append(f"| {run} | {name} | {alive} | {float(at[AFTER[-1]][f'reward_{kind}']):.2f} |")
    heads = " | ".join(f"alive after {after}" for after in AFTER)
    return "\n".join([f"| run | branches in | {heads} | reward a step |", "|---" * (len(AFTER) + 3) + "|", *lines])


def gone_on_table(heads: tuple[str, ...], paths: Iterable[tuple[str, Path]], since: int = GONE_ON_FROM) -> str:
    """What came of runs that went on under other settings, a line for each (cells under `heads`, results)."""
    columns = (*heads, *GONE_ON_HEADS)
    lines = [f"|{'|'.join(f' {head} ' if head else ' ' for head in columns)}|", "|---" * len(columns) + "|"]
    for head, path in paths:
        rows = lines_of(path)
        ended = ((row, int(row["env_step"]) - float(row["length_mean"])) for row in rows if row["kind"] == "episode")
        episodes = [row for row, began in ended if began >= since - 1]
        returns = [float(row["return_mean"]) for row in rows if row["kind"] == "evaluation"]
        falls = sum(float(row["length_mean"]) < LONGEST for row in episodes)
        paid = fmean(float(row["return_mean"]) for row in episodes)
        lines.append(
            f"| {head} | {len(episodes)}, {falls} | {paid:.0f} | "
            f"{len(returns)}: {fmean(returns):.0f}, {min(returns):.0f}, {max(returns):.0f} |"
        )
    return "\n".join(lines)


def end_margin() -> str:
    """Runs that went on with and without a margin."""
    found = [(path.stem.split("-"), path) for path in sorted((RESULTS / "end_margin").glob("restored-*.csv"))]
    return gone_on_table(("seed", "margin"), ((f"{int(seed)} | {margin}", path) for (_, seed, margin), path in found))


def gone_on() -> str:
    """The same runs, gone on with under other settings."""
    found = [
        (f"{seed} | {name}", path)
        for seed in (0, 1)
        for name, file in GONE_ON.items()
        if (path := RESULTS / file.format(seed=seed)).exists()
    ]
    return gone_on_table(("seed", ""), found)


def ablated() -> str:
    """One seed, velocities told by the trapezoidal rule, gone on with under one other setting each."""
    return gone_on_table(("",), ((name, RESULTS / "gone_on" / file) for name, file in ABLATED.items()), ABLATED_FROM)


def went_on() -> str:
    """Evaluations of the two runs with velocities told from the mean that went on to the end with the wider noise."""
    steps = range(34_000, 50_001, 2000)
    lines = [f"| seed | {' | '.join(map(str, steps))} |", "|---" * (len(steps) + 1) + "|"]
    lines += [f"| {seed} | {' | '.join(evaluations(WENT_ON, seed, steps))} |" for seed in (0, 1)]
    return "\n".join(lines)


TABLES = {
    "went_on": went_on,
    "ablated": ablated,
    "held_out_noise": lambda: by_way("", HELD_OUT, range(10_000, 40_001, 5000)),
    "restored_noise": lambda: by_way("", NOISE, range(10_000, 27_501, 2500)),
    "actor_noise": actor_noise,
    "posture": posture,
    "before_falls": before_falls,
    "end_margin": end_margin,
    "gone_on": gone_on,
    "real_branches": real_branches,
    "walker2d_tried": returns_tried,
    "walker2d_falls": falls_tried,
}
