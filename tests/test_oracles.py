"""The oracles themselves: an answer key with a mistake in it would pass wrong code."""

import gymnasium
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from oracles import EPISODE_STEPS, LINEAR_GAUSSIAN, PointMass, countdown_step, pendulum_optimum, pendulum_step

from mbpo.nn.normalizer import identity_normalizer


def test_shapes_are_checked_while_testing():
    with pytest.raises(jaxtyping.TypeCheckError):
        identity_normalizer(3).normalize("not an array")


def test_pendulum_step_is_gymnasiums():
    env = gymnasium.make("Pendulum-v1").unwrapped
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    rows = 200
    # Torques beyond ±2 and speeds near ±8 reach both clips.
    theta, speed = rng.uniform(-np.pi, np.pi, rows), rng.uniform(-8, 8, rows)
    torque = rng.uniform(-3, 3, (rows, 1)).astype(np.float32)
    obs = np.stack([np.cos(theta), np.sin(theta), speed], axis=1).astype(np.float32)
    out = pendulum_step(jnp.asarray(obs), jnp.asarray(torque), jax.random.key(0))
    for row in range(rows):
        env.state = np.array([theta[row], speed[row]])
        next_obs, reward, terminated, _, _ = env.step(torque[row])
        np.testing.assert_allclose(out.next_obs[row], next_obs, atol=2e-5)
        np.testing.assert_allclose(out.reward[row], reward, atol=1e-4)
        assert bool(out.terminated[row]) == terminated is False
    assert gymnasium.spec("Pendulum-v1").max_episode_steps == EPISODE_STEPS


def test_pendulum_optimum_at_low_resolution():
    # Measured: −139.8 here, −138.5 at full resolution (±0.5), per-episode standard deviation 76;
    # about 31 % of starts cannot do better than −200. Doing nothing at all scores about −1200.
    returns = pendulum_optimum(grid=101, num_torques=11, resets=4000)
    assert -142.0 < returns.mean() < -137.0
    assert 70 < returns.std() < 82
    assert 0.28 < (returns < -200).mean() < 0.34
    assert returns.max() <= 0


def test_linear_gaussian_moments_by_hand_for_one_and_two_steps():
    world = LINEAR_GAUSSIAN
    # M = A + B K = [[0.9 − 0.2, 0.2 + 0.05], [−0.1 − 0.04, 0.8 + 0.01 − 0.09]]
    closed = np.array([[0.7, 0.25], [-0.14, 0.72]])
    # 0.16 B Bᵀ + diag(0.01, 0.09), with B Bᵀ = [[0.25, 0.05], [0.05, 0.1]]
    noise = np.array([[0.05, 0.008], [0.008, 0.106]])
    mean, covariance = world.moments(np.array([1.0, 2.0]), 1)
    np.testing.assert_allclose(mean, [0.7 + 0.5 + 0.2, -0.14 + 1.44 - 0.1], atol=1e-6)
    np.testing.assert_allclose(covariance, noise, atol=1e-6)
    _, covariance = world.moments(np.array([1.0, 2.0]), 2)
    np.testing.assert_allclose(covariance, closed @ noise @ closed.T + noise, atol=1e-6)


def test_countdown_ends_and_breaks_when_announced():
    obs = jnp.array([[7.0, 1.0, 5.0], [8.0, 2.0, 1.0], [9.0, 0.0, 0.0]])
    out = countdown_step(obs, jnp.zeros((3, 1)), jax.random.key(0))
    np.testing.assert_array_equal(out.reward, [7, 8, 9])
    np.testing.assert_array_equal(out.terminated, [True, False, False])
    np.testing.assert_array_equal(jnp.isnan(out.next_obs).all(axis=-1), [False, True, False])


def test_point_mass_by_hand():
    step = PointMass.transition(1.0, np.array([-1.0], np.float32))
    assert (float(step.next_obs[0]), float(step.reward), bool(step.terminated)) == (0.75, -0.5625, False)
    assert bool(PointMass.transition(2.5, np.array([3.0], np.float32)).terminated)
    # From 1, pushing left at full force: 0.75² + 0.5² + 0.25² = 0.875, then resting at 0.
    best = PointMass.mean_return(lambda x: np.clip(-4 * x, -1, 3), starts=[1.0])
    assert best == pytest.approx(-0.875)
