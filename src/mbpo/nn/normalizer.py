"""Per-dimension standardisation, the same for inputs and for targets of the model.

Statistics come from the whole real buffer at each refit. A dimension that (nearly) never
moves keeps a standard deviation of one, so that it is shifted and not blown up.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from mbpo.nn.angles import with_angles

RELATIVE_FLOOR = 1e-5
"""Below this share of a dimension's magnitude, its spread is float32 rounding, not signal."""


class Normalizer(eqx.Module):
    """`x ↦ (x − mean) / std`, elementwise over the last axis; angles are replaced by cosine and sine first."""

    mean: Float[Array, " dim"]
    std: Float[Array, " dim"]
    angles: tuple[int, ...] = eqx.field(static=True, default=())
    """Columns of `x`; `dim` counts two numbers for each. What has any cannot be denormalised."""

    def normalize(self, x: Float[Array, "*batch in"]) -> Float[Array, "*batch dim"]:
        return (with_angles(x, self.angles) - self.mean) / self.std

    def denormalize(self, z: Float[Array, "*batch dim"]) -> Float[Array, "*batch dim"]:
        return z * self.std + self.mean


def identity_normalizer(size: int, angles: tuple[int, ...] = ()) -> Normalizer:
    """The normaliser that changes no scale, in force before any data are seen.

    Args:
        size: Columns of what it is for.
    """
    dim = size + len(angles)
    return Normalizer(mean=jnp.zeros((dim,)), std=jnp.ones((dim,)), angles=angles)


def fit_normalizer(
    x: Float[Array, "rows in"], valid: Float[Array, " rows"], angles: tuple[int, ...] = ()
) -> Normalizer:
    """Mean and standard deviation of the rows where `valid` is 1.

    Two passes (mean first, then squared deviations), because the one-pass formula loses all
    digits in float32 when a dimension's mean is large beside its spread.

    Args:
        x: Rows of a preallocated buffer, of which only some hold data.
        valid: 1 for rows that hold data, 0 for the rest; at least one must be 1.
        angles: Columns of `x` that are angles.
    """
    x = with_angles(x, angles)
    count = jnp.maximum(valid.sum(), 1.0)
    weight = valid[:, None]
    mean = jnp.sum(jnp.where(weight > 0, x, 0.0), axis=0) / count
    deviation = jnp.where(weight > 0, x - mean, 0.0)
    std = jnp.sqrt(jnp.sum(deviation**2, axis=0) / count)
    floor = RELATIVE_FLOOR * jnp.sqrt(mean**2 + std**2)
    return Normalizer(mean=mean, std=jnp.where(std > floor, std, 1.0), angles=angles)
