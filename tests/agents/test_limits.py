"""Limits on learning: off they change nothing, on they hold."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mbpo.agents.config import ModelConfig, SACConfig
from mbpo.agents.limits import adam, bound_target, clip_each
from mbpo.agents.sac import SACParams, init_sac, sac_updates
from mbpo.errors import ConfigError
from mbpo.types import Spec, Transition

SPEC = Spec(3, np.float32([-2, -2]), np.float32([2, 2]))
SMALL = {"hidden_sizes": (8, 8), "batch_size": 4}


def batches(reward: float) -> Transition:
    keys = jax.random.split(jax.random.key(0), 3)
    obs, following = (jax.random.normal(key, (6, 4, 3)) for key in keys[:2])
    actions = jax.random.uniform(keys[2], (6, 4, 2))
    return Transition(obs, actions, jnp.full((6, 4), reward), following, jnp.zeros((6, 4), bool))


def trained(reward: float, **settings):
    config = SACConfig(**SMALL, **settings)
    state = init_sac(SPEC, config, jax.random.key(1))
    return sac_updates(state, batches(reward), jax.random.key(2), spec=SPEC, config=config)


def test_each_part_has_its_own_norm():
    grads = SACParams(jnp.array([3.0, 4.0]), jnp.array([0.3, 0.4]), jnp.float32(-7.0))
    clipped = clip_each(grads, 1.0)
    np.testing.assert_allclose(clipped.actor, [0.6, 0.8], rtol=1e-6)
    np.testing.assert_allclose(clipped.critics, [0.3, 0.4])
    np.testing.assert_allclose(clipped.log_alpha, -1.0)
    assert clip_each(grads, None) is grads


def test_adam_takes_the_clipped_gradient():
    params, grads = jnp.zeros(2), jnp.array([30.0, 40.0])
    clipping, plain = adam(0.1, 5.0), adam(0.1, None)
    found = clipping.update(grads, clipping.init(params))[0], plain.update(grads / 10, plain.init(params))[0]
    np.testing.assert_allclose(*found, rtol=1e-6)
    state = clipping.update(grads, clipping.init(params))[1]
    np.testing.assert_allclose(optax.tree_utils.tree_get(state, "mu"), [0.3, 0.4], rtol=1e-6)


def test_a_limit_that_is_never_met_changes_no_number():
    (free, metrics), (limited, same) = trained(1.0), trained(1.0, max_grad_norm=1e6, reward_range=(-1e6, 1e6))
    for one, other in zip(jax.tree.leaves(free.params), jax.tree.leaves(limited.params), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)
    assert {name: round(float(value), 4) for name, value in metrics.items()} == {
        name: round(float(value), 4) for name, value in same.items()
    }


def test_gradients_of_enormous_rewards_are_clipped():
    (free, _), (limited, _) = trained(1e6), trained(1e6, max_grad_norm=1.0)

    def moment(state) -> float:
        critics = optax.tree_utils.tree_get(state.optimizer_state, "mu").critics
        return math.sqrt(sum(float((leaf**2).sum()) for leaf in jax.tree.leaves(critics)))

    assert moment(free) > 1e3
    assert moment(limited) <= 1.0


@pytest.mark.parametrize(
    ("low", "high", "lowest", "highest"),
    [(-2.0, 3.0, -20.0, 30.0), (1.0, 3.0, 1.0, 30.0), (-3.0, -1.0, -30.0, -1.0), (0.0, 0.0, 0.0, 0.0)],
)
def test_targets_are_held_within_what_rewards_allow(low, high, lowest, highest):
    config = SACConfig(gamma=0.9, reward_range=(low, high))
    target = jnp.array([-1e9, 0.5, 1e9])
    alpha = jnp.float32(-jnp.inf)  # No entropy counts.
    np.testing.assert_allclose(
        bound_target(target, alpha, SPEC, config), [lowest, np.clip(0.5, lowest, highest), highest], rtol=1e-5
    )


def test_entropy_widens_the_bounds():
    config = SACConfig(gamma=0.9, reward_range=(0.0, 1.0), target_entropy=-3.0)
    found = bound_target(jnp.array([-1e9, 1e9]), jnp.log(jnp.float32(0.5)), SPEC, config)
    # α γ / (1 − γ) = 4.5; entropy lies between the target's −3 and that of a uniform action, 2 log 2.
    np.testing.assert_allclose(found, [4.5 * -3, 10 + 4.5 * 2 * math.log(2)], rtol=1e-5)


def test_no_range_no_bound():
    target = jnp.array([1e9])
    assert bound_target(target, jnp.float32(0), SPEC, SACConfig()) is target


@pytest.mark.parametrize("settings", [{"reward_range": (1.0, 0.0)}, {"reward_range": (0.0, 1.0), "gamma": 1.0}])
def test_ranges_that_bound_nothing(settings):
    with pytest.raises(ConfigError, match="reward_range"):
        SACConfig(**settings)


def test_norms_are_positive():
    for config in (SACConfig, ModelConfig):
        with pytest.raises(ConfigError, match="max_grad_norm"):
            config(max_grad_norm=0.0)
