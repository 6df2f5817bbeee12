"""Models in which every elite is asked: what they report, what they draw, and the one-step error."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import linear_mlp

from mbpo.model.consensus import as_disagreeing_step, as_fused_step, one_step_error, one_step_losses
from mbpo.model.ensemble import make_ensemble
from mbpo.nn.normalizer import Normalizer
from mbpo.types import Transition

STD = 0.25
"""Every member's predicted deviation, in normalised units."""
OBS, ACTION = jnp.zeros((4000, 1)), jnp.zeros((4000, 1))


jitted_error = jax.jit(one_step_error, static_argnames="resolution")


def never(obs, action, next_obs):
    return jnp.zeros(obs.shape[:-1], bool)


def ensemble_of(*means, target_std=2.0):
    """Members that predict these constants of (Δobs, reward), normalised; the last one is no elite."""
    ensemble = make_ensemble(
        jax.random.key(0), 1, 1, ensemble_size=len(means), num_elites=len(means) - 1, hidden_sizes=(4,), residual=True
    )
    log_var = math.log(STD**2)
    bias = [[mean, 0.0, log_var, log_var] for mean in means]
    network = linear_mlp(np.zeros((len(means), 2, 4)), bias)
    targets = Normalizer(mean=jnp.array([1.0, 0.0]), std=jnp.array([target_std, 1.0]))
    return eqx.tree_at(lambda e: (e.params.network, e.targets), ensemble, (network, targets))


def test_one_elite_draws_each_row_and_all_are_heard():
    step = jax.jit(as_disagreeing_step(ensemble_of(-1.0, 1.0, 50.0), never))
    out = step(OBS, ACTION, jax.random.key(1))
    # Pairs of elites: (1 − (−1))²/(8 · S); the variances are equal, and clamping makes them a little smaller.
    np.testing.assert_allclose(out.uncertainty, 4 / (8 * STD**2), rtol=0.05)
    # In target units: 1 + 2·(±1), each with deviation 2·¼, half of the rows each.
    drawn = np.asarray(out.next_obs)[:, 0]
    assert abs((drawn > 1).mean() - 0.5) < 0.04
    assert drawn[drawn > 1].mean() == pytest.approx(3, abs=0.05)
    assert drawn[drawn > 1].std() == pytest.approx(0.5, rel=0.06)


def test_the_fused_step_has_the_moments_of_its_formula():
    ensemble = ensemble_of(-0.2, 0.2, 50.0)
    out = jax.jit(as_fused_step(ensemble, never))(OBS, ACTION, jax.random.key(1))
    s, epistemic = STD**2, 0.04
    gain = s / (s + epistemic)
    left = (1 - gain) * s
    # Target: m̄ = 0; Var = K² (S̄ + S_epi) + (1 − K) S̄ = K S̄ + (1 − K) S̄ = S̄. The reward: all agree.
    drawn = (np.asarray(out.next_obs)[:, 0] - 1) / 2
    assert drawn.mean() == pytest.approx(0, abs=0.02)
    assert drawn.std() == pytest.approx(STD, rel=0.06)
    bits = 0.5 * math.log2(2 * math.pi * math.e * left) + math.log2(1e6)
    np.testing.assert_allclose(out.uncertainty[:, 0], bits, rtol=1e-3)
    assert float(out.uncertainty[:, 1].max()) < 12, "nearly nothing is lost where all agree"
    np.testing.assert_allclose(one_step_losses(ensemble, OBS[:5], ACTION[:5]), out.uncertainty[:5], rtol=1e-5)


def test_outputs_that_nothing_is_imagined_with_do_not_count():
    ensemble = ensemble_of(-1.0, 1.0, 50.0)
    for outputs, width in ((None, 2), (1, 1)):
        assert as_fused_step(ensemble, never, outputs)(OBS, ACTION, jax.random.key(1)).uncertainty.shape[-1] == width
        assert one_step_losses(ensemble, OBS[:5], ACTION[:5], outputs).shape == (5, width)
    key = jax.random.key(1)
    whole, part = (as_disagreeing_step(ensemble, never, outputs)(OBS, ACTION, key) for outputs in (None, 1))
    np.testing.assert_array_equal(whole.next_obs, part.next_obs)
    np.testing.assert_array_equal(whole.reward, part.reward)
    exact = ensemble_of(0.0, 0.0, 0.0)
    wrong_reward = Transition(
        jnp.zeros((3, 1)), jnp.zeros((3, 1)), jnp.full(3, 50.0), jnp.ones((3, 1)), jnp.zeros(3, bool)
    )
    assert float(one_step_error(exact, wrong_reward, resolution=0.5)) > 0.9
    assert float(one_step_error(exact, wrong_reward, resolution=0.5, outputs=1)) < 0.2


def error_of(ensemble, delta, resolution=0.5):
    """The one-step error on a row whose Δobs is `delta` in normalised units, with the reward exactly right."""
    next_obs = jnp.full((3, 1), 1 + float(ensemble.targets.std[0]) * delta)
    rows = Transition(jnp.zeros((3, 1)), jnp.zeros((3, 1)), jnp.zeros(3), next_obs, jnp.zeros(3, bool))
    return float(jitted_error(ensemble, rows, resolution=resolution))


def test_the_one_step_error_falls_as_predictions_get_better():
    errors = [error_of(ensemble_of(0.0, 0.0, 50.0), delta) for delta in (0.0, 0.2, 0.5, 2.0, 20.0)]
    assert errors == sorted(errors)
    assert errors[0] < 0.15 and errors[-1] == pytest.approx(1, abs=1e-3)
    # It is blurred by a coarse resolution, and units do not matter.
    assert error_of(ensemble_of(0.0, 0.0, 50.0), 0.5, resolution=5.0) < 0.1 < errors[2]
    assert error_of(ensemble_of(0.0, 0.0, 50.0, target_std=200.0), 0.5) == pytest.approx(errors[2], rel=1e-3)
    # Elites count, each for itself; the third member is none.
    both = 0.5 * (errors[0] + errors[2])
    assert error_of(ensemble_of(0.0, 0.5, 50.0), 0.0) == pytest.approx(both, rel=1e-3)
    assert error_of(ensemble_of(jnp.nan, jnp.nan, 0.0), 0.0) == 1


def test_with_sharp_predictions_the_error_is_that_of_two_gaussians_of_the_resolutions_width():
    sharp = ensemble_of(0.3, 0.3, 0.0)
    bias = sharp.params.network.biases[-1].at[:, 2:].set(-60.0)
    sharp = eqx.tree_at(lambda e: e.params.network.biases, sharp, (bias,))
    sharp = eqx.tree_at(lambda e: e.params.min_log_var, sharp, jnp.full((3, 2), -30.0))
    # 2Φ(0.3 / (2 · 0.5)) − 1 = 0.2358.
    assert error_of(sharp, 0.0) == pytest.approx(0.23582, abs=1e-4)
