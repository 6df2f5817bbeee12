"""MACURA: a branch stops where the members of the ensemble disagree.

Frauenknecht et al. 2024, "Trust the Model Where It Trusts Itself" (ICML, arXiv:2405.19014). The
disagreement u is the geometric Jensen–Shannon divergence of the members' Gaussians; the threshold κ
follows the disagreement at the first step of the rollouts, where the model is asked about states that
were really visited.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from mbpo.model.gates.interface import Gate, GateMemory
from mbpo.types import ModelOutput


def geometric_js(
    mean_one: Float[Array, "*batch out"],
    var_one: Float[Array, "*batch out"],
    mean_two: Float[Array, "*batch out"],
    var_two: Float[Array, "*batch out"],
) -> Float[Array, "*batch"]:
    """Geometric Jensen–Shannon divergence of two diagonal Gaussians with equal weights, in nats.

    With S_a = (½/S₁ + ½/S₂)⁻¹ and m_a = S_a (½ m₁/S₁ + ½ m₂/S₂), the sum over outputs of

        ½ [ ½ m₁²/S₁ + ½ m₂²/S₂ − m_a²/S_a + ½ ln S₁ + ½ ln S₂ − ln S_a ]
        = ½ [ (m₁ − m₂)² / (2 (S₁ + S₂)) + ln((S₁ + S₂)/2) − ½ ln S₁ − ½ ln S₂ ]

    The second line is computed: it takes no differences of large numbers, and is ≥ 0 term by term.
    """
    total = var_one + var_two
    distance = (mean_one - mean_two) ** 2 / (2 * total)
    spread = jnp.log(total / 2) - 0.5 * (jnp.log(var_one) + jnp.log(var_two))
    return 0.5 * jnp.sum(distance + spread, axis=-1)


def disagreement(
    mean: Float[Array, "member batch out"], var: Float[Array, "member batch out"]
) -> Float[Array, " batch"]:
    """u: mean over pairs of members of their geometric Jensen–Shannon divergence; 0 for one member."""
    one, two = np.triu_indices(mean.shape[0], k=1)
    if not one.size:
        return jnp.zeros(mean.shape[1])
    return geometric_js(mean[one], var[one], mean[two], var[two]).mean(axis=0)


class Threshold(NamedTuple):
    """The running mean behind κ; zeros before the first round."""

    kappa: Float[Array, ""]
    rounds: Int[Array, ""]
    """Rounds averaged over."""


def no_threshold() -> Threshold:
    """Before the first round."""
    return Threshold(jnp.zeros(()), jnp.zeros((), jnp.int32))


def update_threshold(
    threshold: Threshold, first_step: Float[Array, " batch"], *, quantile: float, scale: float, rounds: int
) -> Threshold:
    """κ ← mean over rounds of ξ · (ζ-quantile of u at the first rollout step).

    Args:
        first_step: u of states really visited under the policy's actions, for this round.
        quantile: ζ.
        scale: ξ.
        rounds: After so many, older rounds fade out exponentially instead of counting in full.
    """
    count = jnp.minimum(threshold.rounds + 1, rounds)
    now = scale * jnp.quantile(first_step, quantile)
    return Threshold(threshold.kappa + (now - threshold.kappa) / count, count)


def macura_gate(kappa: Float[Array, ""]) -> Gate:
    """Admits rows with u < κ; reads `uncertainty` of shape `[batch]` as u."""

    def admit(memory: GateMemory, out: ModelOutput) -> tuple[Bool[Array, " batch"], GateMemory]:
        return out.uncertainty < kappa, memory

    return Gate(start=lambda batch: (), admit=admit)
