"""`mbpo train --from RUN`: a run of its own that begins where another stands."""

import json

import pytest
from tiny_tasks import SHORT, one_paragraph, read_lines, without_time

from mbpo.cli.main import main


@pytest.fixture
def at_home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_fork_takes_the_runs_settings_and_those_given(tiny_run, at_home, capsys):
    command = ["train", "--from", str(tiny_run), "--steps", "100", "--utd-ratio", "4", "--final-episodes", "0"]
    assert main(command) == 0
    out = at_home / "runs" / SHORT.rpartition(":")[2] / "mbpo-seed0"
    assert f"writing to {out.relative_to(at_home)}" in capsys.readouterr().out
    records = without_time(read_lines(out))
    assert records[:3] == without_time(read_lines(tiny_run))[:3]
    assert records[-1]["env_step"] == 100
    written = json.loads((out / "config.json").read_text())
    assert (written["config"]["mbpo"]["utd_ratio"], written["config"]["steps"]) == (4, 100)
    assert written["origin"]["env_step"] == 80
    # The environment may be named, if it is the run's.
    assert main(["train", SHORT, "--from", str(tiny_run), "--steps", "85", "--final-episodes", "0"]) == 0
    assert (out.with_name("mbpo-seed0-2") / "curve.png").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--steps", "80"],
            "has already taken 80 of 80 steps; to train on, give the number of steps in all: mbpo train --from",
        ),
        (["--steps", "100", "--seed", "3"], "that one's seed, which is 0, not 3"),
        (["--steps", "100", "--algo", "sac"], "is one of mbpo, which is not --algo sac"),
        (["--steps", "100", "--preset", "pendulum"], "leave out --preset"),
    ],
)
def test_what_cannot_be(tiny_run, at_home, capsys, words, said):
    assert main(["train", "--from", str(tiny_run), *words]) != 0
    assert said in one_paragraph(capsys.readouterr().err)
    assert not list(at_home.iterdir())


def test_from_a_folder_that_holds_no_run(at_home, capsys):
    assert main(["train", "--from", "nowhere", "--steps", "9"]) != 0
    assert "There is no folder nowhere" in one_paragraph(capsys.readouterr().err)


def test_the_whole_command_may_stand_beside_resume(tiny_run, at_home, capsys):
    """As a job repeats it that is stopped and started again."""
    command = ["train", "--from", str(tiny_run), "--utd-ratio", "4", "--final-episodes", "0"]
    assert main([*command, "--steps", "90", "--out", "fork"]) == 0
    assert main([*command, "--steps", "100", "--resume", "fork"]) == 0
    assert read_lines(at_home / "fork")[-1]["env_step"] == 100
    capsys.readouterr()
    assert main(["train", "--from", str(tiny_run), "--utd-ratio", "5", "--steps", "110", "--resume", "fork"]) != 0
    assert "it stands for --utd-ratio 5, the run has --utd-ratio 4" in one_paragraph(capsys.readouterr().err)
    assert main([*command, "--steps", "110", "--resume", str(tiny_run)]) != 0
    assert "did not begin where" in one_paragraph(capsys.readouterr().err)
