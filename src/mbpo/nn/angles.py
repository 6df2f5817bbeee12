"""What a network sees of an angle: its cosine and sine.

An angle that is free to wind up (the pitch of a body that turned over) says the same at θ and θ + 2π, and a
network that is shown the number has to learn every turn anew; one turn also spreads the data so that its
normaliser leaves little of the range that matters. PETS shows its model HalfCheetah's pitch in this way (Chua
et al. 2018, arXiv:1805.12114, and its code). States stay as the environment has them, and what a model predicts
of an angle is still its change.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float


def with_angles(x: Float[Array, "*batch in"], angles: tuple[int, ...]) -> Float[Array, "*batch seen"]:
    """`x` with each angle, in radians, replaced by its cosine and its sine.

    Args:
        angles: Their columns, ascending.
    """
    parts, done = [], 0
    for i in angles:
        angle = x[..., i : i + 1]
        parts += [x[..., done:i], jnp.cos(angle), jnp.sin(angle)]
        done = i + 1
    return jnp.concatenate([*parts, x[..., done:]], axis=-1) if parts else x
