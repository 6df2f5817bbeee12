"""Spaces become a `Spec` or one clear paragraph; arrays cross the border unharmed."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

from mbpo.envs.spec import (
    env_name,
    flatten_obs,
    read_obs,
    read_obs_batch,
    shape_action,
    shape_action_batch,
    spec_of,
    tabular_spec_of,
)
from mbpo.errors import UnsupportedEnvironment

OBS = spaces.Box(-np.inf, np.inf, (3,), np.float64)
ACTION = spaces.Box(-1.0, 1.0, (2,), np.float32)


class Bare(gymnasium.Env):
    """Nothing but its spaces."""

    def __init__(self, obs: spaces.Space = OBS, action: spaces.Space = ACTION) -> None:
        self.observation_space, self.action_space = obs, action


def box(low, high, dtype=np.float32) -> spaces.Box:
    return spaces.Box(np.asarray(low, dtype), np.asarray(high, dtype), dtype=dtype)


def complaint(env: gymnasium.Env) -> str:
    with pytest.raises(UnsupportedEnvironment) as caught:
        spec_of(env)
    message = str(caught.value)
    assert message.startswith("Bare has ")
    assert "\n" not in message
    assert len(message) < 500
    return message


def test_pendulum():
    spec = spec_of(gymnasium.make("Pendulum-v1"))
    assert (spec.obs_dim, spec.action_dim) == (3, 1)
    np.testing.assert_array_equal(spec.action_low, np.float32([-2]))
    np.testing.assert_array_equal(spec.action_high, np.float32([2]))
    assert spec.action_low.dtype == spec.action_high.dtype == np.float32


def test_any_shape_is_flattened():
    action = spaces.Box(
        np.array([[-1, -2], [-3, -4]], np.float64), np.array([[1, 2], [3, 4]], np.float64), dtype=np.float64
    )
    spec = spec_of(Bare(spaces.Box(-1, 1, (2, 3, 4), np.float32), action))
    assert (spec.obs_dim, spec.action_dim) == (24, 4)
    np.testing.assert_array_equal(spec.action_low, np.float32([-1, -2, -3, -4]))
    np.testing.assert_array_equal(spec.action_high, np.float32([1, 2, 3, 4]))
    assert spec.action_low.dtype == np.float32


def test_observation_of_one_number_and_of_integers():
    assert spec_of(Bare(spaces.Box(-1, 1, (), np.float32))).obs_dim == 1
    assert spec_of(Bare(spaces.Box(0, 9, (5,), np.int64))).obs_dim == 5
    assert spec_of(Bare(spaces.Box(0, 255, (128,), np.uint8))).obs_dim == 128  # a RAM, not an image


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (spaces.Discrete(4), ["Discrete(4)", "label", "table"]),
        (spaces.MultiDiscrete([2, 3]), ["MultiDiscrete", "TransformObservation"]),
        (spaces.MultiBinary(3), ["MultiBinary", "TransformObservation"]),
        (spaces.Dict(a=OBS, b=OBS), ["Dict", "FlattenObservation"]),
        (spaces.Tuple((OBS, OBS)), ["Tuple", "FlattenObservation"]),
        (spaces.Text(5), ["Text", "TransformObservation"]),
    ],
)
def test_observations_that_are_not_continuous(space, words):
    message = complaint(Bare(obs=space))
    for word in ["observation space", "continuous", *words]:
        assert word in message


def test_images_are_refused():
    message = complaint(Bare(obs=spaces.Box(0, 255, (96, 96, 3), np.uint8)))
    assert "image" in message
    assert "(96, 96, 3)" in message


def test_empty_spaces_are_refused():
    assert "empty observation" in complaint(Bare(obs=spaces.Box(-1, 1, (0,), np.float32)))
    assert "empty action" in complaint(Bare(action=spaces.Box(-1, 1, (0,), np.float32)))


def test_missing_spaces_are_refused():
    env = Bare()
    del env.observation_space
    assert "None" in complaint(env)


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (spaces.Discrete(4), ["Discrete(4)", "MountainCarContinuous-v0"]),
        (spaces.MultiDiscrete([2, 3]), ["MultiDiscrete", "continuous version"]),
        (spaces.MultiBinary(3), ["MultiBinary", "continuous version"]),
        (spaces.Dict(a=ACTION), ["Dict", "TransformAction"]),
        (spaces.Tuple((ACTION, ACTION)), ["Tuple", "TransformAction"]),
        (spaces.Box(0, 5, (2,), np.int32), ["int32", "Box of floats"]),
    ],
)
def test_actions_that_are_not_continuous(space, words):
    message = complaint(Bare(action=space))
    for word in ["action space", "continuous", *words]:
        assert word in message


@pytest.mark.parametrize(
    "space",
    [
        box([-1, -np.inf], [1, 1]),
        box([-1, -1], [1, np.inf]),
        box([-1, -3e38], [1, 3e38]),  # finite, but its width is not
        box([-1, -1e300], [1, 1e300], np.float64),  # finite, but not in float32
    ],
)
def test_unbounded_actions(space):
    message = complaint(Bare(action=space))
    assert "no finite action bounds in dimension 1 " in message
    assert "RescaleAction" in message
    assert "TransformAction" in message


@pytest.mark.parametrize("space", [box([-1, 0, 0], [1, 0, 0]), box([0, 1, 1], [1, 1 + 1e-12, 1], np.float64)])
def test_degenerate_actions(space):
    message = complaint(Bare(action=space))
    assert "low not below high in dimensions 1, 2 " in message


@given(
    st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=6, max_size=6),
    st.sampled_from([(6,), (2, 3), (3, 1, 2), (1, 6)]),
)
def test_flattening_keeps_every_value_in_order(values, shape):
    flat = flatten_obs(np.array(values, np.float64).reshape(shape))
    assert flat.dtype == np.float32
    np.testing.assert_array_equal(flat, np.array(values, np.float32))


def test_flattening_copies():
    # An environment may hand out the very array that it goes on to overwrite.
    inner = np.zeros(3, np.float32)
    obs = flatten_obs(inner)
    inner += 1
    np.testing.assert_array_equal(obs, 0)


def test_flattening_beyond_float32_is_infinite_and_silent():
    np.testing.assert_array_equal(flatten_obs([1e300, -1e300]), [np.inf, -np.inf])


def test_actions_take_the_shape_and_dtype_of_the_space():
    env = Bare(action=spaces.Box(-1, 1, (2, 2), np.float64))
    action = shape_action(env, np.array([-1, -0.5, 0.5, 1], np.float32))
    assert action.dtype == np.float64
    np.testing.assert_array_equal(action, [[-1, -0.5], [0.5, 1]])
    assert env.action_space.contains(action)


def test_actions_at_the_bounds_are_inside_the_space():
    # 0.4 in float32 is 0.4000000059…: outside of bounds that are float64.
    env = Bare(action=spaces.Box(-0.4, 0.4, (3,), np.float64))
    spec = spec_of(env)
    assert not env.action_space.contains(spec.action_high.astype(np.float64))
    assert env.action_space.contains(shape_action(env, spec.action_high))
    assert env.action_space.contains(shape_action(env, spec.action_low))


def test_names():
    assert env_name(gymnasium.wrappers.ClipAction(gymnasium.make("Pendulum-v1"))) == "Pendulum-v1"
    assert env_name(Bare()) == "Bare"


NUMBERED = Bare(spaces.Discrete(5, start=-2), spaces.Discrete(3, start=7))


def test_a_table_of_numbers():
    spec = tabular_spec_of(NUMBERED)
    assert (spec.num_states, spec.num_actions, spec.obs_dim, spec.action_dim) == (5, 3, 1, 1)


@pytest.mark.parametrize(
    ("env", "words"),
    [
        (Bare(OBS, spaces.Discrete(2)), ["observation space Box", "Discrete observation", "TransformObservation"]),
        (Bare(spaces.Discrete(2), ACTION), ["action space Box", "Discrete action space", "TransformAction"]),
        (Bare(spaces.MultiDiscrete([2, 2]), spaces.Discrete(2)), ["MultiDiscrete"]),
    ],
)
def test_what_has_no_table_is_refused(env, words):
    with pytest.raises(UnsupportedEnvironment) as caught:
        tabular_spec_of(env, "a test")
    for word in ["a test", *words]:
        assert word in str(caught.value)
        assert "\n" not in str(caught.value)


def test_numbers_cross_the_border():
    for number, vector in ((-2, 0), (np.int64(0), 2), (np.array(2), 4)):
        obs = read_obs(NUMBERED, number)
        np.testing.assert_array_equal(obs, np.float32([vector]))
        assert obs.dtype == np.float32
    for action, number in ((0, 7), (2, 9)):
        shaped = shape_action(NUMBERED, np.float32([action]))
        assert shaped == number
        assert NUMBERED.action_space.contains(shaped)


@pytest.mark.parametrize(("number", "error"), [(3, ValueError), (-3, ValueError), (0.5, TypeError), ("a", TypeError)])
def test_what_is_no_state_is_refused(number, error):
    with pytest.raises(error):
        read_obs(NUMBERED, number)


def test_batches_cross_the_border():
    np.testing.assert_array_equal(read_obs_batch(NUMBERED, np.array([[-2, 0], [1, 2]])), [[0], [2], [3], [4]])
    np.testing.assert_array_equal(read_obs_batch(NUMBERED, np.array(1)), [[3]])
    np.testing.assert_array_equal(shape_action_batch(NUMBERED, np.float32([[0], [2]]), (2,)), [7, 9])
    assert shape_action_batch(NUMBERED, np.float32([[1]]), ()) == 8
    boxes = Bare(spaces.Box(-1, 1, (2, 2), np.float64), spaces.Box(-1, 1, (1, 2), np.float32))
    rows = read_obs_batch(boxes, np.arange(8.0).reshape(2, 2, 2))
    np.testing.assert_array_equal(rows, np.arange(8, dtype=np.float32).reshape(2, 4))
    assert rows.dtype == np.float32
    assert shape_action_batch(boxes, np.zeros((3, 2), np.float32), (3,)).shape == (3, 1, 2)
