"""How good a policy is: whole episodes with the mean action, the same way everywhere.

Several environments are stepped side by side so that the policy is called on a batch. Which
seed an episode is reset with does not depend on how many run at a time.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import numpy as np

from mbpo.agents.base import Memory
from mbpo.envs.make import EnvSource
from mbpo.envs.watched import Misbehaviour, WatchedEnv
from mbpo.errors import EnvironmentFault
from mbpo.training.seeding import Stream, episode_seed

MAX_PARALLEL = 20
"""Environments stepped side by side, at most."""

BatchPolicy = Callable[[np.ndarray, Memory], tuple[np.ndarray, Memory]]
"""Observations `[batch, obs]` and what is remembered, to actions `[batch, act]` and the same."""


@dataclass(frozen=True)
class Evaluation:
    """Undiscounted returns of whole episodes."""

    returns: np.ndarray
    lengths: np.ndarray
    cut: int = 0
    """Episodes that had not ended after the longest time allowed; their returns stop there."""

    @property
    def mean(self) -> float:
        return float(self.returns.mean())

    @property
    def std(self) -> float:
        """Sample standard deviation over episodes; 0 for a single one."""
        return float(self.returns.std(ddof=1)) if self.returns.size > 1 else 0.0

    @property
    def standard_error(self) -> float:
        return self.std / float(np.sqrt(self.returns.size))


class Evaluator:
    """Keeps its environments between evaluations."""

    def __init__(
        self,
        source: EnvSource,
        seed: int,
        max_steps: int,
        *,
        timeout: float | None = None,
        check_bounds: bool = True,
    ) -> None:
        """Args:
        max_steps: Where an episode that has not ended is cut.
        timeout: Seconds that a reset or a step may take.
        check_bounds: Whether observations must keep to the bounds of their space.
        """
        self._watch = lambda env: WatchedEnv(env, timeout=timeout, check_bounds=check_bounds)
        self._source = source
        self._seed = seed
        self._max_steps = max_steps
        self._envs: list[WatchedEnv] = []

    def run(
        self, policy: BatchPolicy, new_memory: Callable[[int], Memory], episodes: int, *, at_step: int
    ) -> Evaluation:
        """Evaluate for `episodes` episodes.

        Args:
            new_memory: What a batch of episodes of this size begins with.
            at_step: Environment steps trained for. With the seed it decides the resets, so
                evaluations at different steps see different starts, and a rerun the same ones.

        Raises:
            EnvironmentFault: The environment failed during the evaluation.
        """
        width = min(episodes, MAX_PARALLEL)
        try:
            while len(self._envs) < width:
                self._envs.append(self._watch(self._source.evaluation_env()))
            return self._run(policy, new_memory(width), episodes, width, at_step)
        except BaseException as error:
            self.close()  # Whatever state its environments are in: an interrupted call may still be under way.
            if not isinstance(error, Misbehaviour):
                raise
            raise EnvironmentFault(
                f"{self._source.name} failed during an evaluation at environment step {at_step}: {error}."
            ) from error

    def _run(self, policy: BatchPolicy, fresh: Memory, episodes: int, width: int, at_step: int) -> Evaluation:
        returns, lengths = np.zeros(episodes), np.zeros(episodes, int)
        current = list(range(width))
        obs = np.stack([self._reset(slot, episode, at_step) for slot, episode in enumerate(current)])
        waiting, cut = width, 0
        active, memory = set(range(width)), fresh
        while active:
            actions, memory = policy(obs, memory)
            for slot in sorted(active):
                env, episode = self._envs[slot], current[slot]
                obs[slot], reward, terminated, truncated = env.step(actions[slot])
                returns[episode] += reward
                lengths[episode] += 1
                over = terminated or truncated
                if not over and lengths[episode] >= self._max_steps:
                    over, cut = True, cut + 1
                if over:
                    if waiting < episodes:
                        current[slot], waiting = waiting, waiting + 1
                        obs[slot] = self._reset(slot, current[slot], at_step)
                        memory = jax.tree.map(lambda now, new, i=slot: now.at[i].set(new[i]), memory, fresh)
                    else:
                        active.remove(slot)
        return Evaluation(returns, lengths, cut)

    def _reset(self, slot: int, episode: int, at_step: int) -> np.ndarray:
        seed = episode_seed(self._seed, Stream.EVALUATION_EPISODE, at_step, episode)
        self._envs[slot].set_env_step(at_step)
        return self._envs[slot].reset(seed)

    def close(self) -> None:
        while self._envs:
            self._envs.pop().close()
