"""The real environment, one episode after another: the only place that steps it for training.

Episode `i` is reset with a seed derived from the run's seed and `i`. So a run stopped in the
middle of an episode can return to exactly where it was: reset with the same seed, then repeat
the actions taken so far.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np

from mbpo.envs.watched import Misbehaviour, WatchedEnv
from mbpo.errors import EnvironmentFault
from mbpo.training.seeding import Stream, episode_seed
from mbpo.types import Transition

NO_OBS = np.zeros(0, np.float32)
"""The present observation while no episode is under way."""


@dataclass
class EpisodeLog:
    """Where the current episode stands; what a checkpoint keeps of it."""

    index: int = 0
    total_reward: float = 0.0
    actions: list[np.ndarray] = field(default_factory=list)

    @property
    def length(self) -> int:
        return len(self.actions)


class Episodes:
    """Steps an environment and watches what comes out of it."""

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        name: str,
        seed: int,
        *,
        timeout: float | None = None,
        check_bounds: bool = True,
        renew: Callable[[], gymnasium.Env[Any, Any]] | None = None,
    ) -> None:
        """Args:
        timeout: Seconds that a reset or a step may take.
        check_bounds: Whether observations must keep to the bounds of their space.
        renew: Makes another environment of the same kind, once this one has not come back.
        """
        self._watch = lambda env: WatchedEnv(env, timeout=timeout, check_bounds=check_bounds)
        self._watched = self._watch(env)
        self._renew = renew
        self._name = name
        self._seed = seed
        self.log = EpisodeLog()
        self.obs = NO_OBS

    def start(self, index: int, env_step: int) -> None:
        """Reset for episode `index`, which begins after `env_step` steps of training.

        Raises:
            EnvironmentFault: The reset failed, or what it returned is not what the space declares.
        """
        self.await_start(index)
        if self._watched.stuck and self._renew is not None:
            self._watched = self._watch(self._renew())
        seed = episode_seed(self._seed, Stream.TRAINING_EPISODE, index)
        try:
            self._watched.set_env_step(env_step)
            self.obs = self._watched.reset(seed)
        except Misbehaviour as error:
            raise self._fault(error) from error

    def drop(self) -> None:
        """Give the episode up; the next one is yet to be started."""
        self.await_start(self.log.index + 1)

    def await_start(self, index: int) -> None:
        """No episode is under way; number `index` is the next."""
        self.log = EpisodeLog(index)
        self.obs = NO_OBS

    def stand_at(self, index: int, actions: np.ndarray, obs: np.ndarray) -> None:
        """As if in the middle of episode `index`, for a checkpoint to say so; the environment is not there."""
        self.log = EpisodeLog(index, actions=list(actions))
        self.obs = obs

    def step(self, action: np.ndarray) -> tuple[Transition, bool]:
        """Take one step; the transition, and whether the episode is over (either way).

        Raises:
            EnvironmentFault: The step failed, or what it returned is not what the spaces declare.
        """
        try:
            next_obs, reward, terminated, truncated = self._watched.step(action)
        except Misbehaviour as error:
            raise self._fault(error) from error
        except BaseException:  # Interrupted: the environment may have taken the step, and nobody knows where it led.
            self.drop()
            raise
        transition = Transition(self.obs, action, np.float32(reward), next_obs, np.bool_(terminated))  # type: ignore[arg-type]
        self.obs = next_obs
        self.log.total_reward += reward
        self.log.actions.append(action)
        return transition, terminated or truncated

    def repeat(self, index: int, actions: np.ndarray, expected_obs: np.ndarray, env_step: int) -> bool:
        """Return to the middle of episode `index`, at `env_step`, by repeating its actions.

        Returns:
            Whether the environment came back to `expected_obs` to the last bit. If not, it is
            not a function of its reset seed, and the interrupted episode cannot be continued.
        """
        self.start(index, env_step - len(actions))
        for action in actions:
            _, over = self.step(action)
            if over:
                return False
        return np.array_equal(self.obs, expected_obs)

    def close(self) -> None:
        """Close the environment."""
        self._watched.close()

    def _fault(self, error: Misbehaviour) -> EnvironmentFault:
        return EnvironmentFault(f"{self._name} failed at step {self.log.length} of episode {self.log.index}: {error}.")
