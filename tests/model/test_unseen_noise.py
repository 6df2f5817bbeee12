"""Noise as wide as the model is wrong on rows that it was not fitted to."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import LINEAR_GAUSSIAN

from mbpo.agents.mbpo_dh_config import HomoscedasticConfig
from mbpo.agents.world_model import refit
from mbpo.data.replay import insert_rows, make_replay
from mbpo.data.split import make_split
from mbpo.model.ensemble import predict_normalized, unfitted
from mbpo.model.fit import FitState, refresh_normalizers
from mbpo.model.homoscedastic import make_homoscedastic
from mbpo.model.unseen_noise import mean_square_error, with_noise, with_unseen_noise

CAPACITY, MEMBERS, ROWS, NEW = 3000, 3, 1200, 400
SPLIT = make_split(jax.random.key(11), CAPACITY, MEMBERS, 0.2)
CONFIG = HomoscedasticConfig(
    learning_rate=3e-3,
    batch_size=64,
    min_epoch_batches=20,
    max_epoch_batches=20,
    patience=100.0,
    max_epochs=40,
    first_fit_factor=3,
    max_holdout=500,
    unseen_noise=True,
)
FIT = jax.jit(refit, static_argnums=4, static_argnames="newest")


def fresh() -> FitState:
    params = make_homoscedastic(jax.random.key(0), 4, 3, ensemble_size=MEMBERS, hidden_sizes=(16, 16), dropout=0.0)
    ensemble = unfitted(params, 2, 2, ensemble_size=MEMBERS, num_elites=MEMBERS, residual=True)
    return FitState(ensemble, jnp.zeros((), jnp.int32))


def added(replay, rows: int, seed: int, noise: float = 0.0):
    """With so many more rows, whose next states are off by as much more, in units of the world's own noise."""
    data, rng = LINEAR_GAUSSIAN.sample_transitions(seed, rows), np.random.default_rng(seed)
    extra = noise * LINEAR_GAUSSIAN.state_std * rng.standard_normal(data.next_obs.shape)
    data = data._replace(next_obs=(data.next_obs + extra).astype(np.float32))
    return insert_rows(replay, jax.tree.map(jnp.asarray, data), jnp.ones(rows, bool))


def noise(state: FitState) -> np.ndarray:
    """Of next state and reward, each member's, in the world's units."""
    x = jnp.zeros((MEMBERS, 1, 4))
    return np.asarray(jnp.exp(0.5 * predict_normalized(state.ensemble.params, x)[1][:, 0]) * state.ensemble.targets.std)


def by_hand(state: FitState, replay, slots: np.ndarray) -> np.ndarray:
    rows = jax.tree.map(lambda leaf: np.asarray(leaf)[slots], replay.data)
    ensemble = state.ensemble
    x = ensemble.inputs.normalize(jnp.concatenate([rows.obs, rows.action], axis=-1))
    mean = predict_normalized(ensemble.params, jnp.broadcast_to(x, (MEMBERS, *x.shape)))[0]
    targets = jnp.asarray(np.concatenate([rows.next_obs - rows.obs, rows.reward[:, None]], axis=-1))
    return ((np.asarray(mean) - np.asarray(ensemble.targets.normalize(targets))) ** 2).mean(axis=1)


@pytest.fixture(scope="module")
def replay():
    return added(make_replay(CAPACITY, 2, 2), ROWS, 1)


@pytest.fixture(scope="module")
def fitted(replay):
    return FIT(fresh(), replay, SPLIT, jax.random.key(1), CONFIG, newest=NEW)


def test_an_error_is_that_of_the_rows_that_count(fitted, replay):
    state, slots = fitted[0], np.arange(100, 1000)
    for counted in (900, 513, 7):
        found = mean_square_error(state.ensemble, replay, jnp.asarray(slots), jnp.arange(900) < counted)
        np.testing.assert_allclose(found, by_hand(state, replay, slots[:counted]), rtol=1e-4)
    np.testing.assert_array_equal(
        mean_square_error(state.ensemble, replay, jnp.asarray(slots), jnp.zeros(900, bool)), 0
    )


def test_noise_is_what_it_is_set_to(fitted):
    variance = jnp.asarray(np.random.default_rng(0).uniform(0.1, 2.0, (MEMBERS, 3))).at[0, 0].set(0.0)
    log_std = with_noise(fitted[0].ensemble, variance).params.log_std
    np.testing.assert_allclose(log_std.ravel()[1:], 0.5 * np.log(variance.ravel()[1:]), rtol=1e-5)
    # Nothing is certain.
    assert float(log_std[0, 0]) == pytest.approx(np.log(1e-3), rel=1e-5)


def test_after_the_first_fit_it_is_the_error_on_held_out_rows(fitted, replay):
    state, metrics = fitted
    held_out = np.asarray(SPLIT.holdout_slots)
    expected = np.sqrt(by_hand(state, replay, held_out[held_out < ROWS]))
    np.testing.assert_allclose(noise(state), expected * np.asarray(state.ensemble.targets.std), rtol=1e-3)
    assert float(metrics["model_noise"]) == pytest.approx(expected.mean(), rel=1e-3)


def test_then_it_is_the_error_on_what_came_since_where_that_is_larger(fitted, replay):
    world = np.array([*LINEAR_GAUSSIAN.state_std, LINEAR_GAUSSIAN.reward_std])
    restless = FIT(fitted[0], added(replay, NEW, 2, noise=4.0), SPLIT, jax.random.key(2), CONFIG, newest=NEW)[0]
    # Four times the noise on top of it is √17 times as much; the reward is as it was.
    ratio = noise(restless) / world
    assert np.all((ratio[:, :2] > 3.5) & (ratio[:, :2] < 4.8))
    assert np.all(ratio[:, 2] < 1.5)
    # Rows like those before add nothing to the world's own noise.
    calm = FIT(fitted[0], added(replay, NEW, 2), SPLIT, jax.random.key(2), CONFIG, newest=NEW)[0]
    assert np.all((noise(calm) / world > 0.8) & (noise(calm) / world < 1.5))


def test_the_newest_rows_of_a_full_buffer_are_found(fitted, replay):
    # 200 rows past the end of the ring; then the restless ones, the first half of which goes up to its end.
    small = added(added(make_replay(1000, 2, 2), 800, 1), NEW, 2, noise=4.0)
    split = make_split(jax.random.key(12), 1000, MEMBERS, 0.2)
    before = replace(fitted[0], ensemble=refresh_normalizers(fitted[0], small))
    state, noise_set = with_unseen_noise(fitted[0], before, small, split, newest=NEW, max_holdout=200)
    expected = by_hand(before, small, np.r_[800:1000, 0:200])
    np.testing.assert_allclose(noise_set[:, :2], expected[:, :2], rtol=1e-4)
    assert np.all(np.exp(2 * np.asarray(state.ensemble.params.log_std)) >= 0.99 * expected)


def test_where_nobody_knows_which_rows_are_new_it_is_the_held_out_ones(fitted, replay):
    more = added(replay, NEW, 2, noise=4.0)
    state = FIT(fitted[0], more, SPLIT, jax.random.key(2), CONFIG)[0]
    held_out = np.asarray(SPLIT.holdout_slots)
    expected = np.sqrt(by_hand(state, more, held_out[held_out < ROWS + NEW]))
    np.testing.assert_allclose(noise(state), expected * np.asarray(state.ensemble.targets.std), rtol=1e-3)


def test_newest_rows_that_are_unlike_the_others_make_it_wider(fitted, replay):
    more = added(replay, NEW, 2, noise=4.0)
    held_out, both = (FIT(fitted[0], more, SPLIT, jax.random.key(2), CONFIG, newest=new)[0] for new in (0, NEW))
    assert noise(both)[:, :2].mean() > 1.2 * noise(held_out)[:, :2].mean()


def test_it_changes_nothing_else(fitted, replay):
    state = FIT(fresh(), replay, SPLIT, jax.random.key(1), replace(CONFIG, unseen_noise=False))[0]
    np.testing.assert_array_equal(
        state.ensemble.params.network.weights[0], fitted[0].ensemble.params.network.weights[0]
    )
    # What training alone finds is narrower: members know their own rows.
    assert noise(state).mean() < noise(fitted[0]).mean()
