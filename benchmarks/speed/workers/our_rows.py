"""What an environment step costs with more and more real transitions stored, at fixed sizes."""

import time
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from ours import keys, spec_of, with_data
from worker import Measure, serve

from mbpo.agents.config import MBPOConfig
from mbpo.agents.mbpo import MBPOAgent
from mbpo.model.termination import never
from mbpo.training.compilation import enable_compilation_cache

RANDOM_STEPS, CYCLE = 10, 250
STEPS = 10
"""Environment steps timed in one go."""


def prepare(job: dict[str, Any]) -> Measure:
    enable_compilation_cache()
    config = MBPOConfig(random_steps=RANDOM_STEPS, replay_capacity=job["rows"], model_train_freq=CYCLE)
    agent, draw = MBPOAgent(spec_of(job), config, never, jax.random.key(2)), keys()
    state, transition = with_data(agent.init(jax.random.key(0)), job)
    obs = np.asarray(transition.obs)

    def hold(rows: int) -> None:
        """Let the buffer hold its first rows only, and the model begin anew."""
        nonlocal state
        place = (jnp.asarray(rows % job["rows"], jnp.int32), jnp.asarray(rows, jnp.int32))
        model = agent.init(jax.random.key(0)).model
        state = eqx.tree_at(lambda s: (s.real.position, s.real.size, s.model), state, (*place, model))

    def steps(count: int) -> float:
        """Seconds per step of acting and improving, environment excluded."""
        nonlocal state
        started = time.perf_counter()
        for _ in range(count):
            action, state = agent.act(state, obs, RANDOM_STEPS + 1, draw())
            state, _ = agent.improve(state, transition._replace(action=action), RANDOM_STEPS + 1, draw())
        jax.block_until_ready(state)
        return (time.perf_counter() - started) / count

    def learn() -> tuple[float, float]:
        """Seconds of a refit with its rollouts, and its gradient steps."""
        nonlocal state
        started = time.perf_counter()
        state, metrics = agent.learn_model(state, RANDOM_STEPS, draw())
        jax.block_until_ready(state)
        return time.perf_counter() - started, float(metrics["model_grad_steps"])

    def measure(calls: int) -> dict[str, Any]:
        found = []
        for rows in job["sizes"]:
            hold(rows)
            first, _ = learn()  # From scratch; a run refits a model that has been fitted before.
            again, grad_steps = learn()
            step = min(steps(STEPS) for _ in range(calls))
            values = {"rows": rows, "step_seconds": step, "first_learn_seconds": first, "learn_seconds": again}
            found.append({**values, "grad_steps": grad_steps, "seconds": step + again / CYCLE})
        return {"units": len(job["sizes"]), "sizes": found}

    hold(job["sizes"][0])
    learn()
    steps(1)
    return measure


if __name__ == "__main__":
    serve(prepare, ("mbpo", "jax", "jaxlib", "numpy"))
