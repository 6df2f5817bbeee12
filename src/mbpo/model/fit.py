"""Fitting the ensemble to the real buffer, at a cost that is bounded however much data there is.

Maximum likelihood with learned log-variance bounds (PETS, arXiv:1805.12114, eq. 1 and appendix
A.1), weight decay by layer and early stopping on held-out rows (MBPO, arXiv:1906.08253, and its
published settings). Each member keeps the weights of its own best epoch, and elites are ranked
by the scores of exactly those weights.

The whole fit is one compiled function. Data sizes, epochs and batches are traced bounds, so
growing data never recompile it; batches are drawn from the buffer where it lies.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, Key

from mbpo.data.replay import Replay, take, valid_mask
from mbpo.data.split import DataSplit, num_train_entries, select_holdout_slots
from mbpo.model.ensemble import (
    Ensemble,
    EnsembleParams,
    Params,
    absorb_normalizers,
    make_targets,
    predict_member,
    predict_normalized,
)
from mbpo.model.epoch import MemberData, init_optimizer, normalized_rows, train_epoch
from mbpo.nn.distributions import gaussian_nll
from mbpo.nn.normalizer import fit_normalizer, identity_normalizer
from mbpo.types import Metrics

BOUND_PENALTY = 0.01
"""Pull of the learned log-variance bounds towards each other (PETS, appendix A.1)."""
DECAY_PROFILE = (0.25, 0.5, 0.75, 0.75, 1.0)
"""Weight decay of MBPO's five layers, as shares of the last one's; other depths interpolate."""
MIN_IMPROVEMENT = 0.005
"""An epoch counts as better when a member's score falls by this share of its best: for a root mean
square error what the published 1 % is for a mean square one."""
HOLDOUT_BLOCK = 512
"""Hold-out rows evaluated at a time; only as many blocks as there are rows for."""


class FitState(eqx.Module):
    """The ensemble, carried from refit to refit (warm start)."""

    ensemble: Ensemble
    num_fits: Int[Array, ""]


class _Search(NamedTuple):
    """The early-stopping loop's state."""

    params: EnsembleParams
    optimizer_state: optax.OptState
    best_params: EnsembleParams
    best_scores: Float[Array, " member"]
    epoch: Int[Array, ""]
    epochs_since_best: Int[Array, ""]
    train_loss: Float[Array, ""]


def layer_decays(num_layers: int, weight_decay: float) -> tuple[float, ...]:
    """Weight decay of each layer: MBPO's profile stretched to `num_layers`, times the last one's."""
    last = len(DECAY_PROFILE) - 1
    at = np.linspace(0, last, num_layers) if num_layers > 1 else [last]
    return tuple(weight_decay * float(share) for share in np.interp(at, range(last + 1), DECAY_PROFILE))


def member_loss(
    member: EnsembleParams, x: Float[Array, "batch in"], y: Float[Array, "batch out"], *, weight_decay: float
) -> Float[Array, ""]:
    """Negative log-likelihood, bound penalty and weight decay of one member (no `member` axis).

    mean over rows, sum over outputs of −log N(y; μ(x), σ²(x))
    + 0.01 · Σ (max_log_var − min_log_var) + ½ Σ_l λ_l ‖W_l‖²
    """
    mean, log_var = predict_member(member, x)
    nll = gaussian_nll(mean, log_var, y).sum(axis=-1).mean()
    penalty = BOUND_PENALTY * jnp.sum(member.max_log_var - member.min_log_var)
    decays = layer_decays(len(member.network.weights), weight_decay)
    decay = sum(0.5 * d * jnp.sum(w**2) for d, w in zip(decays, member.network.weights, strict=True))
    return nll + penalty + decay


def holdout_error(
    ensemble: Ensemble,
    params: Params,
    replay: Replay,
    slots: Int[Array, " holdout"],
    count: Int[Array, ""],
) -> Float[Array, " member"]:
    """Each member's error over the first `count` of `slots`, in normalised units.

        mean over rows of √( mean over outputs of (μ(x) − y)² )

    1 is about what predicting the mean of the data would score. The root is taken row by row and
    not at the end: in a small hold-out, one row that no member can predict (a speed that hits its
    limit) would otherwise decide alone which epoch was best and who is an elite.
    """
    block = min(HOLDOUT_BLOCK, slots.shape[0])

    def add_block(i: Int[Array, ""], total: Float[Array, " member"]) -> Float[Array, " member"]:
        # The last block is moved back to fit, and rows already counted are masked.
        start = jnp.minimum(i * block, slots.shape[0] - block)
        position = start + jnp.arange(block)
        x, y = normalized_rows(ensemble, take(replay, jax.lax.dynamic_slice_in_dim(slots, start, block)))
        mean, _ = predict_normalized(params, jnp.broadcast_to(x, (ensemble.ensemble_size, *x.shape)))
        counted = (position >= i * block) & (position < count)
        row_error = jnp.sqrt(jnp.mean((mean - y) ** 2, axis=-1))
        return total + jnp.where(counted, row_error, 0.0).sum(axis=-1)

    total = jax.lax.fori_loop(0, -(-count // block), add_block, jnp.zeros((ensemble.ensemble_size,)))
    return total / jnp.maximum(count, 1)


def refresh_normalizers(state: FitState, replay: Replay) -> Ensemble:
    """Normalisers of all real data, absorbed by the weights so that predictions stay the same.

    Before the first fit the weights are random draws meant for normalised data, and stay.
    """
    ensemble, data, valid = state.ensemble, replay.data, valid_mask(replay)
    targets = make_targets(ensemble, data)
    new = (
        fit_normalizer(jnp.concatenate([data.obs, data.action], axis=-1), valid, ensemble.inputs.angles),
        fit_normalizer(targets, valid) if ensemble.normalize_targets else identity_normalizer(targets.shape[-1]),
    )
    old = jax.tree.map(
        lambda before, after: jnp.where(state.num_fits > 0, before, after), (ensemble.inputs, ensemble.targets), new
    )
    return eqx.tree_at(
        lambda e: (e.params, e.inputs, e.targets), ensemble, (absorb_normalizers(ensemble.params, old, new), *new)
    )


def select_members(chosen: Bool[Array, " member"], new: EnsembleParams, old: EnsembleParams) -> EnsembleParams:
    """For each member the new parameters if chosen, else the old."""
    return jax.tree.map(lambda a, b: jnp.where(jnp.expand_dims(chosen, tuple(range(1, a.ndim))), a, b), new, old)


def keep_best_weights(
    train: Callable[
        [EnsembleParams, optax.OptState, Key[Array, ""]], tuple[EnsembleParams, optax.OptState, Float[Array, ""]]
    ],
    score: Callable[[EnsembleParams], Float[Array, " member"]],
    params: EnsembleParams,
    optimizer_state: optax.OptState,
    key: Key[Array, ""],
    *,
    max_epochs: int | Int[Array, ""],
    patience: int | Int[Array, ""],
) -> _Search:
    """Early stopping, member by member: train epochs until none of them gets better any more.

    Args:
        train: One epoch, from parameters, optimiser state and key, to the next ones and the loss.
        score: Hold-out error of each member, lower is better.
        key: Epoch `i` uses the key folded from `i`.
        max_epochs: Epochs, at most.
        patience: Epochs without a member's score better by 0.5 % before it ends.
    """

    def lap(search: _Search) -> _Search:
        epoch_key = jax.random.fold_in(key, search.epoch)
        params, optimizer_state, train_loss = train(search.params, search.optimizer_state, epoch_key)
        scores = score(params)
        better = scores < (1 - MIN_IMPROVEMENT) * search.best_scores
        return _Search(
            params=params,
            optimizer_state=optimizer_state,
            best_params=select_members(better, params, search.best_params),
            best_scores=jnp.where(better, scores, search.best_scores),
            epoch=search.epoch + 1,
            epochs_since_best=jnp.where(better.any(), 0, search.epochs_since_best + 1),
            train_loss=train_loss,
        )

    zero = jnp.zeros((), jnp.int32)
    start = _Search(
        params=params,
        optimizer_state=optimizer_state,
        best_params=params,
        best_scores=jnp.full((params.min_log_var.shape[0],), jnp.inf),
        epoch=zero,
        epochs_since_best=zero,
        train_loss=jnp.zeros(()),
    )
    return jax.lax.while_loop(
        lambda search: (search.epoch < max_epochs) & (search.epochs_since_best < patience), lap, start
    )


def fit_ensemble(
    state: FitState,
    replay: Replay,
    split: DataSplit,
    key: Key[Array, ""],
    *,
    optimizer: optax.GradientTransformation,
    batch_size: int,
    weight_decay: float,
    max_epochs: int,
    min_epoch_batches: int,
    max_epoch_batches: int,
    max_holdout: int,
    patience: int,
    first_fit_factor: int = 1,
) -> tuple[FitState, Metrics]:
    """Fit every member to its own bootstrap of the real buffer, from the weights it has.

    An epoch is `ceil(rows / batch_size)` batches, at least `min_epoch_batches` and at most
    `max_epoch_batches`; after each the hold-out is scored. The fit ends after `patience` epochs in
    which no member improved its best score of this fit by 0.5 %, or after `max_epochs`. So a refit
    costs at most `max_epochs · max_epoch_batches` gradient steps and `max_epochs · max_holdout`
    evaluations. A member that ends worse than it began keeps the weights it began with.

    The optimiser starts afresh: its moments belong to the data, and the normalisers, of before.
    Rows from where the model was never fitted meet overconfident variances, and the first
    gradients are enormous; so an epoch must be long enough to get over that before patience ends.

    Args:
        key: Consumed by the draws of training rows.
        max_holdout: Rows to score, at most; evenly spaced over the hold-out when there are more.
        first_fit_factor: How many times as long the first fit may take, in epochs and in patience.
    """
    ensemble = refresh_normalizers(state, replay)
    factor = jnp.where(state.num_fits > 0, 1, first_fit_factor)
    params = ensemble.params
    assert isinstance(params, EnsembleParams), "for the other kind there is `homoscedastic_fit`"
    entries = num_train_entries(split, replay.size)
    slots, count = select_holdout_slots(split, replay.size, max_holdout)
    epoch_batches = jnp.clip(-(-entries.max() // batch_size), min_epoch_batches, max_epoch_batches)
    data = MemberData(ensemble, replay, split, entries, batch_size)

    def loss_fn(member: EnsembleParams, x: Array, y: Array, _: Key[Array, ""]) -> Float[Array, ""]:
        return member_loss(member, x, y, weight_decay=weight_decay)

    def score(params: EnsembleParams) -> Float[Array, " member"]:
        return holdout_error(ensemble, params, replay, slots, count)

    warm_scores = score(params)
    search = keep_best_weights(
        partial(train_epoch, data, loss_fn, optimizer, batches=epoch_batches),
        score,
        params,
        init_optimizer(optimizer, params),
        key,
        max_epochs=factor * max_epochs,
        patience=factor * patience,
    )
    better = search.best_scores < warm_scores
    params = select_members(better, search.best_params, params)
    scores = jnp.where(better, search.best_scores, warm_scores)
    elites = jnp.argsort(scores)[: ensemble.elites.shape[0]].astype(jnp.int32)
    fitted = eqx.tree_at(lambda e: (e.params, e.elites, e.holdout_scores), ensemble, (params, elites, scores))
    metrics = {
        "model_holdout_error": scores[elites].mean(),
        "model_holdout_error_before": warm_scores[elites].mean(),
        "model_train_loss": search.train_loss,
        "model_epochs": search.epoch,
        "model_grad_steps": search.epoch * epoch_batches,
    }
    return FitState(fitted, state.num_fits + 1), metrics
