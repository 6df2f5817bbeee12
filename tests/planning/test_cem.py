"""CEM and iCEM: known optima, the box, the elites' mean, warm starts, the colour of noise, Pendulum."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import pendulum_step

from mbpo.planning.cem import cem, coloured_noise, icem
from mbpo.planning.objective import sequence_returns

LOW, HIGH = jnp.array([-1.0, -2.0]), jnp.array([3.0, 2.0])
MIDDLE = jnp.broadcast_to(0.5 * (LOW + HIGH), (4, 2))
TARGET = jnp.array([[0.3, -1.0], [2.5, 0.4], [-0.8, 1.7], [1.0, 0.0]])
SETTINGS = {"low": LOW, "high": HIGH, "iterations": 8, "population": 400, "num_elites": 40, "initial_std": 1.0}
FEW = {**SETTINGS, "iterations": 2, "population": 60, "num_elites": 10}
KEY = jax.random.key(3)
# White noise for iCEM: the target jumps from step to step.
BOTH = pytest.mark.parametrize("planner", [cem, partial(icem, noise_beta=0.0)], ids=["cem", "icem"])


def quadratic(actions, key):
    return -jnp.sum((actions - TARGET) ** 2, axis=(1, 2))


def run(planner, objective, mean, key=KEY, **settings):
    return jax.jit(partial(planner, objective, **settings))(mean, key)


@BOTH
def test_the_optimum_of_a_quadratic_is_found(planner):
    plan = run(planner, quadratic, MIDDLE, **SETTINGS)
    np.testing.assert_allclose(plan, TARGET, atol=0.1)


@BOTH
def test_an_optimum_outside_the_box_is_met_at_its_edge(planner):
    def outside(actions, key):
        return -jnp.sum((actions - jnp.array([5.0, -4.0])) ** 2, axis=(1, 2))

    plan = run(planner, outside, MIDDLE, **SETTINGS)
    np.testing.assert_allclose(plan, np.broadcast_to([3.0, -2.0], (4, 2)), atol=0.4)


@BOTH
def test_samples_stay_in_the_box(planner):
    seen = []

    def spy(actions, key):
        jax.debug.callback(lambda a: seen.append(np.asarray(a)), actions)
        return quadratic(actions, key)

    # From a corner of the box, and with a deviation that leaves it most of the time.
    corner = jnp.broadcast_to(jnp.array([3.0, -2.0]), (4, 2))
    jax.block_until_ready(run(planner, spy, corner, **{**SETTINGS, "iterations": 2, "initial_std": 3.0}))
    jax.effects_barrier()
    samples = np.concatenate(seen)
    assert len(samples) >= 700
    assert (samples >= np.asarray(LOW)).all() and (samples <= np.asarray(HIGH)).all()
    # They fill it, so the bounds were tried.
    assert samples[:, :, 0].min() < -0.8 and samples[:, :, 1].max() > 1.8


@BOTH
def test_the_elites_mean_comes_back_and_not_the_best_sample(planner):
    # All that reach beyond 2 in the first action are equally good, so the mean is of many different ones.
    def plateau(actions, key):
        return jnp.where(actions[:, 0, 0] > 2.0, 1.0, 0.0)

    seen = []

    def spy(actions, key):
        returns = plateau(actions, key)
        jax.debug.callback(lambda a, r: seen.append((np.asarray(a), np.asarray(r))), actions, returns)
        return returns

    once = {**SETTINGS, "iterations": 1, "alpha": 0.0}
    plan = run(planner, spy, MIDDLE, **once)
    jax.effects_barrier()
    [(actions, returns)] = seen
    elites = actions[np.argsort(-returns, kind="stable")[:40]]
    np.testing.assert_allclose(plan, elites.mean(axis=0), rtol=1e-5, atol=1e-6)
    assert not (np.abs(actions - np.asarray(plan)).max(axis=(1, 2)) < 1e-3).any()


@BOTH
def test_momentum_keeps_a_share_of_the_start(planner):
    once = {**SETTINGS, "iterations": 1}
    plain, slow = (run(planner, quadratic, MIDDLE, **once, alpha=alpha) for alpha in (0.0, 0.4))
    np.testing.assert_allclose(slow, 0.4 * MIDDLE + 0.6 * plain, rtol=1e-4, atol=1e-5)


@BOTH
def test_a_warm_start_helps(planner):
    few = {**FEW, "initial_std": 0.2}
    cold, warm = (run(planner, quadratic, start, **few) for start in (MIDDLE, TARGET + 0.05))
    assert quadratic(warm[None], KEY)[0] > quadratic(cold[None], KEY)[0] + 0.5


def test_a_start_at_the_edge_can_leave_it():
    corner = jnp.broadcast_to(jnp.array([3.0, -2.0]), (4, 2))
    np.testing.assert_allclose(run(cem, quadratic, corner, **SETTINGS), TARGET, atol=0.2)


@BOTH
def test_two_runs_are_equal_and_keys_matter(planner):
    first, second = (run(planner, quadratic, MIDDLE, **FEW) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, run(planner, quadratic, MIDDLE, jax.random.key(4), **FEW))


@BOTH
def test_a_hopeless_objective_still_gives_a_plan_in_the_box(planner):
    plan = run(planner, lambda actions, key: jnp.full(actions.shape[:1], -jnp.inf), MIDDLE, **FEW)
    assert np.isfinite(plan).all()
    assert (plan >= LOW).all() and (plan <= HIGH).all()


@BOTH
def test_planners_map_over_start_states(planner):
    starts, keys = jnp.stack([MIDDLE, TARGET]), jax.random.split(KEY, 2)
    plans = jax.jit(jax.vmap(partial(planner, quadratic, **FEW)))(starts, keys)
    for start, key, plan in zip(starts, keys, plans, strict=True):
        np.testing.assert_allclose(plan, run(planner, quadratic, start, key, **FEW), rtol=1e-4, atol=1e-5)


# --- What is iCEM's own --------------------------------------------------------------------------


def test_icem_keeps_elites_shrinks_and_adds_the_mean_at_the_end():
    seen = []

    def spy(actions, key):
        returns = quadratic(actions, key)
        jax.debug.callback(lambda a, r: seen.append((np.asarray(a), np.asarray(r))), actions, returns)
        return returns

    settings = {**SETTINGS, "iterations": 3, "population": 64, "num_elites": 10, "alpha": 0.0}
    run(icem, spy, MIDDLE, **settings, population_decay=2.0, kept_share=0.3)
    jax.effects_barrier()
    # 64; 32 and 3 kept; max(16, 2 · 10), 3 kept and the mean.
    assert [len(actions) for actions, _ in seen] == [64, 35, 24]
    best_three = seen[0][0][np.argsort(-seen[0][1])[:3]]
    np.testing.assert_allclose(seen[1][0][-3:], best_three, rtol=1e-6)
    elites = seen[1][0][np.argsort(-seen[1][1])[:10]]
    np.testing.assert_allclose(seen[2][0][-1], elites.mean(axis=0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("horizon", [24, 25])
@pytest.mark.parametrize("beta", [0.0, 1.0, 2.0])
def test_the_power_of_coloured_noise_falls_with_frequency(horizon, beta):
    noise = np.asarray(coloured_noise(KEY, (20_000, horizon, 2), beta))
    np.testing.assert_allclose(noise.mean(axis=(0, 2)), 0, atol=0.03)
    np.testing.assert_allclose(noise.var(axis=(0, 2)), 1, rtol=0.05)
    # Dimensions are independent.
    assert abs((noise[:, :, 0] * noise[:, :, 1]).mean()) < 0.03
    power = (np.abs(np.fft.rfft(noise, axis=1)) ** 2).mean(axis=(0, 2))
    frequency = np.arange(1, (horizon + 1) // 2)
    slope = np.polyfit(np.log(frequency), np.log(power[frequency]), 1)[0]
    assert slope == pytest.approx(-beta, abs=0.05)


def test_white_noise_is_uncorrelated_and_a_horizon_of_one_is_allowed():
    noise = np.asarray(coloured_noise(KEY, (20_000, 8, 1), 0.0))[:, :, 0]
    np.testing.assert_allclose(np.cov(noise.T), np.eye(8), atol=0.05)
    assert coloured_noise(KEY, (5000, 1, 1), 2.0).std() == pytest.approx(1.0, abs=0.05)


# --- Pendulum with its exact dynamics ------------------------------------------------------------


@BOTH
def test_a_hanging_pendulum_is_swung_up(planner):
    search = partial(planner, iterations=4, population=100, num_elites=10, low=jnp.array([-2.0]), high=jnp.array([2.0]))

    def decide(carry, key):
        obs, plan = carry
        plan = search(lambda a, k: sequence_returns(pendulum_step, obs, a, k, num_particles=1), plan, key)
        out = pendulum_step(obs[None], plan[:1], key)
        return (out.next_obs[0], jnp.concatenate([plan[1:], jnp.zeros((1, 1))])), out.reward[0]

    start = (jnp.array([-1.0, 0.0, 0.0]), jnp.zeros((25, 1)))
    rewards = np.asarray(jax.lax.scan(decide, start, jax.random.split(KEY, 120))[1])
    assert rewards[0] < -9
    assert rewards[-20:].min() > -0.1
