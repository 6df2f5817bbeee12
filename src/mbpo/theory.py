"""When to trust a model: the return bounds of MBPO (Janner et al. 2019, arXiv:1906.08253, §4), and k*.

Plain functions of numbers; they broadcast over NumPy arrays. The terms:

    η[π]        discounted return Σ_t γ^t E r of the policy π in the true world p
    η̂[π]        the same in the model p_θ
    η_branch    that of k-step branched rollouts: at time t the state has come t − k steps by the data
                policy π_D in the true world, then k steps (t, if fewer) by π in the model
    r_max       largest |r|
    ε_m         max_t E_{s,a ~ π_D at t} TV(p(·|s,a), p_θ(·|s,a))      model error on the data
    ε_m′        max_t E_{s,a ~ π at t}   TV(p(·|s,a), p_θ(·|s,a))      model error on the policy's own states
    ε_π         max_s TV(π(·|s), π_D(·|s))                              policy shift

TV is the total-variation distance, half the L1 distance, at most 1. Every bound here says that the
true return is at least the imagined one less a penalty, and returns the penalty. They are derived
from one lemma. Let two chains of states begin alike and let δ_t bound the expected TV between their
steps at time t, taken over the states of *one* of them. Then their states at time t are at most
δ_0 + … + δ_{t−1} apart (a coupling fails at each step with at most that chance), and a reward within
±r_max differs by at most 2 r_max times that, plus the TV between the actions at t.

`docs/theory.md` has the derivations of each theorem, and how tight each is on random worlds.
"""

from typing import TypeAlias

import numpy as np
from jaxtyping import Float
from scipy.special import ndtr

Number: TypeAlias = float | Float[np.ndarray, "*batch"]


def full_rollout_penalty(gamma: Number, r_max: Number, model_error: Number, policy_shift: Number) -> Number:
    """Theorem 4.1: η[π] ≥ η̂[π] − penalty, for rollouts in the model from the first state to the last.

        penalty = 2 γ r_max (ε_m + 2 ε_π) / (1 − γ)² + 4 r_max ε_π / (1 − γ)

    By way of the data policy. η[π] and η[π_D] differ by ε_π in every step and in the action; η[π_D] and
    η̂[π] by ε_m + ε_π in every step, over the states of π_D, and by ε_π in the action. With
    Σ_t γ^t t = γ/(1 − γ)² and Σ_t γ^t = 1/(1 − γ) the sum of both is the theorem.

    Args:
        gamma: Discount, 0 ≤ γ < 1.
        r_max: Largest |reward|.
        model_error: ε_m, 0 to 1.
        policy_shift: ε_π, 0 to 1.
    """
    drift = gamma * (model_error + 2 * policy_shift) / (1 - gamma) ** 2
    return 2 * r_max * drift + 4 * r_max * policy_shift / (1 - gamma)


def branched_penalty(gamma: Number, r_max: Number, model_error: Number, policy_shift: Number, k: Number) -> Number:
    """Theorem 4.2: η[π] ≥ η_branch − penalty, with the model's error on the data alone.

        penalty = 2 r_max [ γ^{k+1} ε_π/(1 − γ)² + (γ^k + 2) ε_π/(1 − γ) + k (ε_m + 2 ε_π)/(1 − γ) ]

    It grows with k for any ε_m ≥ 0, so it never recommends a rollout: `branch_length` is for 4.3.

    Args:
        model_error: ε_m, 0 to 1.
        k: Rollout length, ≥ 0.
    """
    before = gamma ** (k + 1) * policy_shift / (1 - gamma) ** 2
    at_the_branch = (gamma**k + 2) * policy_shift / (1 - gamma)
    return 2 * r_max * (before + at_the_branch + k * (model_error + 2 * policy_shift) / (1 - gamma))


def on_policy_branched_penalty(
    gamma: Number, r_max: Number, on_policy_error: Number, policy_shift: Number, k: Number
) -> Number:
    """Theorem 4.3: η[π] ≥ η_branch − penalty, with the model's error on the current policy's states.

        penalty = 2 r_max [ γ^{k+1} ε_π/(1 − γ)² + γ^k ε_π/(1 − γ) + k ε_m′/(1 − γ) ]

    Args:
        on_policy_error: ε_m′, 0 to 1.
        k: Rollout length, ≥ 0.
    """
    before = gamma ** (k + 1) * policy_shift / (1 - gamma) ** 2
    at_the_branch = gamma**k * policy_shift / (1 - gamma)
    return 2 * r_max * (before + at_the_branch + k * on_policy_error / (1 - gamma))


def sharp_branched_penalty(
    gamma: Number, r_max: Number, on_policy_error: Number, policy_shift: Number, k: Number
) -> Number:
    """A smaller penalty than theorem 4.3's from the same terms, for k ≥ 1.

        penalty = 2 r_max [ γ^{k+1} ε_π/(1 − γ)² + γ (1 − γ^k) ε_m′/(1 − γ)² ]

    At time t the state has come max(t − k, 0) steps by π_D instead of π, each ε_π apart, and
    min(t, k) steps by the model, each ε_m′ apart over the states of π. The action at t is π's in both
    (k ≥ 1), so it adds nothing; the theorem's middle term pays for it all the same. Then
    Σ_t γ^t max(t − k, 0) = γ^{k+1}/(1 − γ)² and Σ_t γ^t min(t, k) = γ (1 − γ^k)/(1 − γ)², which is at
    most k γ/(1 − γ), where the theorem pays k/(1 − γ). It is linear in two weights that move against
    each other as k grows, so its best k is 0 or ∞: see `docs/theory.md`.
    """
    before = gamma ** (k + 1) * policy_shift / (1 - gamma) ** 2
    return 2 * r_max * (before + gamma * (1 - gamma**k) * on_policy_error / (1 - gamma) ** 2)


def predicted_on_policy_error(model_error: Number, policy_shift: Number, slope: Number) -> Number:
    """ε_m′ ≈ ε_m + ε_π · dε_m′/dε_π, to first order in the shift (§4.3), at most 1."""
    return np.minimum(model_error + policy_shift * slope, 1.0)


def branch_length(gamma: float, on_policy_error: Number, policy_shift: Number) -> Number:
    """k*: the real number k ≥ 0 at which theorem 4.3's penalty is smallest.

    The terms in ε_π add up to γ^k ε_π/(1 − γ)², so the derivative of the penalty vanishes where
    −ln γ · γ^k ε_π/(1 − γ) = ε_m′:

        k* = ln[ −ln γ · ε_π / ((1 − γ) ε_m′) ] / (−ln γ)

    and where that is negative the best k is 0. To first order in 1 − γ, k* > 0 exactly when
    ε_m′ < ε_π. Without model error k* is ∞, without policy shift it is 0. For 0 < γ < 1.
    """
    error, shift = np.asarray(on_policy_error, float), np.asarray(policy_shift, float)
    rate = -np.log(gamma)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        k = np.log(rate * shift / ((1 - gamma) * error)) / rate
    k = np.where(shift <= 0, 0.0, np.maximum(k, 0.0))
    return float(k) if k.ndim == 0 else k


def best_branch_length(
    gamma: float, on_policy_error: float, policy_shift: float, *, max_length: int, r_max: float = 1.0
) -> int:
    """The whole number 0 … `max_length` with the smallest penalty of theorem 4.3; of equals the smallest."""
    k = np.arange(max_length + 1)
    return int(np.argmin(on_policy_branched_penalty(gamma, r_max, on_policy_error, policy_shift, k)))


def gaussian_total_variation(
    mean_one: Float[np.ndarray, "*batch dim"],
    std_one: Float[np.ndarray, "*batch dim"],
    mean_two: Float[np.ndarray, "*batch dim"],
    std_two: Float[np.ndarray, "*batch dim"],
) -> Float[np.ndarray, "*batch"]:
    """TV between diagonal Gaussians: exact in one dimension, the smaller of two upper bounds in more.

    One bound couples the dimensions one by one, TV ≤ 1 − ∏_d (1 − TV_d); the other is by the
    Bhattacharyya coefficient, TV ≤ √(1 − BC²). TV is invariant under bijections, so the shift between
    two tanh-Gaussian policies is that between their Gaussians before the tanh.
    """
    separate = 1.0 - np.prod(1.0 - univariate_total_variation(mean_one, std_one, mean_two, std_two), axis=-1)
    if np.shape(mean_one)[-1] == 1:
        return separate
    variance = 0.5 * (std_one**2 + std_two**2)
    log_overlaps = 0.5 * np.log(std_one * std_two / variance) - (mean_one - mean_two) ** 2 / (8 * variance)
    log_overlap = np.minimum(log_overlaps.sum(axis=-1), 0.0)  # Rounding may put that of equal ones above.
    return np.minimum(separate, np.sqrt(-np.expm1(2 * log_overlap)))


def univariate_total_variation(
    mean_one: Float[np.ndarray, "*batch"],
    std_one: Float[np.ndarray, "*batch"],
    mean_two: Float[np.ndarray, "*batch"],
    std_two: Float[np.ndarray, "*batch"],
) -> Float[np.ndarray, "*batch"]:
    """TV between one-dimensional Gaussians, exactly.

    With equal deviations the densities cross once, halfway; otherwise twice, at the roots of
    (x − μ₁)²/σ₁² − (x − μ₂)²/σ₂² = 2 ln(σ₂/σ₁), and TV is the difference of the masses between them.
    """
    mean_one, std_one, mean_two, std_two = (np.asarray(x, float) for x in (mean_one, std_one, mean_two, std_two))
    # In units of the first Gaussian, which is then standard.
    shift, scale = (mean_two - mean_one) / std_one, std_two / std_one
    halfway = 2 * ndtr(np.abs(shift) / 2) - 1
    a, b, c = 1 - scale**-2.0, 2 * shift * scale**-2.0, -((shift / scale) ** 2) - 2 * np.log(scale)
    equal = np.abs(scale - 1) < 1e-6
    safe = np.where(equal, 1.0, a)
    spread = np.sqrt(np.maximum(b**2 - 4 * a * c, 0.0)) / (2 * safe)
    left, right = -b / (2 * safe) - spread, -b / (2 * safe) + spread
    inside_one = ndtr(right) - ndtr(left)
    inside_two = ndtr((right - shift) / scale) - ndtr((left - shift) / scale)
    return np.where(equal, halfway, np.abs(inside_one - inside_two))
