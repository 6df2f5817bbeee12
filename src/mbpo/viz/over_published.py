"""Our runs over published curves: which runs belong together, the chart of a task, and its tables."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mbpo.errors import RunFolderError
from mbpo.training.config import RunConfig, to_dict
from mbpo.training.run_folder import read_description
from mbpo.viz.charts import COLOURS, Chart, Series
from mbpo.viz.comparison import AlgoCurve, read_algo_curve, seeds_text
from mbpo.viz.levels import default_levels, first_reach, show_reach
from mbpo.viz.published import PublishedCurve, task_name

NOT_THE_METHOD = ("seed", "steps", "eval_freq", "eval_episodes", "eval_max_steps")
"""Settings in which runs of one curve may differ."""
THEIRS = ("#b07aa1", "#59a14f", "#9c755f", "#76b7b2", "#edc948", "#bab0ac", "#4e79a7", "#ff9da7")
"""Colours of published curves, paler than ours."""


@dataclass(frozen=True, eq=False)
class TaskCurves:
    """All there is of one task."""

    env_id: str
    ours: list[AlgoCurve]
    published: list[PublishedCurve]

    @property
    def other_version(self) -> bool:
        """Whether our runs are of another version than the published ones."""
        return bool(self.published) and not self.env_id.endswith(("-v2", "-v3", "-v4"))


def read_tasks(folders: Sequence[Path]) -> dict[str, list[AlgoCurve]]:
    """Our curves by environment: runs with the same settings but for the seed become one.

    Raises:
        RunFolderError: A folder is no run, one seed is there twice, or a curve has no evaluation that all of its
            seeds share.
    """
    groups: dict[tuple[str, str, str], dict[int, Path]] = {}
    for folder in folders:
        config = read_description(folder).config
        seeds = groups.setdefault((config.env_id, config.algo, _settings(config)), {})
        if config.seed in seeds:
            raise RunFolderError(
                f"{seeds[config.seed]} and {folder} are the same seed ({config.seed}) of {config.algo} on "
                f"{config.env_id} with the same settings, so they are not two runs to average. Name one of them."
            )
        seeds[config.seed] = folder
    names = [(env_id, algo) for env_id, algo, _ in groups]
    found: dict[str, list[AlgoCurve]] = {}
    for (env_id, algo, _), seeds in groups.items():
        one = next(iter(seeds.values())).resolve()
        label = algo if names.count((env_id, algo)) == 1 else f"{algo} ({one.parent.name})"
        curve = read_algo_curve(label, list(seeds.values()), asked=len(seeds))
        if curve is None:
            raise RunFolderError(
                f"There is no step at which all runs of {label} on {env_id} were evaluated ({one}, …), so there is "
                "no curve yet. `mbpo runs` shows where each stands."
            )
        found.setdefault(env_id, []).append(curve)
    return found


def horizon(task: TaskCurves) -> float:
    """Up to where a task is drawn: half as far again as our runs came, or to the second published step."""
    first = max((float(curve.steps[:2][-1]) for curve in task.published), default=0.0)
    return max(first, 1.5 * max(float(ours.steps[-1]) for ours in task.ours))


def task_chart(task: TaskCurves) -> Chart:
    """Published means in thin dashed lines with a standard deviation around, ours above them."""
    series, end = [], horizon(task)
    for number, curve in enumerate(task.published):
        colour, seeds = THEIRS[number % len(THEIRS)], _range(curve.seeds)
        # Cut where the picture ends, so that the height is that of what is seen.
        steps = np.unique(np.minimum(curve.steps, end))
        mean, std = (np.interp(steps, curve.steps, line) for line in (curve.mean, curve.std))
        series.append(Series(steps, mean - std, "", "band", colour, upper=mean + std))
        label = f"{curve.method}, published, {seeds} seeds"
        series.append(Series(steps, mean, label, colour=colour, dashed=True, width=1.6))
    for number, ours in enumerate(task.ours):
        colour = COLOURS[number % len(COLOURS)]
        if ours.band is not None:
            low, high = ours.band
            series.append(Series(ours.steps, low, "", "band", colour, upper=high))
        series.append(Series(ours.steps, ours.iqm, f"ours: {ours.algo}, {seeds_text(ours)}", colour=colour, width=2.6))
    return Chart(
        name=task.env_id.replace(":", "-").replace("/", "-"),
        title=f"{task.env_id}: our runs over published curves",
        x_label="real environment steps",
        y_label="evaluation return",
        series=series,
        conclusion=conclusion(task),
        how="Ours: interquartile mean over seeds and its 95 % bootstrap band. Published: mean and one standard "
        "deviation over seeds. Straight lines between the steps that were measured.",
        x_range=(0.0, end),
    )


def conclusion(task: TaskCurves) -> str:
    """How far our runs came, and whether the comparison is between the same tasks."""
    parts = [f"{ours.algo} is at {ours.iqm[-1]:.0f} after {ours.steps[-1]:,.0f} steps." for ours in task.ours]
    if not task.published:
        parts.append("There are no published curves of this task in the reference.")
    if task.other_version:
        parts.append(
            f"The published curves are of {task_name(task.env_id)} up to version 4, these runs of another: rewards or "
            "observations may differ."
        )
    return " ".join(parts)


def levels_table(task: TaskCurves, levels: Sequence[float] = ()) -> list[list[str]]:
    """Rows: who, then the steps to each level; the first row is the head."""
    end = horizon(task)
    seen = [float(value) for curve in task.published for value in curve.mean[curve.steps <= end]]
    levels = list(levels) or default_levels([*seen, *(float(value) for ours in task.ours for value in ours.iqm)])
    rows = [["steps to reach", *(f"{level:,g}" for level in levels)]]
    for ours in task.ours:
        cells = []
        for level in levels:
            each = sum(first_reach(ours.steps, one, level) is not None for one in ours.returns)
            reached = show_reach(first_reach(ours.steps, ours.iqm, level))
            cells.append(reached if each in (0, ours.seeds) else f"{reached} ({each} of {ours.seeds} seeds)")
        rows.append([f"ours: {ours.algo}, {seeds_text(ours)}", *cells])
    for curve in task.published:
        cells = [show_reach(first_reach(curve.steps, curve.mean, level)) for level in levels]
        rows.append([f"{curve.method}, {_range(curve.seeds)} seeds", *cells])
    return rows


def returns_table(task: TaskCurves, most: int = 6) -> list[list[str]]:
    """Rows: who, then the return at the published steps that we reached, or at ours where there are none."""
    end = max(ours.steps[-1] for ours in task.ours)
    grid = sorted({float(step) for curve in task.published for step in curve.steps if step <= end})
    grid = grid or [float(step) for step in task.ours[0].steps]
    grid = [grid[i] for i in np.unique(np.linspace(0, len(grid) - 1, min(most, len(grid))).round().astype(int))]
    rows = [["return at", *(f"{step:,.0f}" for step in grid)]]
    for ours in task.ours:
        low, high = ours.band or (ours.iqm, ours.iqm)
        cells = []
        for step in grid:
            inside = ours.steps[0] <= step <= ours.steps[-1]
            value, bottom, top = (np.interp(step, ours.steps, line) for line in (ours.iqm, low, high))
            cells.append(f"{value:.0f} [{bottom:.0f}, {top:.0f}]" if inside else "-")
        rows.append([f"ours: {ours.algo}, {seeds_text(ours)}", *cells])
    for curve in task.published:
        at = dict(zip(curve.steps.tolist(), zip(curve.mean, curve.std, strict=True), strict=True))
        cells = [f"{at[step][0]:.0f} ± {at[step][1]:.0f}" if step in at else "-" for step in grid]
        rows.append([f"{curve.method}, {_range(curve.seeds)} seeds", *cells])
    return rows


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """A table for the terminal."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]


def _settings(config: RunConfig) -> str:
    """What makes a run of one method comparable with another of it."""
    values = {name: value for name, value in to_dict(config).items() if name not in NOT_THE_METHOD}
    return json.dumps(values, sort_keys=True)


def _range(counts: tuple[int, int]) -> str:
    return str(counts[0]) if counts[0] == counts[1] else f"{counts[0]} to {counts[1]}"
