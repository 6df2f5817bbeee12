"""Algorithms side by side: the right numbers in table, file and picture."""

import csv

import numpy as np
import pytest
from fake_runs import write_run
from matplotlib.figure import Figure
from tiny_tasks import one_paragraph

from mbpo.errors import RunFolderError
from mbpo.viz import comparison
from mbpo.viz.comparison import final_table, plot_comparison, read_algo_curve, summary_rows, write_summary


@pytest.fixture
def curve(tmp_path):
    """Makes an algorithm's curve from the evaluations of its seeds."""

    def make(algo, *seeds, asked=None):
        folders = [write_run(tmp_path / algo / str(n), seed, wall_time=10.0 + n) for n, seed in enumerate(seeds)]
        return read_algo_curve(algo, folders, asked=asked or len(seeds))

    return make


@pytest.fixture
def figures(monkeypatch):
    """The figures that are drawn, to be looked into."""
    drawn = []

    class Watched(Figure):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            drawn.append(self)

    monkeypatch.setattr(comparison, "Figure", Watched)
    return drawn


FOUR = ({10: 1.0, 20: 0.0}, {10: 2.0, 20: 0.0}, {10: 4.0, 20: 0.0}, {10: 99.0, 20: 8.0})


def test_rows_by_hand(curve):
    read = curve("sac", *FOUR)
    first, last = summary_rows(read)
    assert {name: first[name] for name in ("algo", "env_step", "seeds", "iqm", "mean", "worst", "best")} == {
        "algo": "sac",
        "env_step": 10,
        "seeds": 4,
        "iqm": 3.0,  # The middle two of 1, 2, 4, 99.
        "mean": 26.5,
        "worst": 1.0,
        "best": 99.0,
    }
    assert first["std"] == pytest.approx(np.std([1, 2, 4, 99], ddof=1), abs=0.01)
    assert 1 <= first["low"] < 3 < first["high"] <= 99
    assert (last["iqm"], last["low"]) == (0.0, 0.0)
    assert read.seconds == 11.5


def test_seeds_are_put_together_where_all_were_evaluated(curve):
    read = curve("sac", {10: 1.0, 15: 7.0, 20: 2.0}, {10: 3.0, 20: 4.0, 30: 9.0})
    assert read.steps.tolist() == [10, 20]
    assert read.returns.tolist() == [[1, 2], [3, 4]]


def test_nothing_to_read(curve):
    assert curve("sac") is None
    assert curve("mbpo", {}, {10: 1.0}) is None


def test_the_file(curve, tmp_path):
    out = write_summary([curve("mbpo", {10: -1.5}), curve("sac", {10: 1.0}, {10: 2.0})], tmp_path / "summary.csv")
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert ",".join(rows[0]) == "algo,env_step,seeds,iqm,low,high,mean,std,worst,best"
    assert rows[0] == {
        **{"algo": "mbpo", "env_step": "10", "seeds": "1", "iqm": "-1.5", "low": "", "high": ""},
        **{"mean": "-1.5", "std": "", "worst": "-1.5", "best": "-1.5"},
    }
    assert (rows[1]["low"], rows[1]["high"]) == ("1.0", "2.0")


def test_the_figure(curve, figures, tmp_path):
    curves = [curve("mbpo", *FOUR, asked=5), curve("sac", {10: -1.0, 30: 5.0})]
    out = plot_comparison(curves, "Pendulum-v1", tmp_path / "new" / "curves.png")
    assert out.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    (axes,) = figures[0].axes
    lines = {line.get_label(): line.get_xydata().tolist() for line in axes.get_lines()}
    assert lines["mbpo, 4 of 5 seeds"] == [[10, 3], [20, 0]]
    assert lines["sac, 1 seed, no band"] == [[10, -1], [30, 5]]
    (band,) = axes.collections  # SAC has none.
    at_ten = band.get_paths()[0].vertices
    at_ten = at_ten[at_ten[:, 0] == 10, 1]
    low, high = curves[0].band
    assert (at_ten.min(), at_ten.max()) == (low[0], high[0])
    assert "Pendulum-v1" in axes.get_title()
    assert axes.get_xscale() == "linear"


def test_curves_of_very_different_lengths_have_a_log_axis(curve, figures, tmp_path):
    plot_comparison([curve("mbpo", {100: 1.0}), curve("sac", {100: 1.0, 500: 2.0})], "Task", tmp_path / "a.png")
    assert figures[0].axes[0].get_xscale() == "log"
    assert "log" in figures[0].axes[0].get_xlabel()
    assert "band" not in figures[0].axes[0].get_title()


def test_the_table(curve):
    table = final_table({"mbpo": curve("mbpo", *FOUR, asked=5), "sac": curve("sac", {10: -1.0}), "pets": None})
    assert [line.split() for line in table[2:]] == [
        ["sac", "10", "-1.0", "-", "1", "10"],
        ["pets", "-", "-", "-", "0", "-"],
    ]
    assert table[1].split()[:3] == ["mbpo", "20", "0.0"]
    assert table[1].endswith("4 of 5              12")
    assert len({len(line) for line in table}) == 1


def test_errors(curve, tmp_path):
    def complaint(call) -> str:
        with pytest.raises(RunFolderError) as caught:
            call()
        return one_paragraph(str(caught.value))

    read = curve("sac", {10: 1.0})
    assert "no seed has finished" in complaint(lambda: plot_comparison([], "Task", tmp_path / "a.png"))
    assert "a.xyz" in complaint(lambda: plot_comparison([read], "Task", tmp_path / "a.xyz"))
    assert "Cannot write" in complaint(lambda: write_summary([read], tmp_path / "no" / "summary.csv"))
