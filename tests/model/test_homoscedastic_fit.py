"""Fitting until a test finds no more improvement: the test itself, what is learned, and what it costs."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import LINEAR_GAUSSIAN
from scipy import stats

from mbpo.data.replay import insert_rows, make_replay
from mbpo.data.split import make_split
from mbpo.model.ensemble import predict_normalized, split_prediction, unfitted
from mbpo.model.fit import FitState
from mbpo.model.homoscedastic import HomoscedasticParams, make_homoscedastic
from mbpo.model.homoscedastic_fit import (
    chance_of_no_improvement,
    decay_at,
    epoch_rate,
    fit_homoscedastic,
    homoscedastic_loss,
    make_optimizer,
    row_scores,
)
from mbpo.nn.normed_mlp import NormedMLP

CAPACITY, MEMBERS, MAX_EPOCHS = 2000, 3, 150
SPLIT = make_split(jax.random.key(11), CAPACITY, MEMBERS, 0.2)
SETTINGS = {
    "learning_rate": 3e-3,
    "final_rate_share": 1.0,
    "batch_size": 128,
    "weight_decay": 1e-3,
    "weight_decay_rows": 0,
    "min_epoch_batches": 1,
    "max_epoch_batches": 6,
    "patience": 10,
    "max_epochs": MAX_EPOCHS,
    "first_fit_factor": 2,
    "improvement": 0.1,
    "max_holdout": 150,
}
FIT = jax.jit(partial(fit_homoscedastic, **SETTINGS))


def fresh(seed: int = 0) -> FitState:
    params = make_homoscedastic(jax.random.key(seed), 4, 3, ensemble_size=MEMBERS, hidden_sizes=(16, 16), dropout=0.0)
    ensemble = unfitted(params, 2, 2, ensemble_size=MEMBERS, num_elites=MEMBERS, residual=True)
    return FitState(ensemble, jnp.zeros((), jnp.int32))


def replay_of(rows: int, seed: int = 0):
    data = LINEAR_GAUSSIAN.sample_transitions(seed, rows)
    return insert_rows(make_replay(CAPACITY, 2, 2), jax.tree.map(jnp.asarray, data), jnp.ones(rows, bool))


def one_output(mean: float, log_std: float) -> HomoscedasticParams:
    """Two members that say `mean` and `mean + 2`, whatever they are asked."""
    network = NormedMLP((jnp.zeros((2, 1, 1)),), (jnp.array([[mean], [mean + 2]]),), (0.0,), ())
    return HomoscedasticParams(network, jnp.full((2, 1), log_std))


def member_of(params: HomoscedasticParams, member: int) -> HomoscedasticParams:
    return jax.tree.map(lambda leaf: leaf[member], params)


def test_loss_by_hand():
    params, x = one_output(1.0, 0.5), jnp.zeros((2, 1))
    # Squared errors 0 and 9 for the member that says 1, 0 and 4 for the one that says 3; over 2 e; and the log noise.
    for member, y, errors in ((0, [1.0, 4.0], 9), (1, [3.0, 5.0], 4)):
        loss = homoscedastic_loss(member_of(params, member), x, jnp.array(y)[:, None])
        assert float(loss) == pytest.approx(errors / 2 / (2 * np.e) + 0.5, rel=1e-5)
    # Below a thousandth, less noise is no gain.
    quiet = homoscedastic_loss(member_of(one_output(1.0, -9.0), 0), x[:1], jnp.array([[1.0]]))
    assert float(quiet) == pytest.approx(np.log(1e-3), rel=1e-5)


def test_scores_count_noise_and_disagreement():
    found = row_scores(one_output(1.0, 0.5 * np.log(3.0)), jnp.zeros((1, 1)), jnp.array([[7.0]]))
    # Means 1 and 3: their mean 2, unbiased variance 2, noise 3; error 25.
    assert float(found[0]) == pytest.approx(0.5 * 25 / 5 + 0.5 * np.log(5), rel=1e-5)


def test_the_chance_of_no_improvement_is_the_paired_test():
    rng = np.random.default_rng(0)
    best = rng.standard_normal(3000).astype(np.float32)
    new = best + rng.standard_normal(3000).astype(np.float32) * 0.5 - 0.02
    padded = [jnp.asarray(np.concatenate([a, np.full(50, 9.0, np.float32)])) for a in (new, best)]
    found = chance_of_no_improvement(*padded, jnp.asarray(3000))
    expected = stats.ttest_rel(new, best, alternative="less").pvalue
    assert 0.001 < expected < 0.5
    assert float(found) == pytest.approx(expected, rel=0.02)
    assert float(chance_of_no_improvement(padded[0], padded[0], jnp.asarray(3000))) == 0.5


def test_it_learns_the_world_and_its_noise():
    state, metrics = FIT(fresh(), replay_of(1500), SPLIT, jax.random.key(5))
    ensemble, test = state.ensemble, LINEAR_GAUSSIAN.sample_transitions(9, 400)
    x = ensemble.inputs.normalize(jnp.concatenate([test.obs, test.action], axis=-1))
    mean, log_var = predict_normalized(ensemble.params, jnp.broadcast_to(x, (MEMBERS, *x.shape)))
    next_obs, reward = split_prediction(
        ensemble, jnp.asarray(test.obs), ensemble.targets.denormalize(mean.mean(axis=0))
    )
    true_obs, true_reward = LINEAR_GAUSSIAN.mean(test.obs, test.action)
    assert float(jnp.sqrt(jnp.mean((next_obs - true_obs) ** 2))) < 0.08
    assert float(jnp.sqrt(jnp.mean((reward - true_reward) ** 2))) < 0.08
    std = np.asarray(jnp.exp(0.5 * log_var[:, 0]) * ensemble.targets.std).mean(axis=0)
    np.testing.assert_allclose(std, [*LINEAR_GAUSSIAN.state_std, LINEAR_GAUSSIAN.reward_std], rtol=0.15)
    assert float(metrics["model_holdout_error"]) < 0.6 * float(metrics["model_holdout_error_before"])
    assert int(metrics["model_best_epoch"]) <= int(metrics["model_epochs"]) <= 2 * MAX_EPOCHS
    assert int(state.num_fits) == 1


def test_a_fit_that_finds_nothing_leaves_the_weights_and_stops_in_time():
    state, replay = fresh(), replay_of(1500)
    for i in range(4):
        state, metrics = FIT(state, replay, SPLIT, jax.random.key(i))
    again, metrics = FIT(state, replay, SPLIT, jax.random.key(9))
    if int(metrics["model_best_epoch"]) == 0:
        jax.tree.map(np.testing.assert_array_equal, again.ensemble.params, state.ensemble.params)
    assert int(metrics["model_epochs"]) < MAX_EPOCHS
    assert float(metrics["model_holdout_error"]) <= 1.05 * float(metrics["model_holdout_error_before"])


def test_the_learning_rate_starts_low_and_falls():
    rates = [float(epoch_rate(jnp.asarray(epoch), jnp.asarray(6), 2.0, 0.1)) for epoch in range(6)]
    np.testing.assert_allclose(rates, [0.2, 2.0, 1.55, 1.1, 0.65, 0.2], rtol=1e-6)
    for epochs in (1, 2, 3):
        rates = [float(epoch_rate(jnp.asarray(epoch), jnp.asarray(epochs), 2.0, 0.1)) for epoch in range(epochs)]
        np.testing.assert_allclose(rates, [0.2, 2.0, 0.2][:epochs], rtol=1e-6)
    constant = [float(epoch_rate(jnp.asarray(epoch), jnp.asarray(6), 2.0, 1.0)) for epoch in range(6)]
    assert constant == [2.0] * 6


def test_a_fit_follows_the_rate_of_its_epochs():
    """Where the first and the last of three epochs stand still, a fit ends where its second alone ends."""
    replay, key = replay_of(1900), jax.random.key(3)
    ended = []
    for epochs, share in ((3, 1e-7), (2, 1e-7), (3, 1.0)):
        changed = {"max_epochs": epochs, "final_rate_share": share, "first_fit_factor": 1, "learning_rate": 1e-2}
        state, metrics = jax.jit(partial(fit_homoscedastic, **SETTINGS | changed))(fresh(), replay, SPLIT, key)
        assert int(metrics["model_best_epoch"]) >= 2
        ended.append(np.asarray(state.ensemble.params.network.weights[0]))
    np.testing.assert_allclose(ended[0], ended[1], atol=1e-5)
    assert np.abs(ended[2] - ended[0]).max() > 1e-3
    assert np.abs(ended[0] - np.asarray(fresh().ensemble.params.network.weights[0])).max() > 1e-3


def test_a_refit_does_not_undo_a_fitted_model():
    """At a rate that new data need, its first epoch leaves the held-out error about where it was."""
    state, replay = fresh(), replay_of(1900)
    for i in range(3):
        state, _ = FIT(state, replay, SPLIT, jax.random.key(i))
    fitted = SETTINGS | {"max_epochs": 1, "learning_rate": 3e-2, "improvement": 1.0}
    worse = {}
    for share in (0.03, 1.0):
        fit = jax.jit(partial(fit_homoscedastic, **fitted | {"final_rate_share": share}))
        metrics = fit(state, replay, SPLIT, jax.random.key(9))[1]
        worse[share] = float(metrics["model_holdout_error"] / metrics["model_holdout_error_before"])
    assert worse[0.03] < 1.1 < worse[1.0]


def test_growing_data_recompile_nothing():
    fit = jax.jit(FIT.__wrapped__)
    state = fresh()
    for rows in (40, 400, 1900):
        state, metrics = fit(state, replay_of(rows), SPLIT, jax.random.key(rows))
    assert fit._cache_size() == 1
    assert int(metrics["model_grad_steps"]) == 6 * int(metrics["model_epochs"])


def test_weight_decay_by_layer():
    params = fresh().ensemble.params
    optimizer = make_optimizer(0.5, 3)
    updates, _ = optimizer.update(jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params)
    for update, weight, share in zip(updates.network.weights, params.network.weights, (0.25, 0.625, 1.0), strict=True):
        np.testing.assert_allclose(update, -0.5 * share * weight, rtol=1e-5)


def test_weight_decay_falls_with_more_rows():
    found = [float(decay_at(jnp.asarray(rows), 0.6, 5000)) for rows in (0, 10, 5000, 10_000, 15_000)]
    np.testing.assert_allclose(found, [0.6, 0.6, 0.6, 0.3, 0.2], rtol=1e-6)
    assert decay_at(jnp.asarray(15_000), 0.6, 0) == 0.6


def test_a_fit_decays_as_its_rows_say():
    def weights(**changes):
        fit = jax.jit(partial(fit_homoscedastic, **SETTINGS | {"max_epochs": 5, "improvement": 1.0} | changes))
        state, _ = fit(fresh(), replay_of(400), SPLIT, jax.random.key(0))
        return np.asarray(state.ensemble.params.network.weights[0])

    falling = weights(weight_decay=2.0, weight_decay_rows=100)
    np.testing.assert_allclose(falling, weights(weight_decay=0.5), rtol=1e-3, atol=1e-5)
    assert np.abs(falling - weights(weight_decay=2.0)).mean() > 0.01
