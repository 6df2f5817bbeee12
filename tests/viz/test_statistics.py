"""The interquartile mean and its bootstrap band, by hand and by property."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mbpo.viz.statistics import bootstrap_band, interquartile_mean

NUMBERS = st.floats(-1e6, 1e6)
SEEDS = arrays(float, st.integers(2, 9), elements=NUMBERS)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([7], 7),
        ([1, 5], 3),
        ([9, 0, 3], (0.25 * 0 + 3 + 0.25 * 9) / 1.5),  # The middle 1.5 of three.
        ([100, 1, 2, -50], 1.5),  # The two in the middle.
        ([-1000, 1, 2, 4, 1000], (0.75 * 1 + 2 + 0.75 * 4) / 2.5),
        ([6, 5, 4, 3, 2, 1], (0.5 * 2 + 3 + 4 + 0.5 * 5) / 3),
        ([8, 7, 6, 5, 4, 3, 2, 1], (3 + 4 + 5 + 6) / 4),
    ],
)
def test_interquartile_mean_by_hand(values, expected):
    assert interquartile_mean(np.array(values, float)) == pytest.approx(expected)


def test_interquartile_mean_is_over_the_first_axis():
    values = np.array([[0, 40], [1, 30], [2, 20], [3, 10]], float)
    np.testing.assert_allclose(interquartile_mean(values), [1.5, 25])
    assert interquartile_mean(np.zeros((3, 4, 5))).shape == (4, 5)


@pytest.mark.parametrize("values", [np.zeros(0), np.zeros((0, 3)), np.float64(1)])
def test_no_seed(values):
    with pytest.raises(ValueError, match="at least one"):
        interquartile_mean(values)


@given(SEEDS, NUMBERS, st.floats(0.1, 10), st.randoms())
def test_interquartile_mean_properties(values, shift, scale, random):
    mean = float(interquartile_mean(values))
    slack = 1e-6 * (1 + np.abs(values).max() + abs(shift)) * max(scale, 1)
    low, high = np.quantile(values, [0, 1])
    assert low - slack <= mean <= high + slack
    shuffled = values.tolist()
    random.shuffle(shuffled)
    assert float(interquartile_mean(np.array(shuffled))) == mean
    assert interquartile_mean(scale * values + shift) == pytest.approx(scale * mean + shift, abs=slack)
    assert interquartile_mean(-values) == pytest.approx(-mean, abs=slack)
    # Whatever happens to the best seed of four or more, only a bounded share of it counts.
    if values.size >= 4:
        worse = np.sort(values)
        worse[-1] = 1e12
        assert float(interquartile_mean(worse)) <= np.sort(values)[-2] + slack


def test_band_of_two_seeds_is_their_range():
    # Four equally likely draws: both the first, both the second, and twice one of each.
    low, high = bootstrap_band(np.array([[0.0, 10.0], [4.0, 2.0]]))
    np.testing.assert_array_equal(low, [0, 2])
    np.testing.assert_array_equal(high, [4, 10])


def test_band_by_enumeration():
    # The 27 draws of 0, 3 and 9 give, in order, 0 once, 0.5, 1.5 and 2.5 three times each, 3 once,
    # 3.5 six times, 4, 7.5 and 8 three times each, 9 once. So a fifth from below (the 6th of 27) is
    # 1.5, and from above (the 22nd) 7.5.
    low, high = bootstrap_band(np.array([0.0, 3.0, 9.0]), level=0.6, resamples=20_000)
    assert (float(low), float(high)) == (1.5, 7.5)


def test_the_same_seeds_are_drawn_at_every_step():
    curve = np.array([3.0, -1.0, 8.0, 0.5])
    low, high = bootstrap_band(np.stack([curve, 2 * curve + 1], axis=1))
    np.testing.assert_allclose(low[1], 2 * low[0] + 1)
    np.testing.assert_allclose(high[1], 2 * high[0] + 1)


def test_band_is_a_function_of_its_seed():
    values = np.random.default_rng(0).normal(size=(7, 3))
    assert np.array_equal(bootstrap_band(values), bootstrap_band(values))
    assert not np.array_equal(bootstrap_band(values), bootstrap_band(values, seed=1))


@given(SEEDS, st.floats(0.1, 0.9))
def test_band_properties(values, level):
    low, high = bootstrap_band(values, level=level, resamples=200)
    wider_low, wider_high = bootstrap_band(values, level=level + 0.05, resamples=200)
    slack = 1e-9 * (1 + np.abs(values).max())
    assert values.min() - slack <= wider_low <= low <= high <= wider_high <= values.max() + slack


def test_band_covers_what_it_says():
    # 20 seeds of a normal: the interval should hold 0 about 95 times in 100, and a little less.
    random = np.random.default_rng(1)
    bands = [bootstrap_band(random.normal(size=20), resamples=500) for _ in range(200)]
    covered = np.mean([low <= 0 <= high for low, high in bands])
    assert 0.85 < covered < 0.99


@pytest.mark.parametrize("values", [np.zeros(1), np.zeros((1, 4)), np.zeros(0)])
def test_a_single_seed_has_no_band(values):
    with pytest.raises(ValueError, match="at least two"):
        bootstrap_band(values)


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_impossible_level(level):
    with pytest.raises(ValueError, match="level"):
        bootstrap_band(np.zeros(3), level=level)
