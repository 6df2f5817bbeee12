"""The limit on one row's gradient: what it leaves, what it cuts, and to what."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbpo.nn.row_limit import limit_rows


def gradient_of(rows, limit):
    """What comes back where `rows` go in."""
    return np.asarray(jax.vjp(lambda x: limit_rows(x, limit), jnp.zeros_like(rows))[1](rows)[0])


def test_forward_it_is_nothing():
    x = jnp.asarray([[1.0, -2.0], [3.0, 4.0]])
    np.testing.assert_array_equal(limit_rows(x, 1.0), x)


def test_a_long_row_is_cut_to_the_median_and_keeps_its_direction():
    rows = jnp.asarray([[3.0, 4.0], [0.0, 1.0], [60.0, -80.0], [0.6, 0.8], [-5.0, 0.0]])
    # The norms are 5, 1, 100, 1, 5: their median is 5.
    np.testing.assert_allclose(gradient_of(rows, 1.0), rows.at[2].set(jnp.asarray([3.0, -4.0])), rtol=1e-6)
    np.testing.assert_allclose(gradient_of(rows, 2.0), rows.at[2].set(jnp.asarray([6.0, -8.0])), rtol=1e-6)
    np.testing.assert_array_equal(gradient_of(rows, 20.0), rows)


def test_rows_without_a_gradient_are_not_counted():
    rows = jnp.zeros((7, 2)).at[0, 0].set(1.0).at[1, 1].set(3.0)
    np.testing.assert_allclose(gradient_of(rows, 1.0), rows.at[1, 1].set(2.0))
    np.testing.assert_array_equal(gradient_of(jnp.zeros((4, 2)), 1.0), np.zeros((4, 2)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_what_is_not_a_number_stays_so(bad):
    rows = jnp.asarray([[1.0, 0.0], [0.0, 2.0], [bad, 1.0], [3.0, 0.0]])
    found = gradient_of(rows, 1.0)
    assert not (np.abs(found[2]) < 1e29).all()  # To be found out, as anywhere else, and not hidden.
    assert np.isfinite(np.delete(found, 2, axis=0)).all()


@given(st.integers(1, 20), st.integers(1, 4), st.floats(0.1, 4.0), st.integers(0, 1000))
def test_no_row_is_longer_than_the_limit_or_turned(count, dim, limit, seed):
    rng = np.random.default_rng(seed)
    rows = (rng.normal(size=(count, dim)) * np.exp(3 * rng.normal(size=(count, 1)))).astype(np.float32)
    found, before = gradient_of(jnp.asarray(rows), limit), np.linalg.norm(rows, axis=1)
    after = np.linalg.norm(found, axis=1)
    np.testing.assert_allclose(after, np.minimum(before, limit * np.median(before)), rtol=1e-4)
    np.testing.assert_allclose(found * before[:, None], rows * after[:, None], rtol=1e-3, atol=1e-5 * before.max() ** 2)


def test_each_step_of_a_scan_has_a_median_of_its_own():
    start = jnp.asarray([[1.0], [2.0], [50.0]])

    def path(weight):
        def step(carry, _):
            out = limit_rows(carry * weight, 1.0)
            return carry, out.sum(axis=-1) ** 2

        return jax.lax.scan(step, start, None, length=2)[1].sum()

    # d/dw of (w s)² is 2 w s · s; with w = 1 the rows' 2 w s are 2, 4, 100, and the last is cut to 4.
    assert float(jax.grad(path)(1.0)) == pytest.approx(2 * (2 * 1 + 4 * 2 + 4 * 50))
