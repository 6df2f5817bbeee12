"""What the doctor finds in a run folder, and what is there after its repair."""

import errno
import json
import os
import shutil

import numpy as np
import pytest
from spy_runs import make_run, train
from tiny_tasks import RUN_SETTINGS, SHORT, one_paragraph, read_lines, without_time

from mbpo import MBPO
from mbpo.cli.main import main
from mbpo.errors import RunFolderError
from mbpo.training import doctor, loop
from mbpo.training.checkpoint import read_checkpoint, write_checkpoint
from mbpo.training.config import RunConfig
from mbpo.training.doctor import examine, repair
from mbpo.training.run_folder import write_description
from mbpo.types import Spec


@pytest.fixture
def folder(tmp_path, tiny_run):
    """A copy of a finished run, to be damaged."""
    return shutil.copytree(tiny_run, tmp_path / "run")


def sentences(folder) -> list[str]:
    return [one_paragraph(problem.sentence) for problem in examine(folder).problems]


def damage_checkpoint(folder) -> None:
    (state,) = (folder / "checkpoint").glob("state-80-*")
    state.write_bytes(state.read_bytes()[:-1])


def test_a_whole_folder(folder):
    diagnosis = examine(folder)
    assert diagnosis.problems == []
    holds = diagnosis.holds
    assert (holds["algo"], holds["env_id"], holds["checkpoint_step"], holds["records"]) == ("mbpo", SHORT, 80, 7)
    assert holds["replay_rows"]["real"] == 80
    assert repair(folder) == []


def test_a_half_written_last_record(folder):
    before = read_lines(folder)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"env_step": 81, "tr')
    (sentence,) = sentences(folder)
    assert "half-written" in sentence
    assert repair(folder) == ["Cut the half-written last line of metrics.jsonl."]
    assert read_lines(folder) == before
    assert sentences(folder) == []


@pytest.mark.parametrize("line", ["{broken", "3", '{"step": 1}'])
def test_a_damaged_record_in_the_middle(folder, line):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    (folder / "metrics.jsonl").write_text("\n".join([*lines[:2], line, *lines[2:], ""]))
    assert "Line 3" in sentences(folder)[0]
    before = (folder / "metrics.jsonl").read_bytes()
    (done,) = repair(folder)
    assert "Dropped 1 damaged lines" in done
    assert [json.dumps(record) for record in read_lines(folder)] == lines  # All that were good.
    assert (folder / "metrics.jsonl.damaged").read_bytes() == before
    assert sentences(folder) == []
    MBPO.load(folder).close()


def test_a_record_that_became_unreadable_is_lost_and_the_run_goes_on(tmp_path):
    folder = tmp_path / "run"
    MBPO(SHORT, out=folder, **RUN_SETTINGS).learn(60).close()
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    later = json.dumps(json.loads(lines[-1]) | {"env_step": 75})  # After the checkpoint, so to be repeated.
    (folder / "metrics.jsonl").write_text("\n".join([lines[0], "{", *lines[2:], later, ""]))
    left = len(lines) - 1
    done = repair(folder)
    assert f"the {left} records that are left; 1 are lost" in done[1]
    assert sentences(folder) == []
    agent = MBPO.load(folder, resume=True)  # No warning any more.
    assert len(agent.records) == left
    agent.learn(20).close()
    steps = [record["env_step"] for record in read_lines(folder)]
    assert steps == sorted(set(steps))
    assert sentences(folder) == []


def test_leftovers(folder):
    (folder / "checkpoint" / "state-99.safetensors.tmp").write_text("half")
    (folder / "metrics.jsonl.tmp").write_text("half")
    (folder / "notes.txt").write_text("mine")
    (sentence,) = sentences(folder)
    assert "2 files" in sentence
    assert repair(folder) == ["Removed 2 leftover files."]
    assert not list(folder.rglob("*.tmp"))
    assert (folder / "notes.txt").exists()


def test_going_back_to_the_checkpoint_before(tmp_path, tiny_run, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SHARE", float("inf"))
    folder = tmp_path / "run"
    MBPO(SHORT, out=folder, **RUN_SETTINGS).learn(80).close()
    damage_checkpoint(folder)
    diagnosis = examine(folder)
    (problem,) = diagnosis.problems
    assert "does not match" in problem.sentence or "damaged" in problem.sentence
    assert diagnosis.holds["previous_checkpoint_step"] == 60
    done = repair(folder)
    assert done == ["Went back to the checkpoint of step 60; the one given up is kept until the run's next one."]
    assert sentences(folder) == []
    assert list((folder / "checkpoint").glob("state-80-*"))  # It may be wanted back yet.
    agent = MBPO.load(folder, resume=True)
    assert agent.env_step == 60
    agent.learn(20).close()
    assert not (folder / "checkpoint" / "manifest.json.damaged").exists()
    assert sentences(folder) == []
    # The run is the one that was never damaged.
    assert without_time(read_lines(folder)) == without_time(read_lines(tiny_run))


def test_what_cannot_be_repaired(folder):
    damage_checkpoint(folder)
    shutil.rmtree(folder / "tensorboard")
    for path in (folder / "checkpoint").glob("manifest.previous.json"):
        path.write_text("{")
    (folder / "config.json").write_text("{")
    found = examine(folder).problems
    assert ["config.json is damaged" in found[0].sentence, "does not match" in found[1].sentence] == [True, False]
    assert [problem.repair for problem in found[:2]] == [None, None]
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert repair(folder) == []
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_folders_that_are_no_runs(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(RunFolderError) as caught:
            examine(path)
        one_paragraph(str(caught.value))


def test_the_command(folder, capsys):
    assert main(["doctor", str(folder)]) == 0
    assert "The folder is whole." in capsys.readouterr().out
    (folder / "metrics.jsonl").write_text('{"env_step": 1}\n{"half')
    assert main(["doctor", str(folder)]) == 1
    out = capsys.readouterr().out
    assert "problem: " in out
    assert f"mbpo doctor {folder} --repair" in out
    assert main(["doctor", str(folder), "--repair", "--json"]) == 0
    cut, counted = json.loads(capsys.readouterr().out)["repaired"]
    assert cut == "Cut the half-written last line of metrics.jsonl."
    assert "the 1 records that are left; 6 are lost" in counted
    assert main(["doctor", str(folder / "nowhere")]) == 2


# --- what cannot be read, and what a repair does not cure --------------------------------------


@pytest.fixture
def two_checkpoints(tmp_path, monkeypatch):
    """A run folder with the checkpoint before the last."""
    monkeypatch.setattr(loop, "CHECKPOINT_SHARE", float("inf"))
    train(make_run(folder=tmp_path), 10)
    spec = Spec(2, np.float32([-1]), np.float32([1]))
    write_description(tmp_path, RunConfig(), spec, env_by_id=True)
    (tmp_path / "metrics.jsonl").write_text('{"env_step": 5}\n{"env_step": 10}\n')
    assert examine(tmp_path).problems == []
    assert {"checkpoint_step": 10, "previous_checkpoint_step": 5}.items() <= examine(tmp_path).holds.items()
    return tmp_path


def contents(folder) -> dict:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def close_to_us(monkeypatch, *names: str) -> None:
    """Files of which the system says that we may not read them."""
    opened = os.open

    def refusing(path, *args, **kwargs):
        if str(path).endswith(names):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", refusing)


@pytest.mark.parametrize("what", ["metrics.jsonl", "manifest.json", "manifest.previous.json", "state 10", "state 5"])
def test_what_cannot_be_read_is_not_damaged(two_checkpoints, monkeypatch, what):
    name = what
    if what.startswith("state"):
        (path,) = (two_checkpoints / "checkpoint").glob(f"state-{what.split()[1]}-*")
        name = path.name
    before = contents(two_checkpoints)
    with monkeypatch.context() as patch:
        close_to_us(patch, name)
        (sentence,) = sentences(two_checkpoints)
        assert "Permission denied" in sentence
        assert "no sign of damage" in sentence
        assert repair(two_checkpoints) == []
    assert contents(two_checkpoints) == before
    assert sentences(two_checkpoints) == []


@pytest.mark.parametrize("damage", ["manifest", "state", "folder"])
def test_a_damaged_checkpoint_before_the_last(two_checkpoints, damage):
    checkpoint = two_checkpoints / "checkpoint"
    previous, (state,) = checkpoint / "manifest.previous.json", checkpoint.glob("state-5-*")
    match damage:
        case "manifest":
            previous.write_text(previous.read_text()[:40])
        case "state":
            state.write_bytes(state.read_bytes()[:-1])
        case "folder":
            previous.unlink()
            previous.mkdir()
    (sentence,) = sentences(two_checkpoints)
    assert "The checkpoint before the last" in sentence
    assert "what was left of the checkpoint before the last" in repair(two_checkpoints)[0]
    assert sentences(two_checkpoints) == []
    assert read_checkpoint(checkpoint).progress["env_step"] == 10


def test_a_folder_in_place_of_the_previous_manifest_stops_no_write(two_checkpoints):
    previous = two_checkpoints / "checkpoint" / "manifest.previous.json"
    previous.unlink()
    previous.mkdir()
    write_checkpoint(two_checkpoints / "checkpoint", {"a": np.zeros(1)}, {"env_step": 15})
    assert read_checkpoint(two_checkpoints / "checkpoint", previous.name).progress["env_step"] == 10


def test_a_repair_that_does_not_cure_is_tried_once(folder, monkeypatch):
    (folder / "metrics.jsonl.tmp").write_text("half")
    monkeypatch.setattr(doctor, "_remove", lambda paths: None)
    assert repair(folder) == ["Removed 1 leftover files."]
    assert len(sentences(folder)) == 1


def test_a_file_of_records_that_no_run_writes_is_left_alone(folder):
    with (folder / "metrics.jsonl").open("wb") as file:
        file.truncate(1 << 40)
    (sentence,) = sentences(folder)
    assert "larger than" in sentence
    assert repair(folder) == []


def test_without_a_manifest_nothing_of_the_checkpoint_is_removed(folder):
    for path in (folder / "checkpoint").glob("manifest*"):
        path.unlink()
    assert repair(folder) == []
    assert list((folder / "checkpoint").glob("state-80-*"))
