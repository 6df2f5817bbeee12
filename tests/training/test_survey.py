"""What a run says of itself while it trains, and what is made of run folders from outside."""

import json
import os
import socket
import time

import numpy as np
import pytest
from fake_runs import write_run
from tiny_tasks import RUN_SETTINGS, SHORT

from mbpo.cli.runs import table
from mbpo.errors import MBPOError
from mbpo.training import status, survey
from mbpo.training.algorithms import MBPO
from mbpo.training.config import from_dict
from mbpo.training.run_folder import write_description
from mbpo.training.signals import Interrupted
from mbpo.training.status import Heartbeat, lives, read_status
from mbpo.training.survey import run_folders, standing
from mbpo.types import Spec

NOW = 1_800_000_000.0
NO_PROCESS = 2**22 + 1
"""Beyond Linux's largest process number."""


class Counters:
    env_step, wall_time = 0, 0.0


def say(folder, state="running", *, age=0.0, pid=None, host=None, step=100, until=400, wall_time=50.0) -> None:
    values = {"state": state, "words": "", "env_step": step, "until": until, "wall_time": wall_time, "time": NOW}
    values |= {"pid": os.getpid() if pid is None else pid, "host": host or socket.gethostname()}
    (folder / "status.json").write_text(json.dumps(values))
    written(folder, age)


def written(folder, age: float) -> None:
    """Have everything in the folder be so many seconds old."""
    for path in folder.rglob("*"):
        os.utime(path, (NOW - age, NOW - age))


@pytest.fixture
def make(tmp_path):
    """A run of 400 steps, 100 of them random, with evaluations at 100 (10 s) and 200 (210 s)."""

    def made(name: str = "run", returns=((100, -5.0, 10.0), (200, -3.0, 210.0)), age=0.0, checkpoint=True):
        folder = tmp_path / name
        config = from_dict({"env_id": "Pendulum-v1", "steps": 400, "seed": 3, "mbpo": {"random_steps": 100}}, where="")
        write_run(folder, {step: value for step, value, _ in returns}, checkpoint=checkpoint)
        rows = [{"env_step": s, "eval_return_mean": v, "wall_time": t} for s, v, t in returns]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        write_description(folder, config, Spec(3, np.float32([-2.0]), np.float32([2.0])), env_by_id=True)
        written(folder, age)
        return folder

    return made


def look(folder) -> survey.Standing:
    return standing(folder, now=NOW)


# --- what a run is doing ----------------------------------------------------------------------


def test_the_first_fit_is_no_pace(make):
    # 300 s for it and the updates owed, in the record of 120 steps; then a step a second.
    folder = make(returns=((100, -5.0, 10.0), (120, -4.0, 330.0), (150, -4.0, 360.0)))
    say(folder, step=190, wall_time=400.0)
    assert look(folder).steps_per_second == pytest.approx(1.0)
    # Until there is a minute after it, it is all there is; a second would tell nothing.
    say(folder, step=151, wall_time=361.0)
    assert look(folder).steps_per_second == pytest.approx(51 / 351)


def test_a_first_record_after_the_random_steps(make):
    folder = make(returns=((120, -4.0, 330.0), (150, -4.0, 360.0)))
    say(folder, step=200, wall_time=420.0)
    assert look(folder).steps_per_second == pytest.approx(50 / 60)


def test_a_run_under_way(make):
    folder = make()
    say(folder, step=250, wall_time=310.0, age=7.0)
    found = look(folder)
    assert (found.state, found.env_step, found.until, found.age) == ("running", 250, 400, 7.0)
    assert (found.env_id, found.algo, found.seed) == ("Pendulum-v1", "mbpo", 3)
    assert (found.last_return, found.last_return_step, found.seconds) == (-3.0, 200, 310.0)
    # From the record at 200 steps and 210 s on: 50 steps in 100 s. The random steps do not count.
    assert found.steps_per_second == pytest.approx(0.5)
    assert found.seconds_left == pytest.approx(300.0)


def test_random_steps_are_no_pace(make):
    folder = make(returns=((50, -5.0, 1.0),))
    say(folder, step=90, wall_time=2.0)
    assert (look(folder).steps_per_second, look(folder).seconds_left) == (None, None)


@pytest.mark.parametrize(
    ("says", "age", "state", "words"),
    [
        ({"pid": NO_PROCESS}, 5.0, "stopped", "its process is gone"),
        ({"pid": NO_PROCESS, "step": 400}, 5.0, "finished", ""),
        ({}, 299.0, "running", ""),
        ({}, 7000.0, "silent", "has written nothing for 7000 s"),
        ({"host": "elsewhere"}, 299.0, "running", ""),
        ({"host": "elsewhere"}, 7000.0, "stopped", ""),
        ({"state": "stopped"}, 1.0, "stopped", ""),
        ({"state": "failed"}, 1.0, "failed", ""),
        ({"state": "finished", "step": 400}, 1.0, "finished", ""),
    ],
)
def test_states(make, says, age, state, words):
    folder = make()
    say(folder, age=age, **says)
    found = look(folder)
    assert found.state == state
    assert words in found.words
    assert (found.seconds_left is not None) is (state == "running")


@pytest.mark.parametrize(
    ("returns", "age", "state"),
    [
        (((200, 0.0, 10.0),), 200.0, "running"),
        (((200, 0.0, 10.0),), 400.0, "stopped"),
        (((200, 0.0, 150.0),), 400.0, "running"),  # It was silent for 150 s before: 400 s may be nothing.
        (((400, 0.0, 10.0),), 1.0, "finished"),
    ],
)
def test_without_a_status_the_age_of_the_records_decides(make, returns, age, state):
    assert look(make(returns=returns, age=age)).state == state


def test_before_the_first_record(make):
    folder = make(returns=(), checkpoint=False)
    say(folder, step=3, wall_time=0.1)
    found = look(folder)
    assert (found.state, found.env_step, found.last_return) == ("running", 3, None)
    (folder / "metrics.jsonl").unlink()
    assert look(folder).state == "running"


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("config.json", b"{", "cannot be read as JSON"),
        ("config.json", b"[]", "not a run description"),
        ("config.json", b'{"config": {"steps": 0}, "spec": {}, "env_by_id": 1}', "not a run description"),
        ("metrics.jsonl", b'{"env_step": 1\n{"env_step": 2}\n', "Line 1"),
        ("checkpoint/manifest.json", b"\x00", "cannot be read as JSON"),
        ("checkpoint/manifest.json", b'{"format": "mbpo-checkpoint"}', "checkpoint format"),
    ],
)
def test_a_damaged_folder_is_told_and_the_others_go_on(make, tmp_path, file, content, words):
    (make("a") / file).write_bytes(content)
    make("b", age=1000.0)
    damaged, whole = survey.survey(tmp_path, now=NOW)
    assert (damaged.state, whole.state) == ("damaged", "stopped")
    assert words in damaged.words
    assert "\n" not in damaged.words


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"state": 3}', b"\xff"])
def test_a_damaged_status_is_no_status(make, content):
    folder = make()
    (folder / "status.json").write_bytes(content)
    assert read_status(folder) == {}
    written(folder, 400.0)
    assert look(folder).state == "running"  # 200 s lay between its records.


def test_runs_are_found_at_any_depth_and_not_inside_of_each_other(make, tmp_path):
    for name in ("b/deep/run", "a", "a/inside"):
        make(name)
    (tmp_path / "c" / "checkpoint").mkdir(parents=True)
    assert [str(folder.relative_to(tmp_path)) for folder in run_folders(tmp_path)] == ["a", "b/deep/run"]
    assert list(run_folders(tmp_path / "a")) == [tmp_path / "a"]
    with pytest.raises(MBPOError, match="no folder"):
        survey.survey(tmp_path / "nowhere")


# --- what a run says --------------------------------------------------------------------------


def test_a_heart_beats_every_few_seconds_and_says_how_it_ended(tmp_path, monkeypatch):
    run, clock = Counters(), [100.0]
    monkeypatch.setattr(status.time, "monotonic", lambda: clock[0])
    seen = []
    with Heartbeat(tmp_path, 3, run) as heart:
        assert read_status(tmp_path)["state"] == "running"
        step = heart.after(lambda run: seen.append(run.env_step))
        for run.env_step in (1, 2):
            step(run)
        assert read_status(tmp_path)["env_step"] == 0  # Not yet due.
        clock[0] += 11.0
        step(run)
        assert read_status(tmp_path)["env_step"] == 2
        run.env_step, run.wall_time = 3, 1.5
    assert seen == [1, 2, 2]
    found = read_status(tmp_path)
    assert (found["state"], found["env_step"], found["until"], found["wall_time"]) == ("finished", 3, 3, 1.5)
    assert lives(found)


@pytest.mark.parametrize(
    ("error", "state", "words"),
    [(Interrupted("SIGTERM"), "stopped", "SIGTERM"), (MBPOError("no space"), "failed", "no space"),
     (ZeroDivisionError("x"), "failed", "ZeroDivisionError")],
)  # fmt: skip
def test_how_a_run_ended(tmp_path, error, state, words):
    with pytest.raises(type(error)), Heartbeat(tmp_path, 3, Counters()):
        raise error
    assert (read_status(tmp_path)["state"], read_status(tmp_path)["words"]) == (state, words)


def test_a_status_that_cannot_be_written_stops_nothing(tmp_path):
    with Heartbeat(tmp_path / "gone", 3, Counters()) as heart:
        heart.after(None)(Counters())
    with Heartbeat(None, 3, Counters()):
        pass


def test_a_process_elsewhere_or_gone():
    here = {"host": socket.gethostname(), "pid": os.getpid()}
    assert lives(here) is True
    assert lives(here | {"pid": NO_PROCESS}) is False
    assert lives(here | {"host": "elsewhere"}) is None
    assert lives({}) is None


def test_a_real_run_before_within_and_after(tmp_path):
    states = []
    with_status = MBPO(SHORT, out=tmp_path / "run", steps=60, **RUN_SETTINGS)
    with_status.learn(60, callback=lambda _: states.append(standing(tmp_path / "run", now=time.time()).state))
    with_status.close()
    assert set(states) == {"running"}
    found = standing(tmp_path / "run", now=time.time())
    assert (found.state, found.env_step, found.until) == ("finished", 60, 60)
    assert found.last_return == with_status.records[-1]["eval_return_mean"]


# --- odd values -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "odd",
    [
        {"wall_time": float("inf")},
        {"wall_time": -1e5},
        {"until": 0},
        {"step": -5},
        {"wall_time": float("nan")},
        {"pid": -1},
    ],
)
def test_a_status_of_odd_values_is_none(make, odd):
    folder = make(age=1.0)
    say(folder, **odd, age=1.0)
    assert read_status(folder) == {}
    found = look(folder)
    assert (found.state, found.until, found.seconds) == ("running", 400, 210.0)


@pytest.mark.parametrize(
    "line",
    [
        '{"env_step": 9, "wall_time": 1e999}',
        '{"env_step": 9, "eval_return_mean": "much"}',
        '{"env_step": 9, "wall_time": 1e300}',
        '{"env_step": -9}',
    ],
)
def test_one_odd_run_leaves_the_others_as_they_are(make, tmp_path, line):
    make("well")
    odd = make("odd")
    (odd / "metrics.jsonl").write_text(line + "\n")
    runs = {run.folder.name: run for run in survey.survey(tmp_path, now=NOW)}
    assert (runs["odd"].state, runs["well"].state) == ("damaged", "running")
    assert "metrics.jsonl" in runs["odd"].words
    text = "\n".join(table(list(runs.values()), tmp_path, NOW))
    assert "odd damaged: " in text


def test_a_time_left_that_no_clock_shows(make, tmp_path):
    make(returns=((100, -5.0, 0.0), (101, -3.0, 1e9)))
    folder = tmp_path / "run"
    say(folder, step=101, until=2**60, wall_time=1e9)
    assert look(folder).seconds_left is None
    table([look(folder)], tmp_path, NOW)
