"""The report of `mbpo trust`: one HTML file that needs nothing else, PNG figures, JSON, and plain words."""

import dataclasses
import html
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from mbpo.errors import RunFolderError
from mbpo.training.durable import write_whole
from mbpo.trust.measure import Trust
from mbpo.viz.charts import Chart, chart_html, chart_png
from mbpo.viz.figure_file import save_figure
from mbpo.viz.promise_chart import promised
from mbpo.viz.trust_charts import in_steps, trust_charts, usable_steps

REPORT_FILE, NUMBERS_FILE = "report.html", "trust.json"

STYLE = """
body { margin: 0; background: #f4f5f7; color: #1c1e21; font: 16px/1.5 system-ui, -apple-system, sans-serif; }
main { max-width: 56rem; margin: 0 auto; padding: 1rem; box-sizing: border-box; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: .6rem 0 .2rem; }
h2 { font-size: 1.15rem; margin: 0 0 .4rem; }
section { overflow: hidden; background: #fff; border: 1px solid #e1e3e8; border-radius: 10px; }
section { padding: 1rem; margin: 1rem 0; }
.conclusion { font-weight: 600; margin: .6rem 0; }
.how, .small { color: #555b66; font-size: .9rem; margin: .4rem 0; }
.verdict li { margin: .35rem 0; }
.verdict ul { margin: 0; padding-left: 1.2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; width: 100%; }
th, td { text-align: left; padding: .35rem .6rem .35rem 0; border-bottom: 1px solid #e9ebef; vertical-align: top; }
td.number { white-space: nowrap; font-variant-numeric: tabular-nums; }
@media (max-width: 600px) { main { padding: .5rem; } section { padding: .7rem .6rem; border-radius: 6px; }
  th, td { display: block; border: 0; padding: .1rem 0; } th { padding-top: .6rem; } }
"""

DRAW = """
const charts = JSON.parse(document.getElementById("charts").textContent);
const narrow = window.matchMedia("(max-width: 600px)").matches;
for (const [name, chart] of Object.entries(charts)) {
  if (narrow) {
    chart.layout.height = 400 + 19 * chart.data.filter((trace) => trace.showlegend !== false).length;
    chart.layout.margin.l = 52;
    chart.layout.font.size = 11;
    chart.layout.legend.font.size = 11;
  }
  Plotly.newPlot(name, chart.data, chart.layout, { responsive: true, displayModeBar: false, scrollZoom: false });
}
document.body.dataset.drawn = Object.keys(charts).length;
"""


def headlines(trust: Trust) -> list[str]:
    """The answers in a few plain sentences, for the terminal and the top of the page."""
    steps, found = len(trust.compounding.step), trust.compounding
    tenth, one = usable_steps(trust, 0.1), usable_steps(trust, 1.0)
    lines = [
        f"Along the run's own trajectories one step of the model is {found.median[0]:.2g} of the data's spread off "
        f"(median; 90% are below {found.upper[0]:.2g}), and {steps} steps {found.median[-1]:.2g}.",
        f"The median branch stays within a tenth of the data's spread for {tenth} of {steps} steps, and better than "
        f"guessing the average for {one}.",
    ]
    level = int(np.argmin(np.abs(trust.calibration.level - 0.9)))
    covered = ", ".join(
        f"{share:.0%} after {in_steps(step)}"
        for step, share in zip(trust.calibration.step, trust.calibration.coverage[:, level], strict=True)
    )
    lines.append(f"Intervals that should hold 90% of what happens hold {covered}.")
    if trust.promise is not None:
        lines.append(promised(trust.promise))
    if trust.shift is not None:
        slopes = ", ".join(
            f"{c.line.slope:.2g} ± {c.line.standard_error:.1g} with {c.rows} rows" for c in trust.shift.curves
        )
        lines.append(f"Slope of the model error against policy shift: {slopes}.")
    if trust.bound is not None and trust.own_bound is not None and trust.policy_shift is not None:
        track = trust.history.get("rollout_length")
        used = "k is not recorded" if track is None else f"the run uses k = {track.last:.0f}"
        at_least = "" if trust.policy_shift.source == "recorded" else " at least"
        lines.append(
            f"Theorem 4.3 is lowest at k* = {trust.bound.best} (ε_m′ {trust.on_policy_error:.2g} at the data's "
            f"resolution, ε_π{at_least} {trust.policy_shift.value:.2g}), or {trust.own_bound.best} at the model's own "
            f"width (ε_m′ {trust.own_on_policy_error:.2g}); {used}."
        )
        supported = min(trust.bound.best, one)
        which = "the bound" if trust.bound.best <= one else "compounding"
        lines.append(
            f"Taken together, branches of up to about {in_steps(supported)} are supported by these measurements; what "
            f"limits them is {which}."
        )
    if trust.policy_shift is None:
        lines.append(
            "PETS plans and has no policy that could move away from its data's, so policy shift and theorem 4.3 do not "
            "apply to it."
        )
    return lines


def write_report(trust: Trust, out: Path) -> list[Path]:
    """Write `report.html`, `trust.json` and one PNG per figure into the folder `out`.

    Returns:
        The files, the report first.

    Raises:
        RunFolderError: The folder cannot be written to.
    """
    charts = trust_charts(trust)
    files = [out / REPORT_FILE, out / NUMBERS_FILE, *(out / f"{chart.name}.png" for chart in charts)]
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_whole(files[0], page(trust, charts).encode())
        write_whole(files[1], json.dumps(as_json(trust), indent=1, allow_nan=False).encode() + b"\n")
        for chart, file in zip(charts, files[2:], strict=True):
            save_figure(chart_png(chart), file)
    except OSError as error:
        raise RunFolderError(f"Cannot write the report to {out}: {error.strerror or error}.") from error
    return files


def as_json(value: Any) -> Any:
    """Measurements as JSON: tuples with names and dataclasses become objects, what is not finite null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: as_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if hasattr(value, "_asdict"):
        return {name: as_json(part) for name, part in value._asdict().items()}
    if isinstance(value, dict):
        return {name: as_json(part) for name, part in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [as_json(part) for part in value]
    if isinstance(value, np.generic):
        return as_json(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def page(trust: Trust, charts: list[Chart]) -> str:
    """The whole report as one HTML document with Plotly inside."""
    from plotly.offline import get_plotlyjs  # Imported here: it takes a while, and only this needs it.

    # A "</" inside the data would end the script element.
    data = json.dumps({chart.name: chart_html(chart) for chart in charts}, allow_nan=False).replace("</", "<\\/")
    title = html.escape(f"When to trust the model: {trust.algo} on {trust.env_id}")
    answers = "".join(f"<li>{html.escape(line)}</li>" for line in headlines(trust))
    returns = trust.returns
    about = html.escape(
        f"Run with seed {trust.run_seed}, at environment step {trust.env_step} ({trust.real_rows} real rows); measured "
        f"with seed {trust.seed} in {trust.seconds:.0f} s along {trust.episodes} fresh trajectories of the run's own "
        f"policy, {trust.steps} steps each, mean return {returns.mean():.1f}."
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>{STYLE}</style>
<script>{get_plotlyjs()}</script>
</head>
<body>
<main>
<h1>{title}</h1>
<p class="small">{about}</p>
<section class="verdict"><h2>In short</h2><ul>{answers}</ul></section>
{"".join(_section(chart) for chart in charts)}
{_meanings(trust)}
</main>
<script type="application/json" id="charts">{data}</script>
<script>{DRAW}</script>
</body>
</html>
"""


def _section(chart: Chart) -> str:
    return f"""<section><h2>{html.escape(chart.title)}</h2>
<div id="{chart.name}"></div>
<p class="conclusion">{html.escape(chart.conclusion)}</p>
<p class="how">{html.escape(chart.how)}</p></section>
"""


def _meanings(trust: Trust) -> str:
    """What stands in for what, as a table, and how truth was obtained."""
    rows = [
        (
            "what truly happened",
            "fresh",
            "Recorded in evaluation environments by the run's own policy. Environments are never set to a state: a "
            "branch starts where a trajectory passed and repeats its recorded actions, and the recording is the truth.",
        ),
        (
            "ε_m, on the data",
            f"{trust.model_error:.3g}",
            "TV between two Gaussians around prediction and truth, as wide as each target's spread over the replay "
            "buffer; mean over its rows. In a deterministic world TV from the true next state to any density is 1, so "
            "a resolution has to be named: here, whether errors matter beside how much things change in a step.",
        ),
        (
            "ε_m′, on the policy's states",
            f"{trust.on_policy_error:.3g}",
            "The same over the fresh trajectories. The theorem takes the largest mean over time steps; this is the "
            "mean over all steps, since a maximum over a few trajectories is mostly luck.",
        ),
        (
            "ε_m′, stricter",
            f"{trust.own_on_policy_error:.3g}",
            "The same with Gaussians as wide as the model predicts itself. A perfect model of a random world does not "
            "score 0 but about 0.3 with one output (more with several), so it is an upper end.",
        ),
    ]
    if trust.policy_shift is not None:
        words = (
            "As the run recorded it (policy_shift)."
            if trust.policy_shift.source == "recorded"
            else "policy_shift is not recorded by this run. Instead a lower bound: the largest difference between the "
            "distributions of log π(a|s) under the replay buffer's actions and under the policy's own on the same "
            "states (Kolmogorov–Smirnov). The theorem takes the maximum over states, this is a mean."
        )
        rows.append(("ε_π, policy shift", f"{trust.policy_shift.value:.3g}", words))
    body = "".join(
        f'<tr><th>{html.escape(name)}</th><td class="number">{number}</td><td>{html.escape(words)}</td></tr>'
        for name, number, words in rows
    )
    return f'<section><h2>What stands in for what</h2><div class="wide"><table>{body}</table></div></section>'
