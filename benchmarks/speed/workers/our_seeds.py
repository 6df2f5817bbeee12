"""SAC's updates for several seeds side by side in one compiled function, on whatever device JAX finds first."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ours import RANDOM_STEPS, keys, spec_of
from worker import Measure, serve, transitions

from mbpo.agents.config import SACConfig
from mbpo.agents.sac_agent import SACAgent, SACAgentConfig
from mbpo.data.replay import insert_rows
from mbpo.training.compilation import enable_compilation_cache
from mbpo.types import Transition


def prepare(job: dict[str, Any]) -> Measure:
    enable_compilation_cache()
    config = SACAgentConfig(
        random_steps=RANDOM_STEPS,
        replay_capacity=job["rows"],
        utd_ratio=job["updates_per_call"],
        sac=SACConfig(hidden_sizes=tuple(job["hidden_sizes"]), batch_size=job["batch_size"]),
    )
    agent, draw, seeds = SACAgent(spec_of(job), config), keys(), job["seeds"]
    rows = transitions(job["rows"], job["obs_dim"], job["action_dim"])
    batch = Transition(**rows, terminated=np.zeros(job["rows"], bool))

    def start(key: jax.Array) -> Any:
        state = agent.init(key)
        return state.sac, insert_rows(state.real, batch, jnp.ones(job["rows"], bool))

    @partial(jax.jit, donate_argnums=0)
    def update(learners: Any, real: Any, key: jax.Array) -> Any:
        if seeds == 1:
            return agent._update(learners, real, key)
        return jax.vmap(agent._update)(learners, real, jax.random.split(key, seeds))

    every = jax.vmap(start) if seeds > 1 else lambda key: start(key[0])
    learners, real = jax.jit(every)(jax.random.split(jax.random.key(0), seeds))

    def measure(calls: int) -> dict[str, Any]:
        nonlocal learners
        for _ in range(calls):
            learners, metrics = update(learners, real, draw())
        jax.block_until_ready(learners)
        assert np.isfinite(metrics["critic_loss"]).all()
        return {"units": calls * job["updates_per_call"], "device": jax.devices()[0].device_kind}

    return measure


if __name__ == "__main__":
    serve(prepare, ("mbpo", "jax", "jaxlib", "equinox", "optax", "numpy"))
