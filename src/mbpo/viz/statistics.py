"""What several seeds say together: the interquartile mean and how sure it is.

After Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice"
(arXiv:2108.13264), sections 4.1 and 4.3. With the handful of seeds that are usual, one lucky or
failed run moves the mean far and the median says little of the others; the interquartile mean
stands between them.
"""

import numpy as np

RESAMPLES = 2000


def interquartile_mean(values: np.ndarray) -> np.ndarray:
    """The mean of the middle half of the seeds.

    The v-th smallest of n values (from 0) covers [v, v + 1] of a line of length n, and counts by how
    much of that lies within [n/4, 3n/4]; so exactly half of the seeds count, whatever n is. (The
    authors' own code drops ⌊n/4⌋ whole values on each side, which for n = 5 or 6 is a sixth to a
    fifth.) Of one or two values it is their mean.

    Args:
        values: `[seed, ...]`, finite, at least one seed.

    Returns:
        `[...]`, in the units of `values`.

    Raises:
        ValueError: There is no seed.
    """
    values = np.asarray(values, float)
    if values.ndim == 0 or values.shape[0] == 0:
        raise ValueError("an interquartile mean needs at least one value")
    n = values.shape[0]
    edges = np.clip(np.arange(n + 1), n / 4, 3 * n / 4)
    weights = np.diff(edges) / (n / 2)
    return np.tensordot(weights, np.sort(values, axis=0), axes=1)


def bootstrap_band(
    values: np.ndarray, *, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """A percentile bootstrap interval of the interquartile mean over seeds.

    Whole seeds are drawn with replacement, as many as there are, the same ones at every step. The
    interval holds the middle `level` of the interquartile means of these draws. It knows nothing of
    seeds that were not run: of a handful it is an underestimate, and of two it is just their range.

    Args:
        values: `[seed, ...]`, finite, at least two seeds.
        level: Between 0 and 1.
        resamples: How many draws.
        seed: The draws are a function of it.

    Returns:
        Lower and upper end, each `[...]`, in the units of `values`.

    Raises:
        ValueError: There are fewer than two seeds, or `level` is not between 0 and 1.
    """
    values = np.asarray(values, float)
    if values.ndim == 0 or values.shape[0] < 2:
        raise ValueError("a bootstrap over seeds needs at least two of them")
    if not 0 < level < 1:
        raise ValueError(f"the level of an interval lies between 0 and 1, not at {level}")
    n = values.shape[0]
    draws = np.random.default_rng(seed).integers(n, size=(n, resamples))
    tails = [(1 - level) / 2, (1 + level) / 2]
    # One column at a time: all of them at once would be `resamples` times the data.
    columns = values.reshape(n, -1).T
    ends = [np.quantile(interquartile_mean(column[draws]), tails) for column in columns]
    low, high = np.asarray(ends, float).reshape(*values.shape[1:], 2).transpose(-1, *range(values.ndim - 1))
    return low, high
