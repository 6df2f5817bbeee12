"""Soft actor-critic: the learner inside MBPO, and SAC itself when fed real data only.

Haarnoja et al. 2018, "Soft Actor-Critic Algorithms and Applications" (arXiv:1812.05905): twin
critics, a tanh-Gaussian actor and an automatically tuned temperature. First the three losses,
then one update of them all; where the batch comes from is the caller's business.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key

from mbpo.agents.config import Pooling, SACConfig
from mbpo.agents.limits import bound_target, clip_each
from mbpo.nn.distributions import standard_normal, tanh_gaussian
from mbpo.nn.networks import MLP, make_mlp
from mbpo.types import Metrics, Spec, Transition

NUM_CRITICS = 2
MIN_LOG_STD, MAX_LOG_STD = -20.0, 2.0
"""Bounds on the actor's log standard deviation before the tanh (SAC's reference settings)."""


Critics = tuple[MLP, ...]
"""A tuple and not one network with a leading axis: products of plain matrices copy less on a CPU."""


class SACParams(NamedTuple):
    """What gradient descent changes."""

    actor: MLP
    """obs → (mean, log std) of the Gaussian before the tanh."""
    critics: Critics
    """(obs, action) → Q, twice."""
    log_alpha: Float[Array, ""]


class SACState(eqx.Module):
    """All that SAC remembers between updates, replay aside."""

    params: SACParams
    target_critics: Critics
    optimizer_state: optax.OptState


class ActionBounds(NamedTuple):
    """An action box as the actor uses it: `action = center + scale · tanh(u)`."""

    scale: Float[np.ndarray, " act"]
    center: Float[np.ndarray, " act"]


def action_bounds(spec: Spec) -> ActionBounds:
    """Half-width and middle of the action box."""
    low, high = spec.action_low, spec.action_high
    return ActionBounds(scale=(high - low) / 2, center=(high + low) / 2)


def action_distribution(
    actor: MLP, obs: Float[Array, "*batch obs"]
) -> tuple[Float[Array, "*batch act"], Float[Array, "*batch act"]]:
    """Mean and log standard deviation of the Gaussian before the tanh."""
    mean, log_std = jnp.split(actor(obs), 2, axis=-1)
    return mean, jnp.clip(log_std, MIN_LOG_STD, MAX_LOG_STD)


def mean_action(actor: MLP, obs: Float[Array, "*batch obs"], bounds: ActionBounds) -> Float[Array, "*batch act"]:
    """The action without exploration, `center + scale · tanh(mean)`."""
    mean, _ = action_distribution(actor, obs)
    return bounds.center + bounds.scale * jnp.tanh(mean)


def sample_action(
    actor: MLP, obs: Float[Array, "*batch obs"], key: Key[Array, ""], bounds: ActionBounds
) -> tuple[Float[Array, "*batch act"], Float[Array, "*batch"]]:
    """An action drawn from the policy, in the environment's units, and log π(a|s)."""
    return action_from_noise(actor, obs, standard_normal(key, (*obs.shape[:-1], bounds.scale.size)), bounds)


def action_from_noise(
    actor: MLP, obs: Float[Array, "*batch obs"], noise: Float[Array, "*batch act"], bounds: ActionBounds
) -> tuple[Float[Array, "*batch act"], Float[Array, "*batch"]]:
    """As `sample_action`, from draws of N(0, 1) made beforehand.

    The density is that of the action rescaled to [−1, 1], for which SAC and its entropy targets
    were made. In the environment's units it would differ by Σ log scale, a bonus (or fine) of
    α Σ log scale for every step survived: it feeds on α, and where α grows, Q runs away with it.
    """
    mean, log_std = action_distribution(actor, obs)
    action, log_prob = tanh_gaussian(noise, mean, log_std, scale=bounds.scale, center=bounds.center)
    return action, log_prob + jnp.log(bounds.scale).sum()


def q_values(
    critics: Critics, obs: Float[Array, "*batch obs"], action: Float[Array, "*batch act"]
) -> Float[Array, "critic *batch"]:
    """Q of every critic."""
    x = jnp.concatenate([obs, action], axis=-1)
    return jnp.stack([critic(x)[..., 0] for critic in critics])


def pool(q: Float[Array, "critic *batch"], pooling: Pooling) -> Float[Array, "*batch"]:
    """The critics' one opinion: their smallest value, as in SAC, or their mean."""
    return q.min(axis=0) if pooling == "min" else q.mean(axis=0)


def critic_target(
    params: SACParams,
    target_critics: Critics,
    batch: Transition,
    noise: Float[Array, "batch act"],
    bounds: ActionBounds,
    gamma: float,
    pooling: Pooling = "min",
) -> Float[Array, " batch"]:
    """y = r + γ (1 − terminated) (min_j Q̄_j(s′, a′) − α log π(a′|s′)), a′ ~ π(·|s′) (eq. 2–3).

    Args:
        noise: Draws from N(0, 1), of which a′ is made.
    """
    next_action, log_prob = action_from_noise(params.actor, batch.next_obs, noise, bounds)
    next_q = pool(q_values(target_critics, batch.next_obs, next_action), pooling)
    discount = gamma * (1 - batch.terminated.astype(jnp.float32))
    return batch.reward + discount * (next_q - jnp.exp(params.log_alpha) * log_prob)


def critic_loss(
    critics: Critics, batch: Transition, target: Float[Array, " batch"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Σ_j ½ E[(Q_j(s, a) − y)²] (eq. 5), and the mean Q for the log."""
    q = q_values(critics, batch.obs, batch.action)
    return 0.5 * jnp.mean((q - target) ** 2, axis=-1).sum(), q.mean()


def actor_loss(
    actor: MLP,
    critics: Critics,
    log_alpha: Float[Array, ""],
    obs: Float[Array, "batch obs"],
    noise: Float[Array, "batch act"],
    bounds: ActionBounds,
    pooling: Pooling = "min",
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """E[α log π(a|s) − min_j Q_j(s, a)], a ~ π(·|s) reparametrised (eq. 7–9); and −E[log π].

    Args:
        noise: Draws from N(0, 1), of which a is made.
    """
    action, log_prob = action_from_noise(actor, obs, noise, bounds)
    q = pool(q_values(critics, obs, action), pooling)
    return jnp.mean(jnp.exp(log_alpha) * log_prob - q), -log_prob.mean()


def alpha_loss(log_alpha: Float[Array, ""], entropy: Float[Array, ""], target_entropy: float) -> Float[Array, ""]:
    """log α · (entropy − target): α falls while entropy is above its target (eq. 17–18).

    On log α instead of α, as SAC's reference code has it, so that steps are relative.
    """
    return log_alpha * (entropy - target_entropy)


def make_optimizer(config: SACConfig) -> optax.GradientTransformation:
    """Adam, one for actor, critics and temperature together (they share the learning rate)."""
    return optax.adam(config.learning_rate)


def init_sac(spec: Spec, config: SACConfig, key: Key[Array, ""]) -> SACState:
    """Random networks; the target critics start as copies."""
    actor_key, critic_key = jax.random.split(key)
    actor = make_mlp(actor_key, spec.obs_dim, config.hidden_sizes, 2 * spec.action_dim, angles=spec.angles)

    def make_critic(k: Key[Array, ""]) -> MLP:
        in_size = spec.obs_dim + spec.action_dim
        return make_mlp(k, in_size, config.hidden_sizes, 1, layer_norm=config.critic_layer_norm, angles=spec.angles)

    critics = tuple(make_critic(k) for k in jax.random.split(critic_key, NUM_CRITICS))
    params = SACParams(actor, critics, jnp.log(jnp.asarray(config.initial_alpha, jnp.float32)))
    return SACState(params, jax.tree.map(jnp.copy, critics), make_optimizer(config).init(params))


def resolve_target_entropy(spec: Spec, config: SACConfig) -> float:
    """The target in nats, over actions rescaled to [−1, 1]: as set, or minus their number."""
    return -float(spec.action_dim) if config.target_entropy is None else config.target_entropy


def update_noise(key: Key[Array, ""], batch: int, action_dim: int) -> Float[Array, "2 batch act"]:
    """What an update draws from N(0, 1): for the next actions in the target, and for the actor's own."""
    return standard_normal(key, (2, batch, action_dim))


def sac_update(
    state: SACState, batch: Transition, noise: Float[Array, "2 batch act"], *, spec: Spec, config: SACConfig
) -> tuple[SACState, Metrics]:
    """One gradient step of critics, actor and temperature on one batch, then of the targets.

    All three gradients are taken at the same parameters.

    Args:
        noise: See `update_noise`.
    """
    bounds = action_bounds(spec)
    params = state.params
    next_noise, actor_noise = noise
    target = critic_target(params, state.target_critics, batch, next_noise, bounds, config.gamma, config.critic_pooling)
    target = bound_target(target, params.log_alpha, spec, config)
    (loss_q, q_mean), grad_q = jax.value_and_grad(critic_loss, has_aux=True)(params.critics, batch, target)
    (loss_pi, entropy), grad_pi = jax.value_and_grad(actor_loss, has_aux=True)(
        params.actor, params.critics, params.log_alpha, batch.obs, actor_noise, bounds, config.critic_pooling
    )
    grad_alpha = jax.grad(alpha_loss)(params.log_alpha, entropy, resolve_target_entropy(spec, config))
    grads = clip_each(SACParams(grad_pi, grad_q, grad_alpha), config.max_grad_norm)
    updates, optimizer_state = make_optimizer(config).update(grads, state.optimizer_state)
    params = optax.apply_updates(params, updates)
    target_critics = optax.incremental_update(params.critics, state.target_critics, config.tau)
    metrics = {
        "critic_loss": loss_q,
        "actor_loss": loss_pi,
        "alpha": jnp.exp(params.log_alpha),
        "entropy": entropy,
        "q_mean": q_mean,
    }
    return SACState(params, target_critics, optimizer_state), metrics


def sac_updates(
    state: SACState, batches: Transition, key: Key[Array, ""], *, spec: Spec, config: SACConfig
) -> tuple[SACState, Metrics]:
    """One update per leading index of `batches`, in a compiled loop; metrics averaged over it."""
    update = partial(sac_update, spec=spec, config=config)
    num_batches, batch_size = batches.reward.shape
    # All draws at once: calling the generator in every lap costs a small network's update dearly.
    noise = jax.vmap(lambda k: update_noise(k, batch_size, spec.action_dim))(jax.random.split(key, num_batches))
    state, metrics = jax.lax.scan(lambda s, xs: update(s, xs[0], xs[1]), state, (batches, noise))
    return state, jax.tree.map(jnp.mean, metrics)


def sac_updates_drawn(
    state: SACState,
    draw: Callable[[Key[Array, ""]], Transition],
    key: Key[Array, ""],
    count: Int[Array, ""],
    *,
    spec: Spec,
    config: SACConfig,
) -> tuple[SACState, Metrics]:
    """As `sac_updates`, as many as `count` says, 1 or more: it is traced, so each batch is drawn in its turn.

    Args:
        draw: `key -> batch`.
        key: Update `i` uses the key folded from `i`.
    """

    def update(state: SACState, batch_key: Key[Array, ""], update_key: Key[Array, ""]) -> tuple[SACState, Metrics]:
        noise = update_noise(update_key, config.batch_size, spec.action_dim)
        return sac_update(state, draw(batch_key), noise, spec=spec, config=config)

    def lap(i: Int[Array, ""], carry: tuple[SACState, Metrics]) -> tuple[SACState, Metrics]:
        state, total = carry
        batch_key, update_key = jax.random.split(jax.random.fold_in(key, i))
        state, metrics = update(state, batch_key, update_key)
        return state, jax.tree.map(jnp.add, total, metrics)

    shapes = jax.eval_shape(lambda: update(state, key, key)[1])
    zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)
    state, total = jax.lax.fori_loop(0, count, lap, (state, zeros))
    return state, jax.tree.map(lambda a: a / count, total)
