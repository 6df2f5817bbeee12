"""Soft actor-critic without a model (Haarnoja et al. 2018, arXiv:1812.05905), algorithm 1.

    1  initialise policy π, critics, targets, environment data D
    2  for each environment step do
    3      take action in environment according to π; add to D       act, improve
    4      for each gradient step do
    5          update critics, policy, temperature and targets        improve

The learner is MBPO's own (`agents.sac`), and so are the buffer and the batches: MBPO with
`real_ratio=1` is this algorithm, update for update.
"""

from dataclasses import field
from functools import partial
from typing import Annotated

import equinox as eqx
import jax
import numpy as np
from annotated_types import Ge
from jaxtyping import Array, Float, Int, Key
from pydantic import model_validator

from mbpo.agents.base import Agent, Memory
from mbpo.agents.config import SACConfig
from mbpo.agents.exploration import held_random_action
from mbpo.agents.sac import SACState, action_bounds, init_sac, mean_action, sac_updates, sample_action
from mbpo.agents.settings import PositiveInt, settings
from mbpo.data.replay import Replay, insert, make_replay, sample_rows
from mbpo.errors import ConfigError
from mbpo.types import Metrics, Spec, Transition


@settings
class SACAgentConfig:
    """Soft actor-critic as an algorithm of its own (Haarnoja et al. 2018)."""

    random_steps: Annotated[int, Ge(1)] = 5000
    """Uniformly random actions before the first update, in environment steps."""
    random_action_hold: PositiveInt = 1
    """Environment steps each of these actions is held for."""
    replay_capacity: PositiveInt = 1_000_000
    """Real transitions kept."""
    utd_ratio: PositiveInt = 1
    """Gradient steps per environment step."""
    sac: SACConfig = field(default_factory=SACConfig)

    @model_validator(mode="after")
    def _capacity_holds_the_start(self) -> "SACAgentConfig":
        if self.replay_capacity < self.random_steps:
            raise ConfigError(
                f"replay_capacity ({self.replay_capacity}) must hold at least random_steps ({self.random_steps})."
            )
        return self


class SACAgentState(eqx.Module):
    """All that SAC has learned and seen."""

    sac: SACState
    real: Replay
    """D"""


class SACAgent(Agent[SACAgentState]):
    """SAC for one environment's shape and settings."""

    spec: Spec
    grown = ("real",)
    steadier = "a smaller sac.learning_rate or utd_ratio, or sac.critic_layer_norm"

    def __init__(self, spec: Spec, config: SACAgentConfig) -> None:
        self.spec = spec
        self.config = config

    def init(self, key: Key[Array, ""]) -> SACAgentState:
        # The key is split as MBPO splits its own, so that both begin with the same networks.
        sac_key, _ = jax.random.split(key)
        return SACAgentState(
            sac=init_sac(self.spec, self.config.sac, sac_key),
            real=make_replay(self.config.replay_capacity, self.spec.obs_dim, self.spec.action_dim),
        )

    def learn_model(self, state: SACAgentState, env_step: int, key: Key[Array, ""]) -> tuple[SACAgentState, Metrics]:
        """There is no model."""
        return state, {}

    def act(
        self, state: SACAgentState, obs: np.ndarray, env_step: int, key: Key[Array, ""]
    ) -> tuple[np.ndarray, SACAgentState]:
        """Line 3: uniform over the action box at first, then drawn from the policy."""
        if env_step < self.config.random_steps:
            return np.asarray(self._random_action(state.real, env_step, key)), state
        return np.asarray(self._sample(state.sac, obs[None], key))[0], state

    def improve(
        self, state: SACAgentState, transition: Transition, env_step: int, key: Key[Array, ""]
    ) -> tuple[SACAgentState, Metrics]:
        """Lines 3–5: store the transition, then `utd_ratio` updates."""
        real = self._store(state.real, transition)
        if env_step < self.config.random_steps:
            return SACAgentState(state.sac, real), {}
        sac, metrics = self._update(state.sac, real, key)
        return SACAgentState(sac, real), metrics

    def memory(self, batch: int) -> Memory:
        return ()

    def predict(
        self, state: SACAgentState, obs: Float[Array, "batch obs"], memory: Memory
    ) -> tuple[Float[Array, "batch act"], Memory]:
        return self._mean(state.sac, obs), memory

    def sample(
        self, state: SACAgentState, obs: Float[Array, "batch obs"], key: Key[Array, ""]
    ) -> Float[Array, "batch act"]:
        return self._sample(state.sac, obs, key)

    # The compiled parts. `self` is static: an agent is settings only.

    @partial(jax.jit, static_argnums=0)
    def _random_action(self, real: Replay, env_step: int | Int[Array, ""], key: Key[Array, ""]) -> Array:
        return held_random_action(self.spec, real, env_step, key, hold=self.config.random_action_hold)

    @partial(jax.jit, static_argnums=0)
    def _sample(self, sac: SACState, obs: Array, key: Key[Array, ""]) -> Array:
        return sample_action(sac.params.actor, obs, key, action_bounds(self.spec))[0]

    @partial(jax.jit, static_argnums=0)
    def _mean(self, sac: SACState, obs: Array) -> Array:
        return mean_action(sac.params.actor, obs, action_bounds(self.spec))

    # Two, since one function that both wrote to the buffer and drew from it would copy a part of it at each step.

    @partial(jax.jit, static_argnums=0, donate_argnums=1)
    def _store(self, real: Replay, transition: Transition) -> Replay:
        return insert(real, transition)

    @partial(jax.jit, static_argnums=0, donate_argnums=1)
    def _update(self, sac: SACState, real: Replay, key: Key[Array, ""]) -> tuple[SACState, Metrics]:
        batch_key, update_key = jax.random.split(key)
        batches = sample_rows(real, batch_key, (self.config.utd_ratio, self.config.sac.batch_size))
        return sac_updates(sac, batches, update_key, spec=self.spec, config=self.config.sac)
