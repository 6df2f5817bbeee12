"""Humanoid-v4 with 45 observations, as MBPO's runs see it; Gymnasium has options for that from -v5 on only.

Positions (without x and y) and velocities stay; inertias, velocities of the bodies' centres, actuator and
contact forces go (`HumanoidTruncatedObs` of github.com/jannerm/mbpo). Physics, reward and end are Humanoid-v4's.
Importing this module needs MuJoCo; `envs.make` registers the task without that.
"""

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.envs.mujoco.humanoid_v4 import HumanoidEnv

OBS_DIM = 45


class HumanoidTruncatedObs(HumanoidEnv):
    """`mbpo/HumanoidTruncatedObs-v4`; takes the arguments of Humanoid-v4 but the one for x and y."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.observation_space = spaces.Box(-np.inf, np.inf, (OBS_DIM,), np.float64)

    def _get_obs(self) -> np.ndarray:
        obs: np.ndarray = super()._get_obs()[:OBS_DIM]
        return obs
