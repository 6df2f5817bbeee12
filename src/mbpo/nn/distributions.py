"""The two densities of MBPO: the tanh-Gaussian of the actor and the Gaussian of the model.

Sources: Haarnoja et al. 2018 (arXiv:1812.05905, appendix C) for the squashed Gaussian;
Chua et al. 2018 (PETS, arXiv:1805.12114, §4 and appendix A.1) for the model's likelihood and
its soft bounds on the log-variance.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

LOG_2PI = math.log(2 * math.pi)


def standard_normal(key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Draws from N(0, 1), by the inverse of its distribution function.

    Faster than `jax.random.normal` on a CPU, whose erf⁻¹ is slow where it is large. Uniform draws are
    multiples of 2⁻²³; half a step is added, so that 0 is never inverted and the draws are symmetric.
    The largest is 5.3.
    """
    return jax.scipy.special.ndtri(jax.random.uniform(key, shape) + 2**-24)


def log_tanh_derivative(u: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """log(1 − tanh²u), stable for every u.

    1 − tanh²u = 4 / (e^u + e^−u)²
    log(1 − tanh²u) = 2 (log 2 − u − softplus(−2u))
    """
    return 2 * (math.log(2) - u - jax.nn.softplus(-2 * u))


def tanh_gaussian(
    noise: Float[Array, "*batch act"],
    mean: Float[Array, "*batch act"],
    log_std: Float[Array, "*batch act"],
    *,
    scale: Float[Array | np.ndarray, " act"],
    center: Float[Array | np.ndarray, " act"],
) -> tuple[Float[Array, "*batch act"], Float[Array, "*batch"]]:
    """An action `center + scale · tanh(u)`, `u = mean + std · noise`, and its log-density.

        log p(action) = Σ_i [ log N(u_i; mean_i, std_i²) − log(1 − tanh²u_i) − log scale_i ]

    The density is over actions in the environment's own units (hence `log scale`), summed over
    action dimensions. Reparametrised: gradients flow into `mean` and `log_std`.

    Args:
        noise: Draws from N(0, 1).
    """
    u = mean + jnp.exp(log_std) * noise
    log_gaussian = -0.5 * noise**2 - log_std - 0.5 * LOG_2PI
    log_prob = log_gaussian - log_tanh_derivative(u) - jnp.log(scale)
    # A sum over the actions, as a product with ones: what is summed is then computed for the whole
    # batch at once, instead of number by number inside a reduction over a handful of actions.
    log_prob = log_prob @ jnp.ones((mean.shape[-1],))
    return jnp.asarray(center) + jnp.asarray(scale) * jnp.tanh(u), log_prob


def sample_tanh_gaussian(
    key: Key[Array, ""],
    mean: Float[Array, "*batch act"],
    log_std: Float[Array, "*batch act"],
    *,
    scale: Float[Array | np.ndarray, " act"],
    center: Float[Array | np.ndarray, " act"],
) -> tuple[Float[Array, "*batch act"], Float[Array, "*batch"]]:
    """`tanh_gaussian` of noise drawn here."""
    return tanh_gaussian(standard_normal(key, mean.shape), mean, log_std, scale=scale, center=center)


def soft_clamp(
    x: Float[Array, "*batch out"], low: Float[Array, "*batch2 out"], high: Float[Array, "*batch2 out"]
) -> Float[Array, "*batch out"]:
    """Keep `x` between `low` and `high` with gradients everywhere (PETS, appendix A.1).

    x ← high − softplus(high − x);  x ← low + softplus(x − low)
    """
    x = high - jax.nn.softplus(high - x)
    return low + jax.nn.softplus(x - low)


def gaussian_nll(
    mean: Float[Array, "*batch out"], log_var: Float[Array, "*batch out"], target: Float[Array, "*batch out"]
) -> Float[Array, "*batch out"]:
    """−log N(target; mean, e^log_var) per output, in nats."""
    return 0.5 * ((target - mean) ** 2 * jnp.exp(-log_var) + log_var + LOG_2PI)
