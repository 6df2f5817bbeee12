"""Steps to reach a level, by hand."""

import numpy as np
import pytest

from mbpo.viz.levels import default_levels, first_reach, show_reach

STEPS = np.array([100.0, 200.0, 300.0, 400.0])


@pytest.mark.parametrize(
    ("returns", "level", "found", "shown"),
    [
        ([0, 10, 30, 20], 20, (250.0, True), "250"),
        ([0, 10, 30, 20], 10, (200.0, True), "200"),
        ([0, 10, 30, 20], 31, None, "-"),
        ([0, 10, 30, 20], -1, (100.0, False), "≤ 100"),
        ([-40, -10, -12, -2], -25, (150.0, True), "150"),
        ([0, 50, 0, 100], 25, (150.0, True), "150"),  # The first time counts, even if it falls back.
    ],
)
def test_first_reach_by_hand(returns, level, found, shown):
    assert first_reach(STEPS, np.array(returns, float), level) == found
    assert show_reach(found) == shown


def test_levels_that_are_chosen():
    assert default_levels([100.0, 3770.0]) == [940.0, 1900.0, 2800.0, 3400.0]
    assert default_levels([-150.0, -1500.0]) == [-1200.0, -820.0, -490.0, -280.0]
    assert default_levels([-150.0]) == [-150.0]
    assert default_levels([-1054.0, -1010.0]) == [-1043.0, -1032.0, -1021.0, -1014.0]
    assert default_levels([0.0, -1.0]) == [0.0]
