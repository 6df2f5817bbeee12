"""The ensemble as a world in which every particle keeps its member: PETS's TS∞.

Chua et al. 2018 (arXiv:1805.12114, §5.2). Under TS1 (`ensemble.as_model_step`) a particle meets
a new member at every step, so what the members disagree on averages out along the way; under TS∞
it stays with one, so that disagreement adds up over the horizon while noise stays noise.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from mbpo.model.ensemble import Ensemble, predict_normalized, split_prediction
from mbpo.nn.distributions import standard_normal
from mbpo.types import ModelOutput, ModelStep, TerminationFn


def draw_members(ensemble: Ensemble, num_particles: int, key: Key[Array, ""]) -> Int[Array, " group"]:
    """The members that particles are given to: all elites in random order, or as many as there are
    particles."""
    return jax.random.permutation(key, ensemble.elites)[:num_particles]


def as_tsinf_step(ensemble: Ensemble, termination_fn: TerminationFn, members: Int[Array, " group"]) -> ModelStep:
    """A `ModelStep` that gives each of `members` one block of rows, the same at every step.

    Rows come in equal consecutive blocks, the i-th for `members[i]`, so each member evaluates an
    equal share and nothing is shuffled. The number of rows must be a multiple of the number of
    members, and rows must keep their places from step to step: then a row keeps its member.

    Uncertainty is reported as by `as_model_step`.
    """
    groups = members.shape[0]
    params = jax.tree.map(lambda leaf: leaf[members], ensemble.params)

    def model_step(
        obs: Float[Array, "batch obs"], action: Float[Array, "batch act"], key: Key[Array, ""]
    ) -> ModelOutput:
        batch = obs.shape[0]
        if batch % groups != 0:
            raise ValueError(f"{batch} rows cannot be shared equally among {groups} members.")
        x = ensemble.inputs.normalize(jnp.concatenate([obs, action], axis=-1))
        mean, log_var = predict_normalized(params, x.reshape(groups, batch // groups, -1))
        mean, log_var = (a.reshape(batch, -1) for a in (mean, log_var))
        std = jnp.exp(0.5 * log_var)
        target = ensemble.targets.denormalize(mean + std * standard_normal(key, mean.shape))
        next_obs, reward = split_prediction(ensemble, obs, target)
        return ModelOutput(next_obs, reward, termination_fn(obs, action, next_obs), std.mean(axis=-1))

    return model_step
