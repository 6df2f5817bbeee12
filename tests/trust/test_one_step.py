"""One-step errors of an ensemble whose predictions can be read off, and what stands in for TV."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from oracles import linear_mlp
from scipy.special import ndtr

from mbpo.model.ensemble import make_ensemble, unfitted
from mbpo.nn.normalizer import Normalizer
from mbpo.trust.one_step import CHUNK, distance_as_variation, one_step, target_spread
from mbpo.types import Transition

SPREAD = np.array([0.5, 2.0])


def constant_ensemble():
    """Two members that always predict Δobs = 0.25 and reward = 1, with log-variances of about −5."""
    ensemble = make_ensemble(jax.random.key(0), 1, 1, ensemble_size=2, num_elites=2, hidden_sizes=(), residual=True)
    network = linear_mlp(np.zeros((2, 2, 4)), np.tile([0.5, 0.5, -5.0, -5.0], (2, 1)))
    targets = Normalizer(jnp.zeros(2), jnp.asarray(SPREAD, jnp.float32))
    return eqx.tree_at(
        lambda e: (e.params.network.weights, e.params.network.biases, e.targets),
        ensemble,
        (network.weights, network.biases, targets),
    )


def rows(count):
    rng = np.random.default_rng(0)
    obs, action = (rng.standard_normal((count, 1)).astype(np.float32) for _ in range(2))
    return Transition(obs, action, np.full(count, 3.0, np.float32), obs + 0.5, np.zeros(count, bool))


def test_errors_are_in_units_of_the_spread():
    ensemble = constant_ensemble()
    np.testing.assert_allclose(target_spread(ensemble, None), SPREAD)
    found = one_step(ensemble, rows(CHUNK + 7), SPREAD, outputs=2)
    # Δobs is off by 0.25 = half a spread, the reward by 2 = one.
    np.testing.assert_allclose(found.error, np.full(CHUNK + 7, np.sqrt((0.5**2 + 1.0**2) / 2)), rtol=1e-5)
    distance = np.hypot(0.5, 1.0)
    np.testing.assert_allclose(found.variation, 2 * ndtr(distance / 2) - 1, rtol=1e-5)


def test_where_the_ensemble_keeps_no_spread_it_is_that_of_the_rows():
    params = constant_ensemble().params
    shape = {"ensemble_size": 2, "num_elites": 2, "residual": True, "angles": (0,)}
    ensemble = unfitted(params, 1, 1, **shape, normalize_targets=False)
    seen = rows(50)
    turned = seen.obs + np.linspace(-1, 1, 50, dtype=np.float32)[:, None] + 2 * np.float32(np.pi)
    spread = target_spread(ensemble, seen._replace(next_obs=turned))
    np.testing.assert_allclose(spread, [np.linspace(-1, 1, 50).std(), 1], rtol=1e-5)  # A spread of 0 counts as 1.


def test_a_reward_that_is_known_does_not_count():
    found = one_step(constant_ensemble(), rows(3), SPREAD, outputs=1)
    np.testing.assert_allclose(found.error, 0.5, rtol=1e-5)
    np.testing.assert_allclose(found.variation, 2 * ndtr(0.25) - 1, rtol=1e-5)


def test_the_models_own_width_is_the_stricter_resolution():
    found = one_step(constant_ensemble(), rows(3), SPREAD, outputs=1)
    # In units of the spread; the soft bounds at 0.5 and −10 move it by half a percent.
    width = np.exp(-2.5)
    np.testing.assert_allclose(found.own_variation, 2 * ndtr(0.5 / width / 2) - 1, rtol=2e-4)
    assert (found.own_variation > found.variation).all()


def test_variation_by_distance():
    np.testing.assert_allclose(distance_as_variation(np.array([0.0, 1.0, 20.0])), [0, 0.38292492, 1], atol=1e-7)
