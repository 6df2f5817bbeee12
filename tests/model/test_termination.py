"""A learned end comes where the real one does, as often as the real one, and never before one was seen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mbpo.data.replay import Replay, insert_rows, make_replay
from mbpo.data.split import make_split
from mbpo.model.termination import (
    fit_termination,
    make_termination_model,
    never,
    termination_logit,
    termination_mismatch,
    with_learned_termination,
)
from mbpo.types import ModelOutput, Transition

KEY = jax.random.key(0)
CAPACITY = 4000
fit = jax.jit(fit_termination)


def world(rows: int, ends, seed: int = 0) -> Replay:
    """Random rows of 3 + 1 numbers; `ends(next_obs, rng)` says which end."""
    rng = np.random.default_rng(seed)
    obs, action = rng.normal(size=(rows, 3)), rng.uniform(-1, 1, (rows, 1))
    next_obs = obs + 0.1 * rng.normal(size=obs.shape)
    arrays = (jnp.asarray(a, jnp.float32) for a in (obs, action, np.zeros(rows), next_obs))
    data = Transition(*arrays, terminated=jnp.asarray(ends(next_obs, rng)))
    return insert_rows(make_replay(CAPACITY, 3, 1), data, jnp.ones(rows, bool))


def probability(model, replay: Replay) -> np.ndarray:
    logit = termination_logit(model, replay.data.obs, replay.data.action, replay.data.next_obs)
    return np.asarray(jax.nn.sigmoid(logit))[: int(replay.size)]


SPLIT = make_split(KEY, CAPACITY, 2, 0.2)
FRESH = make_termination_model(KEY, 3, 1)


def test_a_rule_is_learned_from_rare_ends():
    def rule(next_obs, rng):
        return next_obs[:, 0] > 2.0  # 2 % of rows.

    model, metrics = FRESH, {}
    for i in range(3):  # Refits go on from where the last one ended.
        model, metrics = fit(model, world(CAPACITY, rule), SPLIT, jax.random.fold_in(KEY, i))
    unseen = world(CAPACITY, rule, seed=1)
    said, true = probability(model, unseen) >= 0.5, np.asarray(unseen.data.terminated)
    assert true.mean() == pytest.approx(0.023, abs=0.006)
    assert (said != true).mean() < 0.01
    assert said[true].mean() > 0.75
    assert float(metrics["termination_rate"]) == pytest.approx(0.023, abs=0.006)
    assert float(metrics["termination_missed"]) < 0.25
    assert float(metrics["termination_false"]) < 0.01
    assert float(metrics["termination_brier"]) < 0.3 * true.mean()


def test_chances_are_calibrated():
    # Ends by chance, 1 in 4 where the first number is positive and 1 in 50 elsewhere: no rule is right.
    def by_chance(next_obs, rng):
        return rng.uniform(size=len(next_obs)) < np.where(next_obs[:, 0] > 0, 0.25, 0.02)

    model, _ = fit(FRESH, world(CAPACITY, by_chance), SPLIT, KEY)
    unseen = world(CAPACITY, by_chance, seed=1)
    said, high = probability(model, unseen), np.asarray(unseen.data.next_obs[:, 0] > 0)
    assert said.mean() == pytest.approx(0.135, abs=0.02)
    assert said[high].mean() == pytest.approx(0.25, abs=0.04)
    assert said[~high].mean() == pytest.approx(0.02, abs=0.02)


@pytest.mark.parametrize("rows", [1, 2, 300])
def test_nothing_ends_before_an_end_was_seen(rows):
    model, metrics = fit(FRESH, world(rows, lambda next_obs, rng: np.zeros(len(next_obs), bool)), SPLIT, KEY)
    assert probability(model, world(rows, lambda o, r: np.zeros(len(o), bool))).max() < 1e-9
    assert {name: float(value) for name, value in metrics.items()} == pytest.approx(dict.fromkeys(metrics, 0.0))


def test_where_everything_ends_an_end_is_certain():
    """A task of one step: no row says what going on would look like."""
    model, metrics = fit(FRESH, world(50, lambda next_obs, rng: np.ones(len(next_obs), bool)), SPLIT, KEY)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(model))
    assert float(metrics["termination_rate"]) == 1.0
    assert float(metrics["termination_brier"]) < 1e-6
    assert float(metrics["termination_missed"]) == 0.0
    obs, action = jax.random.normal(KEY, (100, 3)), jnp.zeros((100, 1))
    assert np.all(termination_logit(model, obs, action, obs) > 20)
    # Once a row goes on, its chance is learned.
    later, _ = fit(model, world(50, lambda next_obs, rng: np.arange(len(next_obs)) > 20), SPLIT, KEY)
    assert abs(float(later.log_odds)) < 3


def test_more_data_recompile_nothing():
    before, model = fit._cache_size(), FRESH
    for rows in (10, 500, CAPACITY):  # What a fit returns is what the next one begins with.
        model, _ = fit(model, world(rows, lambda next_obs, rng: next_obs[:, 0] > 1), SPLIT, KEY)
    assert fit._cache_size() - before <= 1


def test_imagined_ends_are_drawn_with_that_chance_and_nothing_else_changes():
    def by_chance(next_obs, rng):
        return rng.uniform(size=len(next_obs)) < 0.3

    model, _ = fit(FRESH, world(CAPACITY, by_chance), SPLIT, KEY)

    def world_step(obs, action, key):
        noise = jax.random.normal(key, obs.shape)
        return ModelOutput(obs + noise, obs[:, 0], never(obs, action, obs), jnp.full(len(obs), 0.5))

    obs, action = jax.random.normal(KEY, (20_000, 3)), jnp.zeros((20_000, 1))
    out, plain = with_learned_termination(world_step, model)(obs, action, KEY), world_step(obs, action, KEY)
    chance = jax.nn.sigmoid(termination_logit(model, obs, action, out.next_obs))
    assert float(out.terminated.mean()) == pytest.approx(float(chance.mean()), abs=0.01)
    np.testing.assert_array_equal(out.next_obs, plain.next_obs)
    np.testing.assert_array_equal(out.reward, plain.reward)
    # The draw is independent of the step's own noise.
    drawn = np.asarray(out.terminated, float) - np.asarray(chance)
    assert abs(np.corrcoef(drawn, np.asarray(out.next_obs - obs)[:, 0])[0, 1]) < 0.03


def test_mismatch_counts_the_newest_rows_only():
    replay = world(10, lambda next_obs, rng: np.arange(10) >= 8)

    def always(obs, action, next_obs):
        return jnp.ones(len(obs), bool)

    assert float(termination_mismatch(always, replay, 2)) == 0
    assert float(termination_mismatch(always, replay, 4)) == 0.5
    assert float(termination_mismatch(always, replay, 40)) == pytest.approx(0.8)  # Of the ten there are.
    assert float(termination_mismatch(never, replay, 4)) == 0.5
    assert float(termination_mismatch(never, make_replay(5, 3, 1), 4)) == 0
