"""`mbpo runs`, and `mbpo train --max-time` with the command that goes on."""

import json
import re

import pytest
from tiny_tasks import SHORT, final_file, flags, read_lines, without_time

from mbpo.cli.main import main

TRAIN = ["train", SHORT, *flags(), "--steps", "60", "--final-episodes", "0"]


@pytest.fixture
def run(tmp_path, capsys):
    """A run that stopped after its first step, since its time was up."""
    folder = tmp_path / "runs" / "short"
    assert main([*TRAIN, "--out", str(folder), "--max-time", "0.001s"]) == 3
    said = capsys.readouterr().out
    assert "Time is up (--max-time) at step 1 of 60." in said
    assert f"mbpo train --resume {folder}" in said
    assert not (folder / "curve.png").exists()
    return folder


def test_time_is_up_and_the_same_command_goes_on(run, tmp_path):
    assert main([*TRAIN, "--max-time", "0.001s", "--resume", str(run)]) == 3
    assert main(["train", "--resume", str(run), "--max-time", "0.001s"]) == 3
    assert main([*TRAIN, "--max-time", "1h", "--resume", str(run), "--out", str(run)]) == 0
    assert main([*TRAIN, "--out", str(tmp_path / "whole")]) == 0
    assert without_time(read_lines(run)) == without_time(read_lines(tmp_path / "whole"))
    assert final_file(run) == final_file(tmp_path / "whole")


@pytest.mark.parametrize("other", ["--seed 1", "--sac.gamma 0.5", "--out elsewhere", "--algo sac"])
def test_another_command_does_not_go_on(run, capsys, other):
    before = final_file(run)
    base = ["train", SHORT, "--algo", "sac"] if "--algo" in other else [*TRAIN, *other.split()]
    assert main([*base, "--resume", str(run)]) == 2
    assert other in capsys.readouterr().err
    assert final_file(run) == before


@pytest.mark.parametrize("text", ["soon", "90", "0s"])
def test_no_length_of_time(tmp_path, capsys, text):
    assert main([*TRAIN, "--out", str(tmp_path / "run"), "--max-time", text]) == 2
    assert "2h30m" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_runs_are_listed(run, capsys):
    root = run.parent
    (root / "damaged").mkdir()
    (root / "damaged" / "config.json").write_text("{")
    assert main(["train", "--resume", str(run)]) == 0
    capsys.readouterr()
    assert main(["runs", str(root)]) == 0
    head, row, sentence, count = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["run", "state", "step"]
    assert re.match(r"short +finished +60 of 60 \(100%\) +-[\d.]+ +60 ", row)
    assert sentence.startswith("damaged damaged: ")
    assert "cannot be read as JSON" in sentence
    assert count == "2 runs: 1 damaged, 1 finished"


def test_runs_as_json(run, capsys):
    assert main(["runs", str(run), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["folder"], found["state"], found["env_step"], found["until"]) == (str(run), "stopped", 1, 60)
    assert (found["seconds_left"], found["ends"], found["last_return"]) == (None, None, None)


def test_no_runs(tmp_path, capsys):
    assert main(["runs", str(tmp_path)]) == 0
    assert "no runs" in capsys.readouterr().out
    assert main(["runs", str(tmp_path / "gone")]) == 2
    assert "no folder" in capsys.readouterr().err
