"""Algorithms side by side: return against real steps, the interquartile mean over seeds and its band.

Reads run folders. Seeds of an algorithm are put together at the steps where every one of them was
evaluated, so that no curve jumps because another seed joins or leaves it.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from mbpo.errors import RunFolderError
from mbpo.training.durable import write_whole
from mbpo.training.logbook import read_records
from mbpo.viz.curves import COLOURS
from mbpo.viz.figure_file import save_figure
from mbpo.viz.statistics import bootstrap_band, interquartile_mean

LOG_RATIO = 5
"""From this ratio of the longest to the shortest curve on, steps are drawn on a log axis."""


@dataclass(frozen=True, eq=False)
class AlgoCurve:
    """The seeds of one algorithm together."""

    algo: str
    asked: int
    """Seeds asked for; there may be fewer."""
    steps: np.ndarray
    """`[step]`, real environment steps, ascending."""
    returns: np.ndarray
    """`[seed, step]`, mean undiscounted return of the evaluation."""
    seconds: float
    """What training took, the mean over seeds."""

    @property
    def seeds(self) -> int:
        return int(self.returns.shape[0])

    @property
    def iqm(self) -> np.ndarray:
        """`[step]`."""
        return interquartile_mean(self.returns)

    @property
    def band(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Both ends of the 95 % interval, `[step]` each; None for a single seed, which has none."""
        return bootstrap_band(self.returns) if self.seeds > 1 else None


def read_algo_curve(algo: str, folders: Sequence[Path], *, asked: int) -> AlgoCurve | None:
    """One algorithm's curve from its finished run folders, or None if there is nothing to draw.

    Raises:
        RunFolderError: A folder is not a run.
    """
    runs, seconds = [], []
    for folder in folders:
        records = read_records(folder)
        found = {r["env_step"]: r["eval_return_mean"] for r in records if "eval_return_mean" in r}
        runs.append({step: value for step, value in found.items() if isinstance(value, int | float)})
        seconds.append(float(records[-1].get("wall_time", 0.0)) if records else 0.0)
    common = sorted(reduce(lambda some, run: some & run.keys(), runs[1:], set(runs[0]))) if runs else []
    if not common:
        return None
    returns = np.array([[run[step] for step in common] for run in runs], float)
    return AlgoCurve(algo, asked, np.asarray(common, float), returns, float(np.mean(seconds)))


def summary_rows(curve: AlgoCurve) -> list[dict[str, Any]]:
    """A row for each evaluated step; `low` and `high` are None for a single seed."""
    empty = [None] * curve.steps.size
    low, high = curve.band or (empty, empty)
    spread = curve.returns.std(axis=0, ddof=1) if curve.seeds > 1 else empty
    columns: dict[str, Any] = {
        "env_step": curve.steps.astype(int),
        "seeds": [curve.seeds] * curve.steps.size,
        "iqm": curve.iqm,
        "low": low,
        "high": high,
        "mean": curve.returns.mean(axis=0),
        "std": spread,
        "worst": curve.returns.min(axis=0),
        "best": curve.returns.max(axis=0),
    }
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return [{"algo": curve.algo} | {n: round(v, 2) if isinstance(v, float) else v for n, v in r.items()} for r in rows]


def write_summary(curves: Sequence[AlgoCurve], out: Path) -> Path:
    """Write every algorithm's rows as CSV; what a single seed has not is left empty.

    Raises:
        RunFolderError: The file cannot be written.
    """
    rows = [row for curve in curves for row in summary_rows(curve)]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    try:
        write_whole(out, text.getvalue().encode())
    except OSError as error:
        raise RunFolderError(f"Cannot write the summary {out}: {error.strerror or error}.") from error
    return out


def plot_comparison(curves: Sequence[AlgoCurve], env_id: str, out: Path) -> Path:
    """Draw the algorithms' curves into a PNG (or whatever the suffix of `out` says).

    Raises:
        RunFolderError: There is no curve, or the file cannot be written.
    """
    if not curves:
        raise RunFolderError(f"There is nothing to draw of {env_id} yet: no seed has finished.")
    figure = Figure(figsize=(7.2, 4.4), dpi=150, layout="constrained")
    axes = figure.subplots()
    for number, curve in enumerate(curves):
        _draw(axes, curve, COLOURS[number % len(COLOURS)])
    axes.set(xlabel="real environment steps", ylabel="evaluation return")
    band = ", 95 % bootstrap band" if any(curve.seeds > 1 for curve in curves) else ""
    axes.set_title(f"{env_id}: interquartile mean over seeds{band}", fontsize=11)
    lengths = [curve.steps[-1] for curve in curves]
    if max(lengths) >= LOG_RATIO * min(lengths):
        axes.set(xscale="log", xlabel="real environment steps (log scale)")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_xlim(left=0)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="best")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        save_figure(figure, out)
    except (OSError, ValueError) as error:
        raise RunFolderError(f"Cannot write the figure {out}: {error}.") from error
    return out


def seeds_text(curve: AlgoCurve) -> str:
    """How many seeds a curve stands for, in words."""
    if curve.seeds < curve.asked:
        text = f"{curve.seeds} of {curve.asked} seeds"
    else:
        text = f"{curve.seeds} seed{'s' if curve.seeds > 1 else ''}"
    return text if curve.seeds > 1 else f"{text}, no band"


def final_table(curves: Mapping[str, AlgoCurve | None]) -> list[str]:
    """Lines of a table: how good each algorithm is at its last step; None has nothing to show yet."""
    head = ["algorithm", "step", "IQM", "95 % band", "seeds", "seconds a seed"]
    rows = []
    for algo, curve in curves.items():
        if curve is None:
            rows.append([algo, "-", "-", "-", "0", "-"])
            continue
        last = summary_rows(curve)[-1]
        band = "-" if curve.band is None else f"[{last['low']:.1f}, {last['high']:.1f}]"
        seeds = f"{curve.seeds} of {curve.asked}" if curve.seeds < curve.asked else str(curve.seeds)
        rows.append([algo, f"{last['env_step']}", f"{last['iqm']:.1f}", band, seeds, f"{curve.seconds:.0f}"])
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in [head, *rows]]


def _draw(axes: Axes, curve: AlgoCurve, colour: str) -> None:
    """The interquartile mean, its band if there is one, and each seed faintly."""
    if curve.band is not None:
        for one in curve.returns:
            axes.plot(curve.steps, one, color=colour, alpha=0.18, linewidth=0.8)
        axes.fill_between(curve.steps, *curve.band, color=colour, alpha=0.18, linewidth=0)
    label = f"{curve.algo}, {seeds_text(curve)}"
    axes.plot(curve.steps, curve.iqm, color=colour, linewidth=2, marker=".", label=label)
