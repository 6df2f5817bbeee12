"""Learning curves drawn from run folders: the right lines in a real picture."""

import json

import numpy as np
import pytest
from matplotlib.figure import Figure
from tiny_tasks import one_paragraph

from mbpo.errors import RunFolderError
from mbpo.training.config import RunConfig, merge
from mbpo.training.run_folder import write_description
from mbpo.types import Spec
from mbpo.viz import curves
from mbpo.viz.curves import plot_curves, read_curves

SPEC = Spec(3, np.float32([-2]), np.float32([2]))


@pytest.fixture
def run(tmp_path):
    """Makes run folders from evaluations `{env_step: return}`, without training."""

    def maker(name, returns, *, errors=True, **settings):
        folder = tmp_path / name
        config = merge(RunConfig(), {"mbpo": {"random_steps": 10}, **settings}, where="a test")
        write_description(folder, config, SPEC, env_by_id=True)
        lines = [{"env_step": 5, "train_return": -1.0}]  # An episode's end: not drawn.
        for step, value in returns.items():
            record = {"env_step": step, "eval_return_mean": value}
            lines.append(record | ({"model_holdout_error": 1 / step} if errors else {}))
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return folder

    return maker


@pytest.fixture
def figures(monkeypatch):
    """The figures that are drawn, to be looked into."""
    drawn = []

    class Watched(Figure):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            drawn.append(self)

    monkeypatch.setattr(curves, "Figure", Watched)
    return drawn


def size_of(png: bytes) -> tuple[int, int]:
    """Width and height as a PNG's header says them."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert png[12:16] == b"IHDR"
    assert png[-8:-4] == b"IEND"
    return int.from_bytes(png[16:20]), int.from_bytes(png[20:24])


def lines(axes) -> dict[str, tuple[list, list]]:
    return {line.get_label(): (line.get_xdata().tolist(), line.get_ydata().tolist()) for line in axes.get_lines()}


def test_one_run(run, figures, tmp_path):
    folder = run("a", {10: -5.0, 20: -2.0, 30: -1.0}, seed=4)
    out = plot_curves([folder], tmp_path / "new" / "curve.png")
    assert out == tmp_path / "new" / "curve.png"
    width, height = size_of(out.read_bytes())
    assert 800 < width < 2000
    assert 600 < height < 2000
    assert 5_000 < out.stat().st_size < 500_000
    top, bottom = figures[0].axes
    assert lines(top) == {"mbpo, seed 4": ([10, 20, 30], [-5, -2, -1])}
    np.testing.assert_allclose(lines(bottom)["mbpo, seed 4"][1], [0.1, 0.05, 1 / 30])
    assert "Pendulum-v1" in top.get_title()
    assert {text.get_text() for text in top.get_legend().get_texts()} == {"mbpo, seed 4", "random actions"}


def test_several_runs_are_drawn_as_their_mean_and_spread(run, figures, tmp_path):
    folders = [
        run("a", {10: -6.0, 20: -2.0}),
        run("b", {10: -2.0, 20: -2.0}, seed=1),
        run("c", {10: -1.0, 20: 1.0}, seed=2),
    ]
    plot_curves(folders, tmp_path / "curve.png")
    top = figures[0].axes[0]
    assert lines(top)["mbpo, mean of 3 seeds"] == ([10, 20], [-3, -1])
    assert len(top.get_lines()) == 4  # The mean, and each run faintly.
    # One sample standard deviation: √((9 + 1 + 4) / 2) = √7 at 10, and √3 at 20, within the runs.
    band = top.collections[0].get_paths()[0].vertices
    at_ten, at_twenty = (np.unique(band[band[:, 0] == step, 1]) for step in (10, 20))
    np.testing.assert_allclose([at_ten.min(), at_ten.max()], [-3 - 7**0.5, -1])
    np.testing.assert_allclose([at_twenty.min(), at_twenty.max()], [-2, -1 + 3**0.5])


def test_runs_evaluated_at_different_steps_are_compared_where_both_have_data(run, figures, tmp_path):
    plot_curves([run("a", {10: 0.0, 20: 10.0, 40: 30.0}), run("b", {15: 1.0, 30: 4.0}, seed=1)], tmp_path / "curve.png")
    # By hand on 15, 20, 30: the first is 5, 10, 20 there, the second 1, 2, 4.
    assert lines(figures[0].axes[0])["mbpo, mean of 2 seeds"] == ([15, 20, 30], [3, 6, 12])


def test_runs_of_one_seed_are_drawn_side_by_side(run, figures, tmp_path):
    """As a fork and the run that it began with: their mean would be of no two seeds."""
    plot_curves([run("a", {10: 0.0, 20: 1.0}), run("b", {10: 0.0, 20: 3.0})], tmp_path / "curve.png")
    assert {label.rpartition("/")[2]: values for label, (_, values) in lines(figures[0].axes[0]).items()} == {
        "a": [0, 1],
        "b": [0, 3],
    }


def test_runs_without_common_steps(run, tmp_path):
    out = plot_curves([run("a", {10: 0.0}), run("b", {20: 1.0})], tmp_path / "curve.png")
    size_of(out.read_bytes())


def test_a_run_without_a_model_yet(run, tmp_path):
    size_of(plot_curves([run("a", {10: -5.0}, errors=False)], tmp_path / "curve.png").read_bytes())


def test_a_run_that_has_no_evaluation_is_left_out_beside_others(run, figures, tmp_path):
    plot_curves([run("a", {}), run("b", {10: -5.0})], tmp_path / "curve.png")
    assert [line.get_ydata().tolist() for line in figures[0].axes[0].get_lines()] == [[-5.0]]


def test_missing_values_are_skipped(run):
    folder = run("a", {10: -5.0, 20: None, 40: -1.0})
    curve = read_curves(folder).eval_return
    assert (curve.steps.tolist(), curve.values.tolist()) == ([10, 40], [-5, -1])


@pytest.mark.parametrize("suffix", ["svg", "pdf"])
def test_other_formats(run, tmp_path, suffix):
    out = plot_curves([run("a", {10: -5.0})], tmp_path / f"curve.{suffix}")
    assert out.read_bytes()[:5] == {"svg": b"<?xml", "pdf": b"%PDF-"}[suffix]


def complaint(folders, out) -> str:
    with pytest.raises(RunFolderError) as caught:
        plot_curves(folders, out)
    assert not out.exists()
    return one_paragraph(str(caught.value))


def test_no_evaluation_yet(run, tmp_path):
    assert "nothing to plot yet" in complaint([run("a", {})], tmp_path / "curve.png")


def test_different_tasks_are_refused(run, tmp_path):
    folders = [run("a", {10: 1.0}), run("b", {10: 1.0}, env_id="Hopper-v5")]
    message = complaint(folders, tmp_path / "curve.png")
    assert "Hopper-v5, Pendulum-v1" in message


def test_unknown_format(run, tmp_path):
    assert "curve.xyz" in complaint([run("a", {10: 1.0})], tmp_path / "curve.xyz")


def test_a_place_that_cannot_be_written_to(run, tmp_path):
    (tmp_path / "file").write_text("")
    assert "Cannot write" in complaint([run("a", {10: 1.0})], tmp_path / "file" / "curve.png")


def test_something_else_than_a_run(tmp_path):
    assert "not a run folder" in complaint([tmp_path], tmp_path / "curve.png")
    (tmp_path / "config.json").write_text('{"name": "another project"}')
    assert "not a run description" in complaint([tmp_path], tmp_path / "curve.png")
