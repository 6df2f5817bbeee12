"""Infoprop: a branch stops where too much information about the true state has been lost.

Frauenknecht et al. 2025, "On Rollouts in Model-Based Reinforcement Learning" (ICLR,
arXiv:2501.16918). The members' Gaussians are fused into an estimate of the environment's own; what a
member draws is corrected towards it like a measurement by a Kalman filter; and the entropy that is
left, in bits at a stated resolution, is the information lost in the step.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mbpo.model.gates.interface import Gate
from mbpo.types import ModelOutput

RESOLUTION = 1e-6
"""Width of the bins that entropies are counted in, in units of each target's standard deviation."""
MIN_VARIANCE = 1e-30
"""So that the logarithm stays finite where the members agree exactly; far below `RESOLUTION`²."""


class Fused(NamedTuple):
    """The members' Gaussians as one, per output."""

    mean: Float[Array, "batch out"]
    """m̄"""
    var: Float[Array, "batch out"]
    """S̄, the noise of the world itself."""
    gain: Float[Array, "batch out"]
    """K, how far a member's draw is believed: 1 where the members agree."""


def fuse(mean: Float[Array, "member batch out"], var: Float[Array, "member batch out"]) -> Fused:
    """Inverse-variance fusion, and the gain that their disagreement leaves.

    S̄ = (mean_e 1/S_e)⁻¹,  m̄ = S̄ · mean_e(m_e/S_e),  S_epi = mean_e (m_e − m̄)²,  K = S̄/(S̄ + S_epi)
    """
    fused_var = 1 / jnp.mean(1 / var, axis=0)
    fused_mean = fused_var * jnp.mean(mean / var, axis=0)
    epistemic = jnp.mean((mean - fused_mean) ** 2, axis=0)
    return Fused(fused_mean, fused_var, fused_var / (fused_var + epistemic))


def condition(
    fused: Fused, drawn: Float[Array, "batch out"]
) -> tuple[Float[Array, "batch out"], Float[Array, "batch out"]]:
    """The next target's Gaussian given a member's draw x: m_c = m̄ + K (x − m̄), S_c = (1 − K) S̄."""
    return fused.mean + fused.gain * (drawn - fused.mean), (1 - fused.gain) * fused.var


def information_loss(var: Float[Array, "*batch out"]) -> Float[Array, "*batch out"]:
    """l = max(0, ½ log₂(2πe S_c) − log₂ 10⁻⁶): the conditional entropy left, in bits."""
    entropy = 0.5 * jnp.log2(2 * math.pi * math.e * jnp.maximum(var, MIN_VARIANCE))
    return jnp.maximum(entropy - math.log2(RESOLUTION), 0.0)


class Limits(NamedTuple):
    """How much information may be lost, per output."""

    step: Float[Array, " out"]
    """λ₁, in one step."""
    path: Float[Array, " out"]
    """λ₂, along a branch."""


def loss_limits(
    losses: Float[Array, "batch out"], *, step_quantile: float, path_quantile: float, horizon: int
) -> Limits:
    """λ₁ = step_quantile of l, λ₂ = horizon · path_quantile of l, over real (s, a).

    Args:
        losses: l of every output at states and actions drawn from the real buffer.
    """
    step, path = jnp.quantile(losses, jnp.array([step_quantile, path_quantile]), axis=0)
    return Limits(step, horizon * path)


def infoprop_gate(limits: Limits) -> Gate:
    """Admits rows whose loss l, and the branch's L with it, stay within limits in every output.

    Reads `uncertainty` of shape `[batch, out]` as l; remembers L.
    """

    def start(batch: int) -> Float[Array, "batch out"]:
        return jnp.zeros((batch, limits.step.shape[0]))

    def admit(
        lost: Float[Array, "batch out"], out: ModelOutput
    ) -> tuple[Bool[Array, " batch"], Float[Array, "batch out"]]:
        lost = lost + out.uncertainty
        within = (out.uncertainty <= limits.step) & (lost <= limits.path)
        return within.all(axis=-1), lost

    return Gate(start=start, admit=admit)
