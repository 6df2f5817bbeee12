"""Holding an environment against what training will assume of it, before anything is trained.

Random episodes are taken in it; each finding is a sentence. An `error` is something that training
would stop at or learn wrongly from, a `warning` something that makes it harder or less exact.
"""

import contextlib
import importlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Literal, TypeVar

import jax.numpy as jnp
import numpy as np

from mbpo.envs.make import AnyEnv, EnvSource
from mbpo.envs.tasks import resolve_termination
from mbpo.envs.watched import Misbehaviour, WatchedEnv, within
from mbpo.errors import FOREIGN, UnsupportedEnvironment
from mbpo.training.config import ALGOS, TABULAR_ALGOS
from mbpo.training.random_episodes import Episode, EpisodeFault, Witness, one_episode, random_episodes
from mbpo.training.seeding import Stream, episode_seed
from mbpo.training.spaces import spec_for

Level = Literal["ok", "warning", "error"]
T = TypeVar("T")
REPEATED_STEPS = 100
"""Steps that are taken again to see whether the environment is a function of its seed."""
LARGE, SMALL = 1e3, 1e-3


@dataclass(frozen=True)
class Finding:
    """What was found of one thing that training assumes."""

    level: Level
    subject: str
    sentence: str


def source_of(
    name: str, timeout: float | None = None, env_kwargs: Mapping[str, Any] = MappingProxyType({})
) -> EnvSource:
    """The environment that `ENV_ID`, `module:Env-v0` or `module:Class` names.

    Args:
        env_kwargs: Its arguments, as training would have them.
        timeout: Seconds that importing and making it may take.

    Raises:
        UnsupportedEnvironment: There is none, or it cannot be made.
    """
    return _in_time(name, lambda: _source_of(name, env_kwargs), timeout)


def _source_of(name: str, env_kwargs: Mapping[str, Any]) -> EnvSource:
    module, _, attribute = name.partition(":")
    if attribute.isidentifier():
        try:
            made = getattr(importlib.import_module(module), attribute, None)
        except FOREIGN:
            made = None  # `EnvSource.of` says what is wrong with the module.
        if callable(made):
            return EnvSource.of(partial(made, **env_kwargs) if env_kwargs else made)
    return EnvSource.of(name, env_kwargs)


def check_env(
    source: EnvSource, *, steps: int = 1000, seed: int = 0, termination: str = "auto", timeout: float | None = 60.0
) -> list[Finding]:
    """Take `steps` random steps in an environment, and say what was found.

    Args:
        termination: The termination rule to hold against real transitions, as `mbpo train` takes it.
        timeout: Seconds that making it, a reset, a step or closing it may take.

    Raises:
        UnsupportedEnvironment: It cannot be made.
    """
    env = Witness(_in_time(source.name, source.training_env, timeout))
    able, findings = _spaces(env)
    if not able:
        return findings
    watched = WatchedEnv(env, timeout=timeout)
    started = time.perf_counter()
    try:
        episodes = random_episodes(watched, steps, seed)
    except EpisodeFault as fault:
        return [*findings, Finding("error", "contract", f"{source.name} failed {fault}.")]
    taken = sum(episode.length for episode in episodes)
    pace = (time.perf_counter() - started) / taken
    findings.append(Finding("ok", "contract", f"{taken} random steps kept to the declared spaces, {pace:.1e} s each."))
    findings += _arrays(env)
    findings += _determinism(source, watched, episodes, seed, timeout)
    findings += _endings(env, episodes, taken)
    findings += _scales(episodes)
    if any(algo not in TABULAR_ALGOS for algo in able):
        findings += _termination_rule(env.env, episodes, termination)
    return [*findings, *_closing(watched)]


def _in_time(name: str, make: Callable[[], T], timeout: float | None) -> T:
    try:
        return within(timeout, make)
    except TimeoutError as error:
        raise UnsupportedEnvironment(
            f"Making {name}, or closing it again, took longer than {timeout:g} seconds (--timeout)."
        ) from error


def _closing(watched: WatchedEnv) -> list[Finding]:
    try:
        watched.shut()
    except Misbehaviour as error:
        level: Level = "error" if watched.stuck else "warning"
        return [Finding(level, "closing", f"The environment is not closed well: {error}.")]
    return []


def _spaces(env: AnyEnv) -> tuple[list[str], list[Finding]]:
    able, reason = [], ""
    for algo in ALGOS:
        try:
            spec_for(env, algo)
            able.append(algo)
        except UnsupportedEnvironment as error:
            reason = reason or str(error)
    if not able:
        return [], [Finding("error", "spaces", reason)]
    shown = f"observations {env.observation_space}, actions {env.action_space}"
    return able, [Finding("ok", "spaces", f"Able to learn in it: {', '.join(able)} ({' '.join(shown.split())}).")]


def _arrays(env: Witness) -> list[Finding]:
    found = []
    declared = str(env.observation_space.dtype)
    if env.dtypes - {declared}:
        sentence = f"Observations come as {', '.join(sorted(env.dtypes))}, and the space declares {declared}"
        found.append(Finding("warning", "dtypes", f"{sentence}; they are learned from as float32 in any case."))
    else:
        found.append(Finding("ok", "dtypes", f"Observations come as declared, {declared}."))
    if env.reused:
        sentence = "An observation changes after it was handed out: the environment uses its array again"
        found.append(Finding("warning", "arrays", f"{sentence}. Training copies at once, and is not harmed."))
    if env.wrote_action:
        sentence = "The environment writes into the action that it is given"
        found.append(Finding("warning", "arrays", f"{sentence}. Training hands it a copy, and is not harmed."))
    return found


def _determinism(
    source: EnvSource, watched: WatchedEnv, episodes: list[Episode], seed: int, timeout: float | None
) -> list[Finding]:
    """The same seed and actions again, in the same environment and in another of its kind."""
    first = episodes[0]
    fresh = WatchedEnv(_in_time(source.name, source.evaluation_env, timeout), timeout=timeout)
    consequence = "so a run interrupted within an episode goes on with the next one and is not bit for bit the same"
    chosen = episode_seed(seed, Stream.TRAINING_EPISODE, 0)
    for again, where in ((watched, "reset with the same seed"), (fresh, "made anew and reset with the same seed")):
        most = min(first.length, REPEATED_STEPS)
        actions = iter(first.actions)
        try:
            second = one_episode(again, chosen, lambda: next(actions), most, 0)  # noqa: B023
        except EpisodeFault as fault:
            return [Finding("error", "determinism", f"{source.name}, {where}, failed {fault}.")]
        step = first_difference(first, second)
        if step is not None:
            sentence = f"The environment, {where} and given the same actions, differs from step {step} on"
            return [Finding("warning", "determinism", f"{sentence}, {consequence}.")]
    with contextlib.suppress(Misbehaviour):  # Told of the first one.
        fresh.shut()
    found = [Finding("ok", "determinism", "The same seed and actions lead to the same bits, in a fresh one too.")]
    starts = {episode.obs[0].tobytes() for episode in episodes}
    if len(episodes) > 1 and len(starts) == 1:
        sentence = f"All {len(episodes)} episodes begin in the same state, whatever they are seeded with"
        found.append(Finding("warning", "seeding", f"{sentence}; evaluations are then {len(episodes)} times the same."))
    return found


def first_difference(first: Episode, second: Episode) -> int | None:
    """The step at which an episode and its repetition, of no more steps, differ; None: at none.

    Step 0 is the reset. Observations, rewards and whether the step is the last are compared.
    """
    taken = second.length
    obs = (second.obs != first.obs[: taken + 1]).any(axis=1)
    rewards = np.r_[False, second.rewards != first.rewards[:taken]]
    over = first.terminated and first.length == taken, first.truncated and first.length == taken
    ends = np.arange(taken + 1) == taken if (second.terminated, second.truncated) != over else np.zeros(taken + 1, bool)
    differs = obs | rewards | ends
    return int(np.argmax(differs)) if differs.any() else None


def _endings(env: AnyEnv, episodes: list[Episode], steps: int) -> list[Finding]:
    over = [episode for episode in episodes if episode.terminated or episode.truncated]
    ended = [episode for episode in over if episode.terminated]
    if not over:
        sentence = (
            f"No episode ended within {steps} steps; without a time limit, evaluations are cut and an interrupted"
        )
        return [Finding("warning", "endings", f"{sentence} episode is repeated from its start (max_episode_steps=).")]
    lengths = {episode.length for episode in ended}
    limit = env.spec.max_episode_steps if env.spec is not None else None
    if len(ended) > 1 and lengths == {max(episode.length for episode in over)} and len(ended) == len(over):
        sentence = (
            f"All {len(ended)} episodes terminate after exactly {lengths.pop()} steps, as by a time limit. A time "
            "limit is to be told as truncated: the value of a state where only time ran out is not zero"
        )
        return [Finding("error" if limit is None else "warning", "endings", f"{sentence}.")]
    both = sum(episode.terminated and episode.truncated for episode in over)
    sentence = f"Of {len(over)} episodes {len(ended)} terminated and {len(over) - len(ended) + both} were truncated"
    return [
        Finding(
            "ok", "endings", f"{sentence}, after {min(e.length for e in over)} to {max(e.length for e in over)} steps."
        )
    ]


def _scales(episodes: list[Episode]) -> list[Finding]:
    rewards = np.concatenate([episode.rewards for episode in episodes])
    size = float(np.abs(rewards).max())
    shown = f"Rewards lie between {rewards.min():.4g} and {rewards.max():.4g}, mean {rewards.mean():.4g}"
    if rewards.std() == 0:
        tail = "; random actions never change them, so learning begins only once something else is met by chance"
        found = [Finding("warning", "rewards", f"{shown}{tail}.")]
    elif size > LARGE or size < SMALL:
        found = [Finding("warning", "rewards", f"{shown}; a scale nearer to 1 makes the critics' work easier.")]
    else:
        found = [Finding("ok", "rewards", f"{shown}.")]
    obs = np.concatenate([episode.obs for episode in episodes])
    spread, largest = obs.std(axis=0), np.abs(obs).max(axis=0)
    wide = np.flatnonzero(largest > LARGE)
    if wide.size:
        names = ", ".join(map(str, wide[:5]))
        sentence = f"Observations reach {largest.max():.4g} (dimensions {names}); the policy sees them as they are"
        found.append(Finding("warning", "observations", f"{sentence}, and learns faster on a scale near 1."))
    constant = np.flatnonzero(spread == 0)
    if constant.size:
        names = ", ".join(map(str, constant[:5]))
        found.append(Finding("warning", "observations", f"Dimensions {names} of the observation never changed."))
    return found


def _termination_rule(env: AnyEnv, episodes: list[Episode], choice: str) -> list[Finding]:
    rule = resolve_termination(env, choice)
    if rule is None:
        sentence = "No termination rule is known for certain, so when episodes end will be learned"
        return [Finding("ok", "termination", f"{sentence} (or give one: --termination module:function).")]
    obs = np.concatenate([episode.obs[:-1] for episode in episodes])
    following = np.concatenate([episode.obs[1:] for episode in episodes])
    actions = np.concatenate([episode.actions for episode in episodes])
    real = np.concatenate([[*[False] * (e.length - 1), e.terminated] for e in episodes])
    said = np.asarray(rule(*map(jnp.asarray, (obs, actions, following))))
    wrong = np.flatnonzero(said != real)
    if not wrong.size:
        ends = int(real.sum())
        sentence = f"The termination rule agrees with all {len(real)} real transitions, {ends} of which end the task"
        return [Finding("ok", "termination", f"{sentence}.")]
    at = int(wrong[0])
    told = "ends the task and the environment does not" if said[at] else "goes on and the environment ends the task"
    sentence = f"The termination rule disagrees with {wrong.size} of {len(real)} real transitions, at first where it"
    return [Finding("error", "termination", f"{sentence} {told}, at next_obs = {following[at][:8].tolist()}.")]
