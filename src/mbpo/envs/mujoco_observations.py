"""MuJoCo tasks that show what published runs saw; physics, reward and end are those of Gymnasium's -v4.

Importing this module needs MuJoCo; `envs.make` registers the tasks without that.
"""

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.envs.mujoco.hopper_v4 import HopperEnv
from gymnasium.envs.mujoco.humanoid_v4 import HumanoidEnv
from gymnasium.envs.mujoco.walker2d_v4 import Walker2dEnv

TRUNCATED_HUMANOID = 45


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


def _with_velocities(obs: np.ndarray, velocities: np.ndarray) -> np.ndarray:
    """An observation with its last entries as they are."""
    return np.concatenate([obs[: -len(velocities)], velocities])
