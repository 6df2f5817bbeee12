"""The bounds hold in worlds where every term is known, and k* is where it is said to be."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tabular_worlds import (
    branch_states,
    branched_return,
    chain,
    data_error,
    imagined_return,
    on_policy_error,
    policy_shift,
    random_world,
    slippery_world,
    true_return,
    unseen_world,
    visits,
)

from mbpo.theory import (
    best_branch_length,
    branch_length,
    branched_penalty,
    full_rollout_penalty,
    gaussian_total_variation,
    on_policy_branched_penalty,
    predicted_on_policy_error,
    sharp_branched_penalty,
    univariate_total_variation,
)

terms = st.tuples(st.sampled_from([0.5, 0.9, 0.99]), st.floats(0, 1), st.floats(0, 1), st.integers(0, 300))


def test_penalties_by_hand():
    # γ = 1/2, r_max = 3, errors 0.1 and 0.2: 1/(1 − γ) = 2, 1/(1 − γ)² = 4.
    assert full_rollout_penalty(0.5, 3, 0.1, 0.2) == pytest.approx(2 * 0.5 * 3 * 0.5 * 4 + 4 * 3 * 0.2 * 2)
    assert branched_penalty(0.5, 3, 0.1, 0.2, 1) == pytest.approx(6 * (0.25 * 0.2 * 4 + 2.5 * 0.2 * 2 + 0.5 * 2))
    assert on_policy_branched_penalty(0.5, 3, 0.1, 0.2, 1) == pytest.approx(6 * (0.2 + 0.5 * 0.2 * 2 + 0.1 * 2))
    assert sharp_branched_penalty(0.5, 3, 0.1, 0.2, 1) == pytest.approx(6 * (0.2 + 0.5 * 0.5 * 0.1 * 4))
    assert predicted_on_policy_error(0.1, 0.2, 0.5) == pytest.approx(0.2)
    assert predicted_on_policy_error(0.9, 1.0, 0.5) == 1.0


@given(st.integers(0, 2**32 - 1), st.sampled_from([0, 1, 2, 7, 40]))
def test_every_bound_holds_in_random_worlds(seed, k):
    world = random_world(np.random.default_rng(seed))
    eta, shift, rounding = true_return(world), policy_shift(world), 1e-7
    own_error, error = on_policy_error(world), data_error(world)
    settings = world.gamma, world.r_max
    assert abs(imagined_return(world) - eta) <= full_rollout_penalty(*settings, error, shift) + rounding
    lost = abs(branched_return(world, k) - eta)
    assert lost <= branched_penalty(*settings, error, shift, k) + rounding
    assert lost <= on_policy_branched_penalty(*settings, own_error, shift, k) + rounding
    if k:
        assert lost <= sharp_branched_penalty(*settings, own_error, shift, k) + rounding


@pytest.mark.parametrize(("error", "shift"), [(1e-4, 0.0), (0.0, 1e-4), (1e-4, 1e-4)])
def test_the_sharp_bound_is_nearly_reached(error, shift):
    # So no smaller constant would do.
    world = slippery_world(error, shift, 0.99)
    for k in (1, 5, 20, 100):
        lost = abs(branched_return(world, k) - true_return(world))
        penalty = sharp_branched_penalty(0.99, 1.0, on_policy_error(world), policy_shift(world), k)
        assert 0.95 * penalty < lost <= penalty


def test_the_error_on_the_data_does_not_do_in_theorem_three():
    world = unseen_world(0.01, 0.9)
    assert data_error(world) == 0
    assert on_policy_error(world) == pytest.approx(0.01)
    lost = branched_return(world, 20) - true_return(world)
    assert lost > 5 * on_policy_branched_penalty(0.9, 1.0, data_error(world), policy_shift(world), 20)
    assert lost < on_policy_branched_penalty(0.9, 1.0, on_policy_error(world), policy_shift(world), 20)


def test_branches_of_length_nothing_are_the_data_and_of_all_steps_the_model():
    world = random_world(np.random.default_rng(3))
    data = visits(world.start, chain(world.p, world.data_policy), world.horizon)
    model = visits(world.start, chain(world.model, world.policy), world.horizon)
    np.testing.assert_allclose(branch_states(world, 0), data)
    np.testing.assert_allclose(branch_states(world, 10**4), model)
    np.testing.assert_allclose(branch_states(world, 3)[:3], model[:3])
    two_and_three = data[2] @ np.linalg.matrix_power(chain(world.model, world.policy), 3)
    np.testing.assert_allclose(branch_states(world, 3)[5], two_and_three)
    assert branched_return(world, 10**4) == pytest.approx(imagined_return(world))


@given(terms)
def test_the_sharp_bound_is_the_smaller(t):
    gamma, error, shift, k = t
    sharp = sharp_branched_penalty(gamma, 1.0, error, shift, k)
    assert sharp <= on_policy_branched_penalty(gamma, 1.0, error, shift, k) + 1e-9


@pytest.mark.parametrize(("ratio", "expected"), [(1.0, 0.5), (0.5, 69.5), (0.2, 160.6), (0.1, 229.6), (2.0, 0.0)])
def test_k_star_of_known_ratios(ratio, expected):
    # ln(1.00503 / ratio) / 0.0100503
    assert branch_length(0.99, ratio * 0.3, 0.3) == pytest.approx(expected, abs=0.06)


@given(terms)
def test_k_star_is_where_the_penalty_is_smallest(t):
    gamma, error, shift, _ = t
    k = branch_length(gamma, error, shift)
    if k == np.inf:
        assert error == 0 or shift / error > 1e100
        return

    def penalty(length):
        return on_policy_branched_penalty(gamma, 1.0, error, shift, length)

    for other in (0.0, 0.5 * k, 0.9 * k, k + 0.1, k + 1, 2 * k + 5):
        assert penalty(k) <= penalty(other) + 1e-9
    best = best_branch_length(gamma, error, shift, max_length=2000)
    assert penalty(best) == min(penalty(length) for length in range(2001))
    if k < 2000:
        assert abs(best - k) <= 1 or penalty(best) == pytest.approx(penalty(k), rel=1e-9)


def test_k_star_at_its_limits_and_on_arrays():
    assert branch_length(0.9, 0.0, 0.1) == np.inf
    assert branch_length(0.9, 0.1, 0.0) == 0
    assert branch_length(0.9, 0.0, 0.0) == 0
    np.testing.assert_allclose(branch_length(0.99, np.array([0.1, 0.0]), np.array([0.1, 0.0])), [0.5, 0.0], atol=0.01)


@given(terms)
def test_theorem_two_never_recommends_a_rollout(t):
    gamma, error, shift, k = t
    assert branched_penalty(gamma, 1.0, error, shift, k + 1) >= branched_penalty(gamma, 1.0, error, shift, k) - 1e-9


gaussians = st.tuples(st.floats(-3, 3), st.floats(0.2, 3), st.floats(-3, 3), st.floats(0.2, 3))


@given(gaussians)
def test_total_variation_of_gaussians_is_half_the_area_between_them(g):
    mean_one, std_one, mean_two, std_two = g
    x = np.linspace(-25, 25, 100_001)

    def density(mean, std):
        return np.exp(-0.5 * ((x - mean) / std) ** 2) / (std * np.sqrt(2 * np.pi))

    area = 0.5 * np.abs(density(mean_one, std_one) - density(mean_two, std_two)).sum() * (x[1] - x[0])
    assert univariate_total_variation(*map(np.array, g)) == pytest.approx(area, abs=1e-4)


def test_total_variation_in_more_dimensions_is_bounded():
    rng = np.random.default_rng(0)
    for _ in range(20):
        means, stds = rng.normal(0, 0.7, (2, 3)), rng.uniform(0.5, 2, (2, 3))
        draws = means[0] + stds[0] * rng.standard_normal((200_000, 3))
        logs = [-0.5 * (((draws - m) / s) ** 2).sum(1) - np.log(s).sum() for m, s in zip(means, stds, strict=True)]
        sampled = np.maximum(1 - np.exp(logs[1] - logs[0]), 0).mean()  # TV = E_p (1 − q/p)⁺
        bound = gaussian_total_variation(means[0], stds[0], means[1], stds[1])
        assert sampled - 0.01 <= bound <= min(1.0, 3 * sampled)
    same = np.ones((4, 2))
    np.testing.assert_allclose(gaussian_total_variation(same, same, same, same), 0, atol=1e-7)
    # Standard deviations that are one rounding apart: some of the overlaps come out above 1.
    stds = np.random.default_rng(1).uniform(0.5, 2, (200, 2))
    near = gaussian_total_variation(0 * stds, stds, 0 * stds, np.nextafter(stds, 3))
    np.testing.assert_allclose(near, 0, atol=1e-7)
    one = np.ones((4, 1))
    exact = univariate_total_variation(one[:, 0], one[:, 0], 2 * one[:, 0], 3 * one[:, 0])
    np.testing.assert_allclose(gaussian_total_variation(one, one, 2 * one, 3 * one), exact)
