"""Episodes of random actions, to learn what an environment does before anything is trained in it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from mbpo.envs.make import AnyEnv
from mbpo.envs.watched import Misbehaviour, WatchedEnv
from mbpo.training.seeding import Stream, episode_seed


@dataclass
class Episode:
    """A random episode; arrays with one row a step."""

    obs: np.ndarray
    """One row more than there are steps."""
    actions: np.ndarray
    rewards: np.ndarray
    terminated: bool
    truncated: bool

    @property
    def length(self) -> int:
        return len(self.rewards)


class Witness(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Notes which dtypes come out, and whether arrays that changed hands are changed afterwards."""

    def __init__(self, env: AnyEnv) -> None:
        super().__init__(env)
        self.dtypes: set[str] = set()
        self.reused = self.wrote_action = False
        self._handed: tuple[Any, Any] | None = None

    def reset(self, **kwargs: Any) -> Any:
        result = self.env.reset(**kwargs)
        self._see(result)
        return result

    def step(self, action: Any) -> Any:
        before = np.array(action)
        result = self.env.step(action)
        self.wrote_action |= not np.array_equal(before, action)
        self._see(result)
        return result

    def _see(self, result: Any) -> None:
        if self._handed is not None:
            array, copy = self._handed
            self.reused |= not np.array_equal(array, copy, equal_nan=array.dtype.kind == "f")
        obs = result[0] if isinstance(result, tuple) and result else None
        self._handed = (obs, obs.copy()) if isinstance(obs, np.ndarray) else None
        if isinstance(obs, np.ndarray):
            self.dtypes.add(str(obs.dtype))


class EpisodeFault(Exception):
    """A misbehaviour, and where it happened."""


def random_episodes(watched: WatchedEnv, steps: int, seed: int) -> list[Episode]:
    """As many random steps, in whole episodes but for the last.

    Raises:
        EpisodeFault: The environment misbehaved.
    """
    episodes: list[Episode] = []
    left = steps
    while left > 0:
        chosen = episode_seed(seed, Stream.TRAINING_EPISODE, len(episodes))
        episodes.append(one_episode(watched, chosen, draws(watched.env, chosen), left, len(episodes)))
        left -= episodes[-1].length
    return episodes


def draws(env: AnyEnv, seed: int) -> Callable[[], np.ndarray]:
    """Uniform actions `[act]`; every tenth lies in a corner of the box, where simulators give way first."""
    rng, space = np.random.default_rng(seed), env.action_space
    if isinstance(space, spaces.Discrete):
        return lambda: np.array([rng.integers(space.n)], np.float32)
    low, high = (np.asarray(side, np.float32).reshape(-1) for side in (space.low, space.high))  # type: ignore[attr-defined]

    def draw() -> np.ndarray:
        share = rng.uniform(size=low.shape)
        share = np.round(share) if rng.uniform() < 0.1 else share
        return (low + share * (high - low)).astype(np.float32)

    return draw


def one_episode(watched: WatchedEnv, seed: int, draw: Callable[[], np.ndarray], most: int, index: int) -> Episode:
    """One episode of at most `most` steps, with an action drawn for each.

    Raises:
        EpisodeFault: The environment misbehaved.
    """
    actions: list[np.ndarray] = []
    rewards: list[float] = []
    terminated = truncated = False
    where = f"at the reset of episode {index}"
    try:
        watched.set_env_step(0)
        obs = [watched.reset(seed)]
        while len(rewards) < most and not (terminated or truncated):
            where = f"at step {len(rewards)} of episode {index}"
            actions.append(draw())
            following, reward, terminated, truncated = watched.step(actions[-1])
            obs.append(following)
            rewards.append(reward)
    except Misbehaviour as error:
        raise EpisodeFault(f"{where}: {error}") from error
    return Episode(np.array(obs), np.array(actions), np.array(rewards), terminated, truncated)
