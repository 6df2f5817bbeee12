"""A chart as plain data, so that one description gives the picture (matplotlib) and the web page (Plotly).

`trust_charts` describes, `chart_png` and `chart_html` draw.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from matplotlib.figure import Figure

COLOURS = ("#0b5fa5", "#c8501e", "#2e7d32", "#7b3fa0", "#8a6d00", "#555555")
GREY = "#8a8a8a"
COLOUR_SCALE = "viridis"


@dataclass(frozen=True, eq=False)
class Series:
    """One thing drawn: a line, points, or a band between `y` and `upper`. NaN breaks a line."""

    x: np.ndarray
    y: np.ndarray
    label: str = ""
    kind: Literal["line", "points", "band"] = "line"
    colour: str = COLOURS[0]
    dashed: bool = False
    width: float = 2.0
    upper: np.ndarray | None = None
    values: np.ndarray | None = None
    """Points are coloured by these."""


@dataclass(frozen=True)
class Mark:
    """A thin dotted line across the chart, with words."""

    at: float
    label: str
    axis: Literal["x", "y"] = "x"
    colour: str = GREY


@dataclass(frozen=True, eq=False)
class Chart:
    """A figure, the sentence under it that says what to conclude, and how to read it."""

    name: str
    """File name without suffix."""
    title: str
    x_label: str
    y_label: str
    series: list[Series]
    conclusion: str
    how: str
    marks: list[Mark] = field(default_factory=list)
    log_y: bool = False
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    value_label: str = ""
    """What the coloured points' values are."""
    value_max: float = 1.0


def chart_png(chart: Chart) -> Figure:
    """The chart as a matplotlib figure."""
    figure = Figure(figsize=(7.2, 4.6), dpi=130, layout="constrained")
    axes = figure.subplots()
    for series in chart.series:
        label = series.label or None
        if series.kind == "band":
            assert series.upper is not None
            axes.fill_between(
                series.x, series.y, series.upper, color=series.colour, alpha=0.15, linewidth=0, label=label
            )
        elif series.kind == "line":
            style = "--" if series.dashed else "-"
            axes.plot(series.x, series.y, style, color=series.colour, linewidth=series.width * 0.8, label=label)
        elif series.values is None:
            axes.scatter(series.x, series.y, s=16, color=series.colour, alpha=0.7, linewidth=0, label=label)
        else:
            shown = axes.scatter(
                series.x, series.y, s=9, c=series.values, cmap=COLOUR_SCALE, vmin=0, vmax=chart.value_max, zorder=3
            )
            figure.colorbar(shown, ax=axes, label=chart.value_label, extend="max")
    for mark in chart.marks:
        (axes.axvline if mark.axis == "x" else axes.axhline)(
            mark.at, color=mark.colour, linestyle=":", linewidth=1.4, label=mark.label
        )
    axes.set(title=chart.title, xlabel=chart.x_label, ylabel=chart.y_label)
    if chart.log_y:
        axes.set_yscale("log")
    if chart.x_range is not None:
        axes.set_xlim(*chart.x_range)
    if chart.y_range is not None:
        axes.set_ylim(*chart.y_range)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize="small")
    return figure


def chart_html(chart: Chart) -> dict[str, Any]:
    """The chart as Plotly's `{data, layout}`, ready for JSON."""
    traces = [trace for series in chart.series for trace in _traces(series, chart)]
    layout: dict[str, Any] = {
        "margin": {"l": 62, "r": 14, "t": 12, "b": 50},
        "height": 440,
        "font": {"family": "system-ui, sans-serif", "size": 13},
        "xaxis": {
            "title": {"text": chart.x_label, "standoff": 8, "font": {"size": 13}},
            "gridcolor": "#e6e6e6",
            "zeroline": False,
        },
        "yaxis": {
            "title": {"text": chart.y_label, "standoff": 6, "font": {"size": 13}},
            "gridcolor": "#e6e6e6",
            "zeroline": False,
        },
        "plot_bgcolor": "white",
        "paper_bgcolor": "white",
        "hovermode": "closest",
        # Above the plot, where it pushes the plot down instead of covering it, however narrow the screen.
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "traceorder": "normal"}
        | {"font": {"size": 12}},
        "shapes": [_shape(mark) for mark in chart.marks],
    }
    if chart.log_y:
        heights = np.concatenate([series.y[np.isfinite(series.y) & (series.y > 0)] for series in chart.series])
        # Over many decades only powers of ten are written, over few Plotly chooses.
        layout["yaxis"] |= {"type": "log"} | (
            {"dtick": 1} if heights.size and heights.max() > 100 * heights.min() else {}
        )
    if chart.x_range is not None:
        layout["xaxis"]["range"] = list(chart.x_range)
    if chart.y_range is not None:
        layout["yaxis"]["range"] = list(chart.y_range)
    # Marks are shapes, which have no legend of their own: an empty line stands in.
    for mark in chart.marks:
        dotted = {"color": mark.colour, "width": 1.5, "dash": "dot"}
        traces.append({"x": [None], "y": [None], "mode": "lines", "name": mark.label, "line": dotted})
    return {"data": traces, "layout": layout}


def _shape(mark: Mark) -> dict[str, Any]:
    other = "y" if mark.axis == "x" else "x"
    ends = {f"{mark.axis}0": mark.at, f"{mark.axis}1": mark.at, f"{other}0": 0, f"{other}1": 1}
    return {
        "type": "line",
        f"{other}ref": "paper",
        **ends,
        "line": {"color": mark.colour, "width": 1.5, "dash": "dot"},
    }


def _traces(series: Series, chart: Chart) -> list[dict[str, Any]]:
    x, y = _plain(series.x), _plain(series.y)
    base: dict[str, Any] = {"x": x, "y": y, "name": series.label, "showlegend": bool(series.label), "type": "scatter"}
    if series.kind == "band":
        assert series.upper is not None
        edge = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
        lower = base | edge | {"showlegend": False}
        upper = base | edge | {"y": _plain(series.upper), "fill": "tonexty", "fillcolor": series.colour + "28"}
        return [lower, upper]
    if series.kind == "line":
        dash = "dash" if series.dashed else "solid"
        return [base | {"mode": "lines", "line": {"color": series.colour, "width": series.width, "dash": dash}}]
    if series.values is None:
        return [base | {"mode": "markers", "marker": {"color": series.colour, "size": 6, "opacity": 0.7}}]
    bar = {
        "title": {"text": chart.value_label, "side": "top", "font": {"size": 12}},
        "orientation": "h",
        "thickness": 10,
        "y": -0.18,
        "yanchor": "top",
        "len": 0.9,
    }
    marker = {"color": _plain(series.values), "colorscale": "Viridis", "cmin": 0, "cmax": chart.value_max}
    template = "error %{marker.color:.3f}<extra></extra>"
    return [base | {"mode": "markers", "marker": {**marker, "size": 5, "colorbar": bar}, "hovertemplate": template}]


def _plain(values: np.ndarray) -> list[float | None]:
    """A list for JSON: numbers to five digits, None for what is not finite."""
    return [float(f"{v:.5g}") if np.isfinite(v) else None for v in np.asarray(values, float)]
