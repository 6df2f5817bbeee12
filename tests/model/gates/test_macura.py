"""MACURA: the divergence by hand, its symmetries, κ's running mean, and the gate in a rollout."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbpo.model.gates.macura import disagreement, geometric_js, macura_gate, no_threshold, update_threshold
from mbpo.types import ModelOutput

numbers = st.floats(-5, 5, width=32)
variances = st.floats(0.015625, 16, width=32)


jitted_js = jax.jit(geometric_js)


def js(mean_one, var_one, mean_two, var_two) -> float:
    return float(jitted_js(*(jnp.asarray(a, jnp.float32) for a in (mean_one, var_one, mean_two, var_two))))


def as_published(m1, s1, m2, s2) -> float:
    """The formula as it is printed, term by term."""
    sa = 1 / (0.5 / s1 + 0.5 / s2)
    ma = sa * (0.5 * m1 / s1 + 0.5 * m2 / s2)
    means = 0.5 * m1**2 / s1 + 0.5 * m2**2 / s2 - ma**2 / sa
    return 0.5 * (means + 0.5 * math.log(s1) + 0.5 * math.log(s2) - math.log(sa))


def test_two_gaussians_by_hand():
    # Equal variances 1, means 0 and 2: S_a = 1, m_a = 1, so ½ (½·4 − 1) = ½.
    assert js([0.0], [1.0], [2.0], [1.0]) == pytest.approx(0.5)
    # Equal means, variances 1 and 4: S_a = 1/(½ + ⅛) = 1.6, so ½ (½ ln 4 − ln 1.6) = ½ ln(2/1.6).
    assert js([3.0], [1.0], [3.0], [4.0]) == pytest.approx(0.5 * math.log(1.25), rel=1e-5)
    # Outputs add up.
    assert js([0.0, 3.0], [1.0, 1.0], [2.0, 3.0], [1.0, 4.0]) == pytest.approx(0.5 + 0.5 * math.log(1.25), rel=1e-5)


@given(numbers, variances, numbers, variances)
def test_it_is_the_published_formula_symmetric_and_never_negative(m1, s1, m2, s2):
    found = js([m1], [s1], [m2], [s2])
    assert found == pytest.approx(as_published(m1, s1, m2, s2), rel=1e-3, abs=1e-5)
    assert found == pytest.approx(js([m2], [s2], [m1], [s1]), rel=1e-5, abs=1e-6)
    assert found >= -1e-6
    assert js([m1], [s1], [m1], [s1]) == pytest.approx(0, abs=1e-6)


def test_disagreement_is_the_mean_over_pairs():
    # Members at 0, 0 and 2 with variance 1: pairs 0, ½ and ½. A second row on which all agree.
    mean = jnp.array([[[0.0], [1.0]], [[0.0], [1.0]], [[2.0], [1.0]]])
    np.testing.assert_allclose(disagreement(mean, jnp.ones((3, 2, 1))), [1 / 3, 0], atol=1e-6)
    assert disagreement(mean[:1], jnp.ones((1, 2, 1))).tolist() == [0, 0]


def test_kappa_is_the_mean_over_rounds_of_a_scaled_quantile():
    settings = {"quantile": 0.5, "scale": 2.0, "rounds": 3}
    threshold = no_threshold()
    found = []
    for middle in (1.0, 3.0, 5.0, 9.0):
        first_step = jnp.array([middle - 1, middle, middle + 1])
        threshold = update_threshold(threshold, first_step, **settings)
        found.append(float(threshold.kappa))
    # 2·1; (2 + 6)/2; (2 + 6 + 10)/3; from then on a third of the way to the newest: 6 + (18 − 6)/3.
    assert found == pytest.approx([2, 4, 6, 10])
    assert int(threshold.rounds) == 3


def test_the_threshold_itself_is_not_admitted():
    def out(u):
        return ModelOutput(jnp.zeros((3, 1)), jnp.zeros(3), jnp.zeros(3, bool), jnp.asarray(u))

    gate = macura_gate(jnp.asarray(1.0))
    admitted, memory = gate.admit(gate.start(3), out([0.999, 1.0, jnp.nan]))
    assert admitted.tolist() == [True, False, False]
    assert jax.tree.leaves(memory) == []
