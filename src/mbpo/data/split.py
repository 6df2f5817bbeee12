"""Which real rows each ensemble member may learn from, decided once and for all.

Every slot of the real buffer is either held out for all members or trained on, and a row that
is trained on appears in member m's data c times, c ~ Poisson(1). That is the bootstrap in the
form that suits data arriving one by one (Oza & Russell 2001, "Online Bagging and Boosting"):
the same rows are in a member's data at every refit, so members stay different, and a row held
out was never trained on in an earlier round.

The tables are drawn for the whole capacity and sorted by slot; with `size` rows in the buffer,
a member's data are the entries below its count. So drawing a training row is O(1), and growing
data recompile nothing.

Without a bootstrap every member's data are all rows that are not held out, and members differ by their
random start and their batches alone (Lakshminarayanan et al. 2017, arXiv:1612.01474): a bootstrap hides 1/e of
the rows from each member, which is dear where rows are few.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key


class DataSplit(eqx.Module):
    """Bootstrap and hold-out tables over the slots of one replay buffer."""

    train_slots: Int[Array, "member entry"]
    """Slots of each member's bootstrap in ascending order, a slot as often as it was drawn;
    padded with `capacity`."""
    holdout_slots: Int[Array, " holdout"]
    """Slots held out from every member, ascending."""


def make_split(
    key: Key[Array, ""], capacity: int, ensemble_size: int, holdout_ratio: float, *, bootstrap: bool = True
) -> DataSplit:
    """Draw the tables for a buffer of `capacity` rows.

    Args:
        holdout_ratio: Share of rows held out, 0 < ratio < 1. The first slot is always held out
            and the second always trained on by every member, so neither side is ever empty.
        bootstrap: Draw each member's rows with replacement, or give every member all of them once.
    """
    # NumPy draws millions of Poisson numbers many times faster than a compiled loop would.
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    held_out = rng.random(capacity) < holdout_ratio
    held_out[0], held_out[1] = True, False
    shape = (ensemble_size, capacity)
    counts = (rng.poisson(1.0, shape) if bootstrap else np.ones(shape, int)) * ~held_out
    counts[:, 1] = np.maximum(counts[:, 1], 1)
    slots = np.arange(capacity)
    entries = counts.sum(axis=1)
    train_slots = np.full((ensemble_size, int(np.max(entries))), capacity, np.int32)
    for member in range(ensemble_size):
        train_slots[member, : entries[member]] = np.repeat(slots, counts[member])
    return DataSplit(train_slots=jnp.asarray(train_slots), holdout_slots=jnp.asarray(slots[held_out], jnp.int32))


def num_train_entries(split: DataSplit, size: Int[Array, ""]) -> Int[Array, " member"]:
    """How long each member's bootstrap is while the buffer holds `size` rows."""
    return jax.vmap(lambda row: jnp.searchsorted(row, size))(split.train_slots)


def draw_train_slots(
    train_slots: Int[Array, " entry"], entries: Int[Array, ""], key: Key[Array, ""], batch_size: int
) -> Int[Array, " batch"]:
    """A batch of slots from the first `entries` of one member's bootstrap."""
    return train_slots[jax.random.randint(key, (batch_size,), 0, entries)]


def select_holdout_slots(
    split: DataSplit, size: Int[Array, ""], most: int
) -> tuple[Int[Array, " most"], Int[Array, ""]]:
    """At most `most` held-out slots, evenly spaced over the data's whole age, and how many.

    Entries past the count repeat held-out slots and are to be ignored.
    """
    available = jnp.searchsorted(split.holdout_slots, size)
    count = jnp.minimum(available, most)
    # In floating point, since `index * available` overflows int32 on large buffers.
    spaced = jnp.floor(jnp.arange(most) * (available / jnp.maximum(count, 1))).astype(jnp.int32)
    return split.holdout_slots[jnp.minimum(spaced, jnp.maximum(available - 1, 0))], count
