"""Agents of equal settings share what is compiled; agents that differ in anything compiled parts read do not."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from oracles import PointMass

from mbpo.agents.config import MBPOConfig, ModelConfig, SACConfig
from mbpo.agents.mbpo import MBPOAgent
from mbpo.agents.sac_agent import SACAgent, SACAgentConfig
from mbpo.types import Spec

CONFIG = MBPOConfig(
    replay_capacity=6000, sac=SACConfig(hidden_sizes=(8,)), model=ModelConfig(hidden_sizes=(8,), ensemble_size=5)
)


def make(config=CONFIG, rule=PointMass.terminated, reward=None, spec=PointMass.spec, key=0):
    return MBPOAgent(spec, config, rule, jax.random.key(key), reward)


def test_what_was_compiled_for_one_serves_the_other():
    transition, before = PointMass.transition(1.0, [0.0]), MBPOAgent._store._cache_size()
    for key in range(3):  # Only the tables of its data differ, and these are handed to compiled parts.
        agent = make(key=key)
        agent._store(agent.init(jax.random.key(key)), transition)
    assert MBPOAgent._store._cache_size() == before + 1


def reward(obs, action, next_obs):
    return -(next_obs[..., 0] ** 2)


@pytest.mark.parametrize(
    "other",
    [
        {"config": replace(CONFIG, utd_ratio=3)},
        {"config": replace(CONFIG, sac=replace(CONFIG.sac, gamma=0.5))},
        {"rule": None},
        {"rule": lambda obs, action, next_obs: next_obs[..., 0] > 2},
        {"reward": reward},
        {"spec": Spec(1, np.float32([-1.0]), np.float32([2.0]))},
    ],
)
def test_any_difference_that_is_compiled_in_tells_agents_apart(other):
    assert make() == make() and hash(make()) == hash(make())
    assert make() != make(**other)


def test_kinds_are_told_apart():
    assert SACAgent(PointMass.spec, SACAgentConfig()) != make()
    assert SACAgent(PointMass.spec, SACAgentConfig()) == SACAgent(PointMass.spec, SACAgentConfig())
