"""The branched rollout in two dimensions: a real trajectory, and imagined branches that leave it."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from mbpo.trust.trajectories import Branches, Episode

MAX_STEPS = 200
"""Steps of the trajectory that are drawn."""


class Projection(NamedTuple):
    """Two directions of largest variance of the observations, each scaled by its spread."""

    mean: Float[np.ndarray, " obs"]
    spread: Float[np.ndarray, " obs"]
    directions: Float[np.ndarray, "obs 2"]
    labels: tuple[str, str]

    def __call__(self, obs: Float[np.ndarray, "*batch obs"]) -> Float[np.ndarray, "*batch 2"]:
        return (obs - self.mean) / self.spread @ self.directions


class Picture(NamedTuple):
    """What is drawn; points are projected observations."""

    labels: tuple[str, str]
    truth: Float[np.ndarray, "step+1 2"]
    start: tuple[int, ...]
    """Step at which each branch leaves."""
    branches: tuple[Float[np.ndarray, "length 2"], ...]
    """Imagined states after 1, 2, … steps, first path only."""
    errors: tuple[Float[np.ndarray, " length"], ...]
    """Distance of each to what truly happened at the same step: √(mean ((ŝ − s)/spread)²)."""


def principal_directions(obs: Float[np.ndarray, "row obs"], spread: Float[np.ndarray, " obs"]) -> Projection:
    """Principal components of observations in units of their spread.

    With one observation dimension the second direction is empty.
    """
    mean = obs.mean(axis=0)
    scaled = (obs - mean) / spread
    values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(scaled, rowvar=False)))
    order = np.argsort(values)[::-1][:2]
    directions, share = vectors[:, order], values[order] / max(values.sum(), 1e-12)
    # A direction's sign is arbitrary: the largest entry is made positive, so that pictures compare.
    directions = directions * np.sign(directions[np.abs(directions).argmax(axis=0), range(directions.shape[1])])
    labels = [_in_words(number, directions[:, number], share[number]) for number in range(directions.shape[1])]
    if len(labels) == 1:
        directions, labels = np.column_stack([directions, 0 * directions]), [*labels, "(one observation only)"]
    return Projection(mean, spread, directions, (labels[0], labels[1]))


def _in_words(number: int, direction: np.ndarray, share: float) -> str:
    largest = [i for i in np.argsort(-np.abs(direction))[:3] if abs(direction[i]) > 0.3]
    parts = " ".join(f"{'+' if direction[i] > 0 else '−'} {abs(direction[i]):.1f} obs[{i}]" for i in largest)
    return f"component {number + 1} ({share:.0%}): {parts.removeprefix('+ ')}"


def draw_branches(
    projection: Projection,
    episodes: list[Episode],
    branches: Branches,
    imagined: Float[np.ndarray, "branch path step out"],
    *,
    episode: int,
    length: int,
) -> Picture:
    """The branches that leave one episode, `length` steps long at most, one every `length` steps or so.

    Of a long episode only the first `MAX_STEPS` are drawn: more would be a ball of yarn.
    """
    chosen: list[int] = []
    for row in np.flatnonzero(branches.episode == episode).tolist():
        if branches.start[row] >= MAX_STEPS:
            break
        if not chosen or branches.start[row] - branches.start[chosen[-1]] >= length:
            chosen.append(row)
    paths, errors = [], []
    for row in chosen:
        steps = int(branches.valid[row, :length].sum())
        path = imagined[row, 0, :steps, :-1]
        with np.errstate(invalid="ignore", over="ignore"):
            gap = (path - branches.truth[row, :steps, :-1]) / projection.spread
            error = np.sqrt(np.mean(gap**2, axis=-1))
        errors.append(np.where(np.isfinite(error), error, np.inf))
        paths.append(projection(path))
    starts = tuple(int(branches.start[row]) for row in chosen)
    truth = projection(episodes[episode].obs[: MAX_STEPS + 1])
    return Picture(projection.labels, truth, starts, tuple(paths), tuple(errors))
