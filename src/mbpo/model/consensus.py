"""The ensemble as a world in which every elite is asked about every row: for gates that compare them.

`ensemble.as_model_step` evaluates one member per row, and is several times cheaper; what the members
disagree on can only be known by evaluating all of them. All in normalised target units, so that no
output counts more for being large.

`outputs` says how many of the targets count, from the first on: all but the last, the reward, where another reward
is put in its place; None: all.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from mbpo.model.ensemble import Ensemble, make_targets, predict_normalized, split_prediction
from mbpo.model.gates.infoprop import condition, fuse, information_loss
from mbpo.model.gates.macura import disagreement
from mbpo.model.total_variation import gaussian_total_variation
from mbpo.nn.distributions import standard_normal
from mbpo.types import ModelOutput, ModelStep, TerminationFn, Transition


def predict_elites(
    ensemble: Ensemble, obs: Float[Array, "batch obs"], action: Float[Array, "batch act"]
) -> tuple[Float[Array, "elite batch out"], Float[Array, "elite batch out"]]:
    """Every elite's mean and log-variance of the normalised target, on the same rows."""
    elites = jax.tree.map(lambda leaf: leaf[ensemble.elites], ensemble.params)
    x = ensemble.inputs.normalize(jnp.concatenate([obs, action], axis=-1))
    return predict_normalized(elites, jnp.broadcast_to(x, (ensemble.elites.shape[0], *x.shape)))


def _draw_member(
    mean: Float[Array, "elite batch out"], std: Float[Array, "elite batch out"], key: Key[Array, ""]
) -> Float[Array, "batch out"]:
    """For each row a draw from the Gaussian of one elite, itself drawn uniformly (TS1)."""
    member_key, noise_key = jax.random.split(key)
    elites, batch, _ = mean.shape
    chosen = jax.random.randint(member_key, (batch,), 0, elites), jnp.arange(batch)
    return mean[chosen] + std[chosen] * standard_normal(noise_key, mean.shape[1:])


def as_disagreeing_step(ensemble: Ensemble, termination_fn: TerminationFn, outputs: int | None = None) -> ModelStep:
    """TS1 as `as_model_step`, with MACURA's disagreement u as the uncertainty of each row."""

    def model_step(
        obs: Float[Array, "batch obs"], action: Float[Array, "batch act"], key: Key[Array, ""]
    ) -> ModelOutput:
        mean, log_var = predict_elites(ensemble, obs, action)
        target = ensemble.targets.denormalize(_draw_member(mean, jnp.exp(0.5 * log_var), key))
        next_obs, reward = split_prediction(ensemble, obs, target)
        u = disagreement(mean[..., :outputs], jnp.exp(log_var[..., :outputs]))
        return ModelOutput(next_obs, reward, termination_fn(obs, action, next_obs), u)

    return model_step


def as_fused_step(ensemble: Ensemble, termination_fn: TerminationFn, outputs: int | None = None) -> ModelStep:
    """Infoprop's step: a member's draw corrected towards the fused estimate.

    The uncertainty of each row is the information lost in each output, in bits.
    """

    def model_step(
        obs: Float[Array, "batch obs"], action: Float[Array, "batch act"], key: Key[Array, ""]
    ) -> ModelOutput:
        member_key, noise_key = jax.random.split(key)
        mean, log_var = predict_elites(ensemble, obs, action)
        drawn = _draw_member(mean, jnp.exp(0.5 * log_var), member_key)
        centre, var = condition(fuse(mean, jnp.exp(log_var)), drawn)
        noise = jnp.sqrt(var) * standard_normal(noise_key, centre.shape)
        next_obs, reward = split_prediction(ensemble, obs, ensemble.targets.denormalize(centre + noise))
        lost = information_loss(var[..., :outputs])
        return ModelOutput(next_obs, reward, termination_fn(obs, action, next_obs), lost)

    return model_step


def one_step_losses(
    ensemble: Ensemble, obs: Float[Array, "batch obs"], action: Float[Array, "batch act"], outputs: int | None = None
) -> Float[Array, "batch out"]:
    """Infoprop's information loss l at given states and actions, in bits per output."""
    mean, log_var = predict_elites(ensemble, obs, action)
    fused = fuse(mean, jnp.exp(log_var))
    return information_loss(((1 - fused.gain) * fused.var)[..., :outputs])


def one_step_error(
    ensemble: Ensemble, rows: Transition, *, resolution: float, outputs: int | None = None
) -> Float[Array, ""]:
    """ε_m′: how far one-step predictions are from what happened, as a total variation from 0 to 1.

        mean over rows and elites of TV( N(μ_e, σ_e² + w²), N(y, w²) )

    of the normalised target y (Δobs or next_obs, and reward), with diagonal covariances and
    w = `resolution` in units of each target's standard deviation over the real data.

    A deterministic world's outcome is a point, and its TV from any density is 1. So outcome and
    prediction are both looked at through Gaussian noise of the width w, which can only lower TV: this
    is ε_m′ as far as it can be seen at that resolution, and it falls to 0 as the model gets exact.
    Only one outcome of each (s, a) is ever seen. By convexity the mean TV from single outcomes, and
    from single elites, is at least that from the distribution of outcomes, and from the mixture of
    elites that imagines. So in a random world the noise of the world counts as error (wherever it
    is wider than w), and the bound stays on the safe side.

    Args:
        rows: For an on-policy error: the current policy's own, not yet fitted to.
    """
    mean, log_var = (of[..., :outputs] for of in predict_elites(ensemble, rows.obs, rows.action))
    y = ensemble.targets.normalize(make_targets(ensemble, rows))[..., :outputs]
    log_width = jnp.broadcast_to(jnp.log(jnp.asarray(resolution, jnp.float32)), mean.shape)
    log_std = 0.5 * jnp.logaddexp(log_var, 2 * log_width)
    return gaussian_total_variation(mean, log_std, jnp.broadcast_to(y, mean.shape), log_width).mean()
