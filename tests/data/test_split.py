"""The bootstrap and the hold-out: drawn once, disjoint, and the same rows at every size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbpo.data.split import DataSplit, draw_train_slots, make_split, num_train_entries, select_holdout_slots

CAPACITY, MEMBERS = 2000, 4
SPLIT = make_split(jax.random.key(0), CAPACITY, MEMBERS, 0.2)
ENTRIES = jax.jit(num_train_entries)
SELECT = jax.jit(select_holdout_slots, static_argnums=2)
DRAW = jax.jit(draw_train_slots, static_argnums=3)


def member_slots(member: int, size: int) -> np.ndarray:
    """What one member may learn from while the buffer holds `size` rows."""
    return np.asarray(SPLIT.train_slots)[member, : int(ENTRIES(SPLIT, jnp.int32(size))[member])]


def test_by_hand():
    split = DataSplit(
        train_slots=jnp.array([[1, 1, 3, 6, 6, 6], [1, 4, 4, 6, 9, 9]]), holdout_slots=jnp.array([0, 2, 5, 7, 8])
    )
    # With 5 rows (slots 0 to 4): member 0 has (1, 1, 3), member 1 has (1, 4, 4).
    for size, expected in [(2, [2, 1]), (4, [3, 1]), (5, [3, 3]), (9, [6, 4])]:
        np.testing.assert_array_equal(num_train_entries(split, jnp.int32(size)), expected)


def test_held_out_rows_are_in_no_members_training_data():
    held_out = np.asarray(SPLIT.holdout_slots)
    assert len(np.unique(held_out)) == len(held_out)
    # 20 % of 2000, standard deviation 18.
    assert 320 < len(held_out) < 480
    for member in range(MEMBERS):
        assert not np.isin(member_slots(member, CAPACITY), held_out).any()


def test_every_row_is_either_held_out_or_trained_on_by_some_and_the_first_two_are_one_of_each():
    assert int(SPLIT.holdout_slots[0]) == 0
    for member in range(MEMBERS):
        assert member_slots(member, 2).tolist().count(1) >= 1
    # Each member misses a row with chance 1/e, so all four miss 1.8 % of the trained-on rows.
    covered = np.union1d(np.concatenate([member_slots(m, CAPACITY) for m in range(MEMBERS)]), SPLIT.holdout_slots)
    assert 0.97 * CAPACITY < len(covered) < CAPACITY


def test_without_a_bootstrap_every_member_learns_from_every_row_that_is_not_held_out():
    split = make_split(jax.random.key(0), CAPACITY, MEMBERS, 0.2, bootstrap=False)
    rest = np.setdiff1d(np.arange(CAPACITY), np.asarray(split.holdout_slots))
    for slots in np.asarray(split.train_slots):
        np.testing.assert_array_equal(slots, rest)
    # The same rows are held out with it and without.
    np.testing.assert_array_equal(split.holdout_slots, SPLIT.holdout_slots)


def test_the_bootstrap_is_drawn_with_replacement():
    candidates = CAPACITY - len(SPLIT.holdout_slots)
    for member in range(MEMBERS):
        counts = np.bincount(member_slots(member, CAPACITY), minlength=CAPACITY)
        counts = np.delete(counts, np.asarray(SPLIT.holdout_slots))
        # Poisson(1): mean 1 ± 0.025, and shares e⁻¹ = 0.368 of none, 0.368 of one, 0.264 of two or more.
        assert counts.mean() == pytest.approx(1.0, abs=0.1)
        assert counts.var() == pytest.approx(1.0, abs=0.2)
        assert (counts == 0).sum() / candidates == pytest.approx(0.368, abs=0.05)
        assert (counts >= 2).sum() / candidates == pytest.approx(0.264, abs=0.05)


def test_members_differ():
    for a in range(MEMBERS):
        for b in range(a):
            # Independent Poisson counts agree on Σ p² = 0.31 of the rows.
            first, second = (np.bincount(member_slots(m, CAPACITY), minlength=CAPACITY) for m in (a, b))
            trained = np.setdiff1d(np.arange(CAPACITY), SPLIT.holdout_slots)
            assert (first == second)[trained].mean() < 0.4


@given(st.integers(2, CAPACITY), st.integers(2, CAPACITY))
def test_growing_data_change_no_row_already_there(size, later):
    size, later = sorted((size, later))
    for member in range(MEMBERS):
        now, then = member_slots(member, size), member_slots(member, later)
        np.testing.assert_array_equal(now, then[: len(now)])
        assert (now < size).all() and (then[len(now) :] >= size).all()


def test_the_same_key_draws_the_same_split_and_another_another():
    again, other = (make_split(jax.random.key(k), 300, 2, 0.2) for k in (5, 6))
    jax.tree.map(np.testing.assert_array_equal, make_split(jax.random.key(5), 300, 2, 0.2), again)
    assert not np.array_equal(other.holdout_slots[:20], again.holdout_slots[:20])


def test_batches_come_from_the_members_own_rows_uniformly():
    size = 40
    entries = ENTRIES(SPLIT, jnp.int32(size))
    for member in range(MEMBERS):
        slots = np.asarray(DRAW(SPLIT.train_slots[member], entries[member], jax.random.key(member), 4000))
        own = member_slots(member, size)
        share = np.bincount(slots, minlength=size) / 4000
        # A slot drawn c times into the bootstrap turns up c / entries of the time.
        np.testing.assert_allclose(share, np.bincount(own, minlength=size) / len(own), atol=0.03)
        assert set(slots) <= set(own.tolist())


def test_select_holdout_by_hand():
    split = DataSplit(train_slots=jnp.array([[1]]), holdout_slots=jnp.array([0, 2, 5, 7, 8, 11, 13, 20]))
    # 12 rows hold the slots (0, 2, 5, 7, 8, 11); three of those six, two apart.
    slots, count = select_holdout_slots(split, jnp.int32(12), 3)
    assert (slots.tolist(), int(count)) == ([0, 5, 8], 3)
    # With fewer than asked for, all of them, once each.
    slots, count = select_holdout_slots(split, jnp.int32(6), 4)
    assert (slots[:3].tolist(), int(count)) == ([0, 2, 5], 3)


@given(st.integers(1, CAPACITY))
def test_selected_holdout_rows_are_unique_spread_out_and_in_range(size):
    most = 100
    slots, count = SELECT(SPLIT, jnp.int32(size), most)
    count = int(count)
    chosen = np.asarray(slots)
    held_out = np.asarray(SPLIT.holdout_slots)
    available = held_out[held_out < size]
    assert count == min(len(available), most)
    # Entries past the count must still be slots that hold data: they are read, then ignored.
    assert np.isin(chosen, available).all()
    places = np.searchsorted(available, chosen[:count])
    steps = np.diff(places)
    assert (steps >= 1).all(), "a row was chosen twice"
    # Evenly spaced: gaps differ by at most one, from the first row to the last.
    assert places[0] == 0
    assert len(steps) == 0 or steps.max() - steps.min() <= 1
    assert len(available) - 1 - places[-1] <= len(available) / count


def test_selection_is_exact_for_a_hold_out_of_a_million():
    # index · available overflows int32 here, and float32 has a spacing of 0.06 at a million.
    split = DataSplit(train_slots=jnp.array([[1]]), holdout_slots=jnp.arange(1_000_003))
    slots, count = select_holdout_slots(split, jnp.int32(1_000_003), 5000)
    steps = np.diff(np.asarray(slots))
    assert int(count) == 5000
    assert int(slots[0]) == 0 and int(slots[-1]) >= 1_000_003 - 201
    assert steps.min() >= 200 and steps.max() <= 201


def test_growing_data_recompile_nothing():
    traces = []

    def draw_and_select(size):
        traces.append(size)
        entries = num_train_entries(SPLIT, size)
        drawn = draw_train_slots(SPLIT.train_slots[0], entries[0], jax.random.key(0), 4000)
        return drawn, select_holdout_slots(SPLIT, size, 100)

    compiled = jax.jit(draw_and_select)
    for size in (3, 50, 1999):
        compiled(jnp.int32(size))
    assert len(traces) == 1
