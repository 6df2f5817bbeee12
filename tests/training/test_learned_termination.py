"""Where no rule is known, ends are learned by default and said to be; a rule that is wrong is reported."""

import contextlib
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from tiny_tasks import RUN_SETTINGS, same_weights, without_time

from mbpo import MBPO, PETS
from mbpo.cli.main import main

SETTINGS = {name: value for name, value in RUN_SETTINGS.items() if name != "termination"}
PETS_SETTINGS = {
    "random_steps": 60,
    "model_train_freq": 20,
    "replay_capacity": 300,
    "horizon": 4,
    "population": 6,
    "num_elites": 2,
    "iterations": 2,
    "num_particles": 2,
    "model": SETTINGS["model"],
}


class Drift(gymnasium.Env):
    """A number that is pushed about; beyond ±0.8 it is over. No rule for it is known."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.clock = 0.0, 0
        return np.float32([self.x]), {}

    def step(self, action):
        self.x += 0.5 * float(action[0]) + 0.05 * self.np_random.normal()
        self.clock += 1
        return np.float32([self.x]), self.x, abs(self.x) > 0.8, self.clock >= 30, {}


def over(obs, action, next_obs):
    return abs(next_obs[..., 0]) > 0.8


@pytest.fixture
def keep():
    with contextlib.ExitStack() as stack:
        yield lambda agent: stack.enter_context(contextlib.closing(agent))


def test_imagined_episodes_end_where_real_ones_do(keep):
    branches = {"rollout_batch_size": 256, "rollout_length": {"start": 5, "end": 5, "start_epoch": 0, "end_epoch": 0}}
    agent = keep(MBPO(Drift, seed=0, **{**SETTINGS, **branches, "random_steps": 200})).learn(231)
    assert agent.learns_termination
    state = agent._run.state
    rows, size = state.imagined.data, int(state.imagined.size)
    x, ended = abs(np.asarray(rows.next_obs)[:size, 0]), np.asarray(rows.terminated)[:size]
    assert 0 < ended.mean() < 0.5
    assert ended[x > 1.0].mean() > 0.7
    assert ended[x < 0.5].mean() < 0.05
    names = {name for name in agent.records[-1] if name.startswith("termination")}
    assert names == {f"termination_{what}" for what in ("brier", "missed", "false", "rate")}


@pytest.mark.parametrize(("kind", "settings"), [(MBPO, SETTINGS), (PETS, PETS_SETTINGS)])
def test_resume_equals_uninterrupted(keep, tmp_path, kind, settings):
    make = {"seed": 1, "eval_freq": 25, "eval_episodes": 1, **settings}
    whole = keep(kind(Drift, out=tmp_path / "whole", **make)).learn(90)
    keep(kind(Drift, out=tmp_path / "cut", **make)).learn(71)
    again = keep(kind.load(tmp_path / "cut", env=Drift, resume=True)).learn(19)
    assert same_weights(again._run.state, whole._run.state)
    assert any(np.asarray(leaf).any() for leaf in whole._run.state.termination.network.weights)
    one, other = ([r for r in without_time(run.records) if r["env_step"] != 71] for run in (again, whole))
    assert one == other


def test_a_rule_that_fits_is_not_reported_and_one_that_does_not_is(keep):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        agent = keep(MBPO(Drift, seed=0, termination_fn=over, **SETTINGS)).learn(60)
    assert not agent.learns_termination
    assert agent.records[-1]["termination_mismatch"] == 0
    wrong = keep(MBPO(Drift, seed=0, termination="never", **SETTINGS))
    with pytest.warns(UserWarning, match="disagrees with the environment") as caught:
        wrong.learn(90)
    assert len(caught) == 1  # Once a run.
    assert "learned" in str(caught[0].message)


def test_the_command_line_says_so(capsys, tmp_path, monkeypatch):
    gymnasium.register("Drift-v0", Drift)
    try:
        settings = ["--random-steps", "20", "--sac.hidden-sizes", "8", "--model.hidden-sizes", "8"]
        out = ["--out", str(tmp_path / "run"), "--steps", "5", "--eval-episodes", "1", "--final-episodes", "0"]
        assert main(["train", "Drift-v0", *settings, *out]) == 0
    finally:
        gymnasium.registry.pop("Drift-v0")
    assert "when episodes end is learned from data" in capsys.readouterr().out
