"""Ours: the rollout length that the return bound itself recommends, from measured terms.

Theorem 4.3 of MBPO (Janner et al. 2019) charges a branch of k steps for the policy shift ε_π before it
and for the model's on-policy error ε_m′ along it; k* balances the two. `mbpo.theory` has the bound and
its derivation in NumPy; here is what a compiled refit needs of it.
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

SMALLEST = 1e-6
"""Terms are cut here, so that k* is a finite number."""


def best_length(gamma: float, on_policy_error: Float[Array, ""], policy_shift: Float[Array, ""]) -> Float[Array, ""]:
    """k* = max(0, ln[ −ln γ · ε_π / ((1 − γ) ε_m′) ] / (−ln γ)), see `mbpo.theory.branch_length`.

    Finite always: both terms are at least 10⁻⁶, and γ is at most 1 − 10⁻⁶.
    """
    gamma = min(max(gamma, SMALLEST), 1 - SMALLEST)
    rate = -math.log(gamma)
    error, shift = jnp.maximum(on_policy_error, SMALLEST), jnp.maximum(policy_shift, SMALLEST)
    return jnp.maximum(jnp.log(rate / (1 - gamma) * shift / error) / rate, 0.0)


def bounded_length(best: Float[Array, ""], max_length: Int[Array, ""]) -> Int[Array, ""]:
    """The k to use: k* rounded, at least 1 and at most `max_length`.

    At least 1, as every published schedule: with 0 the learner would go on with rows imagined by
    earlier models under earlier policies.
    """
    return jnp.clip(jnp.round(best), 1, max_length).astype(jnp.int32)
