"""SAC as an algorithm: MBPO's learner without the model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import PointMass

from mbpo.agents.config import MBPOConfig, ModelConfig, SACConfig
from mbpo.agents.mbpo import MBPOAgent
from mbpo.agents.sac_agent import SACAgent, SACAgentConfig
from mbpo.errors import ConfigError

SAC = SACConfig(hidden_sizes=(8,), batch_size=8)
COMMON = {"random_steps": 12, "random_action_hold": 3, "replay_capacity": 200, "utd_ratio": 2, "sac": SAC}


def drive(agent, steps: int):
    """The training loop in short; the state, the actions and every step's metrics."""
    state, x, actions, log = agent.init(jax.random.key(0)), 1.0, [], []
    for env_step in range(steps):
        model_key, act_key, improve_key = jax.random.split(jax.random.fold_in(jax.random.key(1), env_step), 3)
        state, _ = agent.learn_model(state, env_step, model_key)
        action, state = agent.act(state, np.array([x], np.float32), env_step, act_key)
        transition = PointMass.transition(x, action)
        state, metrics = agent.improve(state, transition, env_step, improve_key)
        actions.append(float(action[0]))
        log.append(metrics)
        over = transition.terminated or (env_step + 1) % PointMass.steps == 0
        x = 1.0 if over else float(transition.next_obs[0])
    return state, actions, log


@pytest.fixture(scope="module")
def driven():
    return drive(SACAgent(PointMass.spec, SACAgentConfig(**COMMON)), 40)


def test_mbpo_without_imagination_is_sac_update_for_update(driven):
    small = ModelConfig(ensemble_size=2, num_elites=1, hidden_sizes=(4,), max_epochs=1, min_epoch_batches=1)
    # It fits a model and imagines, and all its batches are real: nothing of that may be felt.
    settings = {"model_train_freq": 10, "epoch_length": 10, "rollout_batch_size": 4, "real_ratio": 1.0, "model": small}
    mbpo = MBPOAgent(PointMass.spec, MBPOConfig(**COMMON, **settings), PointMass.terminated, jax.random.key(9))
    state, actions, log = drive(mbpo, 40)
    sac_state, sac_actions, sac_log = driven
    assert actions == sac_actions
    jax.tree.map(np.testing.assert_array_equal, state.sac, sac_state.sac)
    jax.tree.map(np.testing.assert_array_equal, log, sac_log)
    jax.tree.map(np.testing.assert_array_equal, state.real, sac_state.real)
    assert int(state.imagined.size) > 0, "rollouts must have been there to be ignored"


def test_updates_begin_after_the_random_steps(driven):
    _, actions, log = driven
    assert [bool(metrics) for metrics in log] == [False] * 12 + [True] * 28
    assert set(log[12]) == {"critic_loss", "actor_loss", "alpha", "entropy", "q_mean"}
    assert [actions[i] for i in range(12)] == [actions[3 * (i // 3)] for i in range(12)]
    assert len(set(actions[12:])) == 28


def test_it_remembers_nothing_within_an_episode(driven):
    agent = SACAgent(PointMass.spec, SACAgentConfig(**COMMON))
    obs = jnp.array([[0.1], [0.7]])
    actions, memory = agent.predict(driven[0], obs, agent.memory(2))
    assert memory == ()
    assert actions.shape == (2, 1)
    assert agent.sample(driven[0], obs, jax.random.key(3)).shape == (2, 1)


def test_a_buffer_too_small_for_the_start_is_refused():
    with pytest.raises(ConfigError, match="random_steps"):
        SACAgentConfig(random_steps=100, replay_capacity=99)
