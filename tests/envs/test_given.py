"""Functions named on the command line are found, or the name is what the error is about."""

import sys

import pytest
from tiny_tasks import one_paragraph

from mbpo.envs.given import import_function, resolve_reward
from mbpo.errors import ConfigError


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "my_rewards.py").write_text("def upright(obs, action, next_obs):\n    return obs[:, 0]\n\nNUMBER = 3\n")
    (tmp_path / "my_broken.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("my_rewards", None)


def complaint(choice: str) -> str:
    with pytest.raises(ConfigError) as caught:
        resolve_reward(choice)
    return one_paragraph(str(caught.value))


def test_learned_is_none_and_a_function_is_itself():
    def mine(obs, action, next_obs):
        return obs[:, 0]

    assert resolve_reward("learned") is None
    assert resolve_reward(mine) is mine


def test_a_function_by_name(module):
    function = resolve_reward("my_rewards:upright")
    assert function is sys.modules["my_rewards"].upright
    assert import_function("my_rewards:upright", "reward", "", ()) is function


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ("lerned", ["'lerned'", "Did you mean 'learned'", "module:function"]),
        ("my_rewards", ["module:function"]),
        ("my_rewards:", ["module:function"]),
        ("no_such_module:f", ["no_such_module", "ModuleNotFoundError", "PYTHONPATH"]),
        ("my_broken:f", ["my_broken", "ZeroDivisionError"]),
        ("my_rewards:uprite", ["uprite", "Did you mean 'upright'"]),
        ("my_rewards:NUMBER", ["int", "(obs, action, next_obs) -> reward"]),
        ("given", ["load(..., reward_fn=...)"]),
    ],
)
def test_what_cannot_be_found_is_said(module, choice, words):
    message = complaint(choice)
    for word in words:
        assert word in message
