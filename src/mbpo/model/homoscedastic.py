"""An ensemble whose noise is one learned number per member and output, the same in every state.

The model of double-horizon MBPO (Kubo et al. 2025, arXiv:2512.15439; its published settings): a
variance that is a function of the input can fit little data by being sure of itself, one that is not
cannot. LayerNorm and a little dropout keep the network in place over many refits.
"""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from mbpo.nn.normalizer import Normalizer
from mbpo.nn.normed_mlp import NormedMLP, make_normed_mlp

DECAY_SHARES = (0.25, 0.5, 0.75, 1.0)
"""Weight decay of each layer as a share of the last one's; other depths interpolate. Dropout follows
`1 − share`: none in the last layer."""
FIRST_NORM_EPS, LEAST_NORM_EPS = 1.0, 1e-5
"""Added to the variance in the first LayerNorm, and a tenth of it in each further one; at least the second."""
MIN_LOG_STD = -6.907755
"""log 10⁻³, of the normalised target: a noise below that earns no likelihood."""


class HomoscedasticParams(eqx.Module):
    """All that gradient descent changes; every array has a leading `member` axis."""

    network: NormedMLP
    """Maps normalised inputs to the mean of the normalised target."""
    log_std: Float[Array, "member out"]

    def predict(
        self, x: Float[Array, "member batch in"]
    ) -> tuple[Float[Array, "member batch out"], Float[Array, "member batch out"]]:
        """Mean and log-variance of the normalised target, each member on its own rows."""
        mean = self.network(x)
        return mean, jnp.broadcast_to(2 * self.log_std[:, None], mean.shape)


def decay_shares(num_layers: int) -> tuple[float, ...]:
    """`DECAY_SHARES` stretched to `num_layers`."""
    steps = len(DECAY_SHARES) - 1
    at = [steps * i / (num_layers - 1) if num_layers > 1 else steps for i in range(num_layers)]
    return tuple((DECAY_SHARES[0] * (steps - t) + DECAY_SHARES[-1] * t) / steps for t in at)


def make_homoscedastic(
    key: Key[Array, ""],
    in_size: int,
    out_size: int,
    *,
    ensemble_size: int,
    hidden_sizes: Sequence[int],
    dropout: float,
) -> HomoscedasticParams:
    """Members that differ by their random start; noise as wide as the data.

    Args:
        dropout: Share of units dropped in a layer without weight decay; each layer's is
            `dropout · (1 − decay share)`.
    """
    layers = len(hidden_sizes) + 1
    eps = [max(FIRST_NORM_EPS * 10.0**-i, LEAST_NORM_EPS) for i in range(layers - 1)]
    rates = [dropout * (1 - share) for share in decay_shares(layers)[:-1]]

    def member(member_key: Key[Array, ""]) -> NormedMLP:
        return make_normed_mlp(member_key, in_size, hidden_sizes, out_size, norm_eps=eps, dropout=rates)

    return HomoscedasticParams(
        network=jax.vmap(member)(jax.random.split(key, ensemble_size)),
        log_std=jnp.zeros((ensemble_size, out_size), jnp.float32),
    )


def absorb_homoscedastic(
    params: HomoscedasticParams, old: tuple[Normalizer, Normalizer], new: tuple[Normalizer, Normalizer]
) -> HomoscedasticParams:
    """Parameters that predict the same under new normalisers, as `ensemble.absorb_normalizers` has it."""
    (old_in, old_out), (new_in, new_out) = old, new
    weights, biases = list(params.network.weights), list(params.network.biases)
    biases[0] = biases[0] + jnp.einsum("i,mio->mo", (new_in.mean - old_in.mean) / old_in.std, weights[0])
    weights[0] = weights[0] * (new_in.std / old_in.std)[:, None]
    ratio = old_out.std / new_out.std
    weights[-1] = weights[-1] * ratio
    biases[-1] = biases[-1] * ratio + (old_out.mean - new_out.mean) / new_out.std
    network = eqx.tree_at(lambda n: (n.weights, n.biases), params.network, (tuple(weights), tuple(biases)))
    return HomoscedasticParams(network, params.log_std + jnp.log(ratio))
