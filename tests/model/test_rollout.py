"""Branched rollouts through worlds with known answers: moments, ends, breaks, lengths, retention."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import LINEAR_GAUSSIAN, countdown_step

from mbpo.data.replay import Replay, make_replay
from mbpo.model import rollout
from mbpo.model.gates.infoprop import Limits, infoprop_gate
from mbpo.model.gates.interface import Gate
from mbpo.model.gates.macura import macura_gate
from mbpo.model.rollout import BLOCK_BRANCHES, branched_rollouts
from mbpo.types import ModelOutput


def idle(obs, key):
    return jnp.zeros((obs.shape[0], 1))


@jax.jit
def countdown(start_obs, imagined, length, retain):
    return branched_rollouts(
        countdown_step, idle, start_obs, imagined, jax.random.key(0), rollout_length=length, retain=retain
    )


@jax.jit
def linear_gaussian(start_obs, imagined, key, length):
    world = LINEAR_GAUSSIAN
    return branched_rollouts(
        world.model_step,
        world.policy,
        start_obs,
        imagined,
        key,
        rollout_length=length,
        retain=jnp.int32(imagined.capacity),
    )


def stored(replay: Replay):
    """`(name, steps to the end, terminated)` of every row, in the order of storing."""
    held = jax.tree.map(lambda a: np.asarray(a)[: int(replay.size)], replay.data)
    return [(int(o[0]), int(o[1]), bool(t)) for o, t in zip(held.obs, held.terminated, strict=True)]


def run(starts, length, retain=20):
    obs = jnp.asarray(starts, jnp.float32)
    return countdown(obs, make_replay(20, 3, 1), jnp.int32(length), jnp.int32(retain))


ENDINGS = [[1, 1, 0], [2, 2, 0], [3, 5, 0], [4, 0, 0]]
"""Branches that end after 1, 2 and 5 steps, and one that never does."""


def test_a_terminal_row_is_stored_once_and_nothing_follows_it():
    replay, metrics = run(ENDINGS, 4)
    assert stored(replay) == [
        *[(1, 1, True), (2, 2, False), (3, 5, False), (4, 0, False)],
        *[(2, 1, True), (3, 4, False), (4, -1, False)],
        *[(3, 3, False), (4, -2, False)],
        *[(3, 2, False), (4, -3, False)],
    ]
    assert int(metrics["rollout_rows"]) == 11
    assert float(metrics["rollout_alive"]) == 0.5
    assert int(metrics["rollout_nonfinite"]) == 0
    assert float(metrics["model_uncertainty"]) == 0.5


def test_branches_in_several_blocks_are_each_taken_once():
    # Two blocks and a last one that has to be filled up; the endings 1, 2, 5 and never, in turn.
    branches = 2 * BLOCK_BRANCHES + 3
    starts = np.zeros((branches, 3), np.float32)
    starts[:, 0] = np.arange(branches)
    starts[:, 1] = np.resize([1, 2, 5, 0], branches)
    replay, metrics = countdown(
        jnp.asarray(starts), make_replay(4 * branches, 3, 1), jnp.int32(3), jnp.int32(4 * branches)
    )
    steps = np.minimum(np.where(starts[:, 1] == 0, 9, starts[:, 1]), 3).astype(int)
    names, counts = np.unique([name for name, _, _ in stored(replay)], return_counts=True)
    np.testing.assert_array_equal(names, np.arange(branches))
    np.testing.assert_array_equal(counts, steps)
    assert int(metrics["rollout_rows"]) == steps.sum()
    assert float(metrics["rollout_alive"]) == pytest.approx(np.isin(starts[:, 1], [0, 5]).mean())
    assert float(metrics["model_uncertainty"]) == pytest.approx(0.5)


def test_rows_are_whole_and_steps_follow_each_other():
    replay, _ = run(ENDINGS, 3)
    held = jax.tree.map(lambda a: np.asarray(a)[: int(replay.size)], replay.data)
    np.testing.assert_array_equal(held.reward, held.obs[:, 0])
    np.testing.assert_array_equal(held.next_obs, held.obs - [0, 1, 1])
    never_ending = held.obs[held.obs[:, 0] == 4]
    np.testing.assert_array_equal(never_ending[:, 1], [0, -1, -2])


def test_non_finite_rows_end_their_branch_unstored():
    # Branch 1 breaks at its second step; branch 2 would terminate at the step it breaks at, the first.
    replay, metrics = run([[1, 0, 2], [2, 1, 1], [3, 0, 0], [4, 2, 0]], 3)
    assert stored(replay) == [
        *[(1, 0, False), (3, 0, False), (4, 2, False)],
        *[(3, -1, False), (4, 1, True)],
        *[(3, -2, False)],
    ]
    assert int(metrics["rollout_nonfinite"]) == 2
    assert float(metrics["rollout_alive"]) == 0.25
    assert all(bool(jnp.isfinite(a).all()) for a in jax.tree.leaves(replay.data))


def test_a_non_finite_reward_ends_the_branch_too():
    def step(obs, action, key):
        return countdown_step(obs, action, key)._replace(reward=jnp.where(obs[:, 0] == 1, jnp.inf, 0.0))

    replay, metrics = branched_rollouts(
        step,
        idle,
        jnp.asarray([[1.0, 0.0, 0.0], [2.0, 0.0, 0.0]]),
        make_replay(20, 3, 1),
        jax.random.key(0),
        rollout_length=jnp.int32(2),
        retain=jnp.int32(20),
    )
    assert stored(replay) == [(2, 0, False), (2, -1, False)]
    assert int(metrics["rollout_nonfinite"]) == 1


def test_no_row_at_all_is_no_error():
    replay, metrics = run([[1, 0, 1]] * 4, 3)
    assert int(replay.size) == int(metrics["rollout_rows"]) == 0
    assert float(metrics["model_uncertainty"]) == 0.0


@pytest.mark.parametrize("length", [0, 1, 2, 5])
def test_every_living_branch_runs_for_k_steps(length):
    replay, _ = run([[1, 0, 0], [2, 0, 0], [3, 0, 0], [4, 0, 0]], length)
    assert int(replay.size) == 4 * length
    assert [name for name, _, _ in stored(replay)] == [1, 2, 3, 4] * length


def test_a_new_rollout_length_or_retention_does_not_recompile():
    countdown.clear_cache()
    for length, retain in [(1, 4), (2, 8), (5, 20), (1, 20)]:
        run(ENDINGS, length, retain)
    assert countdown._cache_size() == 1


def test_the_buffer_retains_only_the_newest_rows():
    # Four branches of three steps: 12 rows into 6 slots keep the last six, the first of them at slot 0.
    replay, metrics = run([[1, 0, 0], [2, 0, 0], [3, 0, 0], [4, 0, 0]], 3, retain=6)
    assert int(replay.size) == 6
    assert int(metrics["rollout_rows"]) == 12
    assert stored(replay) == [(3, -1, False), (4, -1, False), *[(n, -2, False) for n in (1, 2, 3, 4)]]


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_moments_after_k_steps_match_the_closed_form(steps):
    # The state's noise and the action's have one shape: keys used twice, in a step or across steps,
    # would correlate them and show in the covariance.
    rows, start = 20_000, np.array([1.0, 2.0])
    replay, _ = linear_gaussian(
        jnp.tile(jnp.asarray(start, jnp.float32), (rows, 1)),
        make_replay(5 * rows, 2, 2),
        jax.random.key(3),
        jnp.int32(steps),
    )
    blocks = -(-rows // BLOCK_BRANCHES)  # Of equal size; each takes all of its steps before the next begins.
    last = np.asarray(replay.data.next_obs[: steps * rows], float).reshape(blocks, steps, -1, 2)[:, -1].reshape(-1, 2)
    mean, covariance = LINEAR_GAUSSIAN.moments(start, steps)
    spread = np.sqrt(np.diag(covariance))
    # Standard errors: σ/141 for means, and about σ_i σ_j/100 for covariances.
    np.testing.assert_array_less(abs(last.mean(axis=0) - mean), 4.5 * spread / 141)
    np.testing.assert_array_less(abs(np.cov(last.T) - covariance), 0.045 * np.outer(spread, spread))


def test_stored_actions_are_the_policys_and_rewards_the_worlds():
    rows = 20_000
    world = LINEAR_GAUSSIAN
    start = jnp.asarray(np.random.default_rng(1).standard_normal((rows, 2)), jnp.float32)
    replay, _ = linear_gaussian(start, make_replay(5 * rows, 2, 2), jax.random.key(0), jnp.int32(1))
    obs, action, reward, next_obs, _ = (np.asarray(a, float)[:rows] for a in replay.data)
    np.testing.assert_allclose(obs, start)
    assert (action - obs @ world.K.T).std() == pytest.approx(world.action_std, rel=0.03)
    expected_obs, expected_reward = world.mean(obs, action)
    assert (reward - expected_reward).std() == pytest.approx(world.reward_std, rel=0.03)
    np.testing.assert_allclose((next_obs - expected_obs).std(axis=0), world.state_std, rtol=0.03)


# --- Gates ---------------------------------------------------------------------------------------


def unsure_step(obs, action, key) -> ModelOutput:
    """`obs = (name, step, growth)`: the uncertainty of step t is `growth · t`, on two channels."""
    next_obs = obs + jnp.array([0.0, 1.0, 0.0])
    u = obs[:, 2] * obs[:, 1]
    return ModelOutput(next_obs, obs[:, 0], next_obs[:, 1] == 5, jnp.stack([u, u / 2], axis=1))


def scalar_step(obs, action, key) -> ModelOutput:
    out = unsure_step(obs, action, key)
    return out._replace(uncertainty=out.uncertainty[:, 0])


@jax.jit
def macura(start_obs, kappa, length):
    gate, buffer = macura_gate(kappa), make_replay(40, 3, 1)
    key, retain = jax.random.key(0), jnp.int32(40)
    return branched_rollouts(scalar_step, idle, start_obs, buffer, key, rollout_length=length, retain=retain, gate=gate)


@jax.jit
def infoprop(start_obs, step_limit, path_limit, length):
    gate = infoprop_gate(Limits(jnp.full(2, step_limit), jnp.full(2, path_limit)))
    key, buffer, retain = jax.random.key(0), make_replay(40, 3, 1), jnp.int32(40)
    return branched_rollouts(unsure_step, idle, start_obs, buffer, key, rollout_length=length, retain=retain, gate=gate)


GROWING = jnp.array([[1.0, 0.0, 1.0], [2.0, 0.0, 2.0], [3.0, 0.0, 0.0]])
"""Branches whose uncertainty grows by 1, by 2 and not at all."""


def steps_stored(replay) -> dict:
    """For each branch, the steps that were stored."""
    held = np.asarray(replay.data.obs)[: int(replay.size)]
    return {name: held[held[:, 0] == name][:, 1].tolist() for name in (1, 2, 3)}


def test_a_gated_row_is_not_stored_and_ends_its_branch():
    replay, metrics = macura(GROWING, 2.5, 4)
    # u of 0, 1, 2, (3) and of 0, 2, (4).
    assert steps_stored(replay) == {1: [0, 1, 2], 2: [0, 1], 3: [0, 1, 2, 3]}
    assert float(metrics["rollout_gated"]) == pytest.approx(2 / 3)
    assert float(metrics["rollout_alive"]) == pytest.approx(1 / 3)
    assert int(metrics["rollout_rows"]) == 9
    assert float(metrics["model_uncertainty"]) == pytest.approx((0 + 1 + 2 + 0 + 2) / 9)


def test_what_is_lost_adds_up_along_a_branch():
    # L of 0, 1, 3, (6) and of 0, 2, (6): the path's limit of 5 ends both before the step's limit of 4.
    replay, metrics = infoprop(GROWING, 4.0, 5.0, 9)
    assert steps_stored(replay) == {1: [0, 1, 2], 2: [0, 1], 3: [0, 1, 2, 3, 4]}
    assert float(metrics["rollout_gated"]) == pytest.approx(2 / 3), "the third branch terminated"
    # Uncertainty is averaged over channels too: ¾ of the first.
    assert float(metrics["model_uncertainty"]) == pytest.approx(0.75 * (1 + 2 + 2) / 10)
    assert steps_stored(infoprop(GROWING, 1.5, 99.0, 9)[0])[2] == [0]


def test_new_thresholds_and_lengths_do_not_recompile():
    macura.clear_cache()
    infoprop.clear_cache()
    for kappa, length in [(2.5, 4), (0.5, 9), (9.0, 1)]:
        macura(GROWING, kappa, length)
        infoprop(GROWING, kappa, 2 * kappa, length)
    assert (macura._cache_size(), infoprop._cache_size()) == (1, 1)


def test_a_branch_that_a_gate_ended_never_comes_back():
    # The gate shuts at the second step only; what it would admit later must not be stored.
    def admit(t, out):
        return jnp.full(out.reward.shape, t[0] != 1), t + 1

    gate = Gate(start=lambda batch: jnp.zeros(batch, jnp.int32), admit=admit)
    replay, metrics = branched_rollouts(
        countdown_step,
        idle,
        jnp.asarray(ENDINGS, jnp.float32),
        make_replay(20, 3, 1),
        jax.random.key(0),
        rollout_length=jnp.int32(4),
        retain=jnp.int32(20),
        gate=gate,
    )
    # The first branch had terminated by then: it is not the gate's.
    assert [name for name, _, _ in stored(replay)] == [1, 2, 3, 4]
    assert float(metrics["rollout_gated"]) == 0.75


@pytest.mark.parametrize(("batch", "sizes"), [(10, [4, 4, 4]), (4, [4]), (5, [3, 3]), (1, [1])])
def test_rows_taken_in_blocks_come_back_in_order(batch, sizes, monkeypatch):
    monkeypatch.setattr(rollout, "BLOCK_BRANCHES", 4)
    seen = []

    def fn(block, obs):
        seen.append(obs.shape)
        return obs[:, 0] + 100 * block

    obs = jnp.arange(batch, dtype=jnp.float32)[:, None]
    found = rollout.in_blocks(fn, obs)
    numbers = np.repeat(np.arange(len(sizes)), sizes)[:batch]
    np.testing.assert_array_equal(found, np.arange(batch) + 100 * numbers)
    assert seen == [(sizes[0], 1)]  # Traced once, for blocks of one size.
