"""The ensemble as a world to step through with gradients: where the next state goes if the action changes.

TS1 as `ensemble.as_model_step` (each row to a random member at every step), but dealt out so that a
gradient passes at little cost: rows stay where they are, in as many blocks of neighbours as there
are members, and which member gets which block is drawn anew at every step. Rows of a block share
their member, and each row's own member is uniform. The draw is reparametrised, target = μ + σ ε.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from mbpo.model.ensemble import Ensemble, predict_normalized, split_prediction
from mbpo.types import ModelOutput, ModelStep, TerminationFn


def as_differentiable_step(ensemble: Ensemble, termination_fn: TerminationFn) -> ModelStep:
    """The elites as a `ModelStep` with gradients by obs and action.

    The reward is the member's mean, without noise: the noise would not change its expectation. The
    reported uncertainty is the mean over outputs of the member's standard deviation, in units of the
    target's spread over the real data.
    """
    members = ensemble.elites.shape[0]
    everyone = members == ensemble.ensemble_size
    params = ensemble.params
    if not everyone:
        params = jax.tree.map(lambda leaf: leaf[ensemble.elites], params)

    def model_step(
        obs: Float[Array, "batch obs"], action: Float[Array, "batch act"], key: Key[Array, ""]
    ) -> ModelOutput:
        deal_key, noise_key = jax.random.split(key)
        batch = obs.shape[0]
        share = -(-batch // members)
        order = jax.random.permutation(deal_key, members)
        x = ensemble.inputs.normalize(jnp.concatenate([obs, action], axis=-1))
        x = jnp.pad(x, ((0, share * members - batch), (0, 0))).reshape(members, share, -1)
        mean, log_var = predict_normalized(params, x[order])
        back = jnp.argsort(order)
        mean, log_var = (a[back].reshape(share * members, -1)[:batch] for a in (mean, log_var))
        std = jnp.exp(0.5 * log_var)
        noise = std[:, :-1] * jax.random.normal(noise_key, (batch, mean.shape[-1] - 1))
        target = ensemble.targets.denormalize(jnp.concatenate([mean[:, :-1] + noise, mean[:, -1:]], axis=-1))
        next_obs, reward = split_prediction(ensemble, obs, target)
        return ModelOutput(next_obs, reward, termination_fn(obs, action, next_obs), std.mean(axis=-1))

    return model_step
