"""Learning curves: return and model error against real environment steps.

Several seeds of the same task and algorithm become their mean and their spread; runs of one
seed and runs of different algorithms are drawn side by side, runs of different tasks are refused.
"""

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mbpo.errors import RunFolderError
from mbpo.training.logbook import read_records
from mbpo.training.run_folder import read_description
from mbpo.viz.figure_file import save_figure

COLOURS = ("#0b5fa5", "#c8501e", "#2e7d32", "#7b3fa0", "#8a6d00", "#555555")


@dataclass(frozen=True)
class Curve:
    """One quantity of one run."""

    steps: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class RunCurves:
    """What is drawn of one run."""

    env_id: str
    algo: str
    seed: int
    folder: Path
    random_steps: int
    eval_return: Curve
    model_error: Curve


def read_curves(folder: Path) -> RunCurves:
    """The curves of one run folder.

    Raises:
        RunFolderError: The folder is not a run.
    """
    config = read_description(folder).config
    records = read_records(folder)

    def curve(name: str) -> Curve:
        points = [(r["env_step"], r[name]) for r in records if isinstance(r.get(name), int | float)]
        steps, values = zip(*points, strict=True) if points else ((), ())
        return Curve(np.asarray(steps, float), np.asarray(values, float))

    return RunCurves(
        env_id=config.env_id,
        algo=config.algo,
        seed=config.seed,
        folder=folder,
        random_steps=getattr(config.chosen, "random_steps", 0),
        eval_return=curve("eval_return_mean"),
        model_error=curve("model_holdout_error"),
    )


def grouped(runs: Sequence[RunCurves]) -> dict[str, list[RunCurves]]:
    """What is drawn as one curve, by its label: seeds of one algorithm; each run by itself where a seed comes twice,
    as in a fork and the run that it began with."""
    of_algo: dict[str, list[RunCurves]] = defaultdict(list)
    for run in runs:
        of_algo[run.algo].append(run)
    groups: dict[str, list[RunCurves]] = {}
    for algo, members in of_algo.items():
        if len({run.seed for run in members}) < len(members):
            groups |= {f"{algo}, {'/'.join(run.folder.resolve().parts[-2:])}": [run] for run in members}
        elif len(members) > 1:
            groups[f"{algo}, mean of {len(members)} seeds"] = members
        else:
            groups[f"{algo}, seed {members[0].seed}"] = members
    return groups


def plot_curves(folders: Sequence[Path], out: Path) -> Path:
    """Draw the runs' learning curves into a PNG (or whatever the suffix of `out` says).

    Raises:
        RunFolderError: No run has an evaluation yet, the runs are of different tasks, or `out`
            cannot be written.
    """
    runs = [read_curves(folder) for folder in folders]
    tasks = sorted({run.env_id for run in runs})
    if len(tasks) > 1:
        raise RunFolderError(f"These runs are of different tasks ({', '.join(tasks)}); plot each task by itself.")
    if not any(run.eval_return.steps.size for run in runs):
        raise RunFolderError(f"There is nothing to plot yet: no evaluation is recorded in {folders[0]}.")
    groups = grouped(runs)

    figure = Figure(figsize=(7.2, 5.6), dpi=150, layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1.4))
    for colour, (label, members) in zip(itertools.cycle(COLOURS), groups.items(), strict=False):
        _draw(top, [m.eval_return for m in members], colour, label)
        _draw(bottom, [m.model_error for m in members], colour, label)
    random_steps = max(run.random_steps for run in runs)
    top.axvspan(0, random_steps, color="0.93", zorder=0, label="random actions")
    top.set(title=f"{tasks[0]}: return of the mean action", ylabel="evaluation return")
    bottom.set(ylabel="model error\n(hold-out, normalised)", xlabel="real environment steps", yscale="log")
    bottom.axvspan(0, random_steps, color="0.93", zorder=0)
    for axes in (top, bottom):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlim(left=0)
    top.legend(frameon=False, loc="lower right")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        save_figure(figure, out)
    except (OSError, ValueError) as error:
        raise RunFolderError(f"Cannot write the figure {out}: {error}.") from error
    return out


def _draw(axes: Axes, curves: Sequence[Curve], colour: str, label: str) -> None:
    """One run as a line; several as their mean, a band of one standard deviation, and each faintly."""
    curves = [curve for curve in curves if curve.steps.size]
    if not curves:
        return
    if len(curves) == 1:
        axes.plot(curves[0].steps, curves[0].values, color=colour, marker=".", label=label)
        return
    # Runs may have been evaluated at different steps: compare them where all have data.
    grid = np.unique(np.concatenate([curve.steps for curve in curves]))
    first, last = max(c.steps[0] for c in curves), min(c.steps[-1] for c in curves)
    grid = grid[(grid >= first) & (grid <= last)]
    values = np.stack([np.interp(grid, c.steps, c.values) for c in curves])
    mean, std = values.mean(axis=0), values.std(axis=0, ddof=1)
    for curve in curves:
        axes.plot(curve.steps, curve.values, color=colour, alpha=0.18, linewidth=0.8)
    axes.plot(grid, mean, color=colour, linewidth=2, label=label)
    low = np.maximum(mean - std, values.min(axis=0))  # A band below every run would mislead, above all on a log axis.
    axes.fill_between(grid, low, np.minimum(mean + std, values.max(axis=0)), color=colour, alpha=0.18, linewidth=0)
