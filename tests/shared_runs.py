"""Fixtures for all tests that train: what compiles is compiled once.

Imported by the `conftest.py` of each folder that needs them.
"""

import os
from typing import Any

import pytest
from tiny_tasks import RUN_SETTINGS, SHORT

from mbpo.training.algorithms import MBPO

_AGENTS: dict[Any, Any] = {}


@pytest.fixture(scope="session", autouse=True)
def compiled_code(tmp_path_factory):
    """Compiled code goes to a folder of this test session, not to the user's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", os.fspath(tmp_path_factory.getbasetemp() / "cache"))
        yield


@pytest.fixture(scope="session", autouse=True)
def shared_agents():
    """Runs with equal settings share one agent, and so what was compiled for it.

    An agent is settings only; all that is learned lives in the state. What a fresh process does
    is tested from the command line.
    """
    make = MBPO._make_agent

    def cached(self):
        key = (repr(self.config.mbpo), self.config.seed, self.spec, self._termination_fn, self._reward_fn)
        if key not in _AGENTS:
            _AGENTS[key] = make(self)
        return _AGENTS[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MBPO, "_make_agent", cached)
        yield


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory, compiled_code, shared_agents):
    """The folder of a finished run of MBPO, 80 steps long; not to be written to."""
    folder = tmp_path_factory.mktemp("tiny") / "run"
    MBPO(SHORT, out=folder, **RUN_SETTINGS).learn(80).close()
    return folder
