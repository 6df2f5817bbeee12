"""Charts as plain data: the same description as a picture and as a web page's JSON."""

import json

import numpy as np

from mbpo.viz.charts import Chart, Mark, Series, chart_html, chart_png

X = np.arange(4.0)
CHART = Chart(
    name="test",
    title="A test",
    x_label="x",
    y_label="y",
    series=[
        Series(X, X, "band", "band", upper=X + 1),
        Series(X, np.array([1.0, np.nan, np.inf, 1e-5]), "broken", dashed=True),
        Series(X, X, "dots", "points"),
        Series(X, X, kind="points", values=np.array([0.0, 1, np.inf, 3])),
    ],
    conclusion="None.",
    how="Not at all.",
    marks=[Mark(2.0, "here"), Mark(1.0, "there", "y")],
    log_y=True,
    value_label="value",
    value_max=3.0,
)


def test_for_the_web_it_is_json_without_what_is_not_finite():
    values = json.loads(json.dumps(chart_html(CHART), allow_nan=False))
    traces = {trace["name"]: trace for trace in values["data"]}
    assert traces["broken"]["y"] == [1, None, None, 1e-5]
    assert traces["broken"]["line"]["dash"] == "dash"
    assert [trace["name"] for trace in values["data"]].count("band") == 2
    assert traces["band"]["fill"] == "tonexty"
    assert traces[""]["marker"]["color"] == [0, 1, None, 3]
    assert {"here", "there"} <= set(traces)
    assert [(shape["x0"], shape["x1"]) for shape in values["layout"]["shapes"]] == [(2, 2), (0, 1)]
    assert values["layout"]["yaxis"]["type"] == "log"


def test_as_a_picture_it_has_the_same_parts():
    axes = chart_png(CHART).axes[0]
    assert axes.get_title() == "A test"
    assert axes.get_yscale() == "log"
    assert set(axes.get_legend_handles_labels()[1]) == {"band", "broken", "dots", "here", "there"}


def test_nothing_finite_can_be_drawn_too():
    nothing = Chart("n", "t", "x", "y", [Series(X, np.full(4, np.nan))], "c", "h", log_y=True)
    json.dumps(chart_html(nothing), allow_nan=False)
    chart_png(nothing)
