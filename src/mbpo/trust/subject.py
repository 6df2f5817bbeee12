"""The run that is looked into: its last checkpoint, as the plain values and functions the measurements take.

Nothing is written to the run's folder, and only its last whole checkpoint is read, so the run may
still be training.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from mbpo.agents import value_gradient
from mbpo.agents.base import Memory
from mbpo.agents.config import ModelConfig
from mbpo.agents.mbpo import MBPOAgent, MBPOState
from mbpo.agents.mbpo_dh import MBPODHAgent, MBPODHState, World
from mbpo.agents.mbpo_dh_config import HomoscedasticConfig
from mbpo.agents.pets import PETSAgent
from mbpo.agents.sac import action_bounds, action_distribution
from mbpo.agents.world_model import completed
from mbpo.envs.make import EnvSource
from mbpo.errors import CheckpointError, RunFolderError
from mbpo.model.consensus import as_fused_step
from mbpo.model.ensemble import Ensemble, as_model_step
from mbpo.model.reward import with_reward
from mbpo.model.termination import never
from mbpo.nn.distributions import log_tanh_derivative, sample_tanh_gaussian
from mbpo.training.algorithm import Algorithm
from mbpo.training.algorithms import load
from mbpo.training.config import RunConfig
from mbpo.training.logbook import Record, read_records
from mbpo.training.run_folder import read_description
from mbpo.types import ModelStep, RewardFn, Spec, Transition

Behaviour: TypeAlias = Callable[[np.ndarray, Memory, Key[Array, ""]], tuple[np.ndarray, Memory]]
"""`(obs [slot, obs], memory, key) -> (actions [slot, act], memory)`."""

Rows: TypeAlias = np.ndarray | Array

ALGORITHMS_WITH_ENSEMBLE = ("mbpo", "mbpo-dh", "pets")
MAX_READS = 3
"""A run that is training may replace its checkpoint while it is read; then it is read again."""


@dataclass(frozen=True, eq=False)
class Stochastic:
    """What is known of a policy that draws its actions from a density, as MBPO's does."""

    log_prob: Callable[[Rows, Rows], np.ndarray]
    """`(obs [row, obs], action [row, act]) -> [row]`, over actions rescaled to [−1, 1]."""
    sample: Callable[[Rows, Key[Array, ""]], tuple[np.ndarray, np.ndarray]]
    """`(obs [row, obs], key) -> (action [row, act], log_prob [row])`."""
    gamma: float
    """The discount it was trained with."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A run at its last checkpoint."""

    config: RunConfig
    env_step: int
    source: EnvSource
    spec: Spec
    ensemble: Ensemble
    model_config: ModelConfig | HomoscedasticConfig
    replay: Transition
    """All real rows that the checkpoint holds, NumPy."""
    reward_fn: RewardFn | None
    """The reward it imagines with instead of the learned one."""
    behave: Behaviour
    """The run's own policy: as it explores (MBPO, MBPO-DH), or its planner (PETS)."""
    memory: Callable[[int], Memory]
    policy: Stochastic | None
    """None for a planner, which has no density."""
    imagined: ModelStep | None
    """The model as that policy's branches are imagined with, ends and all, but for the gate."""
    records: list[Record]

    @property
    def model_step(self) -> ModelStep:
        """The model with one member a step (TS1), and without ends: along a recorded trajectory none ends early."""
        step = as_model_step(self.ensemble, never)
        return step if self.reward_fn is None else with_reward(step, self.reward_fn)


def read_subject(folder: Path) -> Subject:
    """The run in `folder`.

    Raises:
        RunFolderError: It is no run, has no ensemble, or has not fitted it yet.
        CheckpointError: It has no checkpoint, or a damaged one.
    """
    description = read_description(folder)
    config = description.config
    if config.algo not in ALGORITHMS_WITH_ENSEMBLE:
        raise RunFolderError(
            f"{folder} is a run of {config.algo}, which learns no ensemble, so there is no model to trust or not; "
            f"`mbpo trust` looks into runs of {' and '.join(ALGORITHMS_WITH_ENSEMBLE)}."
        )
    if not description.env_by_id:
        raise RunFolderError(
            f"The run in {folder} was made with an environment given as an object ({config.env_id}), which cannot be "
            "made again from its name, and measuring takes fresh episodes. Register the environment with Gymnasium "
            "and train with its id, written as 'module:Env-v0'."
        )
    algorithm = _load(folder)
    agent, state = algorithm.learned
    assert isinstance(agent, MBPOAgent | MBPODHAgent | PETSAgent), "the only algorithms with an ensemble"
    if int(state.model.num_fits) == 0:
        env_step = algorithm.env_step
        algorithm.close()
        raise RunFolderError(
            f"The last checkpoint in {folder} is of environment step {env_step}, when the model had not been fitted "
            f"yet: that begins after {config.chosen.random_steps} steps of random actions. Try again later in the run."
        )
    size = int(state.real.size)
    subject = Subject(
        config=config,
        env_step=algorithm.env_step,
        source=EnvSource.of(config.env_id, config.env_kwargs),
        spec=agent.spec,
        ensemble=state.model.ensemble,
        model_config=agent.config.model,
        replay=jax.tree.map(lambda column: np.asarray(column[:size]), state.real.data),
        reward_fn=agent.reward_fn,
        behave=_behaviour(agent, state),
        memory=agent.memory,
        policy=None if isinstance(agent, PETSAgent) else _stochastic(agent, state),
        imagined=None if isinstance(agent, PETSAgent) else _imagined(agent, state),
        records=read_records(folder),
    )
    algorithm.close()
    return subject


def _load(folder: Path) -> Algorithm:
    for _ in range(MAX_READS - 1):
        try:
            return load(folder)
        except CheckpointError:
            if not os.path.lexists(folder / "checkpoint" / "manifest.json"):
                raise
    return load(folder)


def _behaviour(agent: MBPOAgent | MBPODHAgent | PETSAgent, state: Any) -> Behaviour:
    def explore(obs: np.ndarray, memory: Memory, key: Key[Array, ""]) -> tuple[np.ndarray, Memory]:
        return np.asarray(agent.sample(state, jnp.asarray(obs), key)), memory

    def plan(obs: np.ndarray, memory: Memory, key: Key[Array, ""]) -> tuple[np.ndarray, Memory]:
        actions, memory = agent.predict(state, jnp.asarray(obs), memory)
        return np.asarray(actions), memory

    return plan if isinstance(agent, PETSAgent) else explore


def _imagined(agent: MBPOAgent | MBPODHAgent, state: MBPOState | MBPODHState) -> ModelStep:
    ensemble, learned = state.model.ensemble, state.termination
    if isinstance(agent, MBPODHAgent):
        return agent.model_step(World(ensemble, learned))
    as_step = as_fused_step if agent.config.rollout == "infoprop" else as_model_step
    return completed(as_step(ensemble, agent.termination_fn or never), agent.reward_fn, learned)


def _stochastic(agent: MBPOAgent | MBPODHAgent, state: MBPOState | MBPODHState) -> Stochastic:
    bounds = action_bounds(agent.spec)
    if isinstance(agent, MBPODHAgent):
        assert isinstance(state, MBPODHState)
        distribution = partial(
            value_gradient.action_distribution,
            state.learner.params.actor,
            eyes=agent.eyes(state.model.ensemble.inputs),
        )
        gamma = agent.config.learner.gamma
    else:
        assert isinstance(state, MBPOState)
        distribution = partial(action_distribution, state.sac.params.actor)
        gamma = agent.config.sac.gamma

    @jax.jit
    def log_prob(obs: Array, action: Array) -> Array:
        # Recorded actions sit on the very bound where the tanh saturates; there the density is not finite.
        u = jnp.arctanh(jnp.clip((action - bounds.center) / bounds.scale, -1 + 1e-6, 1 - 1e-6))
        mean, log_std = distribution(obs)
        gaussian = -0.5 * ((u - mean) * jnp.exp(-log_std)) ** 2 - log_std - 0.5 * jnp.log(2 * jnp.pi)
        return jnp.sum(gaussian - log_tanh_derivative(u), axis=-1)

    @jax.jit
    def draw(obs: Array, key: Key[Array, ""]) -> tuple[Array, Array]:
        action, density = sample_tanh_gaussian(key, *distribution(obs), scale=bounds.scale, center=bounds.center)
        return action, density + jnp.log(bounds.scale).sum()

    def sample(obs: Rows, key: Key[Array, ""]) -> tuple[np.ndarray, np.ndarray]:
        action, density = draw(jnp.asarray(obs), key)
        return np.asarray(action), np.asarray(density)

    return Stochastic(
        log_prob=lambda obs, action: np.asarray(log_prob(jnp.asarray(obs), jnp.asarray(action))),
        sample=sample,
        gamma=gamma,
    )
