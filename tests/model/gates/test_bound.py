"""k from theorem 4.3: the compiled k* is the theory's, grows and shrinks as it should, and stays usable."""

import math

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbpo import theory
from mbpo.model.gates.bound import best_length, bounded_length

terms = st.floats(1e-3, 1.0)


jitted = jax.jit(best_length, static_argnums=0)


def best(gamma: float, error: float, shift: float) -> float:
    return float(jitted(gamma, jnp.float32(error), jnp.float32(shift)))


@given(st.sampled_from([0.5, 0.9, 0.98, 0.999]), terms, terms)
def test_it_is_the_theorys(gamma, error, shift):
    assert best(gamma, error, shift) == pytest.approx(theory.branch_length(gamma, error, shift), rel=1e-3, abs=2e-2)


@given(st.sampled_from([0.9, 0.98, 0.99]), terms, terms, st.floats(0.1, 0.9))
def test_it_grows_as_the_error_falls_and_shrinks_as_the_shift_falls(gamma, error, shift, share):
    now = best(gamma, error, shift)
    smaller_error, smaller_shift = best(gamma, share * error, shift), best(gamma, error, share * shift)
    assert smaller_shift <= now <= smaller_error
    if now > 0:
        # By exactly ln(1/share)/(−ln γ).
        assert smaller_error - now == pytest.approx(math.log(share) / math.log(gamma), rel=1e-3, abs=1e-3)
        assert smaller_shift < now


def test_known_lengths():
    # γ = 0.99: ratios of 1, ½, 1/5 and 1/10 give 0.5 (nearly 0), 69, 161 and 230.
    assert [round(best(0.99, ratio, 1.0)) for ratio in (1, 0.5, 0.2, 0.1)] == [0, 69, 161, 230]


@pytest.mark.parametrize("gamma", [0.0, 1.0, 0.99])
@pytest.mark.parametrize(("error", "shift"), [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)])
def test_it_is_finite_whatever_is_measured(gamma, error, shift):
    assert 0 <= best(gamma, error, shift) < 2e7


def test_the_length_used_is_a_whole_number_within_bounds():
    assert [int(bounded_length(jnp.float32(k), jnp.int32(25))) for k in (0.0, 0.9, 7.4, 7.6, 25.2, 1e7)] == [
        *[1, 1, 7, 8, 25, 25]
    ]
