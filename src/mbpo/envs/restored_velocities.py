"""Velocities beyond what their sensors can show, told from how far the positions moved.

Where a sensor of velocity saturates, or an environment clips what it shows, a part of the state is hidden: two
states that look the same move on differently, and no model can know which one it sees. But positions are still
there. How far one moved in the last step, over the step's length, is its mean velocity then. If that changed at an
even rate, it is half-way between those that the step began and ended with (the trapezoidal rule), and the first
of these is known. Nothing is used that was not shown, the steps before included.
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs

from mbpo.envs.spec import vector_space
from mbpo.errors import UnsupportedEnvironment

Env = gymnasium.Env[np.ndarray, Any]


def restored(
    shown: np.ndarray,
    moved: np.ndarray,
    before: np.ndarray,
    seconds: float,
    limit: float,
    largest: float = np.inf,
) -> np.ndarray:
    """Velocities `[n]`: as shown below the limit; at it 2 · moved / seconds − before, if that is beyond.

    Args:
        shown: Velocities as shown, `[n]`, clipped to ±limit.
        moved: How far each position moved in the last step, `[n]`, in the order of the velocities.
        before: Velocities that the step began with, `[n]`: what this told of them then, or what was shown.
        seconds: Length of the step, > 0.
        limit: Where velocities are clipped, > 0.
        largest: Where these are cut again, ≥ limit.
    """
    limit = shown.dtype.type(limit)  # As the numbers that were clipped to it have it.
    ended_with = np.sign(shown) * (2 * moved / seconds - before)
    return np.where(np.abs(shown) < limit, shown, np.copysign(np.clip(ended_with, limit, largest), shown))


class RestoredVelocities(gymnasium.Wrapper[np.ndarray, Any, np.ndarray, Any], RecordConstructorArgs):
    """An environment of yours that shows positions and clipped velocities, seen with `restored` ones.

    `mbpo/Walker2dRestoredObs-v4` and its like are Gymnasium's tasks seen so. For another, whose sensors stop at 10:
    `MBPODH(lambda: RestoredVelocities(gymnasium.make("MyRobot-v0"), 2, 9, count=7, limit=10, seconds=0.02))`
    (with `termination_fn=` where the rule is known, which is not looked up behind a wrapper). The first
    observation of an episode, before which nothing has moved, is shown as it is.
    """

    def __init__(self, env: Env, position: int, velocity: int, count: int, limit: float, seconds: float) -> None:
        """`count` positions from `position` on in the observation and as many velocities from `velocity` on, in
        the same order and in units of these a second; `limit`, `seconds`: see `restored`.

        Raises:
            UnsupportedEnvironment: The observation is no vector, they do not fit into it, or a number is not above 0.
        """
        RecordConstructorArgs.__init__(
            self, position=position, velocity=velocity, count=count, limit=limit, seconds=seconds
        )
        super().__init__(env)
        space = vector_space(env, "RestoredVelocities reads positions and velocities")
        if not np.issubdtype(space.dtype, np.floating):
            raise UnsupportedEnvironment(f"RestoredVelocities restores floating-point numbers, not those of {space}.")
        size = space.shape[0]
        whole = all(isinstance(number, int | np.integer) for number in (position, velocity, count))
        if not whole or count < 1 or not all(0 <= first <= size - count for first in (position, velocity)):
            raise UnsupportedEnvironment(
                f"RestoredVelocities was told that {count!r} positions begin at {position!r} and as many velocities at "
                f"{velocity!r}. Counted from 0, both must fit into the {size} numbers of the observation."
            )
        if not (np.isfinite(limit) and limit > 0 and np.isfinite(seconds) and seconds > 0):
            raise UnsupportedEnvironment(
                f"RestoredVelocities needs the limit that velocities are clipped to and the seconds of a step, both "
                f"above 0; it was given {limit!r} and {seconds!r}."
            )
        self._positions = slice(position, position + count)
        self._velocities = slice(velocity, velocity + count)
        self._limit, self._seconds = limit, seconds
        self._before = np.empty(0), np.empty(0)
        low, high = space.low.copy(), space.high.copy()
        low[self._velocities], high[self._velocities] = -np.inf, np.inf
        self.observation_space = spaces.Box(low, high, dtype=space.dtype.type)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """As the environment's own; nothing is restored yet."""
        obs, info = self.env.reset(seed=seed, options=options)
        self._before = obs[self._positions].copy(), obs[self._velocities].copy()
        return obs, info

    def step(self, action: Any) -> tuple[np.ndarray, Any, bool, bool, dict[str, Any]]:
        """As the environment's own, with `restored` velocities."""
        obs, reward, terminated, truncated, info = self.env.step(action)
        positions, velocities = self._before
        moved, seen = obs[self._positions] - positions, obs.copy()
        seen[self._velocities] = restored(obs[self._velocities], moved, velocities, self._seconds, self._limit)
        self._before = seen[self._positions].copy(), seen[self._velocities].copy()
        return seen, reward, terminated, truncated, info
