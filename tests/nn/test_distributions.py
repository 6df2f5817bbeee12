"""The tanh-Gaussian and the model's Gaussian: by hand, by integration, and at the extremes."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from mbpo.nn.distributions import gaussian_nll, log_tanh_derivative, sample_tanh_gaussian, soft_clamp, standard_normal

SAMPLE = jax.jit(sample_tanh_gaussian)
ONE, ZERO = np.ones(1, np.float32), np.zeros(1, np.float32)


def fixed_draw(u: float, **action_box):
    """The draw whose pre-tanh value is `u`, whatever the key: a Gaussian with almost no width."""
    log_std = -12.0  # exp(−12) = 6e-6
    action, log_prob = SAMPLE(
        jax.random.key(0), jnp.array([u]), jnp.array([log_std]), **{"scale": ONE, "center": ZERO, **action_box}
    )
    noise = standard_normal(jax.random.key(0), (1,))[0]
    return action, log_prob - (-0.5 * noise**2 - log_std - 0.5 * math.log(2 * math.pi))


def test_tanh_correction_at_three_is_4_62_nats():
    # 1 − tanh²(3) = 1 − 0.9950547537² = 0.0098660372, whose logarithm is −4.6186569.
    assert float(log_tanh_derivative(jnp.float32(3.0))) == pytest.approx(-4.6186569, abs=1e-5)
    # In the density it is subtracted once: +4.62, not +9.24.
    assert float(fixed_draw(3.0)[1]) == pytest.approx(4.6186569, abs=1e-4)


def test_log_derivative_matches_the_naive_formula_where_that_one_works():
    u = np.linspace(-4, 4, 41)
    np.testing.assert_allclose(
        log_tanh_derivative(jnp.asarray(u, jnp.float32)), np.log1p(-(np.tanh(u) ** 2)), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("u", [-20.0, 20.0, -500.0, 500.0])
def test_log_derivative_is_stable_far_out(u):
    # For large |u|: 4 / (e^u + e^−u)² → 4 e^(−2|u|), so the logarithm is 2 log 2 − 2|u|; its slope ∓2.
    value, slope = jax.value_and_grad(log_tanh_derivative)(jnp.float32(u))
    assert float(value) == pytest.approx(2 * math.log(2) - 2 * abs(u), rel=1e-6)
    assert float(slope) == pytest.approx(-2 * math.copysign(1, u), rel=1e-6)


def test_log_prob_sums_over_action_dimensions_and_counts_the_scale():
    mean, log_std = jnp.array([[0.3, -1.0]]), jnp.array([[-0.5, 0.2]])
    scale, center = np.array([2.0, 0.25], np.float32), np.array([1.0, -3.0], np.float32)
    action, log_prob = SAMPLE(jax.random.key(7), mean, log_std, scale=scale, center=center)
    assert log_prob.shape == (1,)
    # Change of variables from scratch, in float64: u = artanh((a − center) / scale).
    u = np.arctanh((np.asarray(action, float)[0] - center) / scale)
    per_dim = norm.logpdf(u, mean[0], np.exp(log_std[0])) - np.log((1 - np.tanh(u) ** 2) * scale)
    assert abs(per_dim).min() > 0.1, "both dimensions must contribute for this to test anything"
    assert float(log_prob[0]) == pytest.approx(per_dim.sum(), abs=1e-4)


def test_density_integrates_to_one_in_the_environments_units():
    # Importance sampling turned round: E[1 / p(a)] is the volume of the action box, here 2 · scale.
    scale, center = np.array([1.5], np.float32), np.array([4.0], np.float32)
    shape = (200_000, 1)
    action, log_prob = SAMPLE(jax.random.key(1), jnp.zeros(shape), jnp.zeros(shape) - 0.1, scale=scale, center=center)
    assert float(jnp.mean(jnp.exp(-log_prob))) == pytest.approx(3.0, rel=0.02)
    assert float(action.min()) >= 2.5 and float(action.max()) <= 5.5


def test_entropy_matches_numerical_integration():
    # −E[log p] of tanh(u), u ~ N(0.5, 0.8²), scaled by 3: H(u) + E[log(1 − tanh²u)] + log 3.
    u = np.linspace(-8, 9, 20_001)
    log_slope = np.log(4) - 2 * np.logaddexp(u, -u)
    expected = 0.5 * math.log(2 * math.pi * math.e * 0.64) + np.trapezoid(norm.pdf(u, 0.5, 0.8) * log_slope, u)
    shape = (200_000, 1)
    _, log_prob = SAMPLE(
        jax.random.key(2),
        jnp.full(shape, 0.5),
        jnp.full(shape, math.log(0.8)),
        scale=np.array([3.0], np.float32),
        center=ZERO,
    )
    assert float(-log_prob.mean()) == pytest.approx(expected + math.log(3), abs=0.01)


@jax.jit
def total_and_gradients(mean, log_std):
    def total(mean, log_std):
        action, log_prob = SAMPLE(jax.random.key(3), mean, log_std, scale=ONE, center=ZERO)
        return (action + log_prob).sum()

    return jax.value_and_grad(total, argnums=(0, 1))(mean, log_std)


@pytest.mark.parametrize("u", [-20.0, 0.0, 20.0])
@pytest.mark.parametrize("log_std", [-20.0, 0.0, 2.0])
def test_gradients_are_finite_at_saturation(u, log_std):
    value, grads = total_and_gradients(jnp.array([u]), jnp.array([log_std]))
    assert np.isfinite([value, *grads[0], *grads[1]]).all()
    if log_std == -20.0:
        # d log p / d mean = 2 tanh(u) and d log p / d log_std = −1 with the noise held fixed; the action
        # adds its slope, 1 at u = 0 and none where it has saturated.
        assert float(grads[0][0]) == pytest.approx(2 * math.tanh(u) + (u == 0), abs=1e-5)
        assert float(grads[1][0]) == pytest.approx(-1.0, abs=1e-5)


def test_standard_normal_draws_are_those_of_the_normal_distribution():
    draws = np.sort(np.asarray(standard_normal(jax.random.key(5), (200_000,)), float))
    # Kolmogorov-Smirnov at a level of 1e-6: sqrt(ln(2 / 1e-6) / 2n).
    empirical = (np.arange(draws.size) + 0.5) / draws.size
    assert abs(norm.cdf(draws) - empirical).max() < math.sqrt(math.log(2e6) / (2 * draws.size))
    assert abs((draws**4).mean() - 3) < 0.15  # The fourth moment's standard error is sqrt(96 / n) = 0.02.


def test_standard_normal_is_finite_and_symmetric_at_the_ends_of_the_uniform_draw(monkeypatch):
    ends = jnp.array([0.0, 1 - 2**-23], jnp.float32)
    monkeypatch.setattr(jax.random, "uniform", lambda key, shape: ends)
    low, high = standard_normal(jax.random.key(0), (2,))
    assert float(low) == pytest.approx(norm.ppf(2**-24), rel=1e-3)
    assert float(high) == pytest.approx(-norm.ppf(2**-24), rel=1e-3)


def test_gaussian_nll_by_hand():
    # ½ [ (3 − 1)² / 4 + log 4 + log 2π ] = ½ [ 1 + 1.3862944 + 1.8378771 ] = 2.1120857
    # ½ [ (0 − 0)² / 1 + log 1 + log 2π ] = 0.9189385
    nll = gaussian_nll(jnp.array([1.0, 0.0]), jnp.array([math.log(4.0), 0.0]), jnp.array([3.0, 0.0]))
    np.testing.assert_allclose(nll, [2.1120857, 0.9189385], rtol=1e-6)


def test_gaussian_nll_is_least_where_the_variance_is_the_squared_error():
    log_var = np.linspace(-3, 3, 601, dtype=np.float32)
    nll = gaussian_nll(jnp.zeros(601), jnp.asarray(log_var), jnp.full(601, 2.0))
    assert float(log_var[np.argmin(nll)]) == pytest.approx(math.log(4.0), abs=0.01)


LOW, HIGH = jnp.array([-10.0]), jnp.array([0.5])
CLAMP = jax.jit(jax.value_and_grad(lambda x: soft_clamp(x, LOW, HIGH)[0]))


@given(st.floats(-60, 60, width=32))
def test_soft_clamp_keeps_its_bounds_and_a_gradient(x):
    value, grads = CLAMP(jnp.array([x], jnp.float32))
    # The lower softplus lifts the upper end by log(1 + e^−10.5) = 2.8e-5.
    assert -10.0 <= float(value) <= 0.5 + 3e-5
    assert 0 < float(grads[0]) <= 1


def test_soft_clamp_by_hand():
    # Far inside, x stays; at a bound, a softplus of 0 = log 2 is given away.
    clamped = soft_clamp(jnp.array([[-5.0], [0.5], [-10.0]]), LOW, HIGH)[:, 0]
    inside = 0.5 - math.log1p(math.exp(5.5))
    inside = -10 + math.log1p(math.exp(inside + 10))
    np.testing.assert_allclose(clamped, [inside, 0.5 - math.log(2), -10 + math.log(2)], atol=2e-4)
    assert inside == pytest.approx(-5.0, abs=0.02)


def test_soft_clamp_bounds_receive_gradient():
    def at(low, high, x):
        return soft_clamp(jnp.array([x]), low, high)[0]

    low_far_below, high_far_below = jax.grad(at, argnums=(0, 1))(LOW, HIGH, -30.0)
    low_far_above, high_far_above = jax.grad(at, argnums=(0, 1))(LOW, HIGH, 30.0)
    assert float(low_far_below[0]) == pytest.approx(1.0, abs=1e-3) and abs(float(high_far_below[0])) < 1e-3
    assert float(high_far_above[0]) == pytest.approx(1.0, abs=1e-3) and abs(float(low_far_above[0])) < 1e-3
