"""The shift experiment's parts: policies of known distance, lines with honest errors, fits within a budget."""

import jax
import numpy as np
import pytest

from mbpo.agents.config import ModelConfig
from mbpo.trust.shift import FIT_BUDGET, MAX_REFITS, budget, least_squares, mixed, uniform_variation
from mbpo.types import Spec

SPEC = Spec(3, np.float32([-1.0, 0.0]), np.float32([1.0, 4.0]))


def test_a_line_through_points_on_it():
    line = least_squares(np.array([0.0, 1, 2, 3]), np.array([1.0, 3, 5, 7]))
    assert (line.intercept, line.slope) == pytest.approx((1, 2))
    assert line.standard_error == pytest.approx(0, abs=1e-12)


def test_a_line_by_hand():
    # About the means 1 and 2, Σ(x−1)(y−2) = 3 and Σ(x−1)² = 2; the residuals ½, −1, ½ leave 1.5 over 1 · 2.
    line = least_squares(np.array([0.0, 1, 2]), np.array([1.0, 1, 4]))
    assert line == pytest.approx((0.5, 1.5, np.sqrt(1.5 / 2)))


def test_slopes_are_recovered_within_their_standard_errors():
    rng, x = np.random.default_rng(0), np.repeat([0, 0.1, 0.25, 0.5, 0.75, 1], 8)
    found = [least_squares(x, 0.02 + 0.3 * x + 0.05 * rng.standard_normal(x.size)) for _ in range(400)]
    off = np.array([(line.slope - 0.3) / line.standard_error for line in found])
    assert abs(off.mean()) < 0.2
    assert (np.abs(off) < 1.96).mean() == pytest.approx(0.95, abs=0.04)


def test_too_little_for_a_line():
    assert np.isnan(least_squares(np.array([0.0, 1]), np.array([0.0, 1])).standard_error)
    assert least_squares(np.zeros(3), np.array([1.0, 2, 3]))[:2] == (2, 0)


def test_distance_to_the_uniform_policy():
    # On [−1, 1]² a uniform density is ¼; one that is uniform on half of the box has ½ there, and TV ½.
    assert uniform_variation(np.full(5, np.log(0.25)), 2) == 0
    assert uniform_variation(np.full(5, np.log(0.5)), 2) == pytest.approx(0.5)
    assert uniform_variation(np.full(5, 50.0), 2) == pytest.approx(1)
    assert uniform_variation(np.full(5, -50.0), 2) == 0  # Below the uniform density nothing is added.


def test_mixed_policies_keep_their_shares():
    shares = np.repeat([0.0, 0.25, 1.0], 4000)

    def behave(obs, memory, key):
        return np.full((len(obs), 2), 0.5, np.float32), memory + 1

    actions, memory = mixed(behave, shares, SPEC)(np.zeros((12000, 3)), 1, jax.random.key(0))
    own = (actions == 0.5).all(axis=1).reshape(3, -1).mean(axis=1)
    assert own[0] == 1
    assert own[1] == pytest.approx(0.75, abs=0.03)
    assert own[2] == 0
    uniform = actions[8000:]
    np.testing.assert_allclose(uniform.min(axis=0), SPEC.action_low, atol=0.01)
    np.testing.assert_allclose(uniform.max(axis=0), SPEC.action_high, atol=0.01)
    np.testing.assert_allclose(uniform.mean(axis=0), [0, 2], atol=0.1)
    assert memory == 2


def test_fits_stay_within_the_budget():
    small = ModelConfig(hidden_sizes=(32, 32), max_epochs=4)
    assert budget(small, SPEC, 1000) == (MAX_REFITS, 4 * small.first_fit_factor)
    large = ModelConfig(hidden_sizes=(400, 400, 400, 400), batch_size=256)
    refits, epochs = budget(large, SPEC, 4000)
    assert refits == 1
    assert 2 <= epochs < large.max_epochs
    assert epochs == 2 or 6 * 3 * 400**2 * 256 * 7 * 40 * epochs < FIT_BUDGET
