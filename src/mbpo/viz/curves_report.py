"""The files of `mbpo curves`: a PNG for each task, and one HTML page that needs nothing else."""

import html
import json
from collections.abc import Sequence
from pathlib import Path

from mbpo.errors import RunFolderError
from mbpo.training.durable import write_whole
from mbpo.viz.charts import Chart, chart_html, chart_png
from mbpo.viz.figure_file import save_figure
from mbpo.viz.over_published import TaskCurves, levels_table, returns_table, task_chart
from mbpo.viz.trust_report import DRAW, STYLE


def write_curves(tasks: Sequence[TaskCurves], levels: Sequence[float], out: Path) -> list[Path]:
    """Write `OUT.html`, and `OUT.png` for one task or `OUT-TASK.png` for several.

    Returns:
        The files, the page first.

    Raises:
        RunFolderError: They cannot be written.
    """
    if out.name in ("", ".."):
        raise RunFolderError(
            f"Cannot write the curves to {out}: that is a folder; name files in it, as in {out / 'curves'}."
        )
    charts = [task_chart(task) for task in tasks]
    stem = out.with_suffix("") if out.suffix in (".png", ".html") else out
    names = [stem.name] if len(tasks) == 1 else [f"{stem.name}-{chart.name}" for chart in charts]
    files = [stem.with_name(f"{stem.name}.html"), *(stem.with_name(f"{name}.png") for name in names)]
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        write_whole(files[0], page(tasks, charts, levels).encode())
        for chart, file in zip(charts, files[1:], strict=True):
            save_figure(chart_png(chart), file)
    except OSError as error:
        raise RunFolderError(f"Cannot write the curves to {stem}: {error.strerror or error}.") from error
    return files


def page(tasks: Sequence[TaskCurves], charts: Sequence[Chart], levels: Sequence[float]) -> str:
    """The whole page as one HTML document with Plotly inside."""
    from plotly.offline import get_plotlyjs  # Imported here: it takes a while, and only this needs it.

    data = json.dumps({chart.name: chart_html(chart) for chart in charts}, allow_nan=False).replace("</", "<\\/")
    sections = "".join(_section(task, chart, levels) for task, chart in zip(tasks, charts, strict=True))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>Our runs over published curves</title>
<style>{STYLE}
td + td, th + th {{ font-variant-numeric: tabular-nums; white-space: nowrap; }}
.wide + .wide {{ margin-top: .8rem; }}
@media (max-width: 600px) {{ .wide th, .wide td {{ display: table-cell; padding: .3rem .5rem .3rem 0; }} }}
</style>
<script>{get_plotlyjs()}</script>
</head>
<body>
<main>
<h1>Our runs over published curves</h1>
{sections}
</main>
<script type="application/json" id="charts">{data}</script>
<script>{DRAW}</script>
</body>
</html>
"""


def _section(task: TaskCurves, chart: Chart, levels: Sequence[float]) -> str:
    sources = sorted({source for curve in task.published for source in curve.sources})
    listed = f'<p class="small">Published: {html.escape("; ".join(sources))}</p>' if sources else ""
    return f"""<section><h2>{html.escape(chart.title)}</h2>
<div id="{html.escape(chart.name)}"></div>
<p class="conclusion">{html.escape(chart.conclusion)}</p>
<p class="how">{html.escape(chart.how)}</p>
{_table(levels_table(task, levels))}
{_table(returns_table(task))}
{listed}</section>
"""


def _table(rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in rows[0])
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows[1:])
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'
