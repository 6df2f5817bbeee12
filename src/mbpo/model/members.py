"""An ensemble's parameters taken apart, as gradient descent computes with them.

A gradient of one network after the other keeps two cores busier than one of all networks with a leading
axis, and costs one core little; an axis taken apart once a fit costs nothing.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from mbpo.model.ensemble import EnsembleParams

Members = tuple[EnsembleParams, ...]
"""Member by member, without the `member` axis."""


def members_of(params: EnsembleParams) -> Members:
    """Take the `member` axis apart."""
    return tuple(jax.tree.map(lambda leaf, i=i: leaf[i], params) for i in range(params.min_log_var.shape[0]))


def stack_members(members: Members) -> EnsembleParams:
    """Put the `member` axis back."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)


def select_members(chosen: Bool[Array, " member"], new: Members, old: Members) -> Members:
    """For each member the new parameters if chosen, else the old."""
    pairs = enumerate(zip(new, old, strict=True))
    return tuple(jax.tree.map(lambda a, b, i=i: jnp.where(chosen[i], a, b), *pair) for i, pair in pairs)
