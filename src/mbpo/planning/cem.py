"""The cross-entropy method over action sequences, and its improved form, iCEM.

CEM as PETS plans with it (Chua et al. 2018, arXiv:1805.12114, §5.3; Botev et al. 2013): draw
sequences from a Gaussian, keep the best, fit the Gaussian to them, repeat. iCEM (Pinneri et al.
2020, arXiv:2008.06389) draws noise that is correlated in time, keeps some elites from one
iteration to the next, and spends less on later iterations.

Both are pure, know the model only through the objective, and give back a *mean*: the best sample
of a noisy objective is the luckiest one.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from mbpo.nn.distributions import standard_normal
from mbpo.planning.objective import Objective

MIN_STD = 1e-3
"""The sampling deviation never falls below this share of half the box, so that it can be divided by."""


def _starting_std(mean: Array, low: Array, high: Array, initial_std: float) -> Array:
    return jnp.broadcast_to(initial_std * 0.5 * (high - low), mean.shape)


def _refit(
    mean: Array, std: Array, elites: Array, low: Array, high: Array, alpha: float
) -> tuple[Float[Array, "horizon act"], Float[Array, "horizon act"]]:
    """Mean and deviation of the elites, with a share `alpha` of the mean and variance before."""
    mean = alpha * mean + (1 - alpha) * elites.mean(axis=0)
    std = jnp.sqrt(alpha * std**2 + (1 - alpha) * elites.var(axis=0))
    return mean, jnp.maximum(std, MIN_STD * 0.5 * (high - low))


def cem(
    objective: Objective,
    mean: Float[Array, "horizon act"],
    key: Key[Array, ""],
    *,
    low: Float[Array, " act"],
    high: Float[Array, " act"],
    iterations: int,
    population: int,
    num_elites: int,
    initial_std: float = 0.5,
    alpha: float = 0.1,
) -> Float[Array, "horizon act"]:
    """Plan by the cross-entropy method.

        repeat:  a_i ~ N(μ, σ²) truncated to the box,   i = 1 … population
                 E   = the num_elites sequences of highest return
                 μ   ← α μ + (1 − α) mean(E),   σ² ← α σ² + (1 − α) var(E)

    The authors' code truncates at two deviations and shrinks σ until that fits into the box. Then
    a warm start near a bound could hardly move away from it, so here the Gaussian is cut at the
    box itself.

    Args:
        mean: Where to begin: the last plan moved on by a step, or the middle of the box.
        key: Consumed; iteration `i` uses the key folded from `i`.
        low, high: The action box; `mean` lies inside.
        initial_std: Sampling deviation at the start, as a share of half the box; PETS: 0.5.
        alpha: Momentum; PETS: 0.1.

    Returns:
        The last μ: the elites' mean, but for the share `alpha`.
    """

    def iterate(i, carry):  # type: ignore[no-untyped-def]
        mean, std = carry
        draw_key, score_key = jax.random.split(jax.random.fold_in(key, i))
        noise = jax.random.truncated_normal(
            draw_key, (low - mean) / std, (high - mean) / std, (population, *mean.shape), mean.dtype
        )
        actions = jnp.clip(mean + std * noise, low, high)
        _, best = jax.lax.top_k(objective(actions, score_key), num_elites)
        return _refit(mean, std, actions[best], low, high, alpha)

    start = (mean, _starting_std(mean, low, high, initial_std))
    return jax.lax.fori_loop(0, iterations, iterate, start)[0]


def icem(
    objective: Objective,
    mean: Float[Array, "horizon act"],
    key: Key[Array, ""],
    *,
    low: Float[Array, " act"],
    high: Float[Array, " act"],
    iterations: int,
    population: int,
    num_elites: int,
    initial_std: float = 0.5,
    alpha: float = 0.1,
    noise_beta: float = 2.0,
    population_decay: float = 1.25,
    kept_share: float = 0.3,
) -> Float[Array, "horizon act"]:
    """Plan by iCEM: CEM with coloured noise, kept elites and a shrinking population.

    Iteration `i` draws max(population · population_decay⁻ⁱ, 2 · num_elites) sequences, clipped to
    the box, and considers them together with the best `kept_share` of the last elites; the last
    iteration considers the mean too.

    Two things differ from the paper, because all that is handed from one decision to the next is a
    plan: elites are not carried over from the last decision, and the elites' mean is given back
    where the paper acts by the best elite.

    Args:
        mean: Where to begin, as in `cem`; so are `low`, `high`, `initial_std` and `alpha`.
        key: Consumed; iteration `i` uses the key folded from `i`.
        noise_beta: The noise's power falls as frequency to the −β; 0 is white (paper: 0.25 to 4).
        population_decay: Each iteration draws this many times fewer than the last (paper: 1.25).
        kept_share: Share of the elites that the next iteration considers again (paper: 0.3).
    """
    std = _starting_std(mean, low, high, initial_std)
    num_kept = int(kept_share * num_elites)
    kept = jnp.zeros((0, *mean.shape), mean.dtype)
    # Not a `fori_loop`: each iteration has its own shape.
    for i in range(iterations):
        draw_key, score_key = jax.random.split(jax.random.fold_in(key, i))
        draws = max(int(population * population_decay**-i), 2 * num_elites)
        noise = coloured_noise(draw_key, (draws, *mean.shape), noise_beta)
        actions = jnp.concatenate([jnp.clip(mean + std * noise, low, high), kept])
        if i == iterations - 1:
            actions = jnp.concatenate([actions, mean[None]])
        _, best = jax.lax.top_k(objective(actions, score_key), num_elites)
        kept = actions[best[:num_kept]]
        mean, std = _refit(mean, std, actions[best], low, high, alpha)
    return mean


def coloured_noise(key: Key[Array, ""], shape: tuple[int, ...], beta: float) -> Float[Array, "draws horizon act"]:
    """Gaussian noise of unit variance whose power falls as frequency to the −β along the horizon.

    Independent normals weight the real Fourier vectors of the horizon by f^(−β/2) (Timmer & König
    1995); the constant counts as frequency 1/horizon. β = 0 is white noise, β = 2 red.

    Args:
        shape: `(draws, horizon, act)`.
    """
    draws, horizon, act = shape
    basis = jnp.asarray(_noise_basis(horizon, beta), jnp.float32)
    weights = standard_normal(key, (draws, act, horizon))
    return jnp.swapaxes(weights @ basis, 1, 2)


def _noise_basis(horizon: int, beta: float) -> np.ndarray:
    """`[horizon, horizon]`: one Fourier vector per row, scaled to its share of the power."""
    t = np.arange(horizon)
    rows, amplitudes = [], []
    for k in range(horizon // 2 + 1):
        angle = 2 * np.pi * k * t / horizon
        # The constant, and at even lengths the fastest wave, have no sine.
        waves = [np.cos(angle)] if 2 * k in (0, horizon) else [np.cos(angle), np.sin(angle)]
        for wave in waves:
            rows.append(wave / np.linalg.norm(wave))
            amplitudes.append((max(k, 1) / horizon) ** (-beta / 2))
    amplitude = np.asarray(amplitudes)
    return amplitude[:, None] * np.asarray(rows) / np.sqrt(np.mean(amplitude**2))
