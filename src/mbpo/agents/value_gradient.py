"""The learner of double-horizon MBPO: actor and critics from short differentiable rollouts.

Kubo et al. 2025 (arXiv:2512.15439), "training rollout", with the networks and bounds of its authors'
code. From a start state s_0 the policy and the model are followed for H steps, all draws
reparametrised, and with m_t = 1 while nothing has ended before s_t

    V = Σ_{t<H} γ^t m_t (r_t − α log π_t) + γ^H m_H (Q(s_H, a_H) − α log π_H).

The actor climbs V itself, by its gradient through the model (Heess et al. 2015, SVG; Amos et al. 2021,
SAC-SVG(H)), with the critics' mean for Q. The critics at (s_0, a_0) learn V + α log π_0 with the
target critics for Q (Feinberg et al. 2018, model-based value expansion). First the losses, then one
update; where the start states come from is the caller's business.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Key

from mbpo.agents.mbpo_dh_config import ValueGradientConfig
from mbpo.agents.sac import ActionBounds, alpha_loss
from mbpo.nn.distributions import sample_tanh_gaussian
from mbpo.nn.normalizer import Normalizer
from mbpo.nn.normed_mlp import NormedMLP, make_normed_mlp
from mbpo.types import Metrics, ModelStep, Spec

MIN_STD = 1e-5
"""Of the Gaussian before the tanh."""
CRITIC_NORM_EPS = 1e-5


class ValueParams(NamedTuple):
    """What gradient descent changes."""

    actor: NormedMLP
    """normalised obs → (mean, raw std) of the Gaussian before the tanh."""
    critics: NormedMLP
    """(normalised obs, action) → Q in units of `ReturnBounds`; every array has a leading `critic` axis."""
    log_alpha: Float[Array, ""]


class ReturnBounds(NamedTuple):
    """Between which values of Q are believed to lie: the scale of the critics, and where targets are cut."""

    low: Float[Array, ""]
    high: Float[Array, ""]

    @property
    def center(self) -> Float[Array, ""]:
        return (self.high + self.low) / 2

    @property
    def width(self) -> Float[Array, ""]:
        """Half of the distance."""
        return jnp.maximum((self.high - self.low) / 2, 1e-3)


class ValueState(eqx.Module):
    """All that the learner remembers between updates."""

    params: ValueParams
    target_critics: NormedMLP
    bounds: ReturnBounds
    """Both 0 before the first update."""
    actor_optimizer: optax.OptState
    """Of actor and temperature."""
    critic_optimizer: optax.OptState


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
    actor: NormedMLP, obs: Float[Array, "batch obs"], eyes: Eyes
) -> tuple[Float[Array, "batch act"], Float[Array, "batch act"]]:
    """Mean and log standard deviation of the Gaussian before the tanh; the deviation is softplus(raw)."""
    mean, raw = jnp.split(actor(eyes.obs.normalize(obs)), 2, axis=-1)
    return mean, jnp.log(jax.nn.softplus(raw) + MIN_STD)


def mean_action(actor: NormedMLP, obs: Float[Array, "batch obs"], eyes: Eyes) -> Float[Array, "batch act"]:
    """The action without exploration, `center + scale · tanh(mean)`."""
    return eyes.action.center + eyes.action.scale * jnp.tanh(action_distribution(actor, obs, eyes)[0])


def sample_action(
    actor: NormedMLP, obs: Float[Array, "batch obs"], key: Key[Array, ""], eyes: Eyes
) -> tuple[Float[Array, "batch act"], Float[Array, " batch"]]:
    """An action in the environment's units, and log π of the action rescaled to [−1, 1], as in `sac`."""
    mean, log_std = action_distribution(actor, obs, eyes)
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
) -> ShortRollout:
    """Follow policy and model for `horizon` steps; step `t` uses the keys folded from `t`."""

    def act(obs: Array, t: Array | int) -> tuple[Array, Array]:
        return sample_action(actor, obs, jax.random.fold_in(key, 2 * t), eyes)

    def step(carry: tuple[Array, Array], t: Array) -> tuple[tuple[Array, Array], tuple[Array, ...]]:
        obs, alive = carry
        action, log_prob = act(obs, t)
        out = model_step(obs, action, jax.random.fold_in(key, 2 * t + 1))
        survives = alive & ~out.terminated
        # A dead row keeps a harmless state: it is still computed (static shapes), never counted.
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
    rollout: ShortRollout,
    target: Float[Array, " batch"],
    eyes: Eyes,
    key: Key[Array, ""] | None,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Σ_j E[(Q_j(s_0, a_0) − target)²] in units of the bounds' width, and the mean Q for the log."""
    obs, action = jax.lax.stop_gradient((rollout.obs[0], rollout.actions[0]))
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
) -> tuple[Float[Array, ""], ShortRollout]:
    """−E[V] with the critics' mean at the end, and the rollout for whoever else needs it."""
    rollout = short_rollout(actor, model_step, start_obs, key, horizon=horizon, eyes=eyes)
    if judge_ends:
        obs, action = last_alive(rollout)
        q = q_values(critics, bounds, obs, action, eyes).mean(axis=0)
        return -judged_value(rollout, q, alpha, gamma).mean(), rollout
    last_q = q_values(critics, bounds, rollout.obs[-1], rollout.actions[-1], eyes).mean(axis=0)
    return -expanded_value(rollout, last_q, alpha, gamma).mean(), rollout


def target_q(
    target_critics: NormedMLP, bounds: ReturnBounds, rollout: ShortRollout, key: Key[Array, ""], eyes: Eyes
) -> Float[Array, " batch"]:
    """The smaller value of two target critics drawn at random (Chen et al. 2021, REDQ), cut to the bounds."""
    pair = jax.random.permutation(key, target_critics.weights[0].shape[0])[:2]
    chosen = jax.tree.map(lambda leaf: leaf[pair], target_critics)
    q = q_values(chosen, bounds, rollout.obs[-1], rollout.actions[-1], eyes).min(axis=0)
    return jnp.clip(q, bounds.low, bounds.high)


def moved_bounds(
    bounds: ReturnBounds, rollout: ShortRollout, alpha: Float[Array, ""], config: ValueGradientConfig
) -> ReturnBounds:
    """A small step towards quantiles of the soft rewards divided by 1 − γ, and 0: what an end is worth."""
    soft = (rollout.rewards - alpha * rollout.log_probs[:-1]).reshape(-1)
    tails = jnp.asarray([config.bound_quantile, 1 - config.bound_quantile])
    low, high = jnp.quantile(soft, tails) / (1 - config.gamma)
    now = ReturnBounds(jnp.minimum(low, 0.0), jnp.maximum(high, 0.0))
    fresh = bounds.low == bounds.high
    rate = config.learning_rate
    return jax.tree.map(lambda old, new: jnp.where(fresh, new, old + rate * (new - old)), bounds, now)


def make_optimizer(config: ValueGradientConfig) -> optax.GradientTransformation:
    """Adam; one for actor and temperature, one for the critics."""
    return optax.adam(config.learning_rate)


def init_value(spec: Spec, config: ValueGradientConfig, key: Key[Array, ""]) -> ValueState:
    """An orthogonal actor; critics that all say the middle of the bounds; targets that are copies."""
    actor_key, critic_key = jax.random.split(key)
    sizes, pair = config.hidden_sizes, spec.obs_dim + spec.action_dim
    actor = make_normed_mlp(actor_key, spec.obs_dim, sizes, 2 * spec.action_dim, init="orthogonal")
    eps = (CRITIC_NORM_EPS,) * len(sizes) if config.critic_layer_norm else ()
    dropout = (config.critic_dropout,) * len(sizes)

    def make_critic(k: Key[Array, ""]) -> NormedMLP:
        critic = make_normed_mlp(k, pair, sizes, 1, norm_eps=eps, dropout=dropout)
        last = (jnp.zeros_like(critic.weights[-1]), jnp.zeros_like(critic.biases[-1]))
        return eqx.tree_at(lambda c: (c.weights[-1], c.biases[-1]), critic, last)

    critics = jax.vmap(make_critic)(jax.random.split(critic_key, config.num_critics))
    params = ValueParams(actor, critics, jnp.log(jnp.asarray(config.initial_alpha, jnp.float32)))
    bounds = ReturnBounds(jnp.zeros(()), jnp.zeros(()))
    return fresh_optimizers(ValueState(params, jax.tree.map(jnp.copy, critics), bounds, (), ()), config)


def fresh_optimizers(state: ValueState, config: ValueGradientConfig) -> ValueState:
    """Forget the moments of gradients through a model that is no more."""
    optimizer, params = make_optimizer(config), state.params
    moments = optimizer.init((params.actor, params.log_alpha)), optimizer.init(params.critics)
    return ValueState(params, state.target_critics, state.bounds, *moments)


def critics_update(
    state: ValueState, rollout: ShortRollout, key: Key[Array, ""], *, eyes: Eyes, config: ValueGradientConfig
) -> tuple[ValueState, Metrics]:
    """One gradient step of the critics on a rollout, then of their targets."""
    params, alpha = state.params, jnp.exp(state.params.log_alpha)
    pair_key, drop_key = jax.random.split(key)
    rollout = jax.lax.stop_gradient(rollout)
    bounds = moved_bounds(state.bounds, rollout, alpha, config)
    last_q = target_q(state.target_critics, bounds, rollout, pair_key, eyes)
    target = critic_target(rollout, last_q, alpha, config.gamma)
    (loss, q_mean), grads = jax.value_and_grad(critic_loss, has_aux=True)(
        params.critics, bounds, rollout, target, eyes, drop_key
    )
    updates, moments = make_optimizer(config).update(grads, state.critic_optimizer)
    critics = optax.apply_updates(params.critics, updates)
    target_critics = optax.incremental_update(critics, state.target_critics, config.tau)
    state = ValueState(params._replace(critics=critics), target_critics, bounds, state.actor_optimizer, moments)
    return state, {"critic_loss": loss, "q_mean": q_mean, "q_low": bounds.low, "q_high": bounds.high}


def value_update(
    state: ValueState,
    model_step: ModelStep,
    start_obs: Float[Array, "batch obs"],
    key: Key[Array, ""],
    *,
    eyes: Eyes,
    config: ValueGradientConfig,
) -> tuple[ValueState, Metrics]:
    """One gradient step of critics, actor and temperature from one short rollout, then of the targets.

    All gradients are taken at the same parameters.
    """
    rollout_key, critic_key = jax.random.split(key)
    params, alpha = state.params, jnp.exp(state.params.log_alpha)
    (loss, rollout), grad_actor = jax.value_and_grad(actor_loss, has_aux=True)(
        params.actor,
        params.critics,
        state.bounds,
        alpha,
        model_step,
        start_obs,
        rollout_key,
        horizon=config.horizon,
        gamma=config.gamma,
        eyes=eyes,
        judge_ends=config.judge_ends,
    )
    entropy = -rollout.log_probs[0].mean()
    target_entropy = -float(eyes.action.scale.shape[0]) if config.target_entropy is None else config.target_entropy
    grad_alpha = jax.grad(alpha_loss)(params.log_alpha, entropy, target_entropy)
    updates, moments = make_optimizer(config).update((grad_actor, grad_alpha), state.actor_optimizer)
    actor, log_alpha = optax.apply_updates((params.actor, params.log_alpha), updates)
    state, metrics = critics_update(state, rollout, critic_key, eyes=eyes, config=config)
    state = ValueState(
        ValueParams(actor, state.params.critics, log_alpha),
        state.target_critics,
        state.bounds,
        moments,
        state.critic_optimizer,
    )
    alive = rollout.alive[-1].mean()
    return state, {
        **metrics,
        "actor_loss": loss,
        "alpha": jnp.exp(log_alpha),
        "entropy": entropy,
        "short_rollout_alive": alive,
        "actor_grad_norm": jnp.sqrt(sum(jnp.sum(g**2) for g in jax.tree.leaves(grad_actor))),
    }


def critic_only_update(
    state: ValueState,
    model_step: ModelStep,
    start_obs: Float[Array, "batch obs"],
    key: Key[Array, ""],
    *,
    eyes: Eyes,
    config: ValueGradientConfig,
) -> ValueState:
    """As `value_update`, with the policy left as it is."""
    rollout_key, critic_key = jax.random.split(key)
    rollout = short_rollout(state.params.actor, model_step, start_obs, rollout_key, horizon=config.horizon, eyes=eyes)
    return critics_update(state, rollout, critic_key, eyes=eyes, config=config)[0]
