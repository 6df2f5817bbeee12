"""Total variation between Gaussians, compiled: for measuring a policy's shift and a model's error.

The same as in `mbpo.theory`, which has the sources, in a form that is exact in single precision too.
"""

import jax.numpy as jnp
from jax.scipy.special import ndtr
from jaxtyping import Array, Float


def univariate_total_variation(
    mean_one: Float[Array, "*batch"],
    log_std_one: Float[Array, "*batch"],
    mean_two: Float[Array, "*batch"],
    log_std_two: Float[Array, "*batch"],
) -> Float[Array, "*batch"]:
    """TV between one-dimensional Gaussians, exactly: 0 to 1.

    In units of the first, with shift d and log of the scale s of the second, the densities cross at the
    roots of a x² + b x + c with

        a = 1 − s⁻²,  b = 2 d s⁻²,  c = −d² s⁻² − 2 ln s

    and TV is the difference of the masses between them. One root is q/a and the other c/q with
    q = −½ (b + sign(b) √(b² − 4ac)); for equal scales the first is at infinity, as it should be.
    """
    shift = (mean_two - mean_one) * jnp.exp(-log_std_one)
    log_scale = log_std_two - log_std_one
    precision = jnp.exp(-2 * log_scale)
    a, b, c = -jnp.expm1(-2 * log_scale), 2 * shift * precision, -(shift**2) * precision - 2 * log_scale
    q = -0.5 * (b + jnp.where(b < 0, -1.0, 1.0) * jnp.sqrt(jnp.maximum(b**2 - 4 * a * c, 0.0)))
    same = q == 0
    root_one = jnp.where(a == 0, -jnp.sign(b) * jnp.inf, q / jnp.where(a == 0, 1.0, a))
    root_two = c / jnp.where(same, 1.0, q)
    scale = jnp.exp(log_scale)
    mass_one = ndtr(root_one) - ndtr(root_two)
    mass_two = ndtr((root_one - shift) / scale) - ndtr((root_two - shift) / scale)
    return jnp.where(same, 0.0, jnp.clip(jnp.abs(mass_one - mass_two), 0.0, 1.0))


def gaussian_total_variation(
    mean_one: Float[Array, "*batch dim"],
    log_std_one: Float[Array, "*batch dim"],
    mean_two: Float[Array, "*batch dim"],
    log_std_two: Float[Array, "*batch dim"],
) -> Float[Array, "*batch"]:
    """TV between diagonal Gaussians: exact in one dimension, the smaller of two upper bounds in more.

    TV ≤ 1 − ∏_d (1 − TV_d), and TV ≤ √(1 − BC²) with the Bhattacharyya coefficient BC. What is not a
    number (a model that predicts infinity) counts as 1.
    """
    separate = 1 - jnp.prod(1 - univariate_total_variation(mean_one, log_std_one, mean_two, log_std_two), axis=-1)
    if mean_one.shape[-1] > 1:
        half_log_ratio = log_std_one - log_std_two
        # ln of the mean variance over the product of the deviations is ln cosh of the log ratio.
        log_cosh = jnp.logaddexp(half_log_ratio, -half_log_ratio) - jnp.log(2.0)
        mean_var = 0.5 * (jnp.exp(2 * log_std_one) + jnp.exp(2 * log_std_two))
        log_overlap = -0.5 * log_cosh - (mean_one - mean_two) ** 2 / (8 * mean_var)
        # Sums of log-overlaps are ≤ 0 up to rounding.
        joint = jnp.sqrt(-jnp.expm1(2 * jnp.minimum(log_overlap.sum(axis=-1), 0.0)))
        separate = jnp.minimum(separate, joint)
    return jnp.where(jnp.isnan(separate), 1.0, separate)
