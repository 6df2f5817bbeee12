"""Our side of the comparisons, through the verbs that the training loop calls."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from worker import Measure, serve, transitions

from mbpo.agents.config import MBPOConfig, ModelConfig, RolloutLengthConfig, SACConfig
from mbpo.agents.mbpo import MBPOAgent
from mbpo.agents.pets import PETSAgent, PETSConfig
from mbpo.agents.sac_agent import SACAgent, SACAgentConfig
from mbpo.data.replay import insert_rows
from mbpo.model.termination import never
from mbpo.training.compilation import enable_compilation_cache
from mbpo.types import Spec, Transition

RANDOM_STEPS = 10
AFTER_RANDOM_STEPS = RANDOM_STEPS
"""An environment step at which agents learn."""


def prepare(job: dict[str, Any]) -> Measure:
    enable_compilation_cache()
    return WORKLOADS[job["workload"]](job)


def spec_of(job: dict[str, Any]) -> Spec:
    ones = np.ones(job["action_dim"], np.float32)
    return Spec(job["obs_dim"], -ones, ones)


def with_data(state: Any, job: dict[str, Any]) -> tuple[Any, Transition]:
    """The agent's state with the job's rows in its buffer of real transitions, and one more transition."""
    rows = transitions(job["rows"], job["obs_dim"], job["action_dim"])
    batch = Transition(**rows, terminated=np.zeros(job["rows"], bool))
    real = jax.jit(insert_rows)(state.real, batch, jnp.ones(job["rows"], bool))
    return eqx.tree_at(lambda s: s.real, state, real), jax.tree.map(lambda a: a[0], batch)


def keys() -> Callable[[], Any]:
    """A new key at every call, drawn ahead of the clock."""
    drawn = list(jax.random.split(jax.random.key(1), 1000))
    count = 0

    def draw() -> Any:
        nonlocal count
        count += 1
        return drawn[count % len(drawn)]

    return draw


def model_config(job: dict[str, Any]) -> ModelConfig:
    """An ensemble whose fit always takes the job's number of epochs over all rows."""
    batches = -(-job["rows"] // job["batch_size"])
    return ModelConfig(
        ensemble_size=job["members"],
        num_elites=job["elites"],
        hidden_sizes=tuple(job["model_sizes"]),
        batch_size=job["batch_size"],
        holdout_ratio=job["holdout_ratio"],
        max_epochs=job["epochs"],
        patience=job["epochs"],
        min_epoch_batches=1,
        max_epoch_batches=batches,
    )


def sac(job: dict[str, Any]) -> Measure:
    config = SACAgentConfig(
        random_steps=RANDOM_STEPS,
        replay_capacity=job["capacity"],
        utd_ratio=job["updates_per_call"],
        sac=SACConfig(hidden_sizes=tuple(job["hidden_sizes"]), batch_size=job["batch_size"]),
    )
    agent, draw = SACAgent(spec_of(job), config), keys()
    state, transition = with_data(agent.init(jax.random.key(0)), job)

    def measure(calls: int) -> dict[str, Any]:
        nonlocal state
        for _ in range(calls):
            state, metrics = agent.improve(state, transition, AFTER_RANDOM_STEPS, draw())
        jax.block_until_ready(state)
        assert np.isfinite(float(metrics["critic_loss"]))
        return {"units": calls * job["updates_per_call"]}

    return measure


def fit(job: dict[str, Any]) -> Measure:
    config = PETSConfig(
        random_steps=RANDOM_STEPS, replay_capacity=job["capacity"], model_train_freq=1, model=model_config(job)
    )
    # PETS and MBPO fit with the same function, and PETS does nothing else when it learns a model.
    agent, draw = PETSAgent(spec_of(job), config, never, jax.random.key(2)), keys()
    state, _ = with_data(agent.init(jax.random.key(0)), job)

    def measure(calls: int) -> dict[str, Any]:
        nonlocal state
        steps = 0
        for _ in range(calls):
            state, metrics = agent.learn_model(state, AFTER_RANDOM_STEPS, draw())
            steps += int(metrics["model_grad_steps"])
        jax.block_until_ready(state)
        return {"units": steps, "holdout_error": float(metrics["model_holdout_error"])}

    return measure


def rollouts(job: dict[str, Any]) -> Measure:
    length = job["length"]
    config = MBPOConfig(
        random_steps=RANDOM_STEPS,
        replay_capacity=job["capacity"],
        model_train_freq=1,
        epoch_length=1,
        rollout_batch_size=job["branches"],
        rollout_length=RolloutLengthConfig(start=length, end=length, start_epoch=0, end_epoch=0),
        sac=SACConfig(hidden_sizes=tuple(job["hidden_sizes"])),
        model=model_config(job),
    )
    agent, draw = MBPOAgent(spec_of(job), config, never, jax.random.key(2)), keys()
    state, _ = with_data(agent.init(jax.random.key(0)), job)
    state, _ = agent.learn_model(state, AFTER_RANDOM_STEPS, draw())  # A model that has learned something.

    def measure(calls: int) -> dict[str, Any]:
        nonlocal state
        rows = 0
        for _ in range(calls):
            # What `learn_model` does after the refit; no verb does this alone.
            state, metrics = agent._imagine(
                state, jnp.asarray(length, jnp.int32), jnp.asarray(agent.retained_rows(length), jnp.int32), draw()
            )
            rows += int(metrics["rollout_rows"])
        jax.block_until_ready(state)
        return {"units": rows}

    return measure


def planning(job: dict[str, Any]) -> Measure:
    config = PETSConfig(
        random_steps=RANDOM_STEPS,
        replay_capacity=job["capacity"],
        model_train_freq=1,
        planner="cem",
        horizon=job["horizon"],
        population=job["population"],
        num_elites=job["cem_elites"],
        iterations=job["iterations"],
        num_particles=job["particles"],
        propagation="tsinf",
        model=model_config(job),
    )
    agent, draw = PETSAgent(spec_of(job), config, never, jax.random.key(2)), keys()
    state, transition = with_data(agent.init(jax.random.key(0)), job)
    state, _ = agent.learn_model(state, AFTER_RANDOM_STEPS, draw())
    obs = np.asarray(transition.obs)

    def measure(calls: int) -> dict[str, Any]:
        nonlocal state
        for _ in range(calls):
            action, state = agent.act(state, obs, AFTER_RANDOM_STEPS, draw())
        assert np.isfinite(action).all()
        return {"units": calls}

    return measure


WORKLOADS: dict[str, Callable[[dict[str, Any]], Measure]] = {
    "sac": sac,
    "fit": fit,
    "rollouts": rollouts,
    "planning": planning,
}

if __name__ == "__main__":
    serve(prepare, ("mbpo", "jax", "jaxlib", "equinox", "optax", "numpy"))
