"""Perceptrons for many gradient steps on little data: LayerNorm between the layers, dropout, SiLU.

The networks of double-horizon MBPO (Kubo et al. 2025, arXiv:2512.15439): as `networks.MLP`, with what
every layer but the first takes in brought to zero mean and unit variance (Ba et al. 2016,
arXiv:1607.06450, without gain and offset), and a small share of the hidden units dropped in training
(Srivastava et al. 2014). A set of networks is one whose arrays carry a leading axis.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from mbpo.nn.normalizer import Normalizer

Init = Literal["kaiming", "orthogonal"]


class NormedMLP(eqx.Module):
    """`W_L n(φ(… n(φ(W_1 x + b_1)) …)) + b_L`, φ = SiLU, n = LayerNorm where a layer asks for it."""

    weights: tuple[Array, ...]
    """Layer `i`: `[*set, in_i, out_i]`."""
    biases: tuple[Array, ...]
    norm_eps: tuple[float, ...] = eqx.field(static=True)
    """Added to the variance before layer `i`; 0: no LayerNorm there."""
    dropout: tuple[float, ...] = eqx.field(static=True)
    """Share of hidden layer `i`'s units dropped in training."""

    def __call__(self, x: Float[Array, "*set1 batch in"], key: Key[Array, ""] | None = None) -> Array:
        """Apply the network, or each of a set of networks, to its rows.

        Args:
            x: Rows, for a set either each network's own or, without the leading axis, the same for all.
            key: Drops units, as in training; None: all of them count.
        """
        last = len(self.weights) - 1
        for i in range(last + 1):
            if self.norm_eps[i] > 0:
                x = normalized(x, self.norm_eps[i])
            x = x @ self.weights[i] + self.biases[i][..., None, :]
            if i == last:
                break
            if key is not None and self.dropout[i] > 0:
                x = drop_units(x, self.dropout[i], jax.random.fold_in(key, i))
            x = jax.nn.silu(x)
        return x


def renormalized(network: NormedMLP, old: Normalizer, new: Normalizer) -> NormedMLP:
    """The same function, or set of functions, of inputs the first of which are normalised by `new` and not by `old`.

    As (x − m)/s = (x − m')/s' · s'/s + (m' − m)/s, the first layer, which has no LayerNorm before it, takes up the
    change: W ← diag(s'/s) W, b ← b + (m' − m)/s · W.

    Args:
        old: Of the first inputs, as many as it has numbers; the others stay as they are.
    """
    first, seen = network.weights[0], old.mean.shape[0]
    shift = jnp.einsum("i,...io->...o", (new.mean - old.mean) / old.std, first[..., :seen, :])
    weight = first.at[..., :seen, :].multiply((new.std / old.std)[:, None])
    weights, biases = (weight, *network.weights[1:]), (network.biases[0] + shift, *network.biases[1:])
    return NormedMLP(weights, biases, network.norm_eps, network.dropout)


def normalized(x: Float[Array, "*batch features"], eps: float) -> Float[Array, "*batch features"]:
    """Zero mean and a variance of var / (var + eps) over the features."""
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.mean(centred**2, axis=-1, keepdims=True) + eps)


def drop_units(x: Float[Array, "*batch features"], rate: float, key: Key[Array, ""]) -> Float[Array, "*batch features"]:
    """Dropout of rare units: `round(rate · size)` places drawn uniformly are 0, the rest grow by 1/(1 − rate).

    A random number for every unit would cost more than the layer itself; this is one for every unit
    that is dropped. A place may be drawn twice, which lowers the share by less than `rate²`.
    """
    places = jax.random.bits(key, (max(round(rate * x.size), 1),)) % jnp.uint32(x.size)
    flat = x.reshape(-1).at[places].set(0.0, mode="promise_in_bounds")
    return flat.reshape(x.shape) / (1 - rate)


def make_normed_mlp(
    key: Key[Array, ""],
    in_size: int,
    hidden_sizes: Sequence[int],
    out_size: int,
    *,
    init: Init = "kaiming",
    norm_eps: Sequence[float] = (),
    dropout: Sequence[float] = (),
) -> NormedMLP:
    """Draw a network's initial parameters.

    Args:
        key: Consumed here.
        init: `"kaiming"` draws weights from N(0, 2/fan_in) (He et al. 2015) and biases from
            N(0, 1/(4·fan_in)); `"orthogonal"` draws orthogonal weights and zero biases.
        norm_eps: For every layer but the first; empty: no LayerNorm.
        dropout: For every hidden layer; empty: none.
    """
    sizes = [in_size, *hidden_sizes, out_size]
    weights, biases = [], []
    for fan_in, fan_out in pairwise(sizes):
        key, weight_key, bias_key = jax.random.split(key, 3)
        if init == "orthogonal":
            weights.append(jax.nn.initializers.orthogonal()(weight_key, (fan_in, fan_out)))
            biases.append(jnp.zeros((fan_out,)))
        else:
            weights.append(math.sqrt(2 / fan_in) * jax.random.normal(weight_key, (fan_in, fan_out)))
            biases.append(jax.random.normal(bias_key, (fan_out,)) / (2 * math.sqrt(fan_in)))
    hidden = len(hidden_sizes)
    return NormedMLP(
        weights=tuple(weights),
        biases=tuple(biases),
        norm_eps=(0.0, *(norm_eps or (0.0,) * hidden)),
        dropout=tuple(dropout or (0.0,) * hidden),
    )
