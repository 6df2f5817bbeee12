"""Model error against policy shift, for models fitted on growing data (Janner et al. 2019, figure 1).

The data policy π₀ is the run's own, as it explores. π_λ takes a uniform action instead with chance
λ, so in every state

    TV(π_λ, π₀) = TV((1 − λ) π₀ + λ U, π₀) = λ TV(U, π₀) ≤ λ,

and TV(U, π₀) = E_{a ~ π₀} max(0, 1 − U(a)/π₀(a)) is estimated with actions drawn from π₀. The abscissa
is its mean over the states that π₀ visits; λ bounds its maximum, which is the ε_π of the theorems.
"""

import itertools
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from mbpo.agents.config import ModelConfig
from mbpo.agents.mbpo_dh_config import HomoscedasticConfig
from mbpo.agents.world_model import init_model, refit, split_rows
from mbpo.data.replay import Replay, make_replay
from mbpo.model.ensemble import Ensemble
from mbpo.trust.one_step import one_step
from mbpo.trust.subject import Behaviour
from mbpo.trust.trajectories import Episode, as_rows
from mbpo.types import Spec, Transition

SHARES = (0.0, 0.125, 0.25, 0.5, 0.75, 1.0)
"""The λ of the policies tried."""
FIT_BUDGET = 2e11
"""Multiplications and additions that the fits to one amount of data may take: a few seconds of two cores."""
MAX_REFITS = 3
"""A run refits a warm model again and again; a fresh one gets this many fits at most."""


class Line(NamedTuple):
    """y ≈ intercept + slope · x by least squares."""

    intercept: float
    slope: float
    standard_error: float
    """Of the slope; NaN with fewer than three points."""


class ShiftCurve(NamedTuple):
    """Error of one model on the states of each π_λ."""

    rows: int
    """Rows of π₀'s data that it was fitted to."""
    shift: Float[np.ndarray, " point"]
    """TV(π_λ, π₀), mean over states; a point is one λ in one environment."""
    variation: Float[np.ndarray, " point"]
    """What stands in for ε_m′: TV at the resolution of the data, mean over rows."""
    error: Float[np.ndarray, " point"]
    """Root mean square error in units of the targets' spread, mean over rows."""
    line: Line
    """`variation` against `shift`; its slope is dε_m′/dε_π."""


class Shift(NamedTuple):
    """The whole experiment."""

    shares: Float[np.ndarray, " share"]
    uniform_variation: float
    """TV(U, π₀), mean over states."""
    curves: tuple[ShiftCurve, ...]
    refits: int
    epochs: int
    """Fits of each fresh ensemble, and the most epochs of one, after the budget."""


def least_squares(x: Float[np.ndarray, " point"], y: Float[np.ndarray, " point"]) -> Line:
    """The line with the least squared residuals; equal x give a slope of 0 that nothing is known of."""
    centred, count = x - x.mean(), len(x)
    weight = float(centred @ centred)
    if weight == 0:
        return Line(float(y.mean()), 0.0, float("nan"))
    slope = float(centred @ y) / weight
    intercept = float(y.mean() - slope * x.mean())
    residual = y - intercept - slope * x
    error = float(np.sqrt(residual @ residual / (count - 2) / weight)) if count > 2 else float("nan")
    return Line(intercept, slope, error)


def uniform_variation(log_prob: Float[np.ndarray, " draw"], action_dim: int) -> float:
    """TV(U, π₀) from the log-densities of actions drawn from π₀, over actions rescaled to [−1, 1].

    E_{a ~ π₀} max(0, 1 − U(a)/π₀(a)), with U(a) = 2^−act.
    """
    ratio = np.exp(np.minimum(-action_dim * np.log(2.0) - log_prob.astype(float), 0.0))
    return float((1.0 - ratio).mean())


def mixed(behave: Behaviour, shares: Float[np.ndarray, " slot"], spec: Spec) -> Behaviour:
    """π_λ: slot `i` takes a uniform action with chance `shares[i]` and `behave`'s otherwise."""
    low, high, chance = jnp.asarray(spec.action_low), jnp.asarray(spec.action_high), jnp.asarray(shares)

    @jax.jit
    def disturb(actions: Array, key: Key[Array, ""]) -> Array:
        choice_key, action_key = jax.random.split(key)
        uniform = jax.random.uniform(action_key, actions.shape, minval=low, maxval=high)
        return jnp.where(jax.random.uniform(choice_key, chance.shape)[:, None] < chance[:, None], uniform, actions)

    def behave_mixed(obs, memory, key):  # type: ignore[no-untyped-def]
        own_key, disturb_key = jax.random.split(key)
        actions, memory = behave(obs, memory, own_key)
        return np.asarray(disturb(jnp.asarray(actions), disturb_key)), memory

    return behave_mixed


def budget(config: ModelConfig | HomoscedasticConfig, spec: Spec, rows: int) -> tuple[int, int]:
    """How many refits, and how many epochs each at most, `FIT_BUDGET` allows.

    A function of the settings alone, so that the same run gives the same numbers on any machine.
    """
    sizes = (spec.seen_dim + spec.action_dim, *config.hidden_sizes, 2 * (spec.obs_dim + 1))
    weights = sum(a * b for a, b in itertools.pairwise(sizes))
    batches = int(np.clip(-(-rows // config.batch_size), config.min_epoch_batches, config.max_epoch_batches))
    epoch = 6.0 * weights * config.batch_size * config.ensemble_size * batches
    affordable = max(int(FIT_BUDGET / epoch), 2)
    longest = config.max_epochs * config.first_fit_factor
    return int(np.clip(affordable // longest, 1, MAX_REFITS)), min(longest, affordable)


def fit_fresh(
    data: Transition,
    sizes: tuple[int, ...],
    spec: Spec,
    config: ModelConfig | HomoscedasticConfig,
    key: Key[Array, ""],
) -> tuple[list[Ensemble], int, int]:
    """Fresh ensembles of the run's settings, one for the first `n` rows of `data` for each n in `sizes`.

    Returns:
        The ensembles, the refits each had, and the most epochs of each.
    """
    init_key, split_key, fit_key = jax.random.split(key, 3)
    largest = max(sizes)
    refits, epochs = budget(config, spec, largest)
    config = replace(config, max_epochs=epochs, first_fit_factor=1)
    split = split_rows(config, largest, split_key)
    empty = make_replay(largest, spec.obs_dim, spec.action_dim)
    fit = jax.jit(partial(refit, config=config))
    columns = jax.tree.map(lambda column: jnp.asarray(column[:largest]), data)
    ensembles = []
    for number, size in enumerate(sizes):
        # Rows past `size` lie in the buffer, and are never looked at.
        replay = Replay(columns, empty.position, jnp.asarray(size, jnp.int32))
        state = init_model(spec, config, init_key)
        for round_ in range(refits):
            state, _ = fit(state, replay, split, jax.random.fold_in(fit_key, number * MAX_REFITS + round_))
        ensembles.append(state.ensemble)
    return ensembles, refits, epochs


def measure_shift(
    ensembles: list[Ensemble],
    sizes: tuple[int, ...],
    visited: list[tuple[float, list[Episode]]],
    spread: Float[np.ndarray, " out"],
    uniform: float,
    *,
    outputs: int,
) -> tuple[ShiftCurve, ...]:
    """One-step errors of each ensemble on the rows of each (λ, episodes).

    Args:
        uniform: TV(U, π₀).
        outputs: How many targets count, see `one_step`.
    """
    curves = []
    shift = np.array([share * uniform for share, _ in visited])
    rows = [as_rows(episodes) for _, episodes in visited]
    for size, ensemble in zip(sizes, ensembles, strict=True):
        found = [one_step(ensemble, piece, spread, outputs=outputs) for piece in rows]
        variation = np.array([each.variation.mean() for each in found])
        error = np.array([each.error.mean() for each in found])
        curves.append(ShiftCurve(size, shift, variation, error, least_squares(shift, variation)))
    return tuple(curves)
