"""In the torso's frame a turn about the vertical changes where ahead is, and nothing else."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

from mbpo.envs.torso_frame import TorsoFrame, in_torso_frame
from mbpo.errors import UnsupportedEnvironment

QUATERNION, VELOCITY = 1, 7
"""Of an observation of 12 numbers: height, orientation, two joints, velocity, two joints' velocities."""


def _seen(orientation, velocity, joints=(0.3, -0.2)):
    return np.array([0.6, *orientation, *joints, *velocity, 1.5, -2.5])


def _torso(obs):
    return in_torso_frame(obs, QUATERNION, VELOCITY)


def _times(a, b):
    """The orientation b, turned by a."""
    (w, x, y, z), (p, q, r, s) = a, b
    return np.array(
        [
            w * p - x * q - y * r - z * s,
            w * q + x * p + y * s - z * r,
            w * r - x * s + y * p + z * q,
            w * s + x * r - y * q + z * p,
        ]
    )


numbers = st.floats(-5, 5)
velocities = st.tuples(numbers, numbers, numbers)
orientations = st.tuples(numbers, numbers, numbers, numbers).filter(lambda q: np.linalg.norm(q) > 0.1)


def test_upright_and_facing_x_it_sees_the_world_as_it_is():
    assert _torso(_seen((1, 0, 0, 0), (3, 2, 1))).tolist() == [0.6, 0, 0, 1, 1, 0, 0, 0.3, -0.2, 3, 2, 1, 1.5, -2.5]


def test_turned_to_the_left_it_sees_ahead_on_its_right():
    left = (np.sqrt(0.5), 0, 0, np.sqrt(0.5))  # Its own x axis is the world's y axis.
    seen = _torso(_seen(left, (3, 2, 1)))
    np.testing.assert_allclose(seen[1:7], [0, 0, 1, 0, -1, 0], atol=1e-12)
    np.testing.assert_allclose(seen[9:12], [2, -3, 1], atol=1e-12)


def test_on_its_back_it_sees_up_below():
    np.testing.assert_allclose(_torso(_seen((0, 1, 0, 0), (0, 0, 1)))[[3, 11]], [-1, -1], atol=1e-12)


@given(orientations, velocities)
def test_nothing_is_lost(orientation, velocity):
    seen = _torso(_seen(orientation, velocity))
    up, ahead = seen[1:4], seen[4:7]
    np.testing.assert_allclose([up @ up, ahead @ ahead, up @ ahead], [1, 1, 0], atol=1e-9)
    np.testing.assert_allclose(np.stack([ahead, np.cross(up, ahead), up]) @ seen[9:12], velocity, atol=1e-9)
    assert seen[[0, 7, 8, 12, 13]].tolist() == [0.6, 0.3, -0.2, 1.5, -2.5]


@given(orientations, velocities, st.floats(-np.pi, np.pi))
def test_a_turn_about_the_vertical_changes_only_where_ahead_is(orientation, velocity, turn):
    cos, sin = np.cos(turn), np.sin(turn)
    turned = (cos * velocity[0] - sin * velocity[1], sin * velocity[0] + cos * velocity[1], velocity[2])
    yaw = (np.cos(turn / 2), 0.0, 0.0, np.sin(turn / 2))
    before, after = _torso(_seen(orientation, velocity)), _torso(_seen(_times(yaw, orientation), turned))
    others = [i for i in range(len(before)) if i not in (4, 5, 6)]
    np.testing.assert_allclose(after[others], before[others], atol=1e-9)


@given(orientations, velocities, st.floats(0.1, 10))
def test_a_quaternion_counts_by_its_direction_and_not_by_its_sign(orientation, velocity, length):
    other = -length * np.array(orientation)
    np.testing.assert_allclose(_torso(_seen(other, velocity)), _torso(_seen(orientation, velocity)), atol=1e-9)


def test_four_zeros_are_no_orientation():
    with pytest.raises(ValueError, match="four numbers of the observation from 1 on are all 0"):
        _torso(_seen((0, 0, 0, 0), (1, 2, 3)))


class _Shows(gymnasium.Env):
    """Shows what it is told to, once."""

    action_space = spaces.Box(-1, 1, (1,))

    def __init__(self, space, obs=None):
        self.observation_space = space
        self.obs = obs

    def reset(self, *, seed=None, options=None):
        return self.obs, {}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_that_stay_keep_their_bounds_and_all_keep_their_size(dtype):
    low, high = -np.arange(1.0, 13.0).astype(dtype), np.arange(2.0, 14.0).astype(dtype)
    obs = _seen((1, 0, 0, 0), (3, 2, 1)).astype(dtype)
    env = TorsoFrame(_Shows(spaces.Box(low, high, dtype=dtype), obs), QUATERNION, VELOCITY)
    space = env.observation_space
    assert space.dtype == dtype
    assert space.low.tolist() == [-1, *[-np.inf] * 6, -6, -7, *[-np.inf] * 3, -11, -12]
    assert space.high.tolist() == [2, *[np.inf] * 6, 7, 8, *[np.inf] * 3, 12, 13]
    seen = env.reset()[0]
    assert seen.dtype == dtype
    assert seen in space


def test_a_wrapped_environment_is_made_again_from_its_spec():
    pytest.importorskip("mujoco")
    env = TorsoFrame(gymnasium.make("Ant-v5", healthy_reward=3.0), quaternion=1, velocity=13)
    again = gymnasium.make(env.spec)
    assert again.reset(seed=2)[0].tolist() == env.reset(seed=2)[0].tolist()
    still = np.zeros(8)
    assert again.step(still)[1] == env.step(still)[1] > 2


@pytest.mark.parametrize(("quaternion", "velocity"), [(-1, 7), (1, 4), (7, 1), (6, 10), (1.0, 7), ("1", 7), (1, None)])
def test_what_does_not_fit_is_refused(quaternion, velocity):
    env = _Shows(spaces.Box(-np.inf, np.inf, (12,)))
    TorsoFrame(env, quaternion=5, velocity=9)  # Fits, to the last number.
    with pytest.raises(UnsupportedEnvironment, match="both must fit into the 12 numbers"):
        TorsoFrame(env, quaternion, velocity)


@pytest.mark.parametrize(
    "space", [spaces.Box(-1, 1, (4, 4)), spaces.Discrete(12), spaces.Dict({"a": spaces.Box(-1, 1, (12,))})]
)
def test_what_is_no_vector_is_refused(space):
    with pytest.raises(UnsupportedEnvironment, match="FlattenObservation"):
        TorsoFrame(_Shows(space), 1, 7)
