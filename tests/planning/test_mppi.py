"""MPPI: its weights by hand, a known optimum, the box, and Pendulum."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import pendulum_step

from mbpo.planning.mppi import mppi, return_weights
from mbpo.planning.objective import sequence_returns

LOW, HIGH = jnp.array([-1.0, -2.0]), jnp.array([3.0, 2.0])
MIDDLE = jnp.broadcast_to(0.5 * (LOW + HIGH), (4, 2))
TARGET = jnp.array([[0.3, -1.0], [2.5, 0.4], [-0.5, 1.5], [1.0, 0.0]])
SETTINGS = {"low": LOW, "high": HIGH, "iterations": 20, "population": 300, "temperature": 0.1, "noise_std": 0.3}
KEY = jax.random.key(3)


def quadratic(actions, key):
    return -jnp.sum((actions - TARGET) ** 2, axis=(1, 2))


def test_weights_by_hand():
    # exp(0), exp(-1), exp(-2) at a temperature of 2.
    expected = np.exp([0.0, -1.0, -2.0]) / np.exp([0.0, -1.0, -2.0]).sum()
    np.testing.assert_allclose(return_weights(jnp.array([-4.0, -6.0, -8.0]), 2.0), expected, rtol=1e-6)
    np.testing.assert_allclose(return_weights(jnp.array([1e9, -jnp.inf]), 1.0), [1.0, 0.0])
    np.testing.assert_allclose(return_weights(jnp.full(4, -jnp.inf), 1.0), np.full(4, 0.25))


def test_a_plan_is_the_weighted_mean_of_what_was_sampled():
    seen = []

    def spy(actions, key):
        jax.debug.callback(lambda a: seen.append(np.asarray(a)), actions)
        return quadratic(actions, key)

    once = {**SETTINGS, "iterations": 1, "temperature": 3.0, "noise_std": 2.0}
    plan = mppi(spy, MIDDLE, KEY, **once)
    jax.effects_barrier()
    [actions] = seen
    assert (actions >= np.asarray(LOW)).all() and (actions <= np.asarray(HIGH)).all()
    weights = return_weights(quadratic(jnp.asarray(actions), KEY), 3.0)
    np.testing.assert_allclose(plan, (np.asarray(weights)[:, None, None] * actions).sum(axis=0), rtol=1e-4, atol=1e-5)


def test_the_mean_itself_is_considered():
    # All else is worthless, so the plan cannot move.
    def only_the_mean(actions, key):
        return jnp.where((actions == MIDDLE + 0.25).all(axis=(1, 2)), 0.0, -jnp.inf)

    plan = mppi(only_the_mean, MIDDLE + 0.25, KEY, **SETTINGS)
    np.testing.assert_allclose(plan, MIDDLE + 0.25)


def test_fresh_sequences_leave_the_valley_of_the_warm_start():
    start = jnp.broadcast_to(HIGH, (4, 2))

    def two_valleys(actions, key):
        # The better one is at the other end of the box; in between there is nothing to follow.
        near, far = (jnp.sum((actions - end) ** 2, axis=(1, 2)) for end in (HIGH, 0.5 * LOW))
        return jnp.maximum(-near, 10.0 - far)

    search = partial(mppi, two_valleys, start, KEY, **{**SETTINGS, "noise_std": 0.1})
    np.testing.assert_allclose(search(), start, atol=0.3)
    np.testing.assert_allclose(search(fresh_share=0.5), np.broadcast_to(0.5 * LOW, (4, 2)), atol=0.3)


@pytest.mark.parametrize("noise_beta", [0.0, 2.0])
def test_the_optimum_of_a_quadratic_is_found(noise_beta):
    plan = jax.jit(partial(mppi, quadratic, **SETTINGS, noise_beta=noise_beta))(MIDDLE, KEY)
    np.testing.assert_allclose(plan, TARGET, atol=0.4)


def test_a_plan_stays_in_the_box_and_two_runs_are_equal():
    def outside(actions, key):
        return 100 * jnp.sum(actions, axis=(1, 2))

    search = jax.jit(partial(mppi, outside, **SETTINGS))
    first, second = (search(MIDDLE, KEY) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert (first <= HIGH).all()
    np.testing.assert_allclose(first, np.broadcast_to(HIGH, (4, 2)), atol=0.3)


def test_a_hanging_pendulum_is_swung_up():
    search = partial(mppi, iterations=4, population=100, temperature=1.0, low=jnp.array([-2.0]), high=jnp.array([2.0]))

    def decide(carry, key):
        obs, plan = carry
        plan = search(lambda a, k: sequence_returns(pendulum_step, obs, a, k, num_particles=1), plan, key)
        out = pendulum_step(obs[None], plan[:1], key)
        return (out.next_obs[0], jnp.concatenate([plan[1:], jnp.zeros((1, 1))])), out.reward[0]

    start = (jnp.array([-1.0, 0.0, 0.0]), jnp.zeros((25, 1)))
    rewards = np.asarray(jax.lax.scan(decide, start, jax.random.split(KEY, 120))[1])
    assert rewards[0] < -9
    assert rewards[-20:].min() > -0.1
