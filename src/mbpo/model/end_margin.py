"""Imagined ends that come early: a branch ends where a state nearby would. Not published.

A rule ends an episode on one side of a line, and a policy that is trained in a model learns to live beside that
line, as near as the model lets it. Real steps differ from imagined ones, and there a small difference is the end.
Critics do not warn of it either: what is worth hundreds on one side of the line and nothing on the other looks much
the same to a smooth network. If the rule is asked of a state moved a little at random, ends become more likely, step
by step, the nearer the line is.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from mbpo.nn.normalizer import Normalizer
from mbpo.types import ModelOutput, ModelStep, Spec

_KEY_OFFSET = 0x3A21

Ends = Callable[
    [Float[Array, "batch obs"], Float[Array, "batch act"], ModelOutput, Key[Array, ""]], Bool[Array, " batch"]
]
"""(obs, action, imagined step, key) → whether the step ended the episode."""


def obs_spread(inputs: Normalizer, spec: Spec) -> Float[Array, " obs"]:
    """Standard deviation of each number of the observation over the real data, as networks see it; 0 for angles,
    which have none."""
    angle = np.isin(np.arange(spec.obs_dim), spec.angles)
    seen = np.arange(spec.obs_dim) + np.cumsum(angle) - angle
    return jnp.where(jnp.asarray(angle), 0.0, inputs.std[seen])


def with_end_margin(model_step: ModelStep, ends: Ends, spread: Float[Array, " obs"], margin: float) -> ModelStep:
    """The same world, which also ends where a state drawn from N(next state, (margin · spread)²) would have."""

    def wary_step(
        obs: Float[Array, "batch obs"], action: Float[Array, "batch act"], key: Key[Array, ""]
    ) -> ModelOutput:
        out = model_step(obs, action, key)
        noise_key, end_key = jax.random.split(jax.random.fold_in(key, _KEY_OFFSET))
        beside = out.next_obs + margin * spread * jax.random.normal(noise_key, out.next_obs.shape)
        ended = ends(obs, action, out._replace(next_obs=jax.lax.stop_gradient(beside)), end_key)
        return out._replace(terminated=out.terminated | ended)

    return wary_step
