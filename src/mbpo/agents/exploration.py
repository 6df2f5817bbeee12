"""The first actions of a run: uniform over the action box, each held for some steps."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from mbpo.data.replay import Replay, take
from mbpo.types import Spec


def held_random_action(
    spec: Spec, real: Replay, env_step: int | Int[Array, ""], key: Key[Array, ""], *, hold: int
) -> Float[Array, " act"]:
    """A uniform action at every `hold`-th environment step, and the last real one in between.

    Args:
        real: Where every action taken so far is stored.
        env_step: Environment steps taken so far.
        key: Consumed.
        hold: Environment steps each action is held for, ≥ 1.
    """
    low, high = jnp.asarray(spec.action_low), jnp.asarray(spec.action_high)
    fresh = jax.random.uniform(key, low.shape, minval=low, maxval=high)
    last = take(real, (real.position - 1) % real.capacity).action
    return jnp.where(jnp.asarray(env_step) % hold == 0, fresh, last)
