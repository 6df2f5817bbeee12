"""Noise as wide as the model is wrong: on transitions that it has not been fitted to.

The likelihood of the rows that a member learns from says how far it is from these, which is not how far
it is from the next ones: those are of a policy that has moved on meanwhile. Rollouts whose noise is too
narrow are too sure of themselves; nothing unforeseen happens in them.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mbpo.data.replay import Replay, newest_slots, take
from mbpo.model.ensemble import Ensemble
from mbpo.model.epoch import normalized_rows
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


def newest_error(ensemble: Ensemble, replay: Replay, newest: int) -> Float[Array, "member out"]:
    """`mean_square_error` on the `newest` rows."""
    return mean_square_error(ensemble, replay, newest_slots(replay, newest), jnp.arange(newest) < replay.size)


def with_noise(ensemble: Ensemble, variance: Float[Array, "member out"]) -> Ensemble:
    """The ensemble with that variance, in units of the targets' spread squared, as its noise."""
    log_std = jnp.maximum(0.5 * jnp.log(jnp.maximum(variance, 1e-30)), MIN_LOG_STD)
    return eqx.tree_at(lambda e: e.params.log_std, ensemble, log_std)
