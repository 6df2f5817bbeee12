"""Theorem 4.3 with measured terms: the penalty against k, and where it is smallest.

The bounds are `mbpo.theory`'s; this file measures the policy shift that goes in, and tabulates.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from mbpo.theory import branch_length, on_policy_branched_penalty

MAX_LENGTH = 1000
"""Branches longer than this are not considered."""


class PolicyShift(NamedTuple):
    """ε_π between the policy and the one whose data the replay buffer holds."""

    value: float
    source: str
    """`recorded` by the run itself, or `bounded below` from the buffer."""
    noise: float
    """What equal policies may score by chance, with 95 % certainty; 0 if recorded."""


class BoundCurve(NamedTuple):
    """Theorem 4.3's penalty at k = 0, 1, …"""

    k: Float[np.ndarray, " length"]
    shift_part: Float[np.ndarray, " length"]
    """2 r_max [γ^{k+1} ε_π/(1 − γ)² + γ^k ε_π/(1 − γ)]."""
    model_part: Float[np.ndarray, " length"]
    """2 r_max k ε_m′/(1 − γ)."""
    penalty: Float[np.ndarray, " length"]
    on_policy_error: float
    policy_shift: float
    gamma: float
    r_max: float
    best: int
    """The whole k with the smallest penalty, up to `MAX_LENGTH`."""
    closed_form: float
    """k* of `theory.branch_length`; may be infinite."""


def bound_curve(gamma: float, r_max: float, on_policy_error: float, policy_shift: float) -> BoundCurve:
    """The penalty up to well past its minimum.

    Args:
        gamma: Discount the policy was trained with, below 1.
        r_max: Largest |reward|.
        on_policy_error: ε_m′, 0 to 1.
        policy_shift: ε_π, 0 to 1.
    """
    k = np.arange(MAX_LENGTH + 1, dtype=float)
    penalty = np.asarray(on_policy_branched_penalty(gamma, r_max, on_policy_error, policy_shift, k))
    shift_part = np.asarray(on_policy_branched_penalty(gamma, r_max, 0.0, policy_shift, k))
    model_part = np.asarray(on_policy_branched_penalty(gamma, r_max, on_policy_error, 0.0, k))
    best = int(np.argmin(penalty))
    shown = slice(0, min(max(2 * best, 40), MAX_LENGTH) + 1)
    return BoundCurve(
        k=k[shown],
        shift_part=shift_part[shown],
        model_part=model_part[shown],
        penalty=penalty[shown],
        on_policy_error=on_policy_error,
        policy_shift=policy_shift,
        gamma=gamma,
        r_max=r_max,
        best=best,
        closed_form=float(branch_length(gamma, on_policy_error, policy_shift)),
    )


def shift_below(recorded: Float[np.ndarray, " row"], drawn: Float[np.ndarray, " draw"]) -> PolicyShift:
    """A lower bound on E_s TV(π, π_D) from one number per (state, action) pair.

    Of any function f(s, a), the distribution functions of f under recorded and under fresh actions on
    the same states differ by no more than the total variation between the pairs, which is
    E_{s ~ D} TV(π(·|s), π_D(·|s)). With f = log π(a|s) the largest difference is reported
    (Kolmogorov–Smirnov). With n and m values, equal policies stay below √(ln(2/0.05)/2 · (1/n + 1/m))
    with 95 % certainty, about.

    Args:
        recorded: f of the buffer's actions.
        drawn: f of the policy's own.
    """
    place = np.concatenate([recorded, drawn])
    below = [np.searchsorted(np.sort(sample), place, side="right") / len(sample) for sample in (recorded, drawn)]
    noise = np.sqrt(np.log(2 / 0.05) / 2 * (1 / len(recorded) + 1 / len(drawn)))
    return PolicyShift(float(np.abs(below[0] - below[1]).max()), "bounded below", float(noise))
