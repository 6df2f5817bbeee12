"""The real environment, one episode after another: the only place that steps it for training.

Episode `i` is reset with a seed derived from the run's seed and `i`. So a run stopped in the
middle of an episode can return to exactly where it was: reset with the same seed, then repeat
the actions taken so far.
"""

from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np

from mbpo.envs.make import set_env_step
from mbpo.envs.spec import read_obs, shape_action
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

    def __init__(self, env: gymnasium.Env[Any, Any], name: str, seed: int) -> None:
        self._env = env
        self._name = name
        self._seed = seed
        self._obs_dim = int(np.prod(env.observation_space.shape or ()))
        self.log = EpisodeLog()
        self.obs = NO_OBS

    def start(self, index: int, env_step: int) -> None:
        """Reset for episode `index`, which begins after `env_step` steps of training."""
        self.log = EpisodeLog(index)
        seed = episode_seed(self._seed, Stream.TRAINING_EPISODE, index)
        set_env_step(self._env, env_step)
        try:
            obs, _ = self._env.reset(seed=seed)
        except Exception as error:
            raise self._fault(f"its reset(seed={seed}) raised {type(error).__name__}: {error}") from error
        self.obs = self._checked_obs(obs)

    def drop(self) -> None:
        """Give the episode up; the next one is yet to be started."""
        self.log = EpisodeLog(self.log.index + 1)
        self.obs = NO_OBS

    def step(self, action: np.ndarray) -> tuple[Transition, bool]:
        """Take one step; the transition, and whether the episode is over (either way).

        Raises:
            EnvironmentFault: The environment raised, or returned something not finite.
        """
        try:
            obs, reward, terminated, truncated, _ = self._env.step(shape_action(self._env, action))
        except Exception as error:
            raise self._fault(f"its step raised {type(error).__name__}: {error}") from error
        next_obs = self._checked_obs(obs)
        if not _is_finite(reward):
            raise self._fault(f"it returned the reward {reward!r}")
        transition = Transition(self.obs, action, np.float32(reward), next_obs, np.bool_(terminated))  # type: ignore[arg-type]
        self.obs = next_obs
        self.log.total_reward += float(reward)
        self.log.actions.append(action)
        return transition, bool(terminated or truncated)

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

    def _checked_obs(self, obs: Any) -> np.ndarray:
        try:
            flat = read_obs(self._env, obs)
        except (TypeError, ValueError) as error:
            raise self._fault(f"it returned an observation that cannot be read ({error})") from error
        if flat.size != self._obs_dim:
            raise self._fault(f"it returned an observation of {flat.size} numbers instead of {self._obs_dim}")
        bad = np.flatnonzero(~np.isfinite(flat))
        if bad.size:
            raise self._fault(f"it returned {flat[bad[0]]} in dimension {bad[0]} of the observation")
        return flat

    def _fault(self, what: str) -> EnvironmentFault:
        return EnvironmentFault(f"{self._name} failed at step {self.log.length} of episode {self.log.index}: {what}.")


def _is_finite(reward: Any) -> bool:
    try:
        return bool(np.isfinite(float(reward)))
    except (TypeError, ValueError):
        return False
