"""Updates of double-horizon MBPO's actor and critics: one step down the losses of `value_gradient`.

Kubo et al. 2025 (arXiv:2512.15439), with the bounds of Q, the pairs of target critics and the fresh
optimisers of its authors' code.
"""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key

from mbpo.agents.mbpo_dh_config import ValueGradientConfig
from mbpo.agents.sac import alpha_loss
from mbpo.agents.value_gradient import (
    Eyes,
    ReturnBounds,
    ShortRollout,
    ValueParams,
    actor_loss,
    critic_loss,
    critic_target,
    q_values,
    real_step,
    short_rollout,
)
from mbpo.nn.normed_mlp import NormedMLP, make_normed_mlp
from mbpo.types import Metrics, ModelStep, Spec, Transition

CRITIC_NORM_EPS = 1e-5
REAL_STEP = 2
"""Number of the key that real transitions' next actions are drawn from; the update's own are 0 and 1."""
AVERAGED_SHARE = 0.1
"""Share of an actor's updates so far that its average covers, while these are few."""


class ActorAverage(eqx.Module):
    """An actor that moves slowly: what one update does to it passes, what many agree on stays. Not published."""

    actor: NormedMLP
    updates: Int[Array, ""]
    """Of the actor, so far."""


class ValueState(eqx.Module):
    """All that the learner remembers between updates."""

    params: ValueParams
    target_critics: NormedMLP
    bounds: ReturnBounds
    """Both 0 before the first update."""
    actor_optimizer: optax.OptState
    """Of actor and temperature."""
    critic_optimizer: optax.OptState
    average: ActorAverage | None = None
    """Where one is kept."""

    @property
    def policy(self) -> NormedMLP:
        """Whose mean action is evaluated: the average's, or the actor's own."""
        return self.params.actor if self.average is None else self.average.actor


def target_q(
    target_critics: NormedMLP,
    bounds: ReturnBounds,
    rollout: ShortRollout,
    key: Key[Array, ""],
    eyes: Eyes,
    cut: bool = True,
) -> Float[Array, " batch"]:
    """The smaller value of two target critics drawn at random (Chen et al. 2021, REDQ), cut to the bounds if asked."""
    pair = jax.random.permutation(key, target_critics.weights[0].shape[0])[:2]
    chosen = jax.tree.map(lambda leaf: leaf[pair], target_critics)
    q = q_values(chosen, bounds, rollout.obs[-1], rollout.actions[-1], eyes).min(axis=0)
    return jnp.clip(q, bounds.low, bounds.high) if cut else q


def moved_bounds(
    bounds: ReturnBounds, rollout: ShortRollout, alpha: Float[Array, ""], config: ValueGradientConfig
) -> ReturnBounds:
    """A small step towards quantiles of the soft rewards divided by 1 − γ, and 0: what an end is worth.

    Where a branch has ended, the steps are counted that it takes from its start instead: steps from real states too.
    Without a quantile ±1, which scale nothing.
    """
    quantile = config.bound_quantile
    if quantile is None:
        return ReturnBounds(-jnp.ones(()), jnp.ones(()))
    soft = (rollout.rewards - alpha * rollout.log_probs[:-1]).reshape(-1)
    tails = jnp.asarray([quantile, 1 - quantile])
    low, high = jnp.quantile(soft, tails) / (1 - config.gamma)
    now = ReturnBounds(jnp.minimum(low, 0.0), jnp.maximum(high, 0.0))
    fresh = bounds.low == bounds.high
    rate = config.learning_rate
    return jax.tree.map(lambda old, new: jnp.where(fresh, new, old + rate * (new - old)), bounds, now)


def followed(average: ActorAverage, actor: NormedMLP, rate: float) -> ActorAverage:
    """The average after one more update: a step of max(rate, 10 / (10 + n)) towards the actor, n updates before it.

    At first it is over a tenth of all updates, the polynomial-decay average of Shamir & Zhang 2013 (arXiv:1212.1824)
    with η = 9, so that it is near while the actor learns fast; later over about 1 / rate of them.
    """
    share = jnp.maximum(rate, 1 / (1 + AVERAGED_SHARE * average.updates))
    return ActorAverage(optax.incremental_update(actor, average.actor, share), average.updates + 1)


def make_optimizer(config: ValueGradientConfig) -> optax.GradientTransformation:
    """Adam; one for actor and temperature, one for the critics."""
    return optax.adam(config.learning_rate)


def slowed(update: NormedMLP, config: ValueGradientConfig) -> NormedMLP:
    """The actor's step at a learning rate of its own, where it has one: Adam's steps are proportional to the rate."""
    rate = config.actor_learning_rate
    return update if rate is None else jax.tree.map(lambda leaf: leaf * (rate / config.learning_rate), update)


def init_value(spec: Spec, config: ValueGradientConfig, key: Key[Array, ""]) -> ValueState:
    """An orthogonal actor; critics that all say the middle of the bounds; targets that are copies."""
    actor_key, critic_key = jax.random.split(key)
    sizes, pair = config.hidden_sizes, spec.seen_dim + spec.action_dim
    actor = make_normed_mlp(actor_key, spec.seen_dim, sizes, 2 * spec.action_dim, init="orthogonal")
    eps = (CRITIC_NORM_EPS,) * len(sizes) if config.critic_layer_norm else ()
    dropout = (config.critic_dropout,) * len(sizes)

    def make_critic(k: Key[Array, ""]) -> NormedMLP:
        critic = make_normed_mlp(k, pair, sizes, 1, norm_eps=eps, dropout=dropout)
        last = (jnp.zeros_like(critic.weights[-1]), jnp.zeros_like(critic.biases[-1]))
        return eqx.tree_at(lambda c: (c.weights[-1], c.biases[-1]), critic, last)

    critics = jax.vmap(make_critic)(jax.random.split(critic_key, config.num_critics))
    params = ValueParams(actor, critics, jnp.log(jnp.asarray(config.initial_alpha, jnp.float32)))
    bounds = ReturnBounds(jnp.zeros(()), jnp.zeros(()))
    kept = config.actor_average_rate < 1
    average = ActorAverage(jax.tree.map(jnp.copy, actor), jnp.zeros((), jnp.int32)) if kept else None
    return fresh_optimizers(ValueState(params, jax.tree.map(jnp.copy, critics), bounds, (), (), average), config)


def fresh_optimizers(state: ValueState, config: ValueGradientConfig) -> ValueState:
    """Forget the moments of gradients through a model that is no more."""
    optimizer, params = make_optimizer(config), state.params
    actor_optimizer, critic_optimizer = optimizer.init((params.actor, params.log_alpha)), optimizer.init(params.critics)
    return replace(state, actor_optimizer=actor_optimizer, critic_optimizer=critic_optimizer)


def critics_update(
    state: ValueState,
    rollout: ShortRollout,
    key: Key[Array, ""],
    seen: Transition | None = None,
    *,
    eyes: Eyes,
    config: ValueGradientConfig,
) -> tuple[ValueState, Metrics]:
    """One gradient step of the critics on a rollout and what was really seen, then of their targets."""
    params, alpha = state.params, jnp.exp(state.params.log_alpha)
    pair_key, drop_key = jax.random.split(key)
    rollout = jax.lax.stop_gradient(rollout)
    bounds = moved_bounds(state.bounds, rollout, alpha, config)

    def lesson(rollout: ShortRollout) -> tuple[Array, Array, Array]:
        last_q = target_q(state.target_critics, bounds, rollout, pair_key, eyes, cut=config.bound_quantile is not None)
        return rollout.obs[0], rollout.actions[0], critic_target(rollout, last_q, alpha, config.gamma)

    lessons = lesson(rollout)
    if seen is not None:
        real = lesson(real_step(params.actor, seen, jax.random.fold_in(key, REAL_STEP), eyes))
        lessons = jax.tree.map(lambda *rows: jnp.concatenate(rows), lessons, real)
    (loss, q_mean), grads = jax.value_and_grad(critic_loss, has_aux=True)(
        params.critics, bounds, *lessons, eyes, drop_key
    )
    updates, moments = make_optimizer(config).update(grads, state.critic_optimizer)
    critics = optax.apply_updates(params.critics, updates)
    target_critics = optax.incremental_update(critics, state.target_critics, config.tau)
    state = replace(
        state,
        params=params._replace(critics=critics),
        target_critics=target_critics,
        bounds=bounds,
        critic_optimizer=moments,
    )
    return state, {"critic_loss": loss, "q_mean": q_mean, "q_low": bounds.low, "q_high": bounds.high}


def value_update(
    state: ValueState,
    model_step: ModelStep,
    start_obs: Float[Array, "batch obs"],
    key: Key[Array, ""],
    seen: Transition | None = None,
    *,
    eyes: Eyes,
    config: ValueGradientConfig,
) -> tuple[ValueState, Metrics]:
    """One gradient step of critics, actor and temperature from one short rollout, then of the targets.

    All gradients are taken at the same parameters.

    Args:
        seen: Real transitions that the critics learn from besides, if any.
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
        row_limit=config.row_limit,
    )
    entropy = -rollout.log_probs[0].mean()
    target_entropy = -float(eyes.action.scale.shape[0]) if config.target_entropy is None else config.target_entropy
    grad_alpha = jax.grad(alpha_loss)(params.log_alpha, entropy, target_entropy)
    (step, alpha_step), moments = make_optimizer(config).update((grad_actor, grad_alpha), state.actor_optimizer)
    updates = (slowed(step, config), alpha_step)
    actor, log_alpha = optax.apply_updates((params.actor, params.log_alpha), updates)
    state, metrics = critics_update(state, rollout, critic_key, seen, eyes=eyes, config=config)
    average = None if state.average is None else followed(state.average, actor, config.actor_average_rate)
    params = ValueParams(actor, state.params.critics, log_alpha)
    state = replace(state, params=params, actor_optimizer=moments, average=average)
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
    seen: Transition | None = None,
    *,
    eyes: Eyes,
    config: ValueGradientConfig,
) -> ValueState:
    """As `value_update`, with the policy left as it is."""
    rollout_key, critic_key = jax.random.split(key)
    rollout = short_rollout(state.params.actor, model_step, start_obs, rollout_key, horizon=config.horizon, eyes=eyes)
    return critics_update(state, rollout, critic_key, seen, eyes=eyes, config=config)[0]
