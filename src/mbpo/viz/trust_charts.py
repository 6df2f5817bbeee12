"""What `mbpo trust` measured as charts, each with the sentence that says what to conclude."""

import numpy as np

from mbpo.trust.compounding import UPPER
from mbpo.trust.measure import Trust
from mbpo.viz.bound_charts import bound_chart, history_charts, terms_charts
from mbpo.viz.charts import COLOURS, GREY, Chart, Mark, Series
from mbpo.viz.promise_chart import promise_chart


def trust_charts(trust: Trust) -> list[Chart]:
    """All charts that apply to the run, in the order of the report."""
    charts = [_picture(trust), _compounding(trust), _calibration(trust)]
    if trust.promise is not None:
        charts.append(promise_chart(trust.promise))
    if trust.shift is not None:
        charts.append(_shift(trust))
    if trust.bound is not None:
        charts += [bound_chart(trust), *terms_charts(trust)]
    return charts + history_charts(trust)


def usable_steps(trust: Trust, limit: float) -> int:
    """Rollout steps before the median error first exceeds `limit`."""
    over = np.flatnonzero(trust.compounding.median > limit)
    return int(over[0]) if over.size else len(trust.compounding.step)


def in_steps(count: int) -> str:
    """`1 step`, `2 steps`."""
    return f"{count} step" if count == 1 else f"{count} steps"


def _picture(trust: Trust) -> Chart:
    picture = trust.picture
    gap = np.full((1, 2), np.nan)
    truth = picture.truth
    pieces, dots, errors = [], [], []
    for start, path, error in zip(picture.start, picture.branches, picture.errors, strict=True):
        pieces += [truth[start : start + 1], path, gap]
        dots.append(path)
        errors.append(error)
    lines, points = np.concatenate(pieces), np.concatenate(dots)
    ends = np.array([error[-1] for error in errors])
    starts = truth[list(picture.start)]
    length = max(len(path) for path in picture.branches)
    return Chart(
        name="branches",
        title="Branches of imagination leaving a real trajectory",
        x_label=picture.labels[0],
        y_label=picture.labels[1],
        series=[
            Series(truth[:, 0], truth[:, 1], "what truly happened", colour="#222222", width=1.6),
            Series(lines[:, 0], lines[:, 1], "imagined", colour=GREY, width=0.8),
            Series(points[:, 0], points[:, 1], kind="points", values=np.concatenate(errors)),
            Series(starts[:, 0], starts[:, 1], "a branch leaves", kind="points", colour=COLOURS[1]),
        ],
        value_label="distance to the truth, in spreads of the data",
        value_max=float(np.clip(np.quantile(np.concatenate(errors), 0.95, method="inverted_cdf"), 0.02, 2.0)),
        conclusion=(
            f"After {length} imagined steps half of these branches are within {np.median(ends):.2g} spreads of where "
            f"the environment truly went, and the worst is {ends.max():.2g} off."
        ),
        how=(
            "Black is a real trajectory of the run's own policy (the first 200 steps of the one of median return). At "
            f"each orange dot the model takes over and repeats the actions really taken, for up to {length} steps; "
            "where a branch stays on the black line, imagination and reality agree. The plane is that of the two "
            "principal components of the observations (share of their variance in brackets), each in units of its "
            "spread in the replay buffer."
        ),
    )


def _compounding(trust: Trust) -> Chart:
    found = trust.compounding
    step = found.step.astype(float)
    series = [
        Series(step, found.median, f"median to {UPPER:.0%}", "band", COLOURS[0], upper=found.upper),
        Series(step, found.median, "whole observation, median", colour=COLOURS[0], width=3),
        Series(step, found.mean_path, "the same, mean of the paths", colour=COLOURS[0], dashed=True, width=1.5),
    ]
    shown = _largest_outputs(trust, most=4)
    palette = dict(zip(shown, COLOURS[1:], strict=False))
    for i in shown:
        series.append(Series(step, found.output_median[:, i], trust.output_names[i], colour=palette[i], width=1.2))
    tenth, one = usable_steps(trust, 0.1), usable_steps(trust, 1.0)
    far = len(step)
    return Chart(
        name="compounding",
        title="How the model's error compounds along a branch",
        x_label="rollout step",
        y_label="error, in spreads of the data",
        series=series,
        marks=[Mark(1.0, "as wrong as always guessing the average", "y")],
        log_y=True,
        conclusion=(
            f"The median branch stays within a tenth of the data's spread for {_steps(tenth, far)} and better than "
            f"guessing the average for {_steps(one, far)}; one step costs {found.median[0]:.2g}, "
            f"{far} steps {found.median[-1]:.2g}."
        ),
        how=(
            f"{found.rows[0]} branches with several imagined paths each, along recorded actions. A path's error is the "
            "root mean square over observations of its distance to the recorded state, each in units of its standard "
            "deviation over the replay buffer; thin lines are the medians of single outputs. The line of the paths' "
            "mean leaves the model's own noise out. Recorded actions do not steer a branch back as the policy would: "
            "where the dynamics are unstable this shows long branches worse than those of training are."
        ),
    )


def _steps(count: int, most: int) -> str:
    return f"all {most} steps looked at" if count == most else in_steps(count)


def _largest_outputs(trust: Trust, most: int) -> list[int]:
    """The reward, and the observation dimensions with the largest error half way along."""
    error = trust.compounding.output_median[len(trust.compounding.step) // 2]
    observations = np.argsort(-error[:-1], kind="stable")[: most - 1]
    return [*sorted(observations.tolist()), len(error) - 1]


def _calibration(trust: Trust) -> Chart:
    found = trust.calibration
    series = [Series(np.array([0, 1.0]), np.array([0, 1.0]), "perfect", colour=GREY, dashed=True, width=1.2)]
    for i, (step, rows) in enumerate(zip(found.step, found.rows, strict=True)):
        label = f"after {in_steps(step)} ({rows} branches)"
        series.append(Series(found.level, found.coverage[i], label, colour=COLOURS[i]))
    verdicts = []
    at = int(np.argmin(np.abs(found.level - 0.9)))
    for i, step in enumerate(found.step):
        share = found.coverage[i, at]
        word = "too sure of itself" if share < 0.85 else "too cautious" if share > 0.95 else "about right"
        verdicts.append(f"{share:.0%} after {in_steps(step)} ({word})")
    return Chart(
        name="calibration",
        title="Does the model know how wrong it is?",
        x_label="probability the model gives to an interval",
        y_label="share of truths inside",
        series=series,
        y_range=(0, 1.02),
        conclusion=f"Intervals that should hold 90% of what happens hold {', '.join(verdicts)}.",
        how=(
            "Below the diagonal the model is too sure of itself, above it too cautious. Intervals are central ones of "
            "the imagined paths, for every observation dimension and the reward; the state of a branch after several "
            "steps includes what the ensemble's members disagree on."
        ),
    )


def _shift(trust: Trust) -> Chart:
    assert trust.shift is not None
    series = []
    for curve, colour in zip(trust.shift.curves, COLOURS[2::-1], strict=True):
        ends = np.array([curve.shift.min(), curve.shift.max()])
        line = curve.line
        label = f"{curve.rows} rows: slope {line.slope:.2g} ± {line.standard_error:.1g}"
        series.append(Series(curve.shift, curve.variation, kind="points", colour=colour))
        series.append(Series(ends, line.intercept + line.slope * ends, label, colour=colour))
    first, last = trust.shift.curves[0], trust.shift.curves[-1]
    spread = np.hypot(first.line.standard_error, last.line.standard_error)
    if first.line.slope - last.line.slope > 2 * spread:
        verdict = (
            "more data make the model hold further away from where they were taken, as the paper's figure 1 has it"
        )
    elif last.line.slope - first.line.slope > 2 * spread:
        verdict = "here more data did not make the model hold further away, unlike in the paper's figure 1"
    else:
        verdict = "the difference between the two is within the uncertainty"
    return Chart(
        name="policy_shift",
        title="Model error against policy shift",
        x_label="policy shift (TV to the data's policy)",
        y_label="model error (TV)",
        series=series,
        conclusion=(
            f"With {first.rows} rows of data the error grows by {first.line.slope:.2g} ± "
            f"{first.line.standard_error:.1g} per unit of policy shift, with {last.rows} rows by "
            f"{last.line.slope:.2g} ± {last.line.standard_error:.1g} (standard errors): {verdict}."
        ),
        how=(
            "Fresh ensembles with this run's settings, fitted to the first rows of data by the run's policy π₀. Each "
            "is tried where policies go that take a uniformly random action with chance λ = "
            f"{', '.join(f'{share:g}' for share in trust.shift.shares)}: their total variation to π₀ is λ·TV(uniform, "
            f"π₀) in every state, at most λ, and TV(uniform, π₀) is {trust.shift.uniform_variation:.2f} on average "
            "here. A point is one λ from one start; lines and standard errors are by least squares. Each ensemble had "
            f"{trust.shift.refits} fit{'s' * (trust.shift.refits != 1)} of at most {trust.shift.epochs} epochs."
        ),
    )
