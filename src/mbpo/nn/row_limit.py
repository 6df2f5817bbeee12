"""A limit on how far one row of a batch may pull.

Gradients that have passed through a learned model have heavy tails: a few rows, whose branch runs along a cliff of
the model or of the critics, make up most of a batch's noise. Limiting each row by the batch's median takes most of
the noise away, and biases the gradient towards what most rows agree on (docs/algorithms/mbpo_dh_falls.md).
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def limit_rows(x: Float[Array, "batch dim"], limit: float) -> Float[Array, "batch dim"]:
    """`x` itself; on the way back, rows whose gradient is longer than `limit` medians of the batch are cut to that.

    The median is over rows that have a gradient: one whose branch has ended has none.

    Args:
        limit: In medians of the rows' Euclidean norms; more than 0.
    """
    del limit
    return x


def _forward(x: Float[Array, "batch dim"], limit: float) -> tuple[Float[Array, "batch dim"], None]:
    return limit_rows(x, limit), None


def _backward(limit: float, _: None, gradient: Float[Array, "batch dim"]) -> tuple[Float[Array, "batch dim"]]:
    norms = jnp.linalg.norm(gradient, axis=-1)
    # Without a row that has a gradient the median is NaN, and there is nothing to cut.
    most = jnp.nan_to_num(limit * jnp.nanmedian(jnp.where(norms > 0, norms, jnp.nan)))
    # A row too long for its norm is left as it is, to be found out.
    share = jnp.where((norms > most) & jnp.isfinite(norms), most / jnp.maximum(norms, jnp.finfo(norms.dtype).tiny), 1.0)
    return (gradient * share[:, None],)


limit_rows.defvjp(_forward, _backward)
