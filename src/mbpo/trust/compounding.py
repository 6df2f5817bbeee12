"""How a model's error grows along a branch, and whether the model knows how wrong it is.

Branches leave recorded trajectories and repeat the recorded actions, so imagination and truth
differ by the model alone (Janner et al. 2019, arXiv:1906.08253, §5.2 and appendix D). The model is a
`ModelStep`, each step drawn as training draws it; several paths per branch make its predicted
distribution.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from mbpo.trust.trajectories import Branches
from mbpo.types import ModelStep

LEVELS = np.linspace(0.05, 0.95, 19)
"""Central intervals whose coverage is looked at, as shares of the predicted probability."""
UPPER = 0.9
"""The upper quantile reported beside the median."""


class Compounding(NamedTuple):
    """Error against rollout step; in units of each output's spread in the replay buffer.

    The error of a path at a step is √(mean over observation dimensions of ((ŝ − s)/spread)²), so 1
    is what always answering the average state scores, and √2 what a state drawn blindly does.
    """

    step: Int[np.ndarray, " step"]
    rows: Int[np.ndarray, " step"]
    """Branches that had not reached the end of their trajectory."""
    median: Float[np.ndarray, " step"]
    upper: Float[np.ndarray, " step"]
    """The 90 % quantile over branches and paths."""
    mean_path: Float[np.ndarray, " step"]
    """Median over branches of the error of the paths' mean, which the model's noise is averaged out of."""
    output_median: Float[np.ndarray, "step out"]
    """Median of |ŷ − y|/spread of each observation dimension and of the reward (last)."""
    output_upper: Float[np.ndarray, "step out"]
    output_rms: Float[np.ndarray, "step out"]
    nonfinite: Float[np.ndarray, " step"]
    """Share of paths that are infinite or NaN; they count as infinitely wrong."""


class Calibration(NamedTuple):
    """Share of truths inside the central intervals that the model predicts."""

    step: Int[np.ndarray, " chosen"]
    """Rollout steps looked at."""
    rows: Int[np.ndarray, " chosen"]
    """Branches at each; every observation dimension and the reward of each are counted."""
    level: Float[np.ndarray, " level"]
    coverage: Float[np.ndarray, "chosen level"]
    output_coverage: Float[np.ndarray, "chosen level out"]


def imagine(
    model_step: ModelStep, branches: Branches, key: Key[Array, ""], *, paths: int
) -> Float[np.ndarray, "branch path step out"]:
    """Imagined (obs, reward) along the recorded actions, `paths` of them from every start.

    Args:
        key: Step `t` uses the key folded from `t`.
    """
    count, horizon = branches.valid.shape
    start = jnp.repeat(jnp.asarray(branches.start_obs), paths, axis=0)
    actions = jnp.repeat(jnp.asarray(branches.action), paths, axis=0).swapaxes(0, 1)

    def step(obs: Array, now: tuple[Array, Array]) -> tuple[Array, Array]:
        t, action = now
        out = model_step(obs, action, jax.random.fold_in(key, t))
        return out.next_obs, jnp.concatenate([out.next_obs, out.reward[:, None]], axis=-1)

    @jax.jit
    def unroll(start: Array, actions: Array) -> Array:
        return jax.lax.scan(step, start, (jnp.arange(horizon), actions))[1]

    out = np.asarray(unroll(start, actions))
    return np.moveaxis(out.reshape(horizon, count, paths, -1), 0, 2)


def compounding(
    imagined: Float[np.ndarray, "branch path step out"], branches: Branches, spread: Float[np.ndarray, " out"]
) -> Compounding:
    """Summarise the errors at every step over the branches that reach it.

    Args:
        spread: Standard deviation of each observation dimension and of the reward over the replay buffer.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.abs(imagined - branches.truth[:, None]) / spread
        mean_error = np.abs(imagined.mean(axis=1) - branches.truth) / spread
    finite = np.isfinite(imagined).all(axis=-1)
    error = np.where(finite[..., None], error, np.inf)
    mean_error = np.where(finite.all(axis=1)[..., None], mean_error, np.inf)
    horizon = int(branches.valid.any(axis=0).sum())
    columns: list[list[np.ndarray]] = [[] for _ in range(8)]
    for t in range(horizon):
        reach = branches.valid[:, t]
        now = error[reach, :, t].reshape(-1, error.shape[-1])
        state = np.sqrt(np.mean(now[:, :-1] ** 2, axis=-1))
        mean_state = np.sqrt(np.mean(mean_error[reach, t, :-1] ** 2, axis=-1))
        row = (
            reach.sum(),
            _quantile(state, 0.5),
            _quantile(state, UPPER),
            _quantile(mean_state, 0.5),
            _quantile(now, 0.5),
            _quantile(now, UPPER),
            np.sqrt(np.mean(now**2, axis=0)),
            1 - finite[reach, :, t].mean(),
        )
        for column, value in zip(columns, row, strict=True):
            column.append(np.asarray(value))
    return Compounding(np.arange(1, horizon + 1), *(np.stack(column) for column in columns))


def calibration(
    imagined: Float[np.ndarray, "branch path step out"],
    branches: Branches,
    steps: tuple[int, ...],
    rng: np.random.Generator,
) -> Calibration:
    """Expected against observed coverage at some rollout steps.

    With `below` of P paths below the truth, u = (below + v)/(P + 1), v ~ U(0, 1), is uniform exactly
    when truth and paths are draws of one distribution, however few paths there are. The central
    interval of level q holds the truth where |u − ½| ≤ q/2.

    Args:
        steps: From 1; those that no branch reaches are left out.
        rng: Draws v.
    """
    reached = tuple(step for step in steps if step <= branches.valid.shape[1] and branches.valid[:, step - 1].any())
    coverage = []
    for step in reached:
        reach = branches.valid[:, step - 1]
        paths, truth = imagined[reach, :, step - 1], branches.truth[reach, None, step - 1]
        below = (paths < truth).sum(axis=1) + rng.random(truth[:, 0].shape) * (1 + (paths == truth).sum(axis=1))
        place = below / (paths.shape[1] + 1)
        coverage.append((np.abs(place - 0.5)[:, None] <= LEVELS[:, None] / 2).mean(axis=0))
    by_output = np.stack(coverage)
    rows = np.array([branches.valid[:, step - 1].sum() for step in reached])
    return Calibration(np.array(reached), rows, LEVELS, by_output.mean(axis=-1), by_output)


def _quantile(values: np.ndarray, share: float) -> np.ndarray:
    """A quantile over the first axis that is one of the values, so that infinite ones do no harm."""
    return np.quantile(values, share, axis=0, method="inverted_cdf")
