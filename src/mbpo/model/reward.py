"""A known reward in place of the learned one, over any model."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from mbpo.errors import FOREIGN, ConfigError, in_short
from mbpo.types import ModelOutput, ModelStep, RewardFn, Spec


def with_reward(model_step: ModelStep, reward_fn: RewardFn) -> ModelStep:
    """The same world with another reward."""

    def rewarded_step(
        obs: Float[Array, "batch obs"], action: Float[Array, "batch act"], key: Key[Array, ""]
    ) -> ModelOutput:
        out = model_step(obs, action, key)
        return out._replace(reward=reward_fn(obs, action, out.next_obs))

    return rewarded_step


def check_reward_fn(reward_fn: RewardFn, spec: Spec) -> None:
    """See that a reward function can be planned with; nothing is computed.

    Raises:
        ConfigError: It fails on a batch, or does not give one number per row.
    """
    rows = spec.obs_dim + spec.action_dim + 1  # A size that no axis could be mistaken for.
    obs = jax.ShapeDtypeStruct((rows, spec.obs_dim), jnp.float32)
    action = jax.ShapeDtypeStruct((rows, spec.action_dim), jnp.float32)
    wants = "It is called by JAX as reward_fn(obs [batch, obs], action [batch, act], next_obs [batch, obs]) -> [batch]"
    try:
        reward = jax.eval_shape(reward_fn, obs, action, obs)
    except FOREIGN as error:
        raise ConfigError(f"The reward function fails on a batch ({in_short(error)}). {wants}.") from error
    shape, dtype = getattr(reward, "shape", None), getattr(reward, "dtype", None)
    if shape != (rows,) or dtype != jnp.float32:
        raise ConfigError(
            f"The reward function gives shape {shape} and type {dtype} for {rows} rows, where ({rows},) and float32 "
            f"are expected. {wants}."
        )
