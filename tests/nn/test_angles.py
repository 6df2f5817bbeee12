"""Angles as cosine and sine: by hand, over a turn more, in networks and normalisers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mbpo.nn.angles import with_angles
from mbpo.nn.networks import make_mlp
from mbpo.nn.normalizer import fit_normalizer, identity_normalizer

ROWS = jnp.array([[3.0, jnp.pi / 2, -1.0, jnp.pi], [4.0, 0.0, -2.0, jnp.pi / 6]])
HALF, ROOT = 0.5, np.sqrt(0.75)


def turned(x, *columns):
    return x.at[..., jnp.array(columns)].add(2 * jnp.pi)


def test_by_hand():
    np.testing.assert_allclose(with_angles(ROWS, (1,)), [[3, 0, 1, -1, np.pi], [4, 1, 0, -2, np.pi / 6]], atol=1e-6)
    both = [[3, 0, 1, -1, -1, 0], [4, 1, 0, -2, ROOT, HALF]]
    np.testing.assert_allclose(with_angles(ROWS, (1, 3)), both, atol=1e-6)
    np.testing.assert_allclose(with_angles(ROWS[0], (0,)), [np.cos(3), np.sin(3), np.pi / 2, -1, np.pi], rtol=1e-6)
    assert with_angles(ROWS, ()) is ROWS


def test_a_network_sees_no_turns():
    network = make_mlp(jax.random.key(0), 4, (8,), 2, angles=(1, 3))
    assert network.weights[0].shape == (6, 8)
    np.testing.assert_allclose(network(turned(ROWS, 1, 3)), network(ROWS), atol=1e-5)
    assert float(jnp.abs(network(turned(ROWS, 0)) - network(ROWS)).max()) > 0.1


def test_a_normalizer_measures_what_is_seen():
    normalizer = fit_normalizer(ROWS, jnp.ones(2), (1,))
    np.testing.assert_allclose(normalizer.mean, [3.5, 0.5, 0.5, -1.5, (np.pi + np.pi / 6) / 2], rtol=1e-6)
    seen = normalizer.normalize(turned(ROWS, 1))
    np.testing.assert_allclose(seen[:, :4], [[-1, -1, 1, 1], [1, 1, -1, -1]], atol=1e-5)


@pytest.mark.parametrize("angles", [(), (0,), (0, 2)])
def test_the_identity_scales_nothing(angles):
    np.testing.assert_array_equal(identity_normalizer(4, angles).normalize(ROWS), with_angles(ROWS, angles))
