"""Limits on learning, off unless asked for: on the size of gradients, and on Q by what rewards allow."""

import math
from typing import TypeVar

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from mbpo.agents.config import SACConfig
from mbpo.types import Spec

Grads = TypeVar("Grads", bound=tuple)


def adam(learning_rate: float, max_grad_norm: float | None) -> optax.GradientTransformation:
    """Adam, after clipping the gradient's norm (over all parameters together) if there is a limit."""
    if max_grad_norm is None:
        return optax.adam(learning_rate)
    return optax.chain(optax.clip_by_global_norm(max_grad_norm), optax.adam(learning_rate))


def clip_each(grads: Grads, max_grad_norm: float | None) -> Grads:
    """Every part of a named tuple of gradients with its own norm clipped, if there is a limit."""
    if max_grad_norm is None:
        return grads
    clip = optax.clip_by_global_norm(max_grad_norm)
    return type(grads)(*(clip.update(part, optax.EmptyState())[0] for part in grads))


def bound_target(
    target: Float[Array, " batch"], log_alpha: Float[Array, ""], spec: Spec, config: SACConfig
) -> Float[Array, " batch"]:
    """Critics' targets within what rewards in `config.reward_range` allow; unchanged without a range.

    An episode of any length that pays r in [low, high] at every step is worth between
    min(low, low / (1 − γ)) and max(high, high / (1 − γ)). From the second step on SAC is paid α times the
    policy's entropy too: at most d log 2, that of a uniform action in [−1, 1]^d; at least, on average, the
    target entropy that α is tuned for.
    """
    if config.reward_range is None:
        return target
    low, high = config.reward_range
    gamma, d = config.gamma, spec.action_dim
    steps = 1 / (1 - gamma)
    entropy = -float(d) if config.target_entropy is None else config.target_entropy
    alpha = jnp.exp(jax.lax.stop_gradient(log_alpha)) * gamma * steps
    lowest = min(low, low * steps) + alpha * min(entropy, 0.0)
    highest = max(high, high * steps) + alpha * d * math.log(2)
    return jnp.clip(target, lowest, highest)
