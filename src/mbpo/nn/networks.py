"""Multilayer perceptrons: the only network this package needs.

One class serves the actor, the critics and the ensemble. Parameters are arrays only, so a
network is a pytree that `jax.grad`, optax and checkpoints take as it is; a set of networks
(twin critics, ensemble members) is one network whose arrays carry a leading axis.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from mbpo.nn.angles import with_angles

Activation = Callable[[Array], Array]
_LAYER_NORM_EPS = 1e-5


class MLP(eqx.Module):
    """`x -> W_L φ(… φ(W_1 x + b_1) …) + b_L`, with LayerNorm before each φ if asked for."""

    weights: tuple[Array, ...]
    """Layer `i`: `[in_i, out_i]`, stored so that a batch multiplies from the left."""
    biases: tuple[Array, ...]
    norm_scales: tuple[Array, ...]
    """LayerNorm gains, one `[out_i]` per hidden layer; empty without LayerNorm."""
    norm_offsets: tuple[Array, ...]
    activation: Activation = eqx.field(static=True)
    angles: tuple[int, ...] = eqx.field(static=True, default=())
    """Columns of `x` that are angles: the first layer sees their cosines and sines."""

    def __call__(self, x: Float[Array, "*batch in"]) -> Float[Array, "*batch out"]:
        """Apply the network to every row of `x`."""
        x = with_angles(x, self.angles)
        hidden = len(self.weights) - 1
        for i in range(hidden):
            x = x @ self.weights[i] + self.biases[i]
            if self.norm_scales:
                x = layer_norm(x) * self.norm_scales[i] + self.norm_offsets[i]
            x = self.activation(x)
        return x @ self.weights[hidden] + self.biases[hidden]


def layer_norm(x: Float[Array, "*batch features"]) -> Float[Array, "*batch features"]:
    """Zero mean and unit variance over the features (Ba et al. 2016, arXiv:1607.06450, eq. 4)."""
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = jnp.mean(centred**2, axis=-1, keepdims=True)
    return centred * jax.lax.rsqrt(variance + _LAYER_NORM_EPS)


def make_mlp(
    key: Key[Array, ""],
    in_size: int,
    hidden_sizes: Sequence[int],
    out_size: int,
    *,
    activation: Activation = jax.nn.relu,
    init: Literal["uniform", "truncated_normal"] = "uniform",
    layer_norm: bool = False,
    angles: tuple[int, ...] = (),
) -> MLP:
    """Draw a network's initial parameters.

    Args:
        key: Consumed here.
        init: `"uniform"` draws weights and biases from U(±1/√fan_in), the customary start of SAC.
            `"truncated_normal"` draws weights from N(0, 1/(4·fan_in)) cut at two standard
            deviations and zero biases, the start of PETS's ensemble (Chua et al. 2018).
        layer_norm: Put LayerNorm before every activation.
        angles: Columns of the input that are angles.
    """
    # All of a network's numbers in one draw: every further draw is code to compile, for which a new run waits.
    shapes = list(pairwise([in_size + len(angles), *hidden_sizes, out_size]))
    ends = np.cumsum([size for fan_in, fan_out in shapes for size in (fan_in * fan_out, fan_out)])
    if init == "uniform":
        drawn = jax.random.uniform(key, (int(ends[-1]),), minval=-1, maxval=1)
    else:
        drawn = jax.random.truncated_normal(key, -2.0, 2.0, (int(ends[-1]),)) / 2
    parts = jnp.split(drawn, ends[:-1])
    weights = [part.reshape(shape) / math.sqrt(shape[0]) for part, shape in zip(parts[::2], shapes, strict=True)]
    biases = [part / math.sqrt(fan_in) for part, (fan_in, _) in zip(parts[1::2], shapes, strict=True)]
    if init == "truncated_normal":
        biases = [jnp.zeros_like(bias) for bias in biases]
    normed = tuple(hidden_sizes) if layer_norm else ()
    return MLP(
        weights=tuple(weights),
        biases=tuple(biases),
        norm_scales=tuple(jnp.ones((n,)) for n in normed),
        norm_offsets=tuple(jnp.zeros((n,)) for n in normed),
        activation=activation,
        angles=angles,
    )
