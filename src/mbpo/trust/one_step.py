"""One-step error of an ensemble, and what stands in for the total variation of the theorems.

In a deterministic world the true next state is a point, and its total-variation distance to any
density is 1. What can be measured is how far prediction and truth lie apart, seen at a stated
resolution: the distance between two Gaussians of one width, around either. Two Gaussians with equal
diagonal deviations σ differ along one line only, so that exactly

    TV = TV(N(0, 1), N(d, 1)) = 2 Φ(d/2) − 1,    d = ‖(prediction − truth)/σ‖.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mbpo.model.ensemble import Ensemble, make_targets, predict_normalized
from mbpo.nn.normalizer import fit_normalizer
from mbpo.theory import univariate_total_variation
from mbpo.types import Transition

CHUNK = 512
"""Rows predicted at a time; one shape, so one compilation."""


class OneStep(NamedTuple):
    """Errors of single steps, averaged over the members that imagine."""

    error: Float[np.ndarray, " row"]
    """√(mean over outputs of ((prediction − truth)/spread)²)."""
    variation: Float[np.ndarray, " row"]
    """TV at the resolution of the data: σ is each output's spread."""
    own_variation: Float[np.ndarray, " row"]
    """TV at the resolution of the model: σ is the deviation it predicts itself. Where the truth is a
    draw from just that prediction it is not 0: about 0.3 with one output, and more with several."""


def one_step(ensemble: Ensemble, rows: Transition, spread: Float[np.ndarray, " out"], *, outputs: int) -> OneStep:
    """Errors of the means of all elites.

    Args:
        rows: NumPy, `[row, …]`.
        spread: Standard deviation of each target (Δobs or next_obs, reward) over the replay buffer.
        outputs: How many targets count, from the first: without the reward where it is known.
    """
    pieces: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    total = rows.reward.shape[0]
    for start in range(0, total, CHUNK):
        piece = jax.tree.map(lambda column, at=start: column[at : at + CHUNK], rows)
        count = piece.reward.shape[0]
        padded = jax.tree.map(
            lambda column, n=count: np.concatenate([column, np.repeat(column[-1:], CHUNK - n, axis=0)]), piece
        )
        gap, std = (np.asarray(a)[:, :count, :outputs] for a in _gaps(ensemble, padded))
        scaled = gap / spread[:outputs]
        pieces.append(
            (
                np.sqrt(np.mean(scaled**2, axis=-1)).mean(axis=0),
                distance_as_variation(np.linalg.norm(scaled, axis=-1)).mean(axis=0),
                distance_as_variation(np.linalg.norm(gap / std, axis=-1)).mean(axis=0),
            )
        )
    return OneStep(*(np.concatenate(column) for column in zip(*pieces, strict=True)))


def distance_as_variation(distance: Float[np.ndarray, "*batch"]) -> Float[np.ndarray, "*batch"]:
    """TV between Gaussians of equal deviations whose means lie `distance` deviations apart."""
    return univariate_total_variation(np.zeros_like(distance), np.ones(()), distance, np.ones(()))


def target_spread(ensemble: Ensemble, rows: Transition) -> Float[np.ndarray, " out"]:
    """Standard deviation of each target over the rows that the ensemble was last fitted to, or, where it does not
    keep that, over these."""
    targets = ensemble.targets
    if not ensemble.normalize_targets:
        targets = fit_normalizer(make_targets(ensemble, jax.tree.map(jnp.asarray, rows)), jnp.ones(rows.reward.shape))
    return np.asarray(targets.std)


@eqx.filter_jit
def _gaps(ensemble: Ensemble, rows: Transition) -> tuple[Array, Array]:
    """Prediction − truth and predicted deviation of each elite, `[elite, row, out]`, in the target's units."""
    params = jax.tree.map(lambda leaf: leaf[ensemble.elites], ensemble.params)
    x = ensemble.inputs.normalize(jnp.concatenate([rows.obs, rows.action], axis=-1))
    mean, log_var = predict_normalized(params, jnp.broadcast_to(x, (ensemble.elites.shape[0], *x.shape)))
    target = make_targets(ensemble, rows)
    return ensemble.targets.denormalize(mean) - target, jnp.exp(0.5 * log_var) * ensemble.targets.std
