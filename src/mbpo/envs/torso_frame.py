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

from mbpo.errors import UnsupportedEnvironment

Env = gymnasium.Env[np.ndarray, Any]


def in_torso_frame(obs: np.ndarray, quaternion: int, velocity: int) -> np.ndarray:
    """The observation `[n + 2]` that says in the torso's frame what `obs` `[n]` says in the world's.

    Args:
        obs: What the environment shows, `[n]`.
        quaternion: Where in it the orientation begins: 4 numbers `w, x, y, z`, of any length but 0 (a
            quaternion and its opposite are one orientation, and become the same numbers here).
        velocity: Where the linear velocity begins, after the quaternion: 3 numbers along the world's axes.
            (The angular velocity of MuJoCo's free joints, which follows it, is in the torso's frame as it is.)

    Returns:
        What was before the quaternion; the world's z axis (up) and its x axis (ahead), unit vectors in the
        torso's frame, `[3]` each; what was in between; the velocity in the torso's frame, `[3]`; the rest.
    """
    w, x, y, z = obs[quaternion : quaternion + 4] / np.linalg.norm(obs[quaternion : quaternion + 4])
    ahead = np.array([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)])
    left = np.array([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)])
    up = np.array([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)])
    own_velocity = obs[velocity : velocity + 3] @ np.stack([ahead, left, up])
    before, between, after = obs[:quaternion], obs[quaternion + 4 : velocity], obs[velocity + 3 :]
    return np.concatenate([before, up, ahead, between, own_velocity, after])


class TorsoFrame(gymnasium.ObservationWrapper[np.ndarray, Any, np.ndarray]):
    """An environment of yours with a free body, seen as `in_torso_frame` does.

    `mbpo/AntTorsoFrame-v4` and its like are Gymnasium's tasks seen so. For another:
    `MBPODH(lambda: TorsoFrame(gymnasium.make("MyRobot-v0"), quaternion=1, velocity=20))`.
    """

    def __init__(self, env: Env, quaternion: int, velocity: int) -> None:
        """`quaternion`, `velocity`: where they begin in the observation; see `in_torso_frame`.

        Raises:
            UnsupportedEnvironment: The observation is no vector, or the two do not fit into it one after the other.
        """
        super().__init__(env)
        shape = env.observation_space.shape
        if not isinstance(env.observation_space, spaces.Box) or shape is None or len(shape) != 1:
            raise UnsupportedEnvironment(
                f"TorsoFrame reads a quaternion and a velocity out of an observation that is one vector, not out of "
                f"{env.observation_space}; put gymnasium.wrappers.FlattenObservation around the environment first."
            )
        if not 0 <= quaternion <= velocity - 4 <= shape[0] - 7:
            raise UnsupportedEnvironment(
                f"TorsoFrame was told that a quaternion (4 numbers) begins at {quaternion} and a velocity (3 numbers) "
                f"at {velocity}. Counted from 0, both must fit into the {shape[0]} numbers of the observation, the "
                "quaternion first."
            )
        self._where = quaternion, velocity
        self.observation_space = spaces.Box(-np.inf, np.inf, (shape[0] + 2,), np.float64)

    def observation(self, observation: np.ndarray) -> np.ndarray:
        """See `in_torso_frame`."""
        return in_torso_frame(observation, *self._where)
