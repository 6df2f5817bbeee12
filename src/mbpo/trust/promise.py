"""What the model promises the run's own policy, and what the world pays it.

Along recorded actions (`compounding`) a model is asked about what was really done. In training it is the policy that
acts, on imagined states, and it has learned to do what its model pays for, right or wrong. So here the policy acts
by itself, from states that it really visited, and what the branches earn, and how many of them end, is held against
what the recorded trajectories did from there: the gap between a return in the model and one in the world that the
bounds of Janner et al. 2019 (arXiv:1906.08253, §4) are about, measured at its near end.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from mbpo.trust.subject import Stochastic
from mbpo.trust.trajectories import Episode
from mbpo.types import ModelStep


class Promise(NamedTuple):
    """Against the number of steps since a branch has left its trajectory; means over start states."""

    step: Int[np.ndarray, " step"]
    starts: int
    paid_real: Float[np.ndarray, " step"]
    """Rewards summed up to that step; nothing is paid after an end."""
    paid_model: Float[np.ndarray, " step"]
    error: Float[np.ndarray, " step"]
    """Standard error of the difference of these two, trajectories taken as independent; NaN with a single one."""
    alive_real: Float[np.ndarray, " step"]
    """Share that has not ended."""
    alive_model: Float[np.ndarray, " step"]


class Starts(NamedTuple):
    """States that branches leave from, and what the recorded trajectories did from there."""

    episode: Int[np.ndarray, " start"]
    obs: Float[np.ndarray, "start obs"]
    rewards: Float[np.ndarray, "step start"]
    """0 after an end."""
    alive: Bool[np.ndarray, "step start"]


def promise(
    model_step: ModelStep,
    policy: Stochastic,
    episodes: list[Episode],
    key: Key[Array, ""],
    *,
    every: int,
    horizon: int,
    paths: int,
) -> Promise | None:
    """Follow the policy in the model from every `every`-th recorded state; None if no trajectory is long enough.

    Args:
        model_step: With the ends that are imagined.
        horizon: Steps followed. States from which the recording breaks off sooner, without an end, are left out.
        paths: Branches from each state.
    """
    starts = find_starts(episodes, every=every, horizon=horizon)
    if starts is None:
        return None
    rewards, alive = follow(model_step, policy, np.repeat(starts.obs, paths, axis=0), key, horizon)
    shape = (horizon, len(starts.obs), paths)
    in_model, living = (part.reshape(shape).mean(axis=-1) for part in (rewards, alive))
    paid_real, paid_model = starts.rewards.cumsum(axis=0), in_model.cumsum(axis=0)
    return Promise(
        step=np.arange(1, horizon + 1),
        starts=len(starts.obs),
        paid_real=paid_real.mean(axis=1),
        paid_model=paid_model.mean(axis=1),
        error=clustered_error(paid_model - paid_real, starts.episode),
        alive_real=starts.alive.mean(axis=1),
        alive_model=living.mean(axis=1),
    )


def find_starts(episodes: list[Episode], *, every: int, horizon: int) -> Starts | None:
    """States with `horizon` recorded steps after them, or an end."""
    places = [
        (number, t)
        for number, e in enumerate(episodes)
        for t in range(0, e.length, every)
        if e.terminated or t + horizon <= e.length
    ]
    if not places:
        return None
    rewards, alive = np.zeros((horizon, len(places))), np.zeros((horizon, len(places)), bool)
    for column, (number, t) in enumerate(places):
        episode = episodes[number]
        left = min(horizon, episode.length - t)
        rewards[:left, column] = episode.reward[t : t + left]
        over = episode.terminated and t + left == episode.length
        alive[: left - over, column] = True
    return Starts(
        np.array([number for number, _ in places]), np.stack([episodes[n].obs[t] for n, t in places]), rewards, alive
    )


def follow(
    model_step: ModelStep,
    policy: Stochastic,
    obs: Float[np.ndarray, "branch obs"],
    key: Key[Array, ""],
    horizon: int,
) -> tuple[Float[np.ndarray, "step branch"], Bool[np.ndarray, "step branch"]]:
    """Rewards (0 after an end) and whether each branch is alive after each step; what is not finite has ended."""
    step = jax.jit(model_step)
    start, living = obs, np.ones(len(obs), bool)
    rewards, alive = np.zeros((horizon, len(obs))), np.zeros((horizon, len(obs)), bool)
    for t in range(horizon):
        action = policy.sample(obs, jax.random.fold_in(key, 2 * t))[0]
        out = step(jnp.asarray(obs), jnp.asarray(action), jax.random.fold_in(key, 2 * t + 1))
        following, reward = np.asarray(out.next_obs), np.asarray(out.reward)
        finite = np.isfinite(following).all(axis=1) & np.isfinite(reward)
        rewards[t] = np.where(living & finite, reward, 0.0)
        living = living & finite & ~np.asarray(out.terminated)
        alive[t] = living
        obs = np.where(living[:, None], following, start)
    return rewards, alive


def clustered_error(
    values: Float[np.ndarray, "step start"], cluster: Int[np.ndarray, " start"]
) -> Float[np.ndarray, " step"]:
    """Standard error of the mean where only clusters are independent: √(G/(G−1) Σ_g (Σ_{i∈g} (x_i − x̄))²) / n."""
    groups = np.unique(cluster)
    centred = values - values.mean(axis=1, keepdims=True)
    sums = np.stack([centred[:, cluster == group].sum(axis=1) for group in groups])
    with np.errstate(divide="ignore", invalid="ignore"):
        correction = np.divide(len(groups), len(groups) - 1)
        return np.sqrt(correction * (sums**2).sum(axis=0)) / values.shape[1]
