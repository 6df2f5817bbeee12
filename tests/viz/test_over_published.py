"""Our runs over published curves: which runs are one curve, the tables by hand, the files."""

import json
import re

import numpy as np
import pytest
from fake_runs import write_run

from mbpo.cli.main import main
from mbpo.errors import RunFolderError
from mbpo.training.config import from_dict
from mbpo.training.run_folder import write_description
from mbpo.types import Spec
from mbpo.viz.over_published import TaskCurves, horizon, levels_table, read_tasks, returns_table, task_chart
from mbpo.viz.published import PublishedCurve

SPEC = Spec(11, np.float32([-1.0] * 3), np.float32([1.0] * 3))


@pytest.fixture
def run(tmp_path):
    def made(name: str, returns, **settings):
        folder = write_run(tmp_path / name, returns)
        config = from_dict({"env_id": "Hopper-v4", **settings}, where="a test")
        write_description(folder, config, SPEC, env_by_id=True)
        return folder

    return made


@pytest.fixture
def three(run):
    """Three seeds of one algorithm, of which one is behind."""
    returns = {10_000: 100.0, 20_000: 300.0, 30_000: 500.0}
    return [
        run("a/seed-0", returns, seed=0),
        run("a/seed-1", {step: 2 * value for step, value in returns.items()}, seed=1, steps=9),
        run("a/seed-2", {10_000: 100.0, 20_000: 300.0}, seed=2, eval_episodes=3),
    ]


THEIRS = PublishedCurve("MBPO", "Hopper", *np.array([[25e3, 50e3], [400, 800], [50, 60]]), (5, 5), ("who:where",))


def test_seeds_with_the_same_settings_are_one_curve(three, run):
    other = run("b/seed-0", {10_000: 7.0}, seed=0, mbpo={"utd_ratio": 3})
    sac = run("c", {10_000: 8.0}, algo="sac")
    elsewhere = run("d", {10_000: 9.0}, env_id="Ant-v4")
    found = read_tasks([*three, other, sac, elsewhere])
    assert [(curve.algo, curve.seeds) for curve in found["Hopper-v4"]] == [("mbpo (a)", 3), ("mbpo (b)", 1), ("sac", 1)]
    assert found["Hopper-v4"][0].steps.tolist() == [10_000, 20_000]  # Where all three were evaluated.
    assert [curve.algo for curve in found["Ant-v4"]] == ["mbpo"]


def test_a_seed_counts_once(three, run):
    again = run("copy", {10_000: 100.0}, seed=1)
    with pytest.raises(RunFolderError, match="the same seed"):
        read_tasks([*three, again])
    with pytest.raises(RunFolderError, match="the same seed"):
        read_tasks([three[0], three[0]])


def test_runs_without_a_step_in_common(run):
    with pytest.raises(RunFolderError, match="no step at which all runs"):
        read_tasks([run("a", {10: 1.0}, seed=0), run("b", {20: 1.0}, seed=1)])


def test_tables_by_hand(three):
    task = TaskCurves("Hopper-v4", read_tasks(three[:2])["Hopper-v4"], [THEIRS])
    # Two seeds: the interquartile mean is their mean, 150, 450, 750.
    assert levels_table(task, [150, 600, 700, 900]) == [
        ["steps to reach", "150", "600", "700", "900"],
        ["ours: mbpo, 2 seeds", "≤ 10,000", "25,000 (1 of 2 seeds)", "28,333 (1 of 2 seeds)", "- (1 of 2 seeds)"],
        ["MBPO, 5 seeds", "≤ 25,000", "37,500", "43,750", "-"],
    ]
    head, ours, theirs = returns_table(task)
    assert head == ["return at", "25,000"]
    assert ours[1].startswith("600 [")
    assert theirs == ["MBPO, 5 seeds", "400 ± 50"]


def test_without_published_curves_there_are_still_tables(three):
    task = TaskCurves("Hopper-v4", read_tasks(three)["Hopper-v4"], [])
    assert [row[0] for row in levels_table(task)] == ["steps to reach", "ours: mbpo, 3 seeds"]
    assert returns_table(task)[0] == ["return at", "10,000", "20,000"]
    assert "no published curves" in task_chart(task).conclusion


def test_the_chart_ends_where_our_runs_do(three):
    task = TaskCurves("Hopper-v4", read_tasks(three[:2])["Hopper-v4"], [THEIRS])
    assert horizon(task) == 50_000
    lines = {series.label: series for series in task_chart(task).series if series.kind == "line"}
    assert lines["MBPO, published, 5 seeds"].x.tolist() == [25e3, 50e3]
    assert lines["ours: mbpo, 2 seeds"].y.tolist() == [150, 450, 750]
    steps, mean = np.array([1e4, 2e4, 9e4]), np.array([0.0, 10.0, 80.0])
    longer = PublishedCurve("M", "Hopper", steps, mean, np.zeros(3), (1, 1), ())
    (line,) = [
        series
        for series in task_chart(TaskCurves("Hopper-v4", task.ours, [longer])).series
        if series.label.startswith("M,")
    ]
    assert (line.x.tolist(), line.y.tolist()) == ([1e4, 2e4, 45e3], [0, 10, pytest.approx(35.0)])


def test_another_version_is_said(three):
    ours = read_tasks(three)["Hopper-v4"]
    assert "of another" in task_chart(TaskCurves("Hopper-v5", ours, [THEIRS])).conclusion
    assert "of another" not in task_chart(TaskCurves("Hopper-v4", ours, [THEIRS])).conclusion


def test_the_command_writes_a_page_that_needs_nothing_else(three, run, tmp_path, capsys):
    ant = run("ant", {10_000: 9.0}, env_id="Ant-v4")
    out = tmp_path / "out" / "curves.png"
    assert main(["curves", str(tmp_path / "a"), str(ant), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    for words in ("Hopper-v4", "steps to reach", "MBPO, 5 seeds", "return at", "curves.html"):
        assert words in said
    files = {path.name: path for path in (tmp_path / "out").iterdir()}
    assert set(files) == {"curves.html", "curves-Hopper-v4.png", "curves-Ant-v4.png"}
    assert files["curves-Ant-v4.png"].read_bytes()[:4] == b"\x89PNG"
    page = files["curves.html"].read_text()
    assert not re.findall(r'(?:src|href)="(?!data:)[^"]*"', page.split("</script>")[-1])
    data = json.loads(re.search(r'id="charts">(.*?)</script>', page, re.S)[1])
    assert {"Hopper-v4", "Ant-v4"} == set(data)
    assert page.count("<table>") == 4
    assert "4kubo/erl_lib:results/main/gym/mbpo" in page


def test_what_the_command_refuses(three, tmp_path, capsys):
    for arguments, words in (
        ([], "at least one run folder"),
        ([str(tmp_path / "gone")], "no folder"),
        ([str(three[0]), "--methods", "MBO"], "Did you mean 'MBPO'"),
        ([str(three[0]), "--reference", str(tmp_path / "gone.csv")], "cannot be read"),
    ):
        assert main(["curves", *arguments, "--out", str(tmp_path / "x")]) == 2
        assert words in capsys.readouterr().err
    assert not list(tmp_path.glob("x*"))
    assert main(["curves", str(three[0]), "--out", "."]) == 2
    assert "that is a folder" in capsys.readouterr().err
