"""Gates as an agent has them: what is measured at a refit, how many branches, how much is kept."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import PointMass, linear_mlp

from mbpo.agents.config import (
    BoundConfig,
    InfopropConfig,
    MacuraConfig,
    MBPOConfig,
    ModelConfig,
    RolloutLengthConfig,
    SACConfig,
)
from mbpo.agents.gating import Behaviour, init_gate_state, policy_shift, uniform_behaviour
from mbpo.agents.mbpo import MBPOAgent
from mbpo.data.replay import insert, make_replay
from mbpo.errors import ConfigError
from mbpo.model.total_variation import univariate_total_variation

SPEC = PointMass.spec


def actor_of(mean: float, log_std: float):
    """An actor that does the same everywhere."""
    return linear_mlp(np.zeros((1, 2)), [mean, log_std])


def collected_by(*policies: tuple[float, float]):
    """A buffer with one row by each of these policies, and what was noted of them."""
    config = MBPOConfig(random_steps=10, replay_capacity=10)
    real, behaviour = make_replay(10, 1, 1), init_gate_state(SPEC, config, 1).behaviour
    for mean, log_std in policies:
        real = insert(real, PointMass.transition(0.5, np.zeros(1, np.float32)))
        behaviour = insert(behaviour, Behaviour(jnp.array([mean]), jnp.array([log_std])))
    return real, behaviour


def test_the_policy_shift_is_averaged_over_the_policies_that_collected_the_data():
    same, other = (0.3, -0.5), (0.3 + 2 * float(np.exp(-0.5)), -0.5)  # 2Φ(1) − 1 = 0.6827 apart.
    actor = actor_of(*same)
    assert float(policy_shift(actor, *collected_by(same, same))) == pytest.approx(0, abs=1e-6)
    assert float(policy_shift(actor, *collected_by(other, other))) == pytest.approx(0.68269, abs=1e-4)
    # Ten slots evenly over four rows: 3, 2, 3 and 2 times.
    shift = float(policy_shift(actor, *collected_by(same, other, same, same)))
    assert shift == pytest.approx(0.68269 * 0.2, abs=1e-4)


def test_a_fresh_actor_is_near_the_random_actions():
    uniform = uniform_behaviour(SPEC)
    # Against the density itself, ½ sech²(u), on a grid.
    u = np.linspace(-10, 10, 20_001)
    std = float(np.exp(uniform.log_std[0]))
    gaussian = np.exp(-0.5 * (u / std) ** 2) / (std * np.sqrt(2 * np.pi))
    assert 0.5 * abs(0.5 / np.cosh(u) ** 2 - gaussian).sum() * 1e-3 < 0.034
    zero = jnp.zeros(1)
    assert float(univariate_total_variation(zero, zero, uniform.mean, uniform.log_std)[0]) < 0.12


@given(st.sampled_from(["macura", "infoprop", "bound", "schedule"]), st.integers(1, 30), st.integers(1, 12))
def test_the_imagined_buffer_holds_the_longest_rollouts(gate, longest, scheduled):
    config = MBPOConfig(
        random_steps=10,
        replay_capacity=20,
        rollout=gate,
        rollout_batch_size=6,
        model_train_freq=5,
        epoch_length=10,
        rollout_length=RolloutLengthConfig(start_epoch=0, end_epoch=9, start=1, end=scheduled),
        macura=MacuraConfig(max_length=longest),
        infoprop=InfopropConfig(max_length=longest),
        bound=BoundConfig(max_length=longest),
    )
    assert config.max_rollout_length == (scheduled if gate == "schedule" else longest)
    assert config.num_branches == (max(6 * scheduled // longest, 1) if gate == "infoprop" else 6)
    agent = MBPOAgent(SPEC, config, PointMass.terminated, jax.random.key(0))
    assert agent.retained_rounds == 2
    capacity = jax.eval_shape(agent.init, jax.random.key(0)).imagined.data.reward.shape[0]
    assert capacity == 2 * config.num_branches * config.max_rollout_length


@pytest.mark.parametrize("gate", ["bound", "macura", "infoprop"])
def test_a_learned_reward_that_is_not_used_is_not_judged(gate):
    config = MBPOConfig(
        random_steps=10, replay_capacity=40, epoch_length=10, model_train_freq=10, rollout_batch_size=4, rollout=gate,
        model=ModelConfig(hidden_sizes=(8,), max_epochs=2, batch_size=8),
        sac=SACConfig(hidden_sizes=(8,)),
        infoprop=InfopropConfig(branches=4, max_length=3), macura=MacuraConfig(max_length=3),
    )  # fmt: skip
    found = []
    for reward_fn in (None, lambda obs, action, next_obs: 0.0 * obs[:, 0]):
        agent = MBPOAgent(SPEC, config, PointMass.terminated, jax.random.key(0), reward_fn)
        state = agent.init(jax.random.key(1))
        rng = np.random.default_rng(0)
        for step in range(20):
            # What is paid is noise: a reward that cannot be learned.
            row = PointMass.transition(rng.uniform(), rng.uniform(-1, 1, 1).astype(np.float32))
            row = row._replace(reward=np.float32(100 * rng.standard_normal()))
            state, _ = agent.improve(state, row, step if step < 10 else 9, jax.random.key(step))
            if step in (9, 19):
                state, metrics = agent.learn_model(state, step + 1, jax.random.key(100 + step))
        found.append(metrics)
    assert float(found[1]["on_policy_error"]) < float(found[0]["on_policy_error"])


def test_infoprops_branches_can_be_set_and_default_to_the_published_rows():
    assert MBPOConfig(rollout="infoprop").num_branches == 1000  # 100 steps of each: 100k rows.
    assert MBPOConfig(rollout="infoprop", infoprop=InfopropConfig(branches=7)).num_branches == 7


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rollout": "horizon"}, "schedule"),
        ({"rollout": "bound", "sac": SACConfig(gamma=1.0)}, "sac.gamma"),
        ({"rollout": "bound", "sac": SACConfig(gamma=0.0)}, "sac.gamma"),
        ({"rollout": "macura", "model": ModelConfig(num_elites=1)}, "at least 2 are needed"),
        ({"rollout": "infoprop", "model": ModelConfig(ensemble_size=1, num_elites=1)}, "at least 2 are needed"),
    ],
)
def test_impossible_choices_are_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        MBPOConfig(**settings)


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (MacuraConfig, "quantile", 1.5),
        (MacuraConfig, "scale", 0.0),
        (MacuraConfig, "max_length", 0),
        (InfopropConfig, "step_quantile", -0.1),
        (InfopropConfig, "branches", 0),
        (BoundConfig, "resolution", 0.0),
        (BoundConfig, "max_length", 2.5),
    ],
)
def test_impossible_values_are_refused(kind, name, value):
    with pytest.raises(ConfigError, match=name):
        kind(**{name: value})
