"""Steps to reach a level: where a learning curve first gets there, by straight lines between what was measured."""

import math
from collections.abc import Iterable

import numpy as np

DIGITS = 2
"""Significant digits of the levels that are chosen for the user."""
SHARES = (0.25, 0.5, 0.75, 0.9)


def first_reach(steps: np.ndarray, returns: np.ndarray, level: float) -> tuple[float, bool] | None:
    """Where a curve first reaches a level.

    Args:
        steps: `[step]`, ascending.
        returns: `[step]`.

    Returns:
        The steps, interpolated linearly, and whether that is exact: at a curve's first point it is only an
        upper end. None if the level is never reached.
    """
    there = np.flatnonzero(np.asarray(returns) >= level)
    if not there.size:
        return None
    index = int(there[0])
    if index == 0:
        return float(steps[0]), False
    before, after = float(returns[index - 1]), float(returns[index])
    share = (level - before) / (after - before)
    return float(steps[index - 1] + share * (steps[index] - steps[index - 1])), True


def show_reach(found: tuple[float, bool] | None) -> str:
    """`12,300`, `≤ 25,000` where it was reached before the first point, `-` where it was not."""
    if found is None:
        return "-"
    return f"{found[0]:,.0f}" if found[1] else f"≤ {found[0]:,.0f}"


def default_levels(returns: Iterable[float]) -> list[float]:
    """Levels at some shares of the way to the highest return, rounded.

    Args:
        returns: Of all curves. Where all are below 0, the way begins at the lowest of them instead of at 0.
    """
    lowest, top = min(returns := list(returns)), max(returns)
    start = lowest if top < 0 else 0.0
    places = _places((top - start) or top)
    return list(dict.fromkeys(min(_rounded(start + share * (top - start), places), top) for share in SHARES))


def _places(span: float) -> int:
    """Decimals that leave so many significant digits of what the levels lie within."""
    return 0 if span == 0 else DIGITS - 1 - math.floor(math.log10(abs(span)))


def _rounded(value: float, places: int) -> float:
    return round(value, max(places, DIGITS - 1 - math.floor(math.log10(abs(value)))) if value else 0)
