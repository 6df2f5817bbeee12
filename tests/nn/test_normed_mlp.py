"""LayerNorm between the layers, dropout in training, and sets of networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mbpo.nn.normalizer import fit_normalizer
from mbpo.nn.normed_mlp import NormedMLP, drop_units, make_normed_mlp, normalized, renormalized

SMALL = NormedMLP(
    weights=(jnp.array([[1.0, 2.0]]), jnp.array([[1.0], [3.0]])),
    biases=(jnp.array([0.5, -1.0]), jnp.array([0.25])),
    norm_eps=(0.0, 0.5),
    dropout=(0.5,),
)
"""1 → 2 → 1, small enough to compute by hand."""


def silu(x):
    return x / (1 + np.exp(-x))


def by_hand(x: float, kept=(1.0, 1.0)) -> float:
    h = silu(np.array([x + 0.5, 2 * x - 1.0]) * kept)
    h = (h - h.mean()) / np.sqrt(h.var() + 0.5)
    return h[0] + 3 * h[1] + 0.25


def test_a_layer_takes_in_what_silu_gave_normalised():
    found = SMALL(jnp.array([[0.7], [-2.0]]))[:, 0]
    np.testing.assert_allclose(found, [by_hand(0.7), by_hand(-2.0)], rtol=1e-5)


def test_dropout_only_with_a_key_and_before_silu():
    x = jnp.array([[0.7]])
    outcomes = {round(float(SMALL(x, jax.random.key(i))[0, 0]), 4) for i in range(20)}
    # Half of two units: one place drawn, and the other unit doubled.
    assert outcomes == {round(by_hand(0.7, kept), 4) for kept in ((0.0, 2.0), (2.0, 0.0))}
    assert float(SMALL(x)[0, 0]) == pytest.approx(by_hand(0.7), rel=1e-5)


def test_dropping_keeps_the_mean_and_drops_the_share():
    x = jnp.ones((200, 500))
    dropped = drop_units(x, 0.01, jax.random.key(0))
    share = float((dropped == 0).mean())
    assert 0.0098 < share <= 0.01
    assert float(dropped.mean()) == pytest.approx(1.0, abs=2e-4)
    assert float(dropped.max()) == pytest.approx(1 / 0.99)


def test_a_dropped_unit_has_no_gradient():
    x = jnp.arange(1.0, 41.0).reshape(4, 10)
    out, back = jax.vjp(lambda v: drop_units(v, 0.2, jax.random.key(3)), x)
    gradient = back(jnp.ones_like(x))[0]
    np.testing.assert_allclose(gradient, np.where(np.asarray(out) == 0, 0.0, 1.25))
    assert 0 < (np.asarray(out) == 0).sum() <= 8


def test_new_statistics_can_be_absorbed():
    """Of the first inputs, in a set of networks: what they say stays the same, angles and spectators included."""
    rng = np.random.default_rng(0)
    obs = rng.normal(3.0, 2.0, (50, 3))
    old, new = (fit_normalizer(jnp.asarray(part), jnp.ones(len(part)), (1,)) for part in (obs[:20], 2 * obs + 1))
    network = jax.vmap(lambda key: make_normed_mlp(key, 6, (16, 16), 2, norm_eps=(1e-5, 1e-5)))(
        jax.random.split(jax.random.key(0), 3)
    )
    others = jnp.asarray(rng.normal(size=(50, 2)))

    def said(network, eyes):
        return network(jnp.concatenate([eyes.normalize(jnp.asarray(obs)), others], axis=-1))

    moved = renormalized(network, old, new)
    np.testing.assert_allclose(said(moved, new), said(network, old), atol=2e-5)
    assert np.abs(said(network, new) - said(network, old)).max() > 0.1


def test_normalised_rows():
    rows = normalized(jnp.array([[1.0, 3.0], [5.0, 5.0]]), 1.0)
    np.testing.assert_allclose(rows, [[-1 / np.sqrt(2), 1 / np.sqrt(2)], [0, 0]], rtol=1e-6)


def test_a_set_of_networks_is_each_of_them():
    make = lambda key: make_normed_mlp(key, 3, (5, 4), 2, norm_eps=(0.1, 0.01))  # noqa: E731
    networks = jax.vmap(make)(jax.random.split(jax.random.key(0), 3))
    own = jax.random.normal(jax.random.key(1), (3, 7, 3))
    for i, key in enumerate(jax.random.split(jax.random.key(0), 3)):
        np.testing.assert_allclose(networks(own)[i], make(key)(own[i]), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(networks(own[0])[i], make(key)(own[0]), rtol=1e-4, atol=1e-6)


def test_how_networks_begin():
    orthogonal = make_normed_mlp(jax.random.key(0), 64, (64,), 64, init="orthogonal")
    np.testing.assert_allclose(orthogonal.weights[0].T @ orthogonal.weights[0], np.eye(64), atol=1e-4)
    assert all(not bias.any() for bias in orthogonal.biases)
    kaiming = make_normed_mlp(jax.random.key(0), 400, (400,), 1)
    assert float(kaiming.weights[0].std()) == pytest.approx(np.sqrt(2 / 400), rel=0.02)
    assert float(kaiming.biases[0].std()) == pytest.approx(0.5 / np.sqrt(400), rel=0.15)
