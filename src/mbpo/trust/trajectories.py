"""Fresh recorded trajectories of the run's own policy: what imagined branches are compared with.

An environment need not be one that can be set to a state: a branch starts at a state that the
trajectory passed, repeats the actions recorded from there on, and what truly happened is what was
recorded. Environments are the run's evaluation environments; training ones are not touched.
"""

import contextlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from mbpo.agents.base import Memory
from mbpo.envs.make import AnyEnv, EnvSource, set_env_step
from mbpo.envs.spec import read_obs, shape_action
from mbpo.errors import FOREIGN, EnvironmentFault, in_short
from mbpo.training.seeding import Stream, episode_seed
from mbpo.trust.subject import Behaviour
from mbpo.types import Transition

MAX_STEPS = 1000
"""A trajectory is recorded for at most this many environment steps."""


class Episode(NamedTuple):
    """A recorded trajectory from a reset, to its end or to where recording stopped."""

    obs: Float[np.ndarray, "step+1 obs"]
    action: Float[np.ndarray, "step act"]
    reward: Float[np.ndarray, " step"]
    terminated: bool
    """Whether its last step ended the task."""

    @property
    def length(self) -> int:
        return len(self.reward)


class Branches(NamedTuple):
    """Where branches leave recorded trajectories, and what truly happened from there."""

    episode: Int[np.ndarray, " branch"]
    start: Int[np.ndarray, " branch"]
    """Step of the episode at which the branch leaves."""
    start_obs: Float[np.ndarray, "branch obs"]
    action: Float[np.ndarray, "branch step act"]
    """The recorded actions, zero where `valid` is False."""
    truth: Float[np.ndarray, "branch step out"]
    """The recorded (next_obs, reward)."""
    valid: Bool[np.ndarray, "branch step"]
    """False after the end of the recorded trajectory."""


def episode_limit(source: EnvSource, longest: int) -> int:
    """Environment steps of an episode: the environment's time limit, at most `longest` and `MAX_STEPS`."""
    env = source.evaluation_env()
    limit = env.spec.max_episode_steps if env.spec is not None else None
    env.close()
    return min(limit or longest, longest, MAX_STEPS)


def record_episodes(
    source: EnvSource,
    behave: Behaviour,
    memory: Memory,
    *,
    starts: Sequence[int],
    steps: int,
    seed: int,
    at_step: int,
    key: Key[Array, ""],
) -> list[list[Episode]]:
    """Record `steps` environment steps in each of several environments (slots), side by side.

    Args:
        memory: What `behave` remembers of as many episodes that are about to begin.
        starts: A number for each slot; slots with equal numbers have equal resets.
        seed: With a slot's number and the episode's it decides the resets.
        at_step: Environment steps trained for.
        key: Step `t` uses the key folded from `t`.

    Returns:
        Per slot its episodes; where one ends early the next begins.

    Raises:
        EnvironmentFault: The environment failed.
    """
    envs = [source.evaluation_env() for _ in starts]
    try:
        return _record(envs, behave, memory, steps, starts, (seed, at_step), key)
    except FOREIGN as error:
        raise EnvironmentFault(f"{source.name} failed while trajectories were recorded: {in_short(error)}.") from error
    finally:
        for env in envs:
            with contextlib.suppress(*FOREIGN):  # What was recorded does not depend on it.
                env.close()


def _record(
    envs: list[AnyEnv],
    behave: Behaviour,
    fresh: Memory,
    steps: int,
    starts: Sequence[int],
    when: tuple[int, int],
    key: Key[Array, ""],
) -> list[list[Episode]]:
    seed, at_step = when

    def reset(slot: int) -> np.ndarray:
        set_env_step(envs[slot], at_step)
        chosen = episode_seed(seed, Stream.TRUST, starts[slot], len(done[slot]))
        return read_obs(envs[slot], envs[slot].reset(seed=chosen)[0])

    done: list[list[Episode]] = [[] for _ in envs]
    memory = fresh
    obs = np.stack([reset(slot) for slot in range(len(envs))])
    columns = [([row.copy()], list[np.ndarray](), list[float]()) for row in obs]
    for t in range(steps):
        actions, memory = behave(obs, memory, jax.random.fold_in(key, t))
        for slot, env in enumerate(envs):
            raw, reward, terminated, truncated, _ = env.step(shape_action(env, actions[slot]))
            obs[slot] = read_obs(env, raw)
            seen, taken, rewards = columns[slot]
            seen.append(obs[slot].copy())
            taken.append(actions[slot])
            rewards.append(float(reward))
            if terminated or truncated or t + 1 == steps:
                arrays = [np.asarray(column, np.float32) for column in (seen, taken, rewards)]
                done[slot].append(Episode(arrays[0], arrays[1], arrays[2], bool(terminated)))
                if t + 1 < steps:
                    obs[slot] = reset(slot)
                    columns[slot] = ([obs[slot].copy()], [], [])
                    memory = jax.tree.map(lambda now, new, i=slot: now.at[i].set(new[i]), memory, fresh)
    return done


def as_rows(episodes: list[Episode]) -> Transition:
    """The episodes' transitions one after another, NumPy, `[row, …]`."""
    ends = [np.arange(e.length) == e.length - 1 for e in episodes]
    columns: list[Any] = [
        np.concatenate(column)
        for column in (
            [e.obs[:-1] for e in episodes],
            [e.action for e in episodes],
            [e.reward for e in episodes],
            [e.obs[1:] for e in episodes],
            [end & e.terminated for end, e in zip(ends, episodes, strict=True)],
        )
    ]
    return Transition(*columns)


def cut_branches(episodes: list[Episode], *, every: int, horizon: int) -> Branches:
    """Branches of up to `horizon` steps, leaving each episode every `every` steps from its start."""
    places = [(number, t) for number, e in enumerate(episodes) for t in range(0, e.length, every)]
    width, outputs = episodes[0].action.shape[1], episodes[0].obs.shape[1] + 1
    action = np.zeros((len(places), horizon, width), np.float32)
    truth = np.zeros((len(places), horizon, outputs), np.float32)
    valid = np.zeros((len(places), horizon), bool)
    for row, (number, t) in enumerate(places):
        episode = episodes[number]
        steps = min(horizon, episode.length - t)
        action[row, :steps] = episode.action[t : t + steps]
        truth[row, :steps, :-1] = episode.obs[t + 1 : t + 1 + steps]
        truth[row, :steps, -1] = episode.reward[t : t + steps]
        valid[row, :steps] = True
    return Branches(
        episode=np.array([number for number, _ in places]),
        start=np.array([t for _, t in places]),
        start_obs=np.stack([episodes[number].obs[t] for number, t in places]),
        action=action,
        truth=truth,
        valid=valid,
    )
