"""Standardisation: the numbers, and the dimensions that break naive versions in float32."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mbpo.nn.normalizer import Normalizer, fit_normalizer, identity_normalizer

FIT = jax.jit(fit_normalizer)


def test_by_hand():
    # 1, 2, 6: mean 3, variance (4 + 1 + 9) / 3
    normalizer = FIT(jnp.array([[1.0], [2.0], [6.0]]), jnp.ones(3))
    assert float(normalizer.mean[0]) == pytest.approx(3.0)
    assert float(normalizer.std[0]) == pytest.approx(np.sqrt(14 / 3))
    np.testing.assert_allclose(normalizer.normalize(jnp.array([6.0])), [3 / np.sqrt(14 / 3)], rtol=1e-6)


def test_rows_without_data_do_not_count():
    x = jnp.array([[1.0, 10.0], [jnp.nan, 1e30], [3.0, 30.0], [jnp.inf, -1e30]])
    normalizer = FIT(x, jnp.array([1.0, 0.0, 1.0, 0.0]))
    np.testing.assert_allclose(normalizer.mean, [2.0, 20.0])
    np.testing.assert_allclose(normalizer.std, [1.0, 10.0])


@pytest.mark.parametrize("value", [0.0, 0.1, -0.3, 1000.3, 1e-12, 1e8])
def test_a_constant_dimension_is_shifted_and_not_blown_up(value):
    # 0.1 has no exact float32: its mean over many rows is off by rounding, and the "spread" is not 0.
    x = jnp.full((100_000, 1), value)
    normalizer = FIT(x, jnp.ones(100_000))
    assert float(normalizer.std[0]) == 1.0
    assert float(normalizer.mean[0]) == pytest.approx(value, rel=1e-5)
    # The size of the rounding left, against values that a network can stand.
    assert float(abs(normalizer.normalize(x)).max()) <= max(1e-5 * abs(value), 1e-6)


def test_a_spread_of_mere_rounding_counts_as_none():
    # Neighbouring float32 numbers, 6e-5 apart at 1000: dividing by that would turn rounding into ±1.
    x = np.full((100, 1), 1000.3, np.float32)
    x[::2] = np.nextafter(x[::2], np.float32(2000))
    normalizer = FIT(jnp.asarray(x), jnp.ones(100))
    assert float(normalizer.std[0]) == 1.0
    assert float(abs(normalizer.normalize(jnp.asarray(x))).max()) < 1e-3


@pytest.mark.parametrize(("mean", "std"), [(1000.0, 0.1), (-10.0, 1e-3), (1e4, 1.0)])
def test_a_large_mean_beside_a_small_spread(mean, std):
    # E[x²] − E[x]² in float32 would leave no correct digit here (1e6 has a spacing of 0.06).
    x = (mean + std * np.random.default_rng(0).standard_normal((50_000, 1))).astype(np.float32)
    exact = x.astype(np.float64)
    normalizer = FIT(jnp.asarray(x), jnp.ones(50_000))
    assert float(normalizer.std[0]) == pytest.approx(exact.std(), rel=0.01)
    assert float(normalizer.mean[0]) == pytest.approx(exact.mean(), abs=0.02 * std)
    z = normalizer.normalize(jnp.asarray(x))
    assert float(z.std()) == pytest.approx(1.0, abs=0.01)
    assert float(z.mean()) == pytest.approx(0.0, abs=0.02)


def test_a_tiny_but_real_spread_is_kept():
    x = jnp.array([[1e-6], [3e-6]])
    normalizer = FIT(x, jnp.ones(2))
    assert float(normalizer.std[0]) == pytest.approx(1e-6, rel=1e-4)


def test_no_rows_at_all_gives_finite_statistics():
    normalizer = FIT(jnp.full((4, 2), jnp.nan), jnp.zeros(4))
    np.testing.assert_array_equal(normalizer.mean, 0)
    np.testing.assert_array_equal(normalizer.std, 1)


def test_identity_changes_nothing():
    x = jnp.array([[1.5, -2.5]])
    np.testing.assert_array_equal(identity_normalizer(2).normalize(x), x)
    np.testing.assert_array_equal(identity_normalizer(2).denormalize(x), x)


@given(
    arrays(np.float32, (3, 2), elements=st.floats(-100, 100, width=32)),
    arrays(np.float32, (2,), elements=st.floats(-100, 100, width=32)),
    arrays(np.float32, (2,), elements=st.floats(0.125, 8, width=32)),
)
def test_round_trip(x, mean, std):
    normalizer = Normalizer(mean=jnp.asarray(mean), std=jnp.asarray(std))
    np.testing.assert_allclose(normalizer.denormalize(normalizer.normalize(jnp.asarray(x))), x, atol=1e-4)


@given(arrays(np.float32, (8, 2), elements=st.floats(-1000, 1000, width=32)), arrays(bool, 8))
def test_matches_numpy_on_the_valid_rows(x, valid):
    valid[0] = True
    normalizer = FIT(jnp.asarray(x), jnp.asarray(valid, jnp.float32))
    kept = x[valid].astype(np.float64)
    mean, std = kept.mean(axis=0), kept.std(axis=0)
    np.testing.assert_allclose(normalizer.mean, mean, atol=1e-3)
    # Away from the floor the spread is NumPy's, far below it one; between, rounding may decide.
    share = std / np.maximum(np.sqrt(mean**2 + std**2), 1e-30)
    np.testing.assert_allclose(np.asarray(normalizer.std)[share > 1e-3], std[share > 1e-3], rtol=1e-2)
    np.testing.assert_array_equal(np.asarray(normalizer.std)[std == 0], 1.0)
