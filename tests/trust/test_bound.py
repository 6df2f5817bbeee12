"""Theorem 4.3 tabulated, and a lower bound on the policy shift from samples."""

import numpy as np
import pytest

from mbpo.theory import best_branch_length, branch_length, on_policy_branched_penalty
from mbpo.trust.bound import MAX_LENGTH, bound_curve, shift_below
from mbpo.trust.history import read_history


@pytest.mark.parametrize(("error", "shift"), [(0.01, 0.5), (0.1, 0.2), (0.4, 0.2)])
def test_the_curve_is_the_theorem(error, shift):
    curve = bound_curve(0.99, 3.0, error, shift)
    for k, penalty in zip(curve.k, curve.penalty, strict=True):
        assert penalty == pytest.approx(on_policy_branched_penalty(0.99, 3.0, error, shift, k), rel=1e-12)
    np.testing.assert_allclose(curve.shift_part + curve.model_part, curve.penalty)
    assert curve.best == best_branch_length(0.99, error, shift, max_length=MAX_LENGTH)
    assert curve.closed_form == branch_length(0.99, error, shift)
    assert abs(curve.best - curve.closed_form) <= 1
    assert curve.k[-1] >= 40


def test_without_model_error_the_longest_branch_is_best():
    curve = bound_curve(0.9, 1.0, 0.0, 0.5)
    assert curve.closed_form == np.inf
    assert curve.k[-1] <= MAX_LENGTH


def test_shift_between_samples():
    rng = np.random.default_rng(0)
    same = shift_below(rng.standard_normal(500), rng.standard_normal(2000))
    assert same.value < same.noise < 0.08
    apart = shift_below(rng.standard_normal(500), 10 + rng.standard_normal(2000))
    assert apart.value == 1
    # N(0, 1) and N(1, 1) have TV 2 Φ(½) − 1 = 0.383, which the difference of their distribution functions attains.
    near = shift_below(rng.standard_normal(20_000), 1 + rng.standard_normal(20_000))
    assert near.value == pytest.approx(0.383, abs=0.015)


def test_history_keeps_what_was_recorded():
    records = [{"env_step": 5}, {"env_step": 10, "rollout_length": 3.0, "policy_shift": None, "alpha": 1.0}]
    found = read_history(records)
    assert list(found) == ["rollout_length"]
    assert found["rollout_length"].env_step.tolist() == [10]
    assert found["rollout_length"].last == 3
