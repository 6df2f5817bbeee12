"""From observations in an environment's own shape to actions in it: what `Algorithm.predict` does.

The signature that it serves is stable-baselines3's, whose `state` is what a planner remembers here.
"""

from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from mbpo.agents.base import Agent
from mbpo.envs.spec import read_obs_batch, shape_action_batch


def predict(
    agent: Agent[Any],
    agent_state: Any,
    env: gymnasium.Env[Any, Any],
    observation: np.ndarray,
    memory: Any,
    episode_start: np.ndarray | None,
    key: Key[Array, ""] | None,
) -> tuple[np.ndarray, Any]:
    """Actions for one observation or a batch of them, in the environment's shape, and the new memory.

    Args:
        memory: What a planner remembers: None at first, then what the call before gave back.
        episode_start: Per row, whether its episode begins here and its memory is to be new.
        key: Draws the actions as in exploration; None for the best ones known.

    Raises:
        ValueError: The observation has another shape, or is no state of a `Discrete` space.
    """
    obs_shape = env.observation_space.shape or ()
    array = np.asarray(observation)
    batch = array.shape[: array.ndim - len(obs_shape)]
    if array.shape[len(batch) :] != obs_shape or len(batch) > 1:
        raise ValueError(
            f"predict() takes an observation of shape {obs_shape} or a batch of them, and got {array.shape}"
        )
    rows = jnp.asarray(read_obs_batch(env, array))
    if key is None:
        actions, memory = _best(agent, agent_state, rows, memory, episode_start)
    else:
        actions = agent.sample(agent_state, rows, key)
    return shape_action_batch(env, np.asarray(actions), batch), memory


def _best(
    agent: Agent[Any], agent_state: Any, rows: jax.Array, memory: Any, episode_start: np.ndarray | None
) -> tuple[jax.Array, Any]:
    fresh = agent.memory(rows.shape[0])
    if not jax.tree.leaves(fresh):
        return agent.predict(agent_state, rows, fresh)[0], memory
    if memory is None:
        memory = fresh
    elif episode_start is not None:
        starts = jnp.asarray(episode_start, bool).reshape(-1)

        def begin(now: jax.Array, new: jax.Array) -> jax.Array:
            return jnp.where(starts.reshape(-1, *[1] * (new.ndim - 1)), new, now)

        memory = jax.tree.map(begin, memory, fresh)
    return agent.predict(agent_state, rows, memory)
