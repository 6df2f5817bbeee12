"""The learner of double-horizon MBPO: actor and critics from short differentiable rollouts.

Kubo et al. 2025 (arXiv:2512.15439), "training rollout", with the networks and bounds of its authors'
code. From a start state s_0 the policy and the model are followed for H steps, all draws
reparametrised, and with m_t = 1 while nothing has ended before s_t

    V = Σ_{t<H} γ^t m_t (r_t − α log π_t) + γ^H m_H (Q(s_H, a_H) − α log π_H).

The actor climbs V itself, by its gradient through the model (Heess et al. 2015, SVG; Amos et al. 2021,
SAC-SVG(H)), with the critics' mean for Q. The critics at (s_0, a_0) learn V + α log π_0 with the
target critics for Q (Feinberg et al. 2018, model-based value expansion). `value_updates` descends these
losses; where the start states come from is the caller's business.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from mbpo.agents.sac import ActionBounds
from mbpo.nn.distributions import sample_tanh_gaussian
from mbpo.nn.normalizer import Normalizer
from mbpo.nn.normed_mlp import NormedMLP
from mbpo.nn.row_limit import limit_rows
from mbpo.types import ModelStep, Transition

MIN_STD = 1e-5
"""Of the Gaussian before the tanh."""


class ValueParams(NamedTuple):
    """What gradient descent changes."""

    actor: NormedMLP
    """normalised obs → (mean, raw std) of the Gaussian before the tanh."""
    critics: NormedMLP
    """(normalised obs, action) → Q in units of `ReturnBounds`; every array has a leading `critic` axis."""
    log_alpha: Float[Array, ""]


class ReturnBounds(NamedTuple):
    """Between which values of Q are believed to lie: the scale of the critics, and where target critics are cut."""

    low: Float[Array, ""]
    high: Float[Array, ""]

    @property
    def center(self) -> Float[Array, ""]:
        return (self.high + self.low) / 2

    @property
    def width(self) -> Float[Array, ""]:
        """Half of the distance."""
        return jnp.maximum((self.high - self.low) / 2, 1e-3)


class ShortRollout(NamedTuple):
    """H steps from each start state, with gradients by the actor's parameters."""

    obs: Float[Array, "step1 batch obs"]
    """s_0 to s_H; meaningless after an end."""
    actions: Float[Array, "step1 batch act"]
    """The last one only Q judges."""
    rewards: Float[Array, "step batch"]
    log_probs: Float[Array, "step1 batch"]
    alive: Bool[Array, "step1 batch"]
    """Whether nothing has ended before s_t; true at t = 0."""


class Eyes(NamedTuple):
    """How actor and critics see the world: normalised observations, actions rescaled to [−1, 1]."""

    obs: Normalizer
    action: ActionBounds

    def pair(self, obs: Float[Array, "*batch obs"], action: Float[Array, "*batch act"]) -> Float[Array, "*batch in"]:
        """What a critic takes in."""
        return jnp.concatenate([self.obs.normalize(obs), (action - self.action.center) / self.action.scale], axis=-1)


def action_distribution(
    actor: NormedMLP, obs: Float[Array, "batch obs"], eyes: Eyes, row_limit: float | None = None
) -> tuple[Float[Array, "batch act"], Float[Array, "batch act"]]:
    """Mean and log standard deviation of the Gaussian before the tanh; the deviation is softplus(raw)."""
    outputs = actor(eyes.obs.normalize(obs))
    if row_limit is not None:
        outputs = limit_rows(outputs, row_limit)
    mean, raw = jnp.split(outputs, 2, axis=-1)
    return mean, jnp.log(jax.nn.softplus(raw) + MIN_STD)


def mean_action(actor: NormedMLP, obs: Float[Array, "batch obs"], eyes: Eyes) -> Float[Array, "batch act"]:
    """The action without exploration, `center + scale · tanh(mean)`."""
    return eyes.action.center + eyes.action.scale * jnp.tanh(action_distribution(actor, obs, eyes)[0])


def sample_action(
    actor: NormedMLP, obs: Float[Array, "batch obs"], key: Key[Array, ""], eyes: Eyes, row_limit: float | None = None
) -> tuple[Float[Array, "batch act"], Float[Array, " batch"]]:
    """An action in the environment's units, and log π of the action rescaled to [−1, 1], as in `sac`."""
    mean, log_std = action_distribution(actor, obs, eyes, row_limit)
    scale, center = eyes.action
    action, log_prob = sample_tanh_gaussian(key, mean, log_std, scale=scale, center=center)
    return action, log_prob + jnp.log(scale).sum()


def q_values(
    critics: NormedMLP,
    bounds: ReturnBounds,
    obs: Float[Array, "batch obs"],
    action: Float[Array, "batch act"],
    eyes: Eyes,
    key: Key[Array, ""] | None = None,
) -> Float[Array, "critic batch"]:
    """Q of every critic, in units of return; with a key units are dropped, as in training."""
    return critics(eyes.pair(obs, action), key)[..., 0] * bounds.width + bounds.center


def short_rollout(
    actor: NormedMLP,
    model_step: ModelStep,
    start_obs: Float[Array, "batch obs"],
    key: Key[Array, ""],
    *,
    horizon: int,
    eyes: Eyes,
    row_limit: float | None = None,
) -> ShortRollout:
    """Follow policy and model for `horizon` steps; step `t` uses the keys folded from `t`."""

    def act(obs: Array, t: Array | int) -> tuple[Array, Array]:
        return sample_action(actor, obs, jax.random.fold_in(key, 2 * t), eyes, row_limit)

    def step(carry: tuple[Array, Array], t: Array) -> tuple[tuple[Array, Array], tuple[Array, ...]]:
        obs, alive = carry
        action, log_prob = act(obs, t)
        out = model_step(obs, action, jax.random.fold_in(key, 2 * t + 1))
        survives = alive & ~out.terminated
        # A dead row keeps a harmless state: it is still computed (static shapes), and counts for no value.
        next_obs = jnp.where(survives[:, None], out.next_obs, start_obs)
        return (next_obs, survives), (obs, action, out.reward, log_prob, alive)

    start = (start_obs, jnp.ones(start_obs.shape[:1], bool))
    (last_obs, survives), (obs, actions, rewards, log_probs, alive) = jax.lax.scan(step, start, jnp.arange(horizon))
    last_action, last_log_prob = act(last_obs, horizon)
    return ShortRollout(
        obs=jnp.concatenate([obs, last_obs[None]]),
        actions=jnp.concatenate([actions, last_action[None]]),
        rewards=rewards,
        log_probs=jnp.concatenate([log_probs, last_log_prob[None]]),
        alive=jnp.concatenate([alive, survives[None]]),
    )


def real_step(actor: NormedMLP, seen: Transition, key: Key[Array, ""], eyes: Eyes) -> ShortRollout:
    """Real transitions as rollouts with H = 1, in which only the next action is the policy's. log π_0 is not known, and
    0 here: no target needs it."""
    action, log_prob = sample_action(actor, seen.next_obs, key, eyes)
    return ShortRollout(
        obs=jnp.stack([seen.obs, seen.next_obs]),
        actions=jnp.stack([seen.action, action]),
        rewards=seen.reward[None],
        log_probs=jnp.stack([jnp.zeros_like(log_prob), log_prob]),
        alive=jnp.stack([jnp.ones_like(seen.terminated), ~seen.terminated]),
    )


def expanded_value(
    rollout: ShortRollout, last_q: Float[Array, " batch"], alpha: Float[Array, ""], gamma: float
) -> Float[Array, " batch"]:
    """V = Σ_{t<H} γ^t m_t (r_t − α log π_t) + γ^H m_H (Q_H − α log π_H)."""
    gains = jnp.concatenate([rollout.rewards, last_q[None]]) - alpha * rollout.log_probs
    discounts = gamma ** jnp.arange(gains.shape[0])
    return discounts @ jnp.where(rollout.alive, gains, 0.0)


def last_alive(rollout: ShortRollout) -> tuple[Float[Array, "batch obs"], Float[Array, "batch act"]]:
    """(s_T, a_T) of each row: at H, or before the end that its rollout has met."""
    last = rollout.alive.sum(axis=0) - 1
    rows = jnp.arange(last.shape[0])
    return rollout.obs[last, rows], rollout.actions[last, rows]


def judged_value(
    rollout: ShortRollout, q: Float[Array, " batch"], alpha: Float[Array, ""], gamma: float
) -> Float[Array, " batch"]:
    """V with a branch cut before its end, Σ_{t<T} γ^t (r_t − α log π_t) + γ^T (Q(s_T, a_T) − α log π_T).

    In V an end is a step: no gradient passes to the actions that led to it, and where the policy
    ends every branch within H it learns nothing. Q(s_T, a_T) slopes towards actions that do not.
    """
    steps, last = jnp.arange(rollout.alive.shape[0]), rollout.alive.sum(axis=0) - 1
    discounts = gamma**steps
    rewards = discounts[:-1] @ jnp.where(rollout.alive[1:], rollout.rewards, 0.0)
    entropies = discounts @ jnp.where(rollout.alive, -alpha * rollout.log_probs, 0.0)
    return rewards + entropies + gamma**last * q


def critic_target(
    rollout: ShortRollout, last_q: Float[Array, " batch"], alpha: Float[Array, ""], gamma: float
) -> Float[Array, " batch"]:
    """What Q(s_0, a_0) is to be: V without the entropy of a_0, which is given; no gradient passes."""
    value = expanded_value(rollout, last_q, alpha, gamma) + alpha * rollout.log_probs[0]
    return jax.lax.stop_gradient(value)


def critic_loss(
    critics: NormedMLP,
    bounds: ReturnBounds,
    obs: Float[Array, "batch obs"],
    action: Float[Array, "batch act"],
    target: Float[Array, " batch"],
    eyes: Eyes,
    key: Key[Array, ""] | None,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Σ_j E[(Q_j(s_0, a_0) − target)²] in units of the bounds' width, and the mean Q for the log."""
    q = q_values(critics, bounds, obs, action, eyes, key)
    return jnp.mean(((q - target) / bounds.width) ** 2, axis=-1).sum(), q.mean()


def actor_loss(
    actor: NormedMLP,
    critics: NormedMLP,
    bounds: ReturnBounds,
    alpha: Float[Array, ""],
    model_step: ModelStep,
    start_obs: Float[Array, "batch obs"],
    key: Key[Array, ""],
    *,
    horizon: int,
    gamma: float,
    eyes: Eyes,
    judge_ends: bool = False,
    row_limit: float | None = None,
) -> tuple[Float[Array, ""], ShortRollout]:
    """−E[V] with the critics' mean at the end, and the rollout for whoever else needs it."""
    rollout = short_rollout(actor, model_step, start_obs, key, horizon=horizon, eyes=eyes, row_limit=row_limit)
    if judge_ends:
        obs, action = last_alive(rollout)
        q = q_values(critics, bounds, obs, action, eyes).mean(axis=0)
        return -judged_value(rollout, q, alpha, gamma).mean(), rollout
    last_q = q_values(critics, bounds, rollout.obs[-1], rollout.actions[-1], eyes).mean(axis=0)
    return -expanded_value(rollout, last_q, alpha, gamma).mean(), rollout
