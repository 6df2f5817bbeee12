"""Imagined ends that come early: a branch also ends where a state nearby would. Not published.

A rule ends an episode on one side of a line, and a policy that is trained in a model may learn to live beside that
line, as near as the model lets it. Real steps differ from imagined ones, and there a small difference is the end.
Critics may not warn of it, if what is worth hundreds on one side of the line and nothing on the other looks much the
same to them. If the rule is also asked of a state moved a little at random, ends become more likely, step by step,
the nearer the line is.
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
    [Float[Array, "batch obs"], Float[Array, "batch act"], Float[Array, "batch obs"], Key[Array, ""]],
    Bool[Array, " batch"],
]
"""(obs, action, next_obs, key) → which episodes end in `next_obs`."""


def obs_spread(inputs: Normalizer, spec: Spec) -> Float[Array, " obs"]:
    """Standard deviation of each number of the observation over the real data, as networks are given it.

    1 for a number that never moves, as there. 0 for an angle: networks see two numbers in its place, so none is known.
    """
    angle = np.isin(np.arange(spec.obs_dim), spec.angles)
    seen = np.arange(spec.obs_dim) + np.cumsum(angle) - angle
    return jnp.where(jnp.asarray(angle), 0.0, inputs.std[seen])


def with_end_margin(model_step: ModelStep, ends: Ends, spread: Float[Array, " obs"], margin: float) -> ModelStep:
    """The same world, which also ends where a state drawn from N(next state, diag(margin · spread)²) would."""

    def wary_step(
        obs: Float[Array, "batch obs"], action: Float[Array, "batch act"], key: Key[Array, ""]
    ) -> ModelOutput:
        out = model_step(obs, action, key)
        noise = jax.random.normal(jax.random.fold_in(key, _KEY_OFFSET), out.next_obs.shape)
        # The step's own key, on purpose: ends that are drawn are then drawn once, with the higher probability.
        beside = ends(obs, action, out.next_obs + margin * spread * noise, key)
        return out._replace(terminated=out.terminated | beside)

    return wary_step
