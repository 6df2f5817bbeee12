"""Total variation in single precision: held against the theory's, which is in double and tested by integration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mbpo import theory
from mbpo.model.total_variation import gaussian_total_variation, univariate_total_variation

jitted = jax.jit(gaussian_total_variation)


def tv(mean_one, log_std_one, mean_two, log_std_two):
    values = (jnp.asarray(a, jnp.float32) for a in (mean_one, log_std_one, mean_two, log_std_two))
    return np.asarray(jitted(*values))


def vectors(dim: int, low: float, high: float):
    return arrays(np.float32, (dim,), elements=st.floats(low, high, width=32))


@given(st.sampled_from([1, 3]).flatmap(lambda d: st.tuples(*[vectors(d, -3, 3), vectors(d, -2, 2)] * 2)))
def test_it_is_the_theorys(parameters):
    mean_one, log_one, mean_two, log_two = parameters
    wide = [a.astype(float) for a in parameters]
    expected = theory.gaussian_total_variation(wide[0], np.exp(wide[1]), wide[2], np.exp(wide[3]))
    found = tv(mean_one, log_one, mean_two, log_two)
    assert found == pytest.approx(expected, abs=2e-3)
    assert 0 <= found <= 1
    assert found == pytest.approx(tv(mean_two, log_two, mean_one, log_one), abs=1e-3)


def test_nearly_equal_deviations():
    # TV of N(0, 1) from N(½, 1) is 2Φ(¼) − 1 = 0.1974; nearly equal deviations are where roots get lost.
    log_std = np.array([0.0, 1e-7, 1e-5, 1e-3, 1e-1])
    zeros = np.zeros(5)
    found = univariate_total_variation(*(jnp.asarray(a, jnp.float32) for a in (zeros, zeros, zeros + 0.5, log_std)))
    assert float(found[0]) == pytest.approx(0.197413, abs=1e-6)
    expected = theory.univariate_total_variation(zeros, np.ones(5), zeros + 0.5, np.exp(log_std))
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_equal_and_disjoint_gaussians():
    assert tv([0.3, -2.0], [0.1, -3.0], [0.3, -2.0], [0.1, -3.0]) == 0
    assert tv([0.0], [-9.0], [1.0], [-9.0]) == 1
    assert tv([0.0, 0.0], [-9.0, 0.0], [1.0, 0.0], [-9.0, 0.0]) == 1
    # What is not a number is no agreement.
    assert tv([np.nan], [0.0], [0.0], [0.0]) == 1
    assert tv([np.inf, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]) == 1
