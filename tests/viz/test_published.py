"""Published curves: what comes along, and what a file of a user's own must hold."""

import numpy as np
import pytest
from tiny_tasks import one_paragraph

from mbpo.errors import RunFolderError
from mbpo.viz.published import SHOWN, chosen, read_published, task_name

HEAD = "method,env,step,mean,std,n_seeds,mean_hours,source"


def test_what_comes_along():
    curves = read_published()
    tasks = {curve.env for curve in curves}
    assert tasks == {"Hopper", "HalfCheetah", "Walker2d", "Ant", "Humanoid"}
    for task in tasks:
        assert [curve.method for curve in chosen(curves, f"{task}-v4", SHOWN)] == list(SHOWN)
    assert all(curve.sources and ":" in curve.sources[0] for curve in curves)
    assert all((np.diff(curve.steps) > 0).all() and (curve.std >= 0).all() for curve in curves)
    hopper = next(c for c in curves if (c.env, c.method) == ("Hopper", "MBPO"))
    assert (hopper.steps[1], hopper.mean[1], hopper.std[1], hopper.seeds) == (50_000, 1700, 893, (5, 5))
    assert hopper.sources == ("4kubo/erl_lib:results/main/gym/mbpo",)
    varying = next(c for c in curves if (c.env, c.method) == ("Hopper", "SAC-SVG(H) reimpl"))
    assert varying.seeds == (4, 8)


def test_methods_are_found_or_named():
    curves = read_published()
    assert [c.method for c in chosen(curves, "Hopper-v4", ["DHMBPO", "MBPO"])] == ["DHMBPO", "MBPO"]
    assert len(chosen(curves, "Hopper-v4", ["all"])) > 10
    assert chosen(curves, "Pendulum-v1", SHOWN) == []
    with pytest.raises(RunFolderError, match="no published curve of 'MPBO'"):
        chosen(curves, "Hopper-v4", ["MPBO"])


@pytest.mark.parametrize(
    ("env_id", "name"),
    [
        ("Hopper-v4", "Hopper"),
        ("mod:Ant-v5", "Ant"),
        ("mbpo/HumanoidTruncatedObs-v4", "Humanoid"),
        ("mbpo/HopperUnclippedObs-v4", "Hopper"),
        ("mbpo/AntTorsoFrame-v5", "Ant"),
        ("A-v2-x",) * 2,
    ],
)
def test_names_of_tasks(env_id, name):
    assert task_name(env_id) == name


def test_a_file_of_ones_own(tmp_path):
    file = tmp_path / "mine.csv"
    file.write_text(f"{HEAD}\nA,Task,200,3,,5,,x\nA,Task,100,-1.5,0.5,3,,y\n")
    (curve,) = read_published(file)
    assert (curve.steps.tolist(), curve.mean.tolist(), curve.std.tolist()) == ([100, 200], [-1.5, 3], [0.5, 0])
    assert (curve.seeds, curve.sources) == ((3, 5), ("y", "x"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "lacks method"),
        (HEAD.replace("std", "sd") + "\nA,T,1,2,3,4,,s\n", "lacks std"),
        (f"{HEAD}\nA,T,1,two,3,4,,s\n", "could not convert"),
        (f"{HEAD}\nA,T,1.5,2,3,4,,s\n", "invalid literal"),
        (f"{HEAD}\nA,T,1,nan,3,4,,s\n", "not finite"),
        (f"{HEAD}\nA,T,1,,3,4,,s\n", "could not convert"),
        (f"{HEAD}\nA,T,1,2,3,4,,s\nA,T,1,2,3,4,,s\n", "twice"),
        (f"{HEAD}\nA,T,1\n", "not as it should be"),
    ],
)
def test_what_is_no_table_of_curves(tmp_path, text, words):
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(RunFolderError) as caught:
        read_published(tmp_path / "bad.csv")
    assert words in one_paragraph(str(caught.value))
    with pytest.raises(RunFolderError, match="cannot be read"):
        read_published(tmp_path / "gone.csv")
