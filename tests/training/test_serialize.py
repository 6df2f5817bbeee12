"""States as named arrays: whole there and back, and nothing foreign let in."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_tasks import one_paragraph, same_weights

from mbpo.data.replay import Replay, insert, make_replay
from mbpo.errors import CheckpointError
from mbpo.training.serialize import ArraySource, from_tensors, nonfinite_names, split
from mbpo.types import Transition

CAPACITY, FILLED = 8, 3


class Learner(eqx.Module):
    weights: list[jax.Array]
    count: jax.Array
    flags: jax.Array
    width: int = eqx.field(static=True)


class State(NamedTuple):
    learner: Learner
    replay: Replay


def make_state(rows: int = FILLED) -> State:
    replay = make_replay(CAPACITY, 2, 1)
    for i in range(rows):
        row = Transition(
            jnp.full(2, i + 1.0), jnp.full(1, -i - 1.0), jnp.float32(i + 0.5), jnp.full(2, i + 2.0), jnp.bool_(i % 2)
        )
        replay = insert(replay, row)
    learner = Learner([jnp.arange(6.0).reshape(2, 3), jnp.ones(0)], jnp.int32(7), jnp.array([True, False]), 4)
    return State(learner, replay)


def to_tensors(state) -> dict[str, np.ndarray]:
    """All arrays of a state, the rows of its replay buffers too."""
    tensors, rings = split(state)
    return tensors | {name: rows for ring in rings.values() for name, rows in ring.rows(0, ring.size).items()}


def complaint(arrays) -> str:
    with pytest.raises(CheckpointError) as caught:
        from_tensors(make_state(), ArraySource(arrays))
    return one_paragraph(str(caught.value))


@pytest.mark.parametrize("rows", [0, FILLED, CAPACITY, CAPACITY + 3])
def test_there_and_back(rows):
    state = make_state(rows)
    again = from_tensors(make_state(0), ArraySource(to_tensors(state)))
    assert same_weights(state, again)
    assert again.learner.width == 4


def test_template_may_be_shapes_alone():
    state = make_state()
    shapes = jax.eval_shape(lambda: make_state(0))
    assert same_weights(state, from_tensors(shapes, ArraySource(to_tensors(state))))


def test_names_are_paths_and_shapes_are_kept():
    tensors = to_tensors(make_state())
    assert set(tensors) == {
        "learner.weights.0",
        "learner.weights.1",
        "learner.count",
        "learner.flags",
        "replay.position",
        "replay.size",
        *(f"replay.data.{name}" for name in Transition._fields),
    }
    assert tensors["learner.count"].shape == ()
    assert tensors["learner.count"].dtype == np.int32
    assert tensors["learner.flags"].dtype == np.bool_


def test_replay_is_cut_to_its_rows():
    tensors = to_tensors(make_state())
    np.testing.assert_array_equal(tensors["replay.data.obs"], [[1, 1], [2, 2], [3, 3]])
    np.testing.assert_array_equal(tensors["replay.data.reward"], [0.5, 1.5, 2.5])
    np.testing.assert_array_equal(tensors["replay.data.terminated"], [False, True, False])


def test_what_is_read_is_a_copy():
    tensors = to_tensors(make_state())
    again = from_tensors(make_state(), ArraySource(tensors))
    tensors["learner.weights.0"] = np.asarray(tensors["learner.weights.0"]) * 0
    assert float(again.learner.weights[0][1, 2]) == 5.0


@pytest.mark.parametrize("name", ["learner.count", "replay.data.reward", "replay.size"])
def test_missing_array(name):
    tensors = to_tensors(make_state())
    del tensors[name]
    assert name in complaint(tensors)


def test_extra_array():
    assert "planner.mean" in complaint(to_tensors(make_state()) | {"planner.mean": np.zeros(1)})


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        ("learner.weights.0", np.zeros((3, 2), np.float32), ["(3, 2)", "(2, 3)"]),
        ("learner.weights.0", np.zeros((2, 3), np.float64), ["float64", "float32"]),
        ("learner.weights.0", np.zeros(6, np.float32), ["(6,)"]),
        ("learner.count", np.zeros(1, np.int32), ["(1,)", "()"]),
        ("learner.count", np.float32(0), ["float32", "int32"]),
        ("learner.flags", np.zeros(2, np.int8), ["int8", "bool"]),
        ("replay.data.obs", np.zeros((FILLED, 3), np.float32), ["(3, 3)"]),
        ("replay.data.obs", np.zeros((CAPACITY + 1, 2), np.float32), ["(9, 2)"]),
        ("replay.data.obs", np.float32(0), ["()"]),
        ("replay.data.reward", np.zeros(FILLED, np.float16), ["float16"]),
        ("replay.size", np.int64(FILLED), ["int64"]),
    ],
)
def test_array_that_does_not_fit(name, array, words):
    message = complaint(to_tensors(make_state()) | {name: np.asarray(array)})
    for word in [name, *words]:
        assert word in message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("size", -1),
        ("size", CAPACITY + 1),
        ("size", 2**31 - 1),
        ("size", FILLED + 1),  # A row that was never stored would be learned from as zeros.
        ("size", FILLED - 1),
        ("position", -1),
        ("position", CAPACITY),
        ("position", 2**31 - 1),
    ],
)
def test_replay_counters_that_point_elsewhere(name, value):
    message = complaint(to_tensors(make_state()) | {f"replay.{name}": np.asarray(value, np.int32)})
    assert str(value) in message


def test_replay_columns_of_different_lengths():
    complaint(to_tensors(make_state()) | {"replay.data.reward": np.zeros(FILLED - 1, np.float32)})


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nonfinite_arrays_are_named(bad):
    state = make_state()
    assert nonfinite_names(state) == []
    state = eqx.tree_at(lambda s: s.learner.weights[0], state, state.learner.weights[0].at[1, 1].set(bad))
    assert nonfinite_names(state) == ["learner.weights.0"]
    state = eqx.tree_at(lambda s: s.replay.data.reward, state, state.replay.data.reward.at[0].set(bad))
    assert nonfinite_names(state) == ["learner.weights.0", "replay.data.reward"]


def test_scores_that_are_infinite_on_purpose():
    assert nonfinite_names({"holdout_scores": jnp.array([jnp.inf])}) == []
