"""Fitting the homoscedastic ensemble: AdamW at a falling rate, each epoch judged on held-out rows.

Double-horizon MBPO (Kubo et al. 2025, arXiv:2512.15439) takes, after each epoch, the log-likelihood of
every held-out row under the whole ensemble. Against the best epoch so far these are differences in
pairs, and their mean over its standard error says how surely the epoch is better; a fit may keep the
surely better ones only, as published, or its last one. Data, bootstrap, hold-out and normalisers are
those of `fit`.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax.scipy.stats import norm
from jaxtyping import Array, Float, Int, Key

from mbpo.data.replay import Replay, take
from mbpo.data.split import DataSplit, num_train_entries, select_holdout_slots
from mbpo.model.ensemble import Ensemble
from mbpo.model.epoch import MemberData, init_optimizer, normalized_rows, train_epoch
from mbpo.model.fit import FitState, holdout_error, refresh_normalizers
from mbpo.model.homoscedastic import MIN_LOG_STD, HomoscedasticParams, decay_shares
from mbpo.types import Metrics

NOISE_DECAY = 1e-2
"""Decoupled decay of the log noise towards that of the data; published value."""
BLOCK = 512
"""Hold-out rows scored at a time; only as many blocks as there are rows for."""


class _Search(NamedTuple):
    """The loop over epochs."""

    params: HomoscedasticParams
    optimizer_state: optax.OptState
    best_params: HomoscedasticParams
    best_scores: Float[Array, " row"]
    epoch: Int[Array, ""]
    best_epoch: Int[Array, ""]
    epochs_since_better: Int[Array, ""]
    train_loss: Float[Array, ""]


def homoscedastic_loss(
    member: HomoscedasticParams,
    x: Float[Array, "batch in"],
    y: Float[Array, "batch out"],
    key: Key[Array, ""] | None = None,
) -> Float[Array, ""]:
    """Mean over rows, sum over outputs of (μ(x) − y)² / 2σ² + max(log σ, log 10⁻³), of one member (no `member`
    axis); `key` drops units."""
    losses = 0.5 * (member.network(x, key) - y) ** 2 * jnp.exp(-2 * member.log_std)
    return (losses + jnp.maximum(member.log_std, MIN_LOG_STD)).sum(axis=-1).mean()


def row_scores(
    params: HomoscedasticParams, x: Float[Array, "batch in"], y: Float[Array, "batch out"]
) -> Float[Array, " batch"]:
    """−log N(y; mean of the members' means, mean log noise + variance of the members' means), without log √2π.

    Lower is better. Unlike each member's own likelihood it also counts what they do not agree on.
    """
    mean = params.network(x)
    variance = jnp.exp(2 * params.log_std.mean(axis=0)) + mean.var(axis=0, ddof=min(1, mean.shape[0] - 1))
    return jnp.sum(0.5 * (mean.mean(axis=0) - y) ** 2 / variance + 0.5 * jnp.log(variance), axis=-1)


def holdout_scores(
    ensemble: Ensemble,
    params: HomoscedasticParams,
    replay: Replay,
    slots: Int[Array, " holdout"],
    count: Int[Array, ""],
) -> Float[Array, " holdout"]:
    """`row_scores` of the first `count` of `slots`; 0 for the others."""
    block = min(BLOCK, slots.shape[0])

    def fill(i: Int[Array, ""], scores: Float[Array, " holdout"]) -> Float[Array, " holdout"]:
        # The last block is moved back to fit; rows already scored get the same score again.
        start = jnp.minimum(i * block, slots.shape[0] - block)
        rows = take(replay, jax.lax.dynamic_slice_in_dim(slots, start, block))
        found = row_scores(params, *normalized_rows(ensemble, rows))
        return jax.lax.dynamic_update_slice_in_dim(scores, found, start, axis=0)

    scores = jax.lax.fori_loop(0, -(-count // block), fill, jnp.zeros(slots.shape))
    return jnp.where(jnp.arange(slots.shape[0]) < count, scores, 0.0)


def chance_of_no_improvement(
    scores: Float[Array, " holdout"], best: Float[Array, " holdout"], count: Int[Array, ""]
) -> Float[Array, ""]:
    """One-sided p of the paired z-test that `scores` are lower than `best`: Φ(mean(d) √n / std(d))."""
    counted = jnp.arange(scores.shape[0]) < count
    difference = jnp.where(counted, scores - best, 0.0)
    mean = difference.sum() / count
    variance = jnp.where(counted, (difference - mean) ** 2, 0.0).sum() / jnp.maximum(count - 1, 1)
    return norm.cdf(mean * jnp.sqrt(count / jnp.maximum(variance, 1e-30)))


def epoch_rate(epoch: Int[Array, ""], epochs: Int[Array, ""], rate: float, final_share: float) -> Float[Array, ""]:
    """The learning rate of one of `epochs` epochs: `rate` in the second one, falling linearly to `final_share` of it.

    The first epoch takes the last one's rate. Adam knows no gradient yet, so its first steps are as long as
    the rate wherever they lead, and at the full one they would undo a model that is fitted already.
    """
    passed = (epoch - 1) / jnp.maximum(epochs - 2, 1)
    return rate * jnp.where(epoch == 0, final_share, 1 - (1 - final_share) * passed)


def _judged(search: _Search, scores: Float[Array, " holdout"], count: Int[Array, ""], improvement: float) -> _Search:
    """The search after an epoch that has led to these held-out scores: whether it is the best so far."""
    p = chance_of_no_improvement(scores, search.best_scores, count)
    epoch = search.epoch + 1
    best_params, best_scores, best_epoch = jax.tree.map(
        lambda new, old: jnp.where(p <= improvement, new, old),
        (search.params, scores, epoch),
        (search.best_params, search.best_scores, search.best_epoch),
    )
    return search._replace(
        best_params=best_params,
        best_scores=best_scores,
        best_epoch=best_epoch,
        epoch=epoch,
        epochs_since_better=jnp.where(p < 0.5, 0, search.epochs_since_better + 1),
    )


def decay_at(rows: Int[Array, ""], weight_decay: float, constant_rows: int) -> float | Float[Array, ""]:
    """`weight_decay` up to `constant_rows` rows; beyond, in proportion to 1 / rows. With 0 it never falls.

    The loss is a mean over rows: next to their sum, a prior on the weights counts 1 / rows.
    """
    if constant_rows == 0:
        return weight_decay
    return weight_decay * jnp.minimum(constant_rows / jnp.maximum(rows, 1), 1.0)


def make_optimizer(weight_decay: float | Float[Array, ""], num_layers: int) -> optax.GradientTransformation:
    """AdamW at a learning rate of 1, with each layer's share of the weight decay, on weights and biases, and the
    noise's own."""
    shares = decay_shares(num_layers)

    def decay(updates: HomoscedasticParams, params: HomoscedasticParams) -> HomoscedasticParams:
        def add(update: Array, value: Array, rate: float | Array) -> Array:
            return update + rate * value

        network, rates = params.network, [weight_decay * share for share in shares]
        weights = tuple(map(add, updates.network.weights, network.weights, rates))
        biases = tuple(map(add, updates.network.biases, network.biases, rates))
        log_std = add(updates.log_std, params.log_std, NOISE_DECAY)
        return eqx.tree_at(
            lambda p: (p.network.weights, p.network.biases, p.log_std), updates, (weights, biases, log_std)
        )

    return optax.chain(optax.scale_by_adam(), optax.stateless(decay), optax.scale(-1.0))


def fit_homoscedastic(
    state: FitState,
    replay: Replay,
    split: DataSplit,
    key: Key[Array, ""],
    *,
    learning_rate: float,
    final_rate_share: float,
    batch_size: int,
    weight_decay: float,
    weight_decay_rows: int,
    min_epoch_batches: int,
    max_epoch_batches: int,
    patience: int,
    max_epochs: int,
    first_fit_factor: int,
    improvement: float,
    max_holdout: int,
) -> tuple[FitState, Metrics]:
    """Fit every member to its own bootstrap of the real buffer, from the weights it has.

    The learning rate falls over the epochs that a fit may take (`epoch_rate`): a constant one that is high
    enough to learn from new data leaves a fitted model worse than it was. An epoch is `rows // batch_size`
    batches, within `min_epoch_batches` and `max_epoch_batches`. The fit ends after `patience` epochs in a
    row whose held-out scores were no lower, in the mean, than those of the best epoch, or after
    `max_epochs`. The best epoch is the last one that was better with p ≤ `improvement`, and its weights are
    what remains, of all members together.

    Args:
        key: Consumed by the draws of training rows and dropped units.
        learning_rate: The highest, of the second epoch.
        final_rate_share: The learning rate of the first and the last epoch, as a share of it.
        weight_decay_rows: Real rows up to which `weight_decay` holds (`decay_at`).
        first_fit_factor: How many times as long the first fit may take, in both respects.
        max_holdout: Rows to score, at most; evenly spaced over the hold-out when there are more.
    """
    ensemble = refresh_normalizers(state, replay)
    params = ensemble.params
    assert isinstance(params, HomoscedasticParams)
    decay = decay_at(replay.size, weight_decay, weight_decay_rows)
    optimizer = make_optimizer(decay, len(params.network.weights))
    entries = num_train_entries(split, replay.size)
    slots, count = select_holdout_slots(split, replay.size, max_holdout)
    epoch_batches = jnp.clip(entries.max() // batch_size, min_epoch_batches, max_epoch_batches)
    factor = jnp.where(state.num_fits > 0, 1, first_fit_factor)
    data = MemberData(ensemble, replay, split, entries, batch_size)

    def lap(search: _Search) -> _Search:
        params, optimizer_state, train_loss = train_epoch(
            data,
            homoscedastic_loss,
            optimizer,
            search.params,
            search.optimizer_state,
            jax.random.fold_in(key, search.epoch),
            batches=epoch_batches,
            rate=epoch_rate(search.epoch, factor * max_epochs, learning_rate, final_rate_share),
        )
        search = search._replace(params=params, optimizer_state=optimizer_state, train_loss=train_loss)
        return _judged(search, holdout_scores(ensemble, params, replay, slots, count), count, improvement)

    zero = jnp.zeros((), jnp.int32)
    warm = holdout_scores(ensemble, params, replay, slots, count)
    search = jax.lax.while_loop(
        lambda s: (s.epoch < factor * max_epochs) & (s.epochs_since_better < factor * patience),
        lap,
        _Search(params, init_optimizer(optimizer, params), params, warm, zero, zero, zero, jnp.zeros(())),
    )
    errors = holdout_error(ensemble, search.best_params, replay, slots, count)
    fitted = eqx.tree_at(lambda e: (e.params, e.holdout_scores), ensemble, (search.best_params, errors))
    metrics = {
        "model_holdout_error": errors.mean(),
        "model_holdout_error_before": holdout_error(ensemble, params, replay, slots, count).mean(),
        "model_holdout_nll": search.best_scores.sum() / count,
        "model_train_loss": search.train_loss,
        "model_epochs": search.epoch,
        "model_best_epoch": search.best_epoch,
        "model_grad_steps": search.epoch * epoch_batches,
    }
    return FitState(fitted, state.num_fits + 1), metrics
