"""The multilayer perceptron: shapes, arithmetic by hand, and that the asked-for start is the one in use."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mbpo.nn.networks import MLP, layer_norm, make_mlp

KEY = jax.random.key(0)

drawn = jax.jit(make_mlp, static_argnums=(1, 2, 3), static_argnames=("init", "layer_norm"))
"""Compiled, which is several times faster than one operation at a time."""


def hand_made(**norms) -> MLP:
    """2 → 2 → 1, ReLU."""
    return MLP(
        weights=(jnp.array([[1.0, 2.0], [3.0, -4.0]]), jnp.array([[5.0], [7.0]])),
        biases=(jnp.array([0.5, 1.0]), jnp.array([-1.0])),
        norm_scales=norms.get("scales", ()),
        norm_offsets=norms.get("offsets", ()),
        activation=jax.nn.relu,
    )


def test_forward_pass_by_hand():
    # (1, 1): hidden (1 + 3 + 0.5, 2 − 4 + 1) = (4.5, −1) → ReLU (4.5, 0) → 22.5 − 1 = 21.5
    # (0, −1): hidden (−2.5, 5) → (0, 5) → 35 − 1 = 34
    np.testing.assert_allclose(hand_made()(jnp.array([[1.0, 1.0], [0.0, -1.0]])), [[21.5], [34.0]])


def test_layer_norm_comes_before_the_activation():
    # hidden (4.5, −1) normalises to (1, −1); gains (2, 3) and offsets (0, 5) make (2, 2); 10 + 14 − 1 = 23.
    # After the activation instead, (4.5, 0) → (1, −1) → (2, 2) would not pass through ReLU: use a row
    # where that differs: gains (2, 3), offsets (0, 1) make (2, −2) → ReLU (2, 0) → 10 − 1 = 9.
    x = jnp.array([1.0, 1.0])
    scales = (jnp.array([2.0, 3.0]),)
    assert float(hand_made(scales=scales, offsets=(jnp.array([0.0, 5.0]),))(x)[0]) == pytest.approx(23, abs=1e-3)
    assert float(hand_made(scales=scales, offsets=(jnp.array([0.0, 1.0]),))(x)[0]) == pytest.approx(9, abs=1e-3)


def test_layer_norm_by_hand():
    # (1, 2, 3, 6): mean 3, variance (4 + 1 + 0 + 9) / 4 = 3.5
    expected = np.array([-2, -1, 0, 3]) / np.sqrt(3.5 + 1e-5)
    value_and_slopes = jax.jit(lambda x: (layer_norm(x), jax.jacobian(layer_norm)(x)))
    np.testing.assert_allclose(value_and_slopes(jnp.array([1.0, 2.0, 3.0, 6.0]))[0], expected, rtol=1e-6)
    # A row without spread is divided by √ε, not by zero.
    value, slopes = value_and_slopes(jnp.full((4,), 7.0))
    np.testing.assert_array_equal(value, 0)
    assert np.isfinite(slopes).all()


@pytest.mark.parametrize("with_norm", [False, True])
def test_shapes(with_norm):
    # Shapes only: nothing is computed.
    net = jax.eval_shape(lambda: make_mlp(KEY, 3, (5, 7), 2, layer_norm=with_norm))
    assert [w.shape for w in net.weights] == [(3, 5), (5, 7), (7, 2)]
    assert [b.shape for b in net.biases] == [(5,), (7,), (2,)]
    assert [s.shape for s in net.norm_scales] == ([(5,), (7,)] if with_norm else [])
    assert [s.shape for s in net.norm_offsets] == ([(5,), (7,)] if with_norm else [])
    for batch in [(), (4,), (2, 4)]:
        out = jax.eval_shape(lambda n, x: n(x), net, jax.ShapeDtypeStruct((*batch, 3), jnp.float32))
        assert out.shape == (*batch, 2)


def test_uniform_start_fills_its_bounds():
    net = drawn(KEY, 100, (400,), 400)
    for weight, bias, bound in zip(net.weights, net.biases, (0.1, 0.05), strict=True):
        for draw in (weight, bias):
            assert float(abs(draw).max()) <= bound
            assert float(draw.std()) == pytest.approx(bound / np.sqrt(3), rel=0.1)


def test_truncated_normal_start_is_truncated_and_in_use():
    net = drawn(KEY, 100, (400,), 400, init="truncated_normal")
    for weight, bias, fan_in in zip(net.weights, net.biases, (100, 400), strict=True):
        std = 1 / (2 * np.sqrt(fan_in))
        standard = np.asarray(weight) / std
        # Cut at two: an untruncated draw of 40k numbers would have some 1800 beyond.
        assert abs(standard).max() <= 2.0
        assert abs(standard).max() > 1.99
        # N(0, 1) cut at ±2 has standard deviation 0.8796 and kurtosis well above a uniform's 1.8.
        assert standard.std() == pytest.approx(0.8796, rel=0.02)
        assert np.mean(standard**4) / standard.std() ** 4 == pytest.approx(2.37, abs=0.1)
        assert not bias.any()
    # In use: the network computes with exactly these numbers.
    x = np.asarray(jax.random.normal(KEY, (100,)))
    by_hand = np.maximum(x @ np.asarray(net.weights[0]), 0) @ np.asarray(net.weights[1])
    np.testing.assert_allclose(net(jnp.asarray(x)), by_hand, rtol=1e-3, atol=1e-5)


def test_every_array_has_its_own_draw():
    net, other = drawn(KEY, 6, (6, 6), 6), drawn(jax.random.key(1), 6, (6, 6), 6)
    draws = [np.asarray(w) for w in (*net.weights, *other.weights)]
    for i, a in enumerate(draws):
        for b in draws[i + 1 :]:
            assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.6


def test_a_set_of_networks_is_one_network_with_a_leading_axis():
    keys = jax.random.split(KEY, 3)
    x = jnp.array([[0.3, -0.7]])

    def make(key):
        return make_mlp(key, 2, (4,), 1, layer_norm=True)

    together = jax.jit(lambda: jax.vmap(lambda net: net(x))(jax.vmap(make)(keys)))()
    alone = jax.jit(lambda key: make(key)(x))
    for i in range(3):
        np.testing.assert_allclose(together[i], alone(keys[i]), rtol=1e-5)
    assert len(np.unique(together)) == 3
