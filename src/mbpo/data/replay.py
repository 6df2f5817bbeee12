"""Ring buffers of transitions, and batches that mix the real with the imagined.

Buffers are preallocated and written in place (donate them to the jitted function that writes),
so that a growing buffer never recompiles anything and an insertion costs the same at a thousand
rows as at a million. Sampling is uniform and with replacement.
"""

import math
from typing import Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, UInt

from mbpo.types import Transition

Row = TypeVar("Row", bound=tuple)


class Replay(eqx.Module, Generic[Row]):
    """A ring of rows, most often transitions: rows `0 … size−1` hold data, `position` is written next."""

    data: Row
    """Arrays with a leading axis of `capacity` rows."""
    position: Int[Array, ""]
    size: Int[Array, ""]

    @property
    def capacity(self) -> int:
        return int(jax.tree.leaves(self.data)[0].shape[0])


def make_replay(capacity: int, obs_dim: int, action_dim: int) -> Replay[Transition]:
    """An empty buffer for `capacity` transitions."""
    return empty_ring(
        Transition(
            obs=jnp.zeros((capacity, obs_dim)),
            action=jnp.zeros((capacity, action_dim)),
            reward=jnp.zeros((capacity,)),
            next_obs=jnp.zeros((capacity, obs_dim)),
            terminated=jnp.zeros((capacity,), bool),
        )
    )


def empty_ring(data: Row) -> Replay[Row]:
    """A ring over the arrays given, none of whose rows holds data yet."""
    return Replay(data=data, position=jnp.zeros((), jnp.int32), size=jnp.zeros((), jnp.int32))


def insert(replay: Replay[Row], row: Row) -> Replay[Row]:
    """Write one row (no batch axis) over the oldest one."""
    data = jax.tree.map(lambda ring, new: ring.at[replay.position].set(new), replay.data, row)
    return Replay(
        data=data,
        position=(replay.position + 1) % replay.capacity,
        size=jnp.minimum(replay.size + 1, replay.capacity),
    )


def insert_rows(
    replay: Replay, rows: Transition, keep: Bool[Array, " batch"], limit: Int[Array, ""] | None = None
) -> Replay:
    """Write the rows marked `keep`, in order, over the oldest ones; skip the others.

    Args:
        limit: Use only the first `limit` slots of the ring (traced, so it may grow without
            recompiling): how a buffer retains fewer rows while rollouts are short. Must be at
            least the number of rows and at most `capacity`.
    """
    limit = jnp.asarray(replay.capacity if limit is None else limit, jnp.int32)
    offset = jnp.cumsum(keep.astype(jnp.int32)) - 1
    slots = jnp.where(keep, (replay.position + offset) % limit, replay.capacity)
    data = jax.tree.map(lambda ring, new: ring.at[slots].set(new, mode="drop", unique_indices=False), replay.data, rows)
    written = offset[-1] + 1
    return Replay(
        data=data,
        position=(replay.position + written) % limit,
        size=jnp.minimum(jnp.maximum(replay.size, replay.position + written), limit),
    )


def retain_newest(replay: Replay[Row], count: Int[Array, ""]) -> Replay[Row]:
    """Keep the newest `count` rows, moved to the front in order; all, if there are no more.

    For a buffer that keeps a number of rounds whose sizes vary: what is written next never has to
    wrap around, and the rows sampled from stay `0 … size−1`.
    """
    count = jnp.minimum(count, replay.size)
    # Modulo the size: a ring that has wrapped may have done so at a limit below its capacity (`insert_rows`).
    slots = (replay.position - count + jnp.arange(replay.capacity)) % jnp.maximum(replay.size, 1)
    data = jax.tree.map(lambda ring: ring[slots], replay.data)
    return Replay(data=data, position=count % replay.capacity, size=count)


def newest_slots(replay: Replay, count: int) -> Int[Array, " count"]:
    """Slots of the newest `count` rows, newest first; `count` must not exceed what the buffer holds."""
    return (replay.position - 1 - jnp.arange(count)) % replay.capacity


def spaced_slots(replay: Replay, count: int) -> Int[Array, " count"]:
    """`count` slots evenly spaced over all rows that hold data: an average without a random draw."""
    # In floating point, since `index * size` overflows int32 on large buffers.
    return jnp.floor(jnp.arange(count) * (replay.size / count)).astype(jnp.int32)


def draw_slots(key: Key[Array, ""], shape: tuple[int, ...], size: Int[Array, ""]) -> Int[Array, "..."]:
    """Uniform slots below `size`.

    32 random bits modulo `size`: a row's chance is off by less than `size / 2³²`, and it compiles
    and runs in half the time of an exact draw.
    """
    return _slots(jax.random.bits(key, shape), size)


def _slots(bits: UInt[Array, "*shape"], size: Int[Array, ""]) -> Int[Array, "*shape"]:
    return (bits % jnp.maximum(size, 1).astype(jnp.uint32)).astype(jnp.int32)


def sample_rows(replay: Replay, key: Key[Array, ""], shape: tuple[int, ...]) -> Transition:
    """Draw transitions uniformly with replacement; the leading axes are `shape`."""
    return take(replay, draw_slots(key, shape, replay.size))


def take(replay: Replay[Row], index: Int[Array, "*batch"]) -> Row:
    """The rows at the given slots."""
    return jax.tree.map(lambda ring: ring[index], replay.data)


def num_real_rows(batch_size: int, real_ratio: float) -> int:
    """How many rows of each batch are real: `round(real_ratio · batch_size)`, but one at least
    unless the ratio is 0."""
    return max(round(real_ratio * batch_size), min(1, math.ceil(real_ratio)))


def sample_mixed(
    real: Replay, imagined: Replay, key: Key[Array, ""], *, num_batches: int, batch_size: int, real_ratio: float
) -> Transition:
    """Draw `[num_batches, batch_size]` transitions, a fixed share of *each* batch real.

    The first `num_real_rows(batch_size, real_ratio)` rows of every batch are real and the rest
    imagined. While nothing has been imagined, real rows stand in for the imagined ones. With
    `real_ratio=1` the draw is exactly that of `sample_rows` on the real buffer.
    """
    num_real = num_real_rows(batch_size, real_ratio)
    bits = jax.random.bits(key, (num_batches, batch_size))
    real_rows = take(real, _slots(bits[:, :num_real], real.size))
    if num_real == batch_size:
        return real_rows
    imagined_rows = jax.lax.cond(
        imagined.size > 0,
        lambda: take(imagined, _slots(bits[:, num_real:], imagined.size)),
        lambda: take(real, _slots(bits[:, num_real:], real.size)),
    )
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=1), real_rows, imagined_rows)


def valid_mask(replay: Replay) -> Float[Array, " capacity"]:
    """1 for the rows that hold data, 0 for the rest."""
    return (jnp.arange(replay.capacity) < replay.size).astype(jnp.float32)
