"""A reward from outside replaces the learned one, and is looked at before it is used."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mbpo.errors import ConfigError
from mbpo.model.reward import check_reward_fn, with_reward
from mbpo.types import ModelOutput, Spec

SPEC = Spec(obs_dim=2, action_low=np.array([-1.0], np.float32), action_high=np.array([1.0], np.float32))


def test_a_good_reward_function_passes_without_being_computed():
    check_reward_fn(lambda obs, action, next_obs: -(next_obs**2).sum(axis=-1), SPEC)


@pytest.mark.parametrize(
    ("reward_fn", "message"),
    [
        (lambda obs, action, next_obs: next_obs, r"gives shape \(4, 2\) and type float32 for 4 rows"),
        (lambda obs, action, next_obs: obs[:, 0] > 0, r"type bool"),
        (lambda obs, action, next_obs: 1.0, r"gives shape \(\) "),
        (lambda obs, action: obs[:, 0], r"fails on a batch \(TypeError"),
        (lambda obs, action, next_obs: float(obs[0, 0]), r"fails on a batch"),
        (lambda obs, action, next_obs: obs @ action, r"fails on a batch"),
    ],
)
def test_a_bad_reward_function_is_told(reward_fn, message):
    with pytest.raises(ConfigError, match=message):
        check_reward_fn(reward_fn, SPEC)


def test_one_written_for_a_single_observation_is_told_where_there_are_three_numbers():
    pendulum = Spec(obs_dim=3, action_low=SPEC.action_low, action_high=SPEC.action_high)
    with pytest.raises(ConfigError, match=r"gives shape \(3,\)"):
        check_reward_fn(lambda obs, action, next_obs: -(next_obs[0] ** 2), pendulum)


def test_only_the_reward_is_another():
    def world(obs, action, key):
        return ModelOutput(obs + action, jnp.full(len(obs), 7.0), obs[:, 0] > 1, jnp.full(len(obs), 0.5))

    obs, action = jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([[0.5], [0.25]])
    out = with_reward(world, lambda o, a, n: o[:, 0] + 10 * a[:, 0] + 100 * n[:, 1])(obs, action, jax.random.key(0))
    np.testing.assert_allclose(out.reward, [1 + 5 + 250, 3 + 2.5 + 425])
    np.testing.assert_array_equal(out.next_obs, obs + action)
    assert out.terminated.tolist() == [False, True]
    assert out.uncertainty.tolist() == [0.5, 0.5]
