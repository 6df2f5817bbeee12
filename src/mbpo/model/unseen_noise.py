"""Noise as wide as the model is wrong: on transitions that it has not been fitted to. Not published.

The likelihood of the rows that a member learns from says how far it is from these. From the next ones it is further:
held-out rows are neighbours of rows that it knows, and the next are of a policy that has moved on. Rollouts with
too little noise are too sure of themselves, and a policy learns to rely on what only holds in them.
"""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mbpo.data.replay import Replay, newest_slots, take
from mbpo.data.split import DataSplit, select_holdout_slots
from mbpo.model.ensemble import Ensemble
from mbpo.model.epoch import normalized_rows
from mbpo.model.fit import FitState, refresh_normalizers
from mbpo.model.homoscedastic import MIN_LOG_STD, HomoscedasticParams

BLOCK = 512
"""Rows predicted at a time."""


def mean_square_error(
    ensemble: Ensemble, replay: Replay, slots: Int[Array, " row"], counted: Bool[Array, " row"]
) -> Float[Array, "member out"]:
    """Each member's over the rows that count, in units of the targets' spread; 0 if there are none."""
    assert isinstance(ensemble.params, HomoscedasticParams)
    network, block = ensemble.params.network, min(BLOCK, slots.shape[0])
    blocks = -(-slots.shape[0] // block)
    pad = (0, blocks * block - slots.shape[0])
    rows = jnp.pad(slots, pad).reshape(blocks, block), jnp.pad(counted, pad).reshape(blocks, block)

    def add(total: Float[Array, "member out"], part: tuple[Array, Array]) -> tuple[Float[Array, "member out"], None]:
        x, y = normalized_rows(ensemble, take(replay, part[0]))
        return total + jnp.where(part[1][:, None], (network(x) - y) ** 2, 0.0).sum(axis=1), None

    total, _ = jax.lax.scan(add, jnp.zeros_like(ensemble.params.log_std), rows)
    return total / jnp.maximum(counted.sum(), 1)


def with_noise(ensemble: Ensemble, variance: Float[Array, "member out"]) -> Ensemble:
    """The ensemble with that variance, in units of the targets' spread squared, as its noise."""
    log_std = jnp.maximum(0.5 * jnp.log(jnp.maximum(variance, 1e-30)), MIN_LOG_STD)
    return eqx.tree_at(lambda e: e.params.log_std, ensemble, log_std)


def with_unseen_noise(
    before: FitState, fitted: FitState, replay: Replay, split: DataSplit, *, newest: int, max_holdout: int
) -> tuple[FitState, Float[Array, "member out"]]:
    """A fit's result with other noise, and that noise as a variance.

    It is the larger one of two errors, for each member and output: that of the fitted model on held-out rows,
    and that of the model before on rows that it had not got. The second is a forecast's, of a policy that has
    moved on; the first is there for what these rows do not show, and alone after a first fit.

    Args:
        before: What the fit began with.
        newest: How many of the newest rows that fit was the first to get; 0 for the first error alone.
        max_holdout: Held-out rows to look at, at most.
    """
    slots, count = select_holdout_slots(split, replay.size, max_holdout)
    variance = mean_square_error(fitted.ensemble, replay, slots, jnp.arange(max_holdout) < count)
    if newest > 0:
        counted = (jnp.arange(newest) < replay.size) & (before.num_fits > 0)
        coming = mean_square_error(refresh_normalizers(before, replay), replay, newest_slots(replay, newest), counted)
        variance = jnp.maximum(variance, coming)
    return replace(fitted, ensemble=with_noise(fitted.ensemble, variance)), variance
