"""Infoprop: fusion of two members by hand, the information lost, its limits, and the gate's memory."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mbpo.model.gates.infoprop import Limits, condition, fuse, infoprop_gate, information_loss, loss_limits
from mbpo.types import ModelOutput

MEAN, VAR = jnp.array([[[0.0]], [[3.0]]]), jnp.array([[[1.0]], [[0.5]]])
jitted_fuse, jitted_condition = jax.jit(fuse), jax.jit(condition)


def test_two_members_by_hand():
    # S̄ = 1/mean(1, 2) = 2/3;  m̄ = 2/3 · mean(0, 6) = 2;  S_epi = (4 + 1)/2 = 2.5;  K = (2/3)/(2/3 + 5/2) = 4/19.
    fused = fuse(MEAN, VAR)
    np.testing.assert_allclose([a[0, 0] for a in fused], [2, 2 / 3, 4 / 19], rtol=1e-6)
    # A draw of 5.8: m_c = 2 + 4/19 · 3.8 = 2.8;  S_c = 15/19 · 2/3 = 10/19.
    centre, var = condition(fused, jnp.array([[5.8]]))
    np.testing.assert_allclose([centre[0, 0], var[0, 0]], [2.8, 10 / 19], rtol=1e-6)


def test_information_loss_by_hand():
    # A variance of 1/(2πe) has entropy 0, so the loss is that of the resolution: log₂ 10⁶ = 19.93 bits.
    one = 1 / (2 * math.pi * math.e)
    np.testing.assert_allclose(information_loss(jnp.array([[one, 4 * one]])), [[19.931569, 20.931569]], rtol=1e-5)
    # Narrower than the resolution, nothing is lost; nor where the members agree exactly.
    assert information_loss(jnp.array([[1e-14, 0.0]])).tolist() == [[0, 0]]


@given(arrays(np.float32, (3, 4, 2), elements=st.floats(-10, 10, width=32)), st.floats(0.0625, 4))
def test_the_estimate_lies_among_the_members_and_draws_move_towards_it(mean, var):
    fused = jitted_fuse(jnp.asarray(mean), jnp.full(mean.shape, var, jnp.float32))
    assert (np.asarray(fused.mean) >= mean.min(axis=0) - 1e-3).all() and (
        np.asarray(fused.mean) <= mean.max(axis=0) + 1e-3
    ).all()
    assert (np.asarray(fused.gain) >= 0).all() and (np.asarray(fused.gain) <= 1 + 1e-6).all()
    centre, left = (np.asarray(a) for a in jitted_condition(fused, jnp.asarray(mean[0])))
    assert (abs(centre - np.asarray(fused.mean)) <= abs(mean[0] - np.asarray(fused.mean)) + 1e-3).all()
    assert (left >= -1e-6).all() and (left <= np.asarray(fused.var) + 1e-6).all()


def test_members_that_agree_are_believed_and_lose_nothing():
    mean = jnp.full((3, 1, 2), 1.5)
    fused = fuse(mean, jnp.full(mean.shape, 0.25))
    centre, var = condition(fused, jnp.array([[1.0, 2.0]]))
    np.testing.assert_allclose(centre, [[1.0, 2.0]], rtol=1e-5)
    np.testing.assert_allclose(var, 0, atol=1e-6)


def test_limits_are_quantiles_of_each_output():
    losses = jnp.stack([jnp.arange(101.0), 10 * jnp.arange(101.0)], axis=1)
    limits = loss_limits(losses, step_quantile=0.99, path_quantile=0.02, horizon=50)
    np.testing.assert_allclose(limits.step, [99, 990], rtol=1e-5)
    np.testing.assert_allclose(limits.path, [100, 1000], rtol=1e-5)


def test_a_row_is_dropped_for_a_step_or_for_the_whole_path():
    gate = infoprop_gate(Limits(step=jnp.array([3.0, 3.0]), path=jnp.array([5.0, 5.0])))
    memory = gate.start(3)
    seen = []
    for losses in ([[1, 1], [3, 3], [1, 3.1]], [[1, 1], [2, 2], [1, 1]], [[3, 0], [0.5, 0], [1, 1]]):
        out = ModelOutput(jnp.zeros((3, 1)), jnp.zeros(3), jnp.zeros(3, bool), jnp.array(losses, jnp.float32))
        admitted, memory = gate.admit(memory, out)
        seen.append(admitted.tolist())
    # Exactly at a limit is admitted (3 in a step, 5 along a path); beyond it is not. A row once refused
    # by a step's limit (the third branch) may pass the next: that its branch is over is the rollout's to know.
    assert seen == [[True, True, False], [True, True, True], [True, False, False]]
    np.testing.assert_allclose(memory, [[5, 2], [5.5, 5], [3, 5.1]], rtol=1e-5)
