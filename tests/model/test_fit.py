"""Fitting: what is learned, which weights are kept, what it costs, and that nothing recompiles."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles import LINEAR_GAUSSIAN, linear_mlp

from mbpo.data.replay import insert_rows, make_replay
from mbpo.data.split import make_split, num_train_entries, select_holdout_slots
from mbpo.model.ensemble import (
    Ensemble,
    EnsembleParams,
    absorb_normalizers,
    make_ensemble,
    make_targets,
    predict_normalized,
    split_prediction,
)
from mbpo.model.fit import (
    FitState,
    fit_ensemble,
    holdout_error,
    layer_decays,
    member_loss,
    refresh_normalizers,
    select_members,
)
from mbpo.nn.normalizer import identity_normalizer

CAPACITY, MEMBERS, ELITES, MAX_HOLDOUT, BATCH = 3000, 4, 2, 150, 64
MAX_EPOCHS, MAX_EPOCH_BATCHES = 60, 30
OPTIMIZER = optax.adam(3e-3)
SPLIT = make_split(jax.random.key(11), CAPACITY, MEMBERS, 0.2)

FIT = jax.jit(
    partial(
        fit_ensemble,
        optimizer=OPTIMIZER,
        batch_size=BATCH,
        weight_decay=1e-5,
        max_epochs=MAX_EPOCHS,
        min_epoch_batches=5,
        max_epoch_batches=MAX_EPOCH_BATCHES,
        max_holdout=MAX_HOLDOUT,
        patience=5,
    )
)
SCORE = jax.jit(holdout_error)
PREDICT = jax.jit(lambda params, x: predict_normalized(params, jnp.broadcast_to(x, (MEMBERS, *x.shape))))
LOSS = jax.jit(
    jax.value_and_grad(
        lambda params, x, y, weight_decay: jax.vmap(partial(member_loss, weight_decay=weight_decay))(params, x, y).sum()
    ),
    static_argnames="weight_decay",
)
SELECT = jax.jit(select_holdout_slots, static_argnums=2)


@partial(jax.jit, static_argnums=1)
def fresh(key, residual: bool) -> FitState:
    ensemble = make_ensemble(key, 2, 2, ensemble_size=MEMBERS, num_elites=ELITES, hidden_sizes=(32,), residual=residual)
    return FitState(ensemble, jnp.zeros((), jnp.int32))


INSERT_ROWS = jax.jit(insert_rows)


def replay_of(rows: int, seed: int = 0):
    # As many rows whatever the number kept, so that this helper compiles once.
    data = LINEAR_GAUSSIAN.sample_transitions(seed, 2000)
    return INSERT_ROWS(make_replay(CAPACITY, 2, 2), data, np.arange(2000) < rows)


@pytest.fixture(scope="module")
def replay():
    return replay_of(2000)


@pytest.fixture(scope="module")
def fits(replay):
    """For residual and direct targets: `(state, metrics)` after one fit from scratch."""
    return {r: FIT(fresh(jax.random.key(0), r), replay, SPLIT, jax.random.key(1)) for r in (True, False)}


def rescore(state: FitState, replay):
    """Each member's hold-out score, computed anew from the weights the fit gave back."""
    slots, count = SELECT(SPLIT, replay.size, MAX_HOLDOUT)
    return SCORE(state.ensemble, state.ensemble.params, replay, slots, count)


# --- The pieces, by hand -------------------------------------------------------------------------


def test_weight_decay_by_layer():
    # MBPO's five layers: 2.5e-5, 5e-5, 7.5e-5, 7.5e-5, 1e-4.
    np.testing.assert_allclose(layer_decays(5, 1e-4), [2.5e-5, 5e-5, 7.5e-5, 7.5e-5, 1e-4])
    # Three layers take the profile's first, middle and last; one takes the last.
    np.testing.assert_allclose(layer_decays(3, 1e-4), [2.5e-5, 7.5e-5, 1e-4])
    np.testing.assert_allclose(layer_decays(1, 1e-4), [1e-4])


def constant_members(means, log_var=0.0, low=-40.0, high=40.0) -> EnsembleParams:
    """Members that predict one number each for the single output, whatever the input."""
    members = len(means)
    bias = jnp.stack([jnp.asarray(means, jnp.float32), jnp.full(members, log_var)], axis=-1)
    return EnsembleParams(
        linear_mlp(jnp.zeros((members, 1, 2)), bias), jnp.full((members, 1), low), jnp.full((members, 1), high)
    )


def test_loss_by_hand():
    # Members predict 0 and 2 with variance 1 for targets (1, 3) each:
    #   NLL: ½ (1 + 9)/2 + ½ log 2π = 3.4189385 and ½ (1 + 1)/2 + 0.9189385 = 1.4189385
    #   bounds: 0.01 · (80 + 80) = 1.6 summed over the two members
    x, y = jnp.zeros((2, 2, 1)), jnp.tile(jnp.array([[1.0], [3.0]]), (2, 1, 1))
    params = constant_members([0.0, 2.0])
    assert float(LOSS(params, x, y, weight_decay=0.0)[0]) == pytest.approx(4.837877 + 1.6, abs=1e-4)
    # A weight of 3 in one place adds ½ λ 9; the single layer takes the full λ; biases are spared.
    heavier = eqx.tree_at(lambda p: p.network.weights, params, (params.network.weights[0].at[0, 0, 1].set(3.0),))
    added = LOSS(heavier, x, y, weight_decay=0.2)[0] - LOSS(params, x, y, weight_decay=0.2)[0]
    assert float(added) == pytest.approx(0.5 * 0.2 * 9, abs=1e-4)


def test_log_variance_bounds_are_learned_and_their_regulariser_is_alive():
    # Predictions far inside the bounds: only the regulariser moves them, by ±0.01 towards each other.
    x = y = jnp.zeros((1, 4, 1))
    grads = LOSS(constant_members([0.0]), x, y, weight_decay=0.0)[1]
    assert float(grads.max_log_var[0, 0]) == pytest.approx(0.01, abs=1e-5)
    assert float(grads.min_log_var[0, 0]) == pytest.approx(-0.01, abs=1e-5)
    # Pressed against the upper bound with errors far below it, the likelihood pulls the bound down as well.
    pressed = LOSS(constant_members([0.0], log_var=9.0, high=2.0), x, y, weight_decay=0.0)[1]
    assert float(pressed.max_log_var[0, 0]) > 0.3


def test_holdout_error_by_hand():
    # Direct targets (next_obs, reward) = (1, 2), (3, 4), (100, 100); only the first two slots count.
    data = jax.tree.map(jnp.asarray, LINEAR_GAUSSIAN.sample_transitions(0, 3))
    data = data._replace(
        obs=jnp.zeros((3, 1)),
        action=jnp.zeros((3, 1)),
        next_obs=jnp.array([[1.0], [3.0], [100.0]]),
        reward=jnp.array([2.0, 4.0, 100.0]),
    )
    replay = insert_rows(make_replay(5, 1, 1), data, jnp.ones(3, bool))
    bias = jnp.array([[1.0, 2.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    ensemble = Ensemble(
        EnsembleParams(linear_mlp(jnp.zeros((2, 2, 4)), bias), jnp.full((2, 2), -10.0), jnp.full((2, 2), 0.5)),
        identity_normalizer(2),
        identity_normalizer(2),
        jnp.array([0]),
        jnp.zeros(2),
        residual=False,
    )
    scores = SCORE(ensemble, ensemble.params, replay, jnp.array([0, 1, 2]), jnp.int32(2))
    # Member 0 errs by (0, 0) and (2, 2); member 1 by (1, 2) and (3, 4): root mean squares, averaged over rows.
    np.testing.assert_allclose(scores, [(0 + 2) / 2, (2.5**0.5 + 12.5**0.5) / 2], rtol=1e-6)


def test_holdout_error_counts_every_row_once_across_blocks():
    # 1300 hold-out rows in blocks of 512: the last block overlaps the one before.
    rows, count = 1300, 1250
    data = jax.tree.map(jnp.asarray, LINEAR_GAUSSIAN.sample_transitions(5, rows))
    replay = insert_rows(make_replay(rows, 2, 2), data, jnp.ones(rows, bool))
    ensemble = fresh(jax.random.key(0), True).ensemble
    x = jnp.concatenate([data.obs, data.action], axis=-1)
    mean, _ = PREDICT(ensemble.params, x)
    error = np.asarray(mean, float) - make_targets(ensemble, data)
    scores = SCORE(ensemble, ensemble.params, replay, jnp.arange(rows), jnp.int32(count))
    np.testing.assert_allclose(scores, ((error[:, :count] ** 2).mean(axis=2) ** 0.5).mean(axis=1), rtol=1e-4)


def test_select_members_takes_each_member_whole():
    old, new = constant_members([1.0, 2.0, 3.0]), constant_members([10.0, 20.0, 30.0], log_var=5.0, high=7.0)
    mixed = select_members(jnp.array([False, True, False]), new, old)
    np.testing.assert_array_equal(mixed.network.biases[0], [[1, 0], [20, 5], [3, 0]])
    np.testing.assert_array_equal(mixed.max_log_var[:, 0], [40, 7, 40])


# --- The whole fit -------------------------------------------------------------------------------


@pytest.mark.parametrize("residual", [True, False])
def test_a_linear_gaussian_world_is_recovered(fits, residual):
    world, ensemble = LINEAR_GAUSSIAN, fits[residual][0].ensemble
    fresh_rows = world.sample_transitions(99, 500)
    obs, action = jnp.asarray(fresh_rows.obs), jnp.asarray(fresh_rows.action)
    x = ensemble.inputs.normalize(jnp.concatenate([obs, action], axis=-1))
    mean, log_var = PREDICT(ensemble.params, x)
    expected_obs, expected_reward = world.mean(fresh_rows.obs, fresh_rows.action)
    std = np.asarray(ensemble.targets.std * jnp.exp(0.5 * log_var))
    true_std = np.array([*world.state_std, world.reward_std])
    for member in range(MEMBERS):
        next_obs, reward = split_prediction(ensemble, obs, ensemble.targets.denormalize(mean[member]))
        error = np.column_stack([next_obs - expected_obs, reward - expected_reward])
        # The mean is off by half the noise at most (root mean square).
        np.testing.assert_array_less(np.sqrt((error**2).mean(axis=0)), 0.5 * true_std)
    # The noise is off by 40 % at most, overestimated by the bound regulariser and for few rows; of the middle
    # member, since one that stops at an early best mean keeps a log-variance that was on its way down.
    np.testing.assert_allclose(np.median(std.mean(axis=1), axis=0), true_std, rtol=0.4)


def test_scores_are_those_of_the_weights_given_back(fits, replay):
    # The fit ended by patience, so the last epochs were no improvement and the last weights are not the
    # best ones; returning them, or ranking by another epoch's scores, shows here.
    for state, metrics in fits.values():
        assert int(metrics["model_epochs"]) < MAX_EPOCHS
        np.testing.assert_allclose(rescore(state, replay), state.ensemble.holdout_scores, rtol=1e-4)
        order = np.argsort(state.ensemble.holdout_scores)
        assert state.ensemble.elites.tolist() == order[:ELITES].tolist()
        assert len(np.unique(state.ensemble.holdout_scores)) == MEMBERS


def test_metrics_say_what_happened(fits):
    state, metrics = fits[True]
    elites = state.ensemble.elites
    assert float(metrics["model_holdout_error"]) == pytest.approx(float(state.ensemble.holdout_scores[elites].mean()))
    # Before the fit, in normalised units, random weights do no better than the mean of the data.
    assert float(metrics["model_holdout_error_before"]) > 0.7 > 2 * float(metrics["model_holdout_error"])
    assert int(state.num_fits) == 1
    # 1600 training rows, twice as many draws as needed at most: an epoch is capped at 30 batches of 64.
    entries = int(num_train_entries(SPLIT, jnp.int32(2000)).max())
    batches = min(-(-entries // BATCH), MAX_EPOCH_BATCHES)
    assert int(metrics["model_grad_steps"]) == int(metrics["model_epochs"]) * batches


def test_a_refit_never_worsens_the_hold_out_score(fits, replay):
    # Nothing is left to gain on the same data, so each member keeps its weights or finds better ones.
    state = fits[True][0]
    before = np.asarray(rescore(state, replay))
    for seed in (20, 21):
        refitted, metrics = FIT(state, replay, SPLIT, jax.random.key(seed))
        after = np.asarray(rescore(refitted, replay))
        assert (after <= before * (1 + 1e-4)).all()
        np.testing.assert_allclose(after, refitted.ensemble.holdout_scores, rtol=1e-4)
        assert int(refitted.num_fits) == 2
        elites = np.asarray(refitted.ensemble.elites)
        assert float(metrics["model_holdout_error_before"]) == pytest.approx(before[elites].mean(), rel=1e-3)


def test_an_epoch_has_at_least_its_minimum_of_batches():
    # Four rows are one batch of 64; the minimum is five.
    _, metrics = FIT(fresh(jax.random.key(0), True), replay_of(4), SPLIT, jax.random.key(0))
    assert int(metrics["model_grad_steps"]) == 5 * int(metrics["model_epochs"])


def test_growing_data_keep_the_function_and_recompile_nothing():
    state, _ = FIT(fresh(jax.random.key(0), True), replay_of(4), SPLIT, jax.random.key(0))
    compiled = FIT._cache_size()
    for rows in (10, 150, 400):
        state, metrics = FIT(state, replay_of(rows), SPLIT, jax.random.key(rows))
        assert 1 <= int(metrics["model_epochs"]) <= MAX_EPOCHS
        assert int(metrics["model_grad_steps"]) <= MAX_EPOCHS * MAX_EPOCH_BATCHES
    # Statistics of new data change how the weights are written down, not what they predict.
    refreshed = jax.jit(refresh_normalizers)(state, replay_of(2000, seed=8))
    assert float(abs(refreshed.inputs.mean - state.ensemble.inputs.mean).max()) > 0.01
    x = jnp.asarray(np.random.default_rng(0).standard_normal((50, 4)), jnp.float32)

    def predict(e):
        mean, log_var = PREDICT(e.params, e.inputs.normalize(x))
        return np.asarray(e.targets.denormalize(mean)), np.asarray(e.targets.std * jnp.exp(0.5 * log_var))

    for before, after in zip(predict(state.ensemble), predict(refreshed), strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-3, atol=1e-4)
    # Last, so that a recompilation does not hide the rest: the refits above all ran the first one's code.
    assert FIT._cache_size() == compiled


def test_a_fit_gives_back_the_types_it_was_given(replay):
    # Shape, dtype and weakness of type: a difference in any of them compiles the second fit anew.
    state = fresh(jax.random.key(0), True)
    fitted, _ = jax.eval_shape(FIT, state, replay, SPLIT, jax.random.key(0))
    before, after = jax.tree_util.tree_leaves_with_path(state), jax.tree.leaves(fitted)
    changed = [
        (jax.tree_util.keystr(path), jax.typeof(a).str_short(), b)
        for (path, a), b in zip(before, after, strict=True)
        if (a.shape, a.dtype, a.weak_type) != (b.shape, b.dtype, b.weak_type)
    ]
    assert not changed


def test_before_the_first_fit_nothing_is_absorbed(replay):
    state = fresh(jax.random.key(0), True)
    refreshed = jax.jit(refresh_normalizers)(state, replay)
    jax.tree.map(np.testing.assert_array_equal, refreshed.params, state.ensemble.params)
    # Standard normal inputs; Δobs has variance Σ(A − I)² + ΣB² + σ² by hand for the first dimension:
    # 0.01 + 0.04 + 0.25 + 0.01 = 0.31.
    np.testing.assert_allclose(refreshed.inputs.std, 1.0, rtol=0.1)
    assert float(refreshed.targets.std[0]) == pytest.approx(np.sqrt(0.31), rel=0.1)


SHORT_FIT = jax.jit(
    partial(
        fit_ensemble,
        optimizer=OPTIMIZER,
        batch_size=8,
        weight_decay=0.0,
        max_epochs=3,
        min_epoch_batches=1,
        max_epoch_batches=2,
        max_holdout=MAX_HOLDOUT,
        patience=1000,
    )
)


def test_the_cost_is_bounded_and_held_out_rows_never_reach_the_weights(replay):
    # Patience that never ends and data for many more batches: exactly 3 epochs of 2 batches.
    state, metrics = SHORT_FIT(fresh(jax.random.key(0), True), replay, SPLIT, jax.random.key(2))
    assert (int(metrics["model_epochs"]), int(metrics["model_grad_steps"])) == (3, 6)

    # The same once more with the rewards of the held-out rows reversed among them, which leaves the
    # normalisers as they are. Scores change; the loss along the way does not.
    held_out = np.asarray(SPLIT.holdout_slots)
    held_out = held_out[held_out < 2000]
    reward = np.array(replay.data.reward)
    reward[held_out] = reward[held_out[::-1]]
    poisoned = eqx.tree_at(lambda r: r.data.reward, replay, jnp.asarray(reward))
    other, other_metrics = SHORT_FIT(fresh(jax.random.key(0), True), poisoned, SPLIT, jax.random.key(2))
    assert float(abs(state.ensemble.holdout_scores - other.ensemble.holdout_scores).min()) > 1e-3
    assert float(other_metrics["model_train_loss"]) == pytest.approx(float(metrics["model_train_loss"]), abs=1e-4)
    # Rewards of rows trained on do change it.
    trained = np.setdiff1d(np.arange(2000), held_out)
    reward[trained] = reward[trained[::-1]]
    other = eqx.tree_at(lambda r: r.data.reward, replay, jnp.asarray(reward))
    _, other_metrics = SHORT_FIT(fresh(jax.random.key(0), True), other, SPLIT, jax.random.key(2))
    assert abs(float(other_metrics["model_train_loss"]) - float(metrics["model_train_loss"])) > 1e-2


def test_the_fit_is_a_function_of_its_key(fits, replay):
    again, _ = FIT(fresh(jax.random.key(0), True), replay, SPLIT, jax.random.key(1))
    jax.tree.map(np.testing.assert_array_equal, again, fits[True][0])
    other, _ = FIT(fresh(jax.random.key(0), True), replay, SPLIT, jax.random.key(2))
    assert float(abs(other.ensemble.params.network.weights[0] - again.ensemble.params.network.weights[0]).max()) > 1e-4


def test_absorbing_the_same_normalisers_is_the_identity(fits):
    ensemble = fits[True][0].ensemble
    same = absorb_normalizers(ensemble.params, (ensemble.inputs, ensemble.targets), (ensemble.inputs, ensemble.targets))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6), same, ensemble.params)
