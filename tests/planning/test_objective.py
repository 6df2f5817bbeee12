"""What sequences earn: by hand, at ends and breaks, and the moments of TS1 and TS∞."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import LINEAR_GAUSSIAN, countdown_step

from mbpo.envs.endings import never_terminates
from mbpo.model.ensemble import as_model_step, make_ensemble
from mbpo.model.propagation import as_tsinf_step, draw_members
from mbpo.model.reward import with_reward
from mbpo.planning.objective import sequence_returns
from mbpo.types import ModelOutput

KEY = jax.random.key(0)


def adding_step(obs, action, key) -> ModelOutput:
    """s' = s + a,  r = s + 10 a."""
    return ModelOutput(
        obs + action, obs[:, 0] + 10 * action[:, 0], jnp.zeros(obs.shape[:1], bool), jnp.zeros(obs.shape[:1])
    )


def test_returns_by_hand():
    actions = jnp.array([[1.0, 2.0], [0.0, 0.0], [-1.0, 1.0]])[:, :, None]
    returns = sequence_returns(adding_step, jnp.array([3.0]), actions, KEY, num_particles=4)
    # 3 + 10, 4 + 20;   3, 3;   3 - 10, 2 + 10
    np.testing.assert_allclose(returns, [37.0, 6.0, 5.0])


def test_the_last_reward_goes_on_for_the_tail():
    actions = jnp.array([[1.0, 2.0], [0.0, 0.0], [-1.0, 1.0]])[:, :, None]
    returns = sequence_returns(adding_step, jnp.array([3.0]), actions, KEY, num_particles=4, tail_steps=2.5)
    # The last rewards are 24, 3 and 12.
    np.testing.assert_allclose(returns, [37.0 + 60.0, 6.0 + 7.5, 5.0 + 30.0])


def test_an_ended_particle_has_no_tail():
    actions = jnp.zeros((2, 5, 1))
    run = partial(sequence_returns, countdown_step, actions=actions, key=KEY, num_particles=3, tail_steps=10.0)
    # The reward is 2 per step: ends after step 3, with the very last one, or never.
    np.testing.assert_allclose(run(obs=jnp.array([2.0, 3.0, 0.0])), [6.0, 6.0])
    np.testing.assert_allclose(run(obs=jnp.array([2.0, 5.0, 0.0])), [10.0, 10.0])
    np.testing.assert_allclose(run(obs=jnp.array([2.0, 0.0, 0.0])), [30.0, 30.0])
    # A broken one is worth nothing at all.
    assert (run(obs=jnp.array([2.0, 0.0, 5.0])) == -np.inf).all()


def test_an_ended_particle_is_paid_for_the_last_step_and_no_more():
    actions = jnp.zeros((2, 5, 1))
    run = partial(sequence_returns, countdown_step, actions=actions, key=KEY, num_particles=3)
    # The reward is 2 per step: ends after step 3, or never.
    np.testing.assert_allclose(run(obs=jnp.array([2.0, 3.0, 0.0])), [6.0, 6.0])
    np.testing.assert_allclose(run(obs=jnp.array([2.0, 0.0, 0.0])), [10.0, 10.0])


def test_nan_and_infinity_are_worth_minus_infinity():
    actions = jnp.zeros((1, 5, 1))
    run = partial(sequence_returns, countdown_step, actions=actions, key=KEY, num_particles=2)
    # The state breaks at step 4, or at the very last one, while the reward stays finite.
    assert run(obs=jnp.array([2.0, 0.0, 4.0])) == -np.inf
    assert run(obs=jnp.array([2.0, 0.0, 5.0])) == -np.inf
    # Broken only after the end: nobody sees it.
    assert run(obs=jnp.array([2.0, 3.0, 4.0])) == 6.0
    # An infinite reward, up or down, of one sequence among others.
    actions = jnp.array([0.0, jnp.inf, -jnp.inf, 1.0])[:, None, None]
    returns = sequence_returns(
        with_reward(adding_step, lambda obs, action, next_obs: action[:, 0]),
        jnp.zeros(1),
        actions,
        KEY,
        num_particles=2,
    )
    np.testing.assert_array_equal(returns, [0.0, -np.inf, -np.inf, 1.0])


def test_the_mean_over_particles_is_that_of_the_linear_gaussian_world():
    world = LINEAR_GAUSSIAN
    start, horizon = np.array([1.0, -2.0], np.float32), 6
    actions = np.random.default_rng(0).standard_normal((3, horizon, 2)).astype(np.float32)
    expected = []
    for sequence in actions:
        state, total = start, 0.0
        for action in sequence:
            state, reward = *(world.mean(state, action)[:1]), world.mean(state, action)[1]
            total += reward
        expected.append(total)
    returns = sequence_returns(world.model_step, jnp.asarray(start), jnp.asarray(actions), KEY, num_particles=8000)
    # A particle's return spreads by about 2, so 0.02 is a standard error.
    np.testing.assert_allclose(returns, expected, atol=0.1)


# --- TS1 and TS∞ on members that drift apart -----------------------------------------------------

OFFSETS = np.array([-2.0, -1.0, 0.0, 1.0, 2.0], np.float32)
"""Member m predicts s' = s + OFFSETS[m] + ε, r = s, with ε ~ N(0, 0.1²)."""
NOISE = 0.1


def drifting_ensemble(elites=range(5)):
    made = make_ensemble(KEY, 1, 1, ensemble_size=5, num_elites=5, hidden_sizes=(4,), residual=True)
    made = jax.tree.map(lambda a: jnp.zeros_like(a) if eqx.is_array(a) and a.dtype == jnp.float32 else a, made)
    log_var = np.log(NOISE**2)
    bias = np.zeros((5, 4), np.float32)
    bias[:, 0], bias[:, 2:] = OFFSETS, log_var
    network = eqx.tree_at(lambda n: n.biases[-1], made.params.network, jnp.asarray(bias))
    # Wide bounds leave the log-variance as it is, softplus aside.
    params = eqx.tree_at(
        lambda p: (p.network, p.min_log_var, p.max_log_var),
        made.params,
        (network, jnp.full((5, 2), -30.0), jnp.full((5, 2), 30.0)),
    )
    one = jnp.ones_like
    return eqx.tree_at(
        lambda e: (e.params, e.inputs.std, e.targets.std, e.elites),
        made,
        (params, one(made.inputs.std), one(made.targets.std), jnp.asarray(list(elites), jnp.int32)),
    )


def walk(step, rows: int, steps: int):
    """Where rows from 0 are after each step `[steps, rows]`."""
    action = jnp.zeros((rows, 1))

    def advance(obs, t):
        obs = step(obs, action, jax.random.fold_in(KEY, t)).next_obs
        return obs, obs[:, 0]

    return np.asarray(jax.lax.scan(advance, jnp.zeros((rows, 1)), jnp.arange(steps))[1])


def test_ts1_spread_grows_with_the_root_of_time_and_ts_infinity_with_time():
    ensemble, steps, rows = drifting_ensemble(), 9, 10_000
    # The offsets have variance 2. TS1: t · (2 + 0.01). TS∞: t² · 2 + t · 0.01.
    ts1 = walk(as_model_step(ensemble, never_terminates), rows, steps)
    tsinf = walk(as_tsinf_step(ensemble, never_terminates, ensemble.elites), rows, steps)
    t = np.arange(1, steps + 1)
    np.testing.assert_allclose(ts1.mean(axis=1), 0, atol=0.15)
    np.testing.assert_allclose(tsinf.mean(axis=1), 0, atol=0.01)
    np.testing.assert_allclose(ts1.var(axis=1), t * 2.01, rtol=0.05)
    np.testing.assert_allclose(tsinf.var(axis=1), t**2 * 2 + t * 0.01, rtol=0.01)


def test_under_ts_infinity_a_row_keeps_its_member_and_members_share_equally():
    ensemble = drifting_ensemble()
    members = jnp.array([4, 0, 2])
    at_end = walk(as_tsinf_step(ensemble, never_terminates, members), 12, 10)[-1]
    # Four rows each, in blocks; the noise adds up to 0.32.
    np.testing.assert_allclose(at_end, np.repeat(10 * OFFSETS[[4, 0, 2]], 4), atol=1.5)
    with pytest.raises(ValueError, match="7 rows cannot be shared equally among 3 members"):
        walk(as_tsinf_step(ensemble, never_terminates, members), 7, 1)


def test_under_ts_infinity_every_sequence_meets_the_same_members():
    ensemble = drifting_ensemble()
    step = as_tsinf_step(ensemble, never_terminates, jnp.array([0, 1]))
    actions = jnp.zeros((6, 4, 1))
    returns = sequence_returns(
        with_reward(step, lambda obs, action, next_obs: next_obs[:, 0]), jnp.zeros(1), actions, KEY, num_particles=2
    )
    # Members drift by -2 and -1: (1 + 2 + 3 + 4) · -1.5.
    np.testing.assert_allclose(returns, np.full(6, -15.0), atol=1.5)


def test_members_are_drawn_among_the_elites():
    ensemble = drifting_ensemble(elites=[1, 3, 4])
    all_three = np.stack([draw_members(ensemble, 6, k) for k in jax.random.split(KEY, 20)])
    assert (np.sort(all_three, axis=1) == [1, 3, 4]).all()
    ones = np.array([draw_members(ensemble, 1, k)[0] for k in jax.random.split(KEY, 60)])
    assert set(ones.tolist()) == {1, 3, 4}
