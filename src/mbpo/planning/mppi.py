"""Model predictive path integral control: every sampled sequence has a say, by what it earns.

Williams et al. 2017 ("Information theoretic MPC for model-based reinforcement learning", ICRA),
in the form in which the learned-model literature uses it (Nagabandi et al. 2019, PDDM,
arXiv:1909.11652, §4.3). The paper's control cost is left to the reward.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from mbpo.planning.cem import coloured_noise
from mbpo.planning.objective import Objective


def mppi(
    objective: Objective,
    mean: Float[Array, "horizon act"],
    key: Key[Array, ""],
    *,
    low: Float[Array, " act"],
    high: Float[Array, " act"],
    iterations: int,
    population: int,
    temperature: float,
    noise_std: float = 0.5,
    noise_beta: float = 2.0,
    fresh_share: float = 0.0,
) -> Float[Array, "horizon act"]:
    """Plan by exponentially weighted averaging.

        repeat:  a_i = clip(μ + ε_i),   w_i = exp(R_i / λ) / Σ_j exp(R_j / λ),   μ ← Σ_i w_i a_i

    Two additions to the paper's: ε_1 = 0, as iCEM considers its mean (Pinneri et al. 2020), so
    that a good plan is not lost to its own noise; and a share of the sequences may be drawn over
    the whole box rather than around μ, so that a search that begins at the last plan, in one
    valley, can still find another.

    Args:
        mean: Where to begin: the last plan moved on by a step, or the middle of the box.
        key: Consumed; iteration `i` uses the key folded from `i`.
        low, high: The action box.
        iterations: 1 is the paper's; more follow the moving mean at the same noise.
        temperature: λ, in units of the return: a sequence that earns λ less weighs e times less.
        noise_std: Deviation of ε, as a share of half the box.
        noise_beta: Colour of ε along the horizon, as in `coloured_noise`.
        fresh_share: Share of the population drawn around the middle of the box, with half the box
            as its deviation; the paper's is 0.

    Returns:
        The last μ; a weighted mean of clipped sequences lies in the box.
    """
    half, middle = 0.5 * (high - low), 0.5 * (high + low)
    fresh = (jnp.arange(population) >= population - int(fresh_share * population))[:, None, None]

    def iterate(i, mean):  # type: ignore[no-untyped-def]
        draw_key, score_key = jax.random.split(jax.random.fold_in(key, i))
        noise = coloured_noise(draw_key, (population, *mean.shape), noise_beta)
        near = mean + noise_std * half * noise.at[0].set(0.0)
        actions = jnp.clip(jnp.where(fresh, middle + half * noise, near), low, high)
        weights = return_weights(objective(actions, score_key), temperature)
        # Clipped again: the weights' rounding may push a mean of corners past the box.
        return jnp.clip(jnp.tensordot(weights, actions, axes=1), low, high)

    return jax.lax.fori_loop(0, iterations, iterate, mean)


def return_weights(returns: Float[Array, " population"], temperature: float) -> Float[Array, " population"]:
    """Softmax of `returns / temperature`; equal weights if every return is −∞."""
    best = returns.max()
    scaled = jnp.where(jnp.isfinite(best), (returns - best) / temperature, 0.0)
    return jax.nn.softmax(scaled)
