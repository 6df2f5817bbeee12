"""A wall-clock budget: the run stops saved, and what goes on is bit for bit the run that never stopped."""

import itertools
import time

import pytest
from tiny_tasks import RUN_SETTINGS, SHORT, final_file, read_lines, without_time

from mbpo.training import algorithm, loop
from mbpo.training.algorithms import MBPO

STEPS = 80


@pytest.fixture
def ticking(monkeypatch):
    """A clock that moves on by one second whenever it is read."""

    class Clock:
        def __init__(self) -> None:
            self.ticks = itertools.count(1000)

        def monotonic(self) -> float:
            return float(next(self.ticks))

        time = staticmethod(time.time)

    clock = Clock()
    for module in (loop, algorithm):
        monkeypatch.setattr(module, "time", clock)


def test_legs_of_a_run_are_the_run(tmp_path, ticking):
    whole = MBPO(SHORT, out=tmp_path / "whole", **RUN_SETTINGS)
    whole.learn(STEPS).close()
    legs, agent = [], MBPO(SHORT, out=tmp_path / "run", **RUN_SETTINGS)
    while not legs or legs[-1] < STEPS:
        agent.learn(STEPS - agent.env_step, max_seconds=70)
        agent.close()
        legs.append(agent.env_step)
        if legs[-1] < STEPS:
            agent = MBPO.load(tmp_path / "run", resume=True)
        assert len(legs) < STEPS
    assert len(legs) > 1
    assert any(step % 20 for step in legs[:-1])  # Also in the middle of an episode.
    assert without_time(read_lines(tmp_path / "run")) == without_time(read_lines(tmp_path / "whole"))
    assert final_file(tmp_path / "run") == final_file(tmp_path / "whole")


def test_time_that_is_up_already_gives_one_step(tmp_path):
    agent = MBPO(SHORT, out=tmp_path / "run", **RUN_SETTINGS)
    assert agent.learn(STEPS, max_seconds=-5.0).env_step == 1
    agent.close()
    assert MBPO.load(tmp_path / "run").env_step == 1


def test_without_a_folder_it_goes_on_in_memory():
    agent = MBPO(SHORT, **RUN_SETTINGS)
    assert agent.learn(STEPS, max_seconds=0.0).env_step == 1
    assert agent.learn(STEPS - 1).env_step == STEPS
    agent.close()
