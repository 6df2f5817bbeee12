"""A free body's orientation and velocity as the body itself has them.

A robot that is not bolted down is seen, in most environments, by a quaternion and by its velocity along the axes
of the world. How its legs push does not depend on where north is, but a model that sees it so has to learn the
same push for every heading. Here it sees where up and where ahead are, and how fast it goes along its own axes:
the same knowledge, so that a turn about the vertical changes three numbers and not all of them.
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs

from mbpo.envs.spec import vector_space
from mbpo.errors import UnsupportedEnvironment

Env = gymnasium.Env[np.ndarray, Any]


def in_torso_frame(obs: np.ndarray, quaternion: int, velocity: int) -> np.ndarray:
    """The observation `[n + 2]` that says in the torso's frame what `obs` `[n]` says in the world's.

    Args:
        obs: What the environment shows, `[n]`.
        quaternion: Where in it the orientation begins: 4 numbers `w, x, y, z`, in this order, of any length
            but 0 (a quaternion and its opposite are one orientation, and become the same numbers here).
        velocity: Where the linear velocity begins, after the quaternion: 3 numbers along the world's axes.
            (The angular velocity of MuJoCo's free joints, which follows it, is in the torso's frame as it is.)

    Returns:
        What was before the quaternion; the world's z axis (up) and its x axis (ahead), unit vectors in the
        torso's frame, `[3]` each; what was in between; the velocity in the torso's frame, `[3]`; the rest.

    Raises:
        ValueError: The quaternion is four zeros.
    """
    length = np.linalg.norm(obs[quaternion : quaternion + 4])
    if length == 0:
        raise ValueError(
            f"the four numbers of the observation from {quaternion} on are all 0, which is no orientation; is that "
            "where the quaternion begins?"
        )
    w, x, y, z = obs[quaternion : quaternion + 4] / length
    ahead = np.array([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)])
    left = np.array([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)])
    up = np.array([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)])
    own_velocity = obs[velocity : velocity + 3] @ np.stack([ahead, left, up])
    before, between, after = obs[:quaternion], obs[quaternion + 4 : velocity], obs[velocity + 3 :]
    return np.concatenate([before, up, ahead, between, own_velocity, after])


class TorsoFrame(gymnasium.ObservationWrapper[np.ndarray, Any, np.ndarray], RecordConstructorArgs):
    """An environment of yours with a free body, seen as `in_torso_frame` does.

    `mbpo/AntTorsoFrame-v4` and its like are Gymnasium's tasks seen so. For another:
    `MBPODH(lambda: TorsoFrame(gymnasium.make("MyRobot-v0"), quaternion=1, velocity=20))`.
    """

    def __init__(self, env: Env, quaternion: int, velocity: int) -> None:
        """`quaternion`, `velocity`: where they begin in the observation; see `in_torso_frame`.

        Raises:
            UnsupportedEnvironment: The observation is no vector, or the two do not fit into it one after the other.
        """
        RecordConstructorArgs.__init__(self, quaternion=quaternion, velocity=velocity)
        super().__init__(env)
        space = vector_space(env, "TorsoFrame reads a quaternion and a velocity")
        whole = isinstance(quaternion, int | np.integer) and isinstance(velocity, int | np.integer)
        if not whole or not 0 <= quaternion <= velocity - 4 <= space.shape[0] - 7:
            raise UnsupportedEnvironment(
                f"TorsoFrame was told that a quaternion (4 numbers) begins at {quaternion!r} and a velocity (3 "
                f"numbers) at {velocity!r}. Counted from 0, both must fit into the {space.shape[0]} numbers of the "
                "observation, the quaternion first."
            )
        self._where = quaternion, velocity
        self.observation_space = _seen_from_the_torso(space, quaternion, velocity)

    def observation(self, observation: np.ndarray) -> np.ndarray:
        """See `in_torso_frame`; as many bits a number as the environment's own."""
        return in_torso_frame(observation, *self._where).astype(self.observation_space.dtype)


def _seen_from_the_torso(space: spaces.Box, quaternion: int, velocity: int) -> spaces.Box:
    """The space's bounds where numbers stay as they are; what is seen along other axes has none."""
    bounds = []
    for bound, free in ((space.low, -np.inf), (space.high, np.inf)):
        before, between, after = bound[:quaternion], bound[quaternion + 4 : velocity], bound[velocity + 3 :]
        bounds.append(np.concatenate([before, np.full(6, free), between, np.full(3, free), after]))
    low, high = bounds
    return spaces.Box(low, high, dtype=np.float32 if space.dtype == np.float32 else np.float64)
