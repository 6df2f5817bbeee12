"""MuJoCo tasks that show something else than Gymnasium's: what published runs saw, or what is easier to learn from.

Physics, reward and end are those of Gymnasium's task of the same version.

Importing this module needs MuJoCo; `envs.make` registers the tasks without that.
"""

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.envs.mujoco import MujocoEnv, ant_v4, ant_v5, humanoid_v5
from gymnasium.envs.mujoco.hopper_v4 import HopperEnv
from gymnasium.envs.mujoco.humanoid_v4 import HumanoidEnv
from gymnasium.envs.mujoco.walker2d_v4 import Walker2dEnv

from mbpo.envs.torso_frame import in_torso_frame

TRUNCATED_HUMANOID = 45
QUATERNION = 1
"""Where the torso's orientation begins in what Ant and Humanoid show: after its height."""
ANT_VELOCITY, HUMANOID_VELOCITY = 13, 22
"""Where its velocity begins: after 8 joints and 17."""


class HumanoidTruncatedObs(HumanoidEnv):
    """`mbpo/HumanoidTruncatedObs-v4`; takes the arguments of Humanoid-v4 but the one for x and y.

    Positions (without x and y) and velocities stay; inertias, velocities of the bodies' centres, actuator and
    contact forces go, as in MBPO's runs (`HumanoidTruncatedObs` of github.com/jannerm/mbpo). Gymnasium has options
    for that from -v5 on only.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.observation_space = spaces.Box(-np.inf, np.inf, (TRUNCATED_HUMANOID,), np.float64)

    def _get_obs(self) -> np.ndarray:
        obs: np.ndarray = super()._get_obs()[:TRUNCATED_HUMANOID]
        return obs


class HopperUnclippedObs(HopperEnv):
    """`mbpo/HopperUnclippedObs-v4`; takes the arguments of Hopper-v4.

    Gymnasium clips the velocities that are seen to ±10, which hides a part of the state from a model. The
    environments behind the published curves of github.com/4kubo/erl_lib (MBHopper, MBWalker2d) do not.
    """

    def _get_obs(self) -> np.ndarray:
        return _with_velocities(super()._get_obs(), self.data.qvel)


class Walker2dUnclippedObs(Walker2dEnv):
    """`mbpo/Walker2dUnclippedObs-v4`; takes the arguments of Walker2d-v4. See `HopperUnclippedObs`."""

    def _get_obs(self) -> np.ndarray:
        return _with_velocities(super()._get_obs(), self.data.qvel)


class _InTorsoFrame(MujocoEnv):
    """Before one of Gymnasium's classes: that task, seen in its torso's frame."""

    velocity: int
    """Where the torso's velocity begins in what Gymnasium's task shows."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        assert self.observation_space.shape is not None
        # Four numbers of a quaternion are six of two axes here.
        self.observation_space = spaces.Box(-np.inf, np.inf, (self.observation_space.shape[0] + 2,), np.float64)

    def _get_obs(self) -> np.ndarray:
        return in_torso_frame(super()._get_obs(), QUATERNION, self.velocity)  # type: ignore[misc]


class AntTorsoFrame(_InTorsoFrame, ant_v4.AntEnv):
    """`mbpo/AntTorsoFrame-v4`; takes the arguments of Ant-v4 but the one for x and y. See `torso_frame`."""

    velocity = ANT_VELOCITY


class AntTorsoFrameV5(_InTorsoFrame, ant_v5.AntEnv):
    """`mbpo/AntTorsoFrame-v5`; takes the arguments of Ant-v5 but the one for x and y. See `torso_frame`."""

    velocity = ANT_VELOCITY


class HumanoidTorsoFrame(_InTorsoFrame, HumanoidTruncatedObs):
    """`mbpo/HumanoidTorsoFrame-v4`; `mbpo/HumanoidTruncatedObs-v4` but for its frame. See `torso_frame`."""

    velocity = HUMANOID_VELOCITY


class HumanoidTorsoFrameV5(_InTorsoFrame, humanoid_v5.HumanoidEnv):
    """`mbpo/HumanoidTorsoFrame-v5`; takes the arguments of Humanoid-v5 but the one for x and y. See `torso_frame`."""

    velocity = HUMANOID_VELOCITY


def _with_velocities(obs: np.ndarray, velocities: np.ndarray) -> np.ndarray:
    """An observation with its last entries as they are."""
    return np.concatenate([obs[: -len(velocities)], velocities])
