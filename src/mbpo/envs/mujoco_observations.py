"""MuJoCo tasks that show something else than Gymnasium's: what published runs saw, or what is easier to learn from.

Physics, reward and end are those of Gymnasium's task of the same version.

Importing this module needs MuJoCo; `envs.make` registers the tasks without that.
"""

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.envs.mujoco import MujocoEnv, ant_v4, ant_v5, hopper_v5, humanoid_v5, walker2d_v5
from gymnasium.envs.mujoco.hopper_v4 import HopperEnv
from gymnasium.envs.mujoco.humanoid_v4 import HumanoidEnv
from gymnasium.envs.mujoco.walker2d_v4 import Walker2dEnv

from mbpo.envs.restored_velocities import restored
from mbpo.envs.torso_frame import in_torso_frame
from mbpo.errors import UnsupportedEnvironment

TRUNCATED_HUMANOID = 45
CLIPPED_TO = 10.0
"""Velocities that Hopper and Walker2d show, in m/s and rad/s."""


class HumanoidTruncatedObs(HumanoidEnv):
    """`mbpo/HumanoidTruncatedObs-v4`; takes the arguments of Humanoid-v4 but the one for x and y.

    Positions (without x and y) and velocities stay; inertias, velocities of the bodies' centres, actuator and
    contact forces go, as in MBPO's runs (`HumanoidTruncatedObs` of github.com/jannerm/mbpo). Gymnasium has options
    for that from -v5 on only.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self._exclude_current_positions_from_observation:
            raise UnsupportedEnvironment(
                "the truncated humanoid does not see its x and y; leave exclude_current_positions_from_observation True"
            )
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
    """Before one of Gymnasium's classes: that task, seen in its torso's frame.

    Positions come first, as in `qpos` but mostly without x and y, then velocities, as in `qvel`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        assert self.observation_space.shape is not None
        # Four numbers of a quaternion are six of two axes here.
        self.observation_space = spaces.Box(-np.inf, np.inf, (self.observation_space.shape[0] + 2,), np.float64)

    def _get_obs(self) -> np.ndarray:
        unseen = 2 if self._exclude_current_positions_from_observation else 0  # type: ignore[attr-defined]
        obs: np.ndarray = super()._get_obs()  # type: ignore[misc]
        return in_torso_frame(obs, quaternion=3 - unseen, velocity=self.model.nq - unseen)


class AntTorsoFrame(_InTorsoFrame, ant_v4.AntEnv):
    """`mbpo/AntTorsoFrame-v4`; takes the arguments of Ant-v4. See `torso_frame`."""


class AntTorsoFrameV5(_InTorsoFrame, ant_v5.AntEnv):
    """`mbpo/AntTorsoFrame-v5`; takes the arguments of Ant-v5. See `torso_frame`."""


class HumanoidTorsoFrame(_InTorsoFrame, HumanoidTruncatedObs):
    """`mbpo/HumanoidTorsoFrame-v4`; `mbpo/HumanoidTruncatedObs-v4` but for its frame. See `torso_frame`."""


class HumanoidTorsoFrameV5(_InTorsoFrame, humanoid_v5.HumanoidEnv):
    """`mbpo/HumanoidTorsoFrame-v5`; takes the arguments of Humanoid-v5. See `torso_frame`."""


class _WithRestoredVelocities(MujocoEnv):
    """Before one of Gymnasium's classes: that task, seen with velocities beyond the limit that it clips them to.

    Positions come first, as in `qpos` but mostly without x, then velocities, as in `qvel`.
    """

    LARGEST = np.inf
    """Where restored velocities are cut."""
    _before: tuple[np.ndarray, np.ndarray] | None = None
    """`qpos` before the last step, and its velocities as they were seen; None where there was no step."""

    def set_state(self, qpos: np.ndarray, qvel: np.ndarray) -> None:
        super().set_state(qpos, qvel)
        self._before = None

    def do_simulation(self, ctrl: np.ndarray, n_frames: int) -> None:
        self._before = self.data.qpos.copy(), self._seen_velocities()
        super().do_simulation(ctrl, n_frames)

    def _get_obs(self) -> np.ndarray:
        obs: np.ndarray = super()._get_obs()  # type: ignore[misc]
        velocities = self._seen_velocities()
        obs[-len(velocities) :] = velocities
        return obs

    def _seen_velocities(self) -> np.ndarray:
        """Of all but x, whose velocity comes first and is left as it is: x is mostly not shown."""
        shown = np.clip(self.data.qvel[1:], -CLIPPED_TO, CLIPPED_TO)
        if self._before is None:
            return shown
        positions, velocities = self._before
        moved = (self.data.qpos - positions)[1:]
        return restored(shown, moved, velocities, self.dt, CLIPPED_TO, self.LARGEST)


class Walker2dRestoredObs(_WithRestoredVelocities, Walker2dEnv):
    """`mbpo/Walker2dRestoredObs-v4`; takes the arguments of Walker2d-v4. See `restored_velocities`."""


class Walker2dRestoredObsV5(_WithRestoredVelocities, walker2d_v5.Walker2dEnv):
    """`mbpo/Walker2dRestoredObs-v5`; takes the arguments of Walker2d-v5. See `restored_velocities`."""


class HopperRestoredObs(_WithRestoredVelocities, HopperEnv):
    """`mbpo/HopperRestoredObs-v4`; takes the arguments of Hopper-v4. See `restored_velocities`."""

    # What is told from positions does not say for sure on which side of 100, Hopper's bound, a step ended.
    LARGEST = np.nextafter(100.0, 0.0, dtype=np.float32)


class HopperRestoredObsV5(_WithRestoredVelocities, hopper_v5.HopperEnv):
    """`mbpo/HopperRestoredObs-v5`; takes the arguments of Hopper-v5. See `HopperRestoredObs`."""

    LARGEST = HopperRestoredObs.LARGEST


def _with_velocities(obs: np.ndarray, velocities: np.ndarray) -> np.ndarray:
    """An observation with its last entries as they are."""
    return np.concatenate([obs[: -len(velocities)], velocities])
