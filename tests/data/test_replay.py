"""Ring buffers against a plain-Python ring, and the share of real rows in mixed batches."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbpo.data.replay import (
    Replay,
    insert,
    insert_rows,
    make_replay,
    newest_slots,
    num_real_rows,
    retain_newest,
    sample_mixed,
    sample_rows,
    spaced_slots,
    take,
    valid_mask,
)
from mbpo.types import Transition

CAPACITY, BATCH = 7, 4
INSERT = jax.jit(insert)
INSERT_ROWS = jax.jit(insert_rows)
RETAIN = jax.jit(retain_newest)
MIX = jax.jit(sample_mixed, static_argnames=("num_batches", "batch_size", "real_ratio"))
DRAW = jax.jit(sample_rows, static_argnums=2)


def row(name: float) -> Transition:
    """A transition whose every field tells its name."""
    return Transition(
        obs=np.array([name, -name], np.float32),
        action=np.array([name + 0.25], np.float32),
        reward=np.float32(name + 0.5),
        next_obs=np.array([name + 1, -name - 1], np.float32),
        terminated=np.bool_(name % 3 == 0),
    )


def rows(names) -> Transition:
    return Transition(*(np.stack(column) for column in zip(*(row(n) for n in names), strict=True)))


def names_in(replay: Replay) -> list[float]:
    """The names held, slot by slot, after checking that each row is whole."""
    held = jax.tree.map(lambda a: np.asarray(a)[: int(replay.size)], replay.data)
    names = held.obs[:, 0].tolist()
    if names:
        for got, expected in zip(held, rows(names), strict=True):
            np.testing.assert_array_equal(got, expected)
    return names


class PlainRing:
    """The same buffer in the plainest words."""

    def __init__(self) -> None:
        self.slots: list[float] = []
        self.position = 0

    def put(self, name: float, limit: int) -> None:
        if self.position == len(self.slots):
            self.slots.append(name)
        else:
            self.slots[self.position] = name
        self.position = (self.position + 1) % limit


def filled(names, capacity=CAPACITY) -> Replay:
    replay = make_replay(capacity, 2, 1)
    for name in names:
        replay = INSERT(replay, row(name))
    return replay


def test_an_empty_buffer():
    replay = make_replay(CAPACITY, 2, 1)
    assert replay.capacity == CAPACITY
    assert (int(replay.size), int(replay.position)) == (0, 0)
    assert float(valid_mask(replay).sum()) == 0


def test_insert_by_hand_overwrites_the_oldest():
    replay = filled(range(1, 10))
    assert names_in(replay) == [8, 9, 3, 4, 5, 6, 7]
    assert (int(replay.size), int(replay.position)) == (7, 2)
    np.testing.assert_array_equal(valid_mask(filled([1, 2, 3])), [1, 1, 1, 0, 0, 0, 0])


def test_insert_rows_by_hand_skips_unkept_rows_and_wraps():
    replay = filled(range(1, 6))
    replay = INSERT_ROWS(replay, rows([10, 11, 12, 13]), np.array([True, False, True, True]))
    assert names_in(replay) == [13, 2, 3, 4, 5, 10, 12]
    assert int(replay.position) == 1


def test_take_by_hand():
    got = take(filled([4, 5, 6]), jnp.array([[2, 0], [1, 1]]))
    np.testing.assert_array_equal(got.reward, [[6.5, 4.5], [5.5, 5.5]])
    assert got.obs.shape == (2, 2, 2)


def test_retain_newest_of_a_ring_that_wrapped_below_its_capacity():
    """As one that kept few rows while rollouts were short, and goes on under a gate."""
    replay, limit = make_replay(CAPACITY, 2, 1), jnp.asarray(BATCH)
    for first in (1, 1 + BATCH):
        replay = INSERT_ROWS(replay, rows(range(first, first + BATCH)), np.ones(BATCH, bool), limit)
    replay = INSERT_ROWS(replay, rows([50, 51, *[0] * (BATCH - 2)]), np.arange(BATCH) < 2, limit)
    kept = RETAIN(replay, jnp.asarray(BATCH - 1))
    assert names_in(kept) == [*range(BATCH + 4, 2 * BATCH + 1), 50, 51]
    assert int(kept.position) == BATCH - 1


OPERATIONS = st.lists(
    st.one_of(
        st.just("one"),
        st.lists(st.booleans(), min_size=BATCH, max_size=BATCH),
        st.just("grow"),
    ),
    max_size=25,
)


@given(OPERATIONS)
def test_any_sequence_of_insertions_matches_a_plain_ring(operations):
    # The limit starts at the batch size and may only grow, as a rollout buffer's does. Single rows go
    # through a batch with one row kept, since `insert` always uses the whole ring.
    replay, ring, name, limit = make_replay(CAPACITY, 2, 1), PlainRing(), 0, BATCH
    for operation in operations:
        if operation == "grow":
            limit = min(limit + 1, CAPACITY)
            continue
        keep = [True] + [False] * (BATCH - 1) if operation == "one" else operation
        names = [float(name + i) for i in range(BATCH)]
        name += BATCH
        replay = INSERT_ROWS(replay, rows(names), np.array(keep), jnp.int32(limit))
        for kept_name, kept in zip(names, keep, strict=True):
            if kept:
                ring.put(kept_name, limit)
        assert names_in(replay) == ring.slots
        assert int(replay.position) == ring.position
        assert int(replay.size) == len(ring.slots) <= limit


@given(st.lists(st.one_of(st.just("one"), st.lists(st.booleans(), min_size=BATCH, max_size=BATCH)), max_size=20))
def test_single_and_batched_insertions_mix(operations):
    replay, ring, name = make_replay(CAPACITY, 2, 1), PlainRing(), 0.0
    for operation in operations:
        names = [name + i for i in range(BATCH)]
        name += BATCH
        if operation == "one":
            replay = INSERT(replay, row(names[0]))
            ring.put(names[0], CAPACITY)
            continue
        replay = INSERT_ROWS(replay, rows(names), np.array(operation))
        for kept_name, kept in zip(names, operation, strict=True):
            if kept:
                ring.put(kept_name, CAPACITY)
    assert names_in(replay) == ring.slots
    assert int(replay.position) == ring.position


def test_a_donated_buffer_is_written_in_place_by_one_compiled_function():
    write = jax.jit(insert, donate_argnums=0)
    write_rows = jax.jit(insert_rows, donate_argnums=0)
    replay = make_replay(CAPACITY, 2, 1)
    where = replay.data.obs.unsafe_buffer_pointer()
    for step in range(2 * CAPACITY):
        before = replay
        replay = write(replay, row(step))
        assert before.data.obs.is_deleted()
        replay = write_rows(
            replay, rows([50.0, 51.0, 52.0, 53.0]), np.arange(BATCH) < step % 3, jnp.int32(min(BATCH + step, CAPACITY))
        )
        assert replay.data.obs.unsafe_buffer_pointer() == where
    assert write._cache_size() == write_rows._cache_size() == 1


def test_sampling_is_uniform_over_the_rows_that_hold_data():
    replay = filled([1, 2, 3])
    drawn = np.asarray(DRAW(replay, jax.random.key(0), (50, 20)).obs[..., 0])
    assert drawn.shape == (50, 20)
    # 1000 draws, 333 each expected, standard deviation 15.
    for name in (1, 2, 3):
        assert 260 < (drawn == name).sum() < 410
    assert set(np.unique(drawn)) == {1, 2, 3}
    # With replacement: 20 draws out of 3 rows, and batches are not copies of one another.
    assert not (drawn[0] == drawn[1]).all()


@pytest.mark.parametrize(
    ("batch_size", "real_ratio", "expected"),
    [(256, 0.05, 13), (256, 1.0, 256), (256, 0.0, 0), (8, 0.5, 4), (10, 0.27, 3)],
)
def test_num_real_rows_by_hand(batch_size, real_ratio, expected):
    assert num_real_rows(batch_size, real_ratio) == expected


@pytest.mark.parametrize(("real_ratio", "num_real"), [(0.0, 0), (0.05, 1), (0.25, 5), (1.0, 20)])
def test_every_batch_has_exactly_the_share_of_real_rows(real_ratio, num_real):
    # A coin flip per batch or per row would have the right mean and fail here.
    real, imagined = filled([1, 2, 3]), filled([101, 102, 103, 104])
    batches = MIX(real, imagined, jax.random.key(1), num_batches=50, batch_size=20, real_ratio=real_ratio)
    is_real = np.asarray(batches.obs[..., 0]) < 100
    np.testing.assert_array_equal(is_real.sum(axis=1), np.full(50, num_real))
    # Rows stay whole: action and reward come from the same transition.
    np.testing.assert_allclose(batches.action[..., 0], batches.obs[..., 0] + 0.25)
    np.testing.assert_allclose(batches.reward, batches.obs[..., 0] + 0.5)
    # Both sides are drawn over all their rows, anew in each batch.
    present = set(np.unique(batches.obs[..., 0]).astype(int))
    assert present == ({1, 2, 3} if num_real else set()) | ({101, 102, 103, 104} if num_real < 20 else set())


@pytest.mark.parametrize("real_ratio", [0.0, 0.25])
def test_while_nothing_is_imagined_real_rows_stand_in(real_ratio):
    batches = MIX(
        filled([1, 2, 3]), filled([]), jax.random.key(2), num_batches=50, batch_size=20, real_ratio=real_ratio
    )
    names = np.asarray(batches.obs[..., 0])
    assert set(np.unique(names)) == {1, 2, 3}
    # The stand-ins are draws of their own, not the batch's real rows again.
    assert not np.array_equal(names[:, :5], names[:, 5:10])


def test_real_ratio_one_is_sampling_the_real_buffer():
    real, key = filled([1, 2, 3, 4, 5]), jax.random.key(3)
    mixed = MIX(real, filled([101]), key, num_batches=50, batch_size=20, real_ratio=1.0)
    jax.tree.map(np.testing.assert_array_equal, mixed, DRAW(real, key, (50, 20)))


# --- The newest rows, and rows of every age ------------------------------------------------------


@given(st.integers(1, 30), st.integers(0, 12))
def test_cut_to_its_newest_a_ring_holds_them_in_order_at_the_front(inserted, count):
    replay = make_replay(10, 1, 1)
    rows = jax.tree.map(lambda a: jnp.zeros((inserted, *a.shape[1:]), a.dtype), replay.data)
    rows = rows._replace(reward=jnp.arange(inserted, dtype=jnp.float32))
    for i in range(inserted):
        replay = INSERT(replay, jax.tree.map(lambda a, i=i: a[i], rows))
    np.testing.assert_array_equal(
        replay.data.reward[newest_slots(replay, min(inserted, 10))], range(inserted - 1, max(inserted - 11, -1), -1)
    )
    cut = RETAIN(replay, jnp.int32(count))
    kept = min(count, inserted, 10)
    assert (int(cut.size), int(cut.position)) == (kept, kept % 10)
    np.testing.assert_array_equal(cut.data.reward[:kept], range(inserted - kept, inserted))
    # The next row comes after them.
    after = INSERT(cut, jax.tree.map(lambda a: a[0], rows)._replace(reward=jnp.float32(99)))
    assert float(after.data.reward[int(cut.position)]) == 99


@pytest.mark.parametrize(("size", "expected"), [(4, [0, 0, 1, 1, 2, 2, 3, 3]), (8, list(range(8))), (20, None)])
def test_slots_are_spaced_over_all_that_is_held(size, expected):
    replay = eqx.tree_at(lambda r: r.size, make_replay(20, 1, 1), jnp.int32(size))
    slots = spaced_slots(replay, 8).tolist()
    assert slots == (expected or [0, 2, 5, 7, 10, 12, 15, 17])
