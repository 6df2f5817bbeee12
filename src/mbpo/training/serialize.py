"""A state pytree as named arrays, and back: no pickle, nothing executed.

Names are paths through the pytree (`sac.params.actor.weights.0`). Of a replay buffer only the
rows that hold data are written, apart from the rest. Reading fills a template of known shapes, so an array that is
missing, extra, or of another shape or dtype is an error before any memory is taken for it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr, tree_flatten_with_path, tree_unflatten

from mbpo.data.replay import Replay
from mbpo.errors import CheckpointError, CheckpointMisfit

T = TypeVar("T")
CHUNK_ROWS = 4096
"""Rows of a replay buffer in one file: what is rewritten at most for one new row."""


class TensorSource(Protocol):
    """Named arrays whose shapes are known before they are read."""

    def keys(self) -> list[str]: ...
    def shape(self, name: str) -> tuple[int, ...]: ...
    def read(self, name: str) -> np.ndarray: ...


@dataclass(frozen=True)
class Ring:
    """The rows of a replay buffer, where they are."""

    columns: dict[str, jax.Array]
    """By their names in a checkpoint; each with `capacity` rows."""
    size: int
    position: int
    capacity: int

    def rows(self, first: int, last: int) -> dict[str, np.ndarray]:
        """Rows `first … last−1` of every column, at most `CHUNK_ROWS` of them."""
        return {name: _host_rows(column, first, last) for name, column in self.columns.items()}

    def grew_by_steps(self, env_step: int) -> bool:
        """Whether it stands where one row at each of `env_step` steps leads."""
        return self.size == min(env_step, self.capacity) and self.position == env_step % self.capacity

    def slots_written(self, since: int, until: int) -> np.ndarray:
        """The slots that these environment steps wrote to, one row at each."""
        return np.arange(max(since, until - self.capacity), until) % self.capacity


def split(state: object) -> tuple[dict[str, np.ndarray], dict[str, Ring]]:
    """Every array of a state under its path, but the rows of replay buffers; and those."""
    tensors: dict[str, np.ndarray] = {}
    rings = {}
    for name, leaf in _leaves(state):
        if isinstance(leaf, Replay):
            inner = dict(_leaves(leaf, name))
            columns = {column: array for column, array in inner.items() if _is_ring(column)}
            rings[name] = Ring(columns, int(leaf.size), int(leaf.position), leaf.capacity)
            tensors |= {n: np.asarray(array, order="C") for n, array in inner.items() if n not in columns}
        else:
            tensors[name] = np.asarray(leaf, order="C")
    return tensors, rings


def from_tensors(template: T, source: TensorSource) -> T:
    """The state of the template's structure with the arrays of `source`.

    Args:
        template: A state, or its shapes (`jax.eval_shape`).

    Raises:
        CheckpointMisfit: The arrays are not those of such a state.
    """
    shapes = dict(_leaves(template, replay_as_leaf=False))
    missing, extra = sorted(shapes.keys() - set(source.keys())), sorted(set(source.keys()) - shapes.keys())
    if missing or extra:
        first = f"it lacks '{missing[0]}'" if missing else f"it holds '{extra[0]}', which the run has not"
        raise CheckpointMisfit(
            f"The checkpoint does not fit this run: {first} ({len(missing)} arrays missing, {len(extra)} unknown)."
        )
    leaves = []
    for name, leaf in shapes.items():
        found, expected, ring = source.shape(name), tuple(leaf.shape), _is_ring(name)
        fits = found[1:] == expected[1:] and found[0] <= expected[0] if ring and found else found == expected
        if not fits:
            raise CheckpointMisfit(
                f"The checkpoint does not fit this run: '{name}' is {found} and should be {expected}."
            )
        array = source.read(name)
        if array.dtype != leaf.dtype:
            raise CheckpointMisfit(
                f"The checkpoint does not fit this run: '{name}' holds {array.dtype} and should hold {leaf.dtype}."
            )
        if ring:
            full = np.zeros(expected, array.dtype)
            full[: found[0]] = array
            array = full
        leaves.append(jnp.array(array))
    state = tree_unflatten(jax.tree.structure(template), leaves)
    _check_rings(state, source)
    return state


def nonfinite_names(state: object) -> list[str]:
    """Paths of the floating-point arrays that hold a NaN or an infinity.

    Before the first fit the hold-out scores are infinite on purpose, and are not reported.
    """
    names = []
    for name, leaf in _leaves(state, replay_as_leaf=False):
        if jnp.issubdtype(leaf.dtype, jnp.floating) and not name.endswith("holdout_scores"):
            if not np.isfinite(np.asarray(leaf)).all():  # In NumPy: nothing to compile for each shape.
                names.append(name)
    return names


def _leaves(tree: object, prefix: str = "", *, replay_as_leaf: bool = True) -> Iterator[tuple[str, Any]]:
    inside_replay = isinstance(tree, Replay)
    is_leaf = (lambda x: isinstance(x, Replay)) if replay_as_leaf and not inside_replay else None
    for path, leaf in tree_flatten_with_path(tree, is_leaf=is_leaf)[0]:
        name = keystr(path, simple=True, separator=".")
        yield (f"{prefix}.{name}" if prefix else name), leaf


def _host_rows(column: jax.Array, first: int, last: int) -> np.ndarray:
    """Some rows, at most `CHUNK_ROWS`, without bringing the others to the host."""
    if all(device.platform == "cpu" for device in column.devices()):
        return np.asarray(column)[first:last]  # Host and device share their memory.
    # As many rows at every call, so that nothing is compiled twice.
    count = min(CHUNK_ROWS, column.shape[0])
    start = min(first, column.shape[0] - count)
    return np.asarray(_rows(column, start, count))[first - start : last - start]


@partial(jax.jit, static_argnums=2)
def _rows(column: jax.Array, start: int, count: int) -> jax.Array:
    return jax.lax.dynamic_slice_in_dim(column, start, count)


def _is_ring(name: str) -> bool:
    """Whether the array is a replay column, whose rows past `size` are not stored."""
    return ".data." in f".{name}"


def _check_rings(state: object, source: TensorSource) -> None:
    """A hand-made file could point outside its ring, or at rows it lacks; XLA would clamp that silently."""
    for name, node in _leaves(state):
        if not isinstance(node, Replay):
            continue
        size, position = int(node.size), int(node.position)
        stored = {source.shape(inner)[0] for inner, _ in _leaves(node, name) if _is_ring(inner)}
        if not (stored == {size} and 0 <= size <= node.capacity and 0 <= position < node.capacity):
            raise CheckpointError(
                f"The checkpoint is damaged: a replay buffer of {node.capacity} rows claims {size} of them, to be "
                f"continued at row {position}, and holds {max(stored)}."
            )


class ArraySource:
    """Arrays already in memory as a `TensorSource`."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._arrays = arrays

    def keys(self) -> list[str]:
        return list(self._arrays)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._arrays[name].shape

    def read(self, name: str) -> np.ndarray:
        return self._arrays[name]
