"""Probabilistic ensembles with trajectory sampling (PETS, Chua et al. 2018, arXiv:1805.12114), algorithm 1.

    1  initialise data D with a random controller                          act
    2  for trial k = 1 to K do
    3      train a probabilistic ensemble f on D                           learn_model
    4      for time t = 0 to the end of the task do
    5          for action sequences a_{t:t+T} ~ CEM do                     act, planning.cem
    6              propagate state particles with TS through f             planning.objective,
                                                                           model.propagation
    7              evaluate a as Σ_τ 1/P Σ_p r(s_τ^p, a_τ)                 planning.objective
    8              update the CEM distribution                             planning.cem
    9          execute only the first action of the plan                   act
    10         record the outcome: D ← D ∪ {(s_t, a_t, s_{t+1})}           improve

There is no policy and nothing to improve: acting *is* planning. Line 3 runs every
`model_train_freq` steps rather than after each trial, and the reward is learned with the dynamics
unless a `reward_fn` is given, as the paper's was. Line 7 may add a terminal value (`tail_steps`).
"""

from collections.abc import Callable
from dataclasses import field
from functools import partial
from types import MappingProxyType
from typing import Annotated, Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Lt
from jaxtyping import Array, Float, Int, Key
from pydantic import model_validator

from mbpo.agents.base import Agent
from mbpo.agents.config import ModelConfig
from mbpo.agents.exploration import held_random_action
from mbpo.agents.settings import NonNegativeFloat, PositiveFloat, PositiveInt, Share, settings
from mbpo.agents.world_model import completed, init_model, init_termination, refit, refit_termination, split_rows
from mbpo.data.replay import Replay, insert, make_replay
from mbpo.data.split import DataSplit
from mbpo.errors import ConfigError
from mbpo.model.ensemble import Ensemble, as_model_step
from mbpo.model.fit import FitState
from mbpo.model.propagation import as_tsinf_step, draw_members
from mbpo.model.reward import check_reward_fn
from mbpo.model.termination import TerminationModel, never
from mbpo.planning.cem import cem, icem
from mbpo.planning.mppi import mppi
from mbpo.planning.objective import sequence_returns
from mbpo.types import Metrics, ModelStep, RewardFn, Spec, TerminationFn, Transition


@settings
class PETSConfig:
    """Probabilistic ensembles with trajectory sampling (Chua et al. 2018, arXiv:1805.12114)."""

    random_steps: Annotated[int, Ge(10)] = 200
    """Uniformly random actions before the first model fit, in environment steps; the paper: one trial."""
    random_action_hold: PositiveInt = 1
    """Environment steps each of these actions is held for, as in MBPO."""
    replay_capacity: Annotated[int, Ge(10)] = 100_000
    """Real transitions kept; the paper's runs end before that."""
    model_train_freq: PositiveInt = 50
    """Environment steps between refits; the paper refits after each trial of 200 to 1000 steps."""
    planner: Literal["cem", "icem", "mppi"] = "icem"
    """The paper's is CEM; iCEM (Pinneri et al. 2020) finds as good plans with a fraction of the samples."""
    horizon: PositiveInt = 25
    """Steps planned ahead (paper: 25 to 30)."""
    population: PositiveInt = 40
    """Sequences per iteration (paper: 400 to 500, for CEM); iCEM draws twice `num_elites` at least. This and the number
    of iterations are chosen for twenty decisions a second on two cores with the model below."""
    num_elites: PositiveInt = 8
    """Sequences that CEM and iCEM fit their Gaussian to (paper: a tenth)."""
    iterations: PositiveInt = 3
    """Iterations per decision (paper: 5)."""
    num_particles: PositiveInt = 5
    """Particles per sequence (paper: 20)."""
    propagation: Literal["ts1", "tsinf"] = "tsinf"
    """Whether a particle draws a member at every step (TS1) or keeps one for the horizon (TS∞)."""
    initial_std: PositiveFloat = 0.5
    """Deviation of the first samples, as a share of half the action box (paper: 0.5)."""
    alpha: Annotated[float, Ge(0), Lt(1)] = 0.1
    """Momentum of CEM's and iCEM's mean and variance (paper: 0.1)."""
    noise_beta: NonNegativeFloat = 2.0
    """Colour of iCEM's and MPPI's noise: power falls as frequency to the −β; 0 is white."""
    population_decay: Annotated[float, Ge(1)] = 1.25
    """iCEM: each iteration draws this many times fewer than the one before."""
    kept_share: Share = 0.3
    """iCEM: share of the elites that the next iteration considers again."""
    temperature: PositiveFloat = 1.0
    """MPPI: a sequence that earns this much less weighs e times less, in units of the return."""
    fresh_share: Annotated[float, Ge(0), Lt(1)] = 0.0
    """MPPI: share of the sequences drawn over the whole box, not around the plan; the paper's is 0."""
    tail_steps: NonNegativeFloat = 0.0
    """The last reward of the horizon counts as if earned for so many steps more; the paper's is 0."""
    model: ModelConfig = field(default_factory=lambda: ModelConfig(hidden_sizes=(200, 200, 200)))
    """The ensemble, as large as the paper's on Pusher; its others have four such layers, or three of 500."""

    @model_validator(mode="after")
    def _fits_together(self) -> "PETSConfig":
        if self.num_elites > self.population and self.planner != "mppi":
            raise ConfigError(f"num_elites ({self.num_elites}) cannot exceed population ({self.population}).")
        if self.replay_capacity < self.random_steps:
            raise ConfigError(
                f"replay_capacity ({self.replay_capacity}) must hold at least random_steps ({self.random_steps})."
            )
        members, particles = self.model.num_elites, self.num_particles
        if self.propagation == "tsinf" and particles > members and particles % members != 0:
            raise ConfigError(
                f"With propagation 'tsinf' each of the model's {members} elites gets an equal share of the particles: "
                f"num_particles ({particles}) must be at most {members} or a multiple of it."
            )
        return self


class PETSState(eqx.Module):
    """All that PETS has learned and seen."""

    model: FitState
    real: Replay
    """D"""
    plan: Float[Array, "horizon act"]
    """Where the next decision's search begins: the last plan moved on by a step."""
    termination: TerminationModel | None
    """When episodes end, where that has to be learned."""


class PETSMemory(NamedTuple):
    """What `predict` remembers from one decision to the next, one row per episode."""

    plan: Float[Array, "batch horizon act"]
    env_step: Int[Array, " batch"]
    """Decisions since the episode began."""


class _World(NamedTuple):
    """What is planned in."""

    ensemble: Ensemble
    termination: TerminationModel | None


class PETSAgent(Agent[PETSState]):
    """PETS for one environment's shape, settings, termination rule and perhaps reward."""

    spec: Spec
    grown = ("real",)
    parts = MappingProxyType({"_fit": "fit"})
    steadier = "a smaller model.learning_rate"

    def __init__(
        self,
        spec: Spec,
        config: PETSConfig,
        termination_fn: TerminationFn | None,
        key: Key[Array, ""],
        reward_fn: RewardFn | None = None,
    ) -> None:
        """Args:
        termination_fn: The task's rule; None to learn when episodes end.
        key: Draws the bootstrap and hold-out tables, which are fixed for the whole run.
        reward_fn: Replaces the learned reward when planning.
        """
        self.spec = spec
        self.config = config
        self.termination_fn = termination_fn
        self.reward_fn = reward_fn
        if reward_fn is not None:
            check_reward_fn(reward_fn, spec)
        self.split = split_rows(config.model, config.replay_capacity, key)

    def init(self, key: Key[Array, ""]) -> PETSState:
        spec, config = self.spec, self.config
        return PETSState(
            model=init_model(spec, config.model, key),
            real=make_replay(config.replay_capacity, spec.obs_dim, spec.action_dim),
            plan=self._fresh_plan(),
            termination=init_termination(spec, self.termination_fn, key),
        )

    def learn_model(self, state: PETSState, env_step: int, key: Key[Array, ""]) -> tuple[PETSState, Metrics]:
        """Line 3: refit when due."""
        since_start = env_step - self.config.random_steps
        if since_start < 0 or since_start % self.config.model_train_freq != 0:
            return state, {}
        return self._fit(state, self.split, key)

    def act(
        self, state: PETSState, obs: np.ndarray, env_step: int, key: Key[Array, ""]
    ) -> tuple[np.ndarray, PETSState]:
        """Lines 1 and 5–9: uniform over the action box at first, then the plan's first action."""
        if env_step < self.config.random_steps:
            return np.asarray(self._random_action(state.real, env_step, key)), state
        action, state = self._act(state, obs, key)
        return np.asarray(action), state

    def improve(
        self, state: PETSState, transition: Transition, env_step: int, key: Key[Array, ""]
    ) -> tuple[PETSState, Metrics]:
        """Line 10: store the real transition."""
        return self._store(state, transition), {}

    def memory(self, batch: int) -> PETSMemory:
        """What `predict` is handed at the start of `batch` episodes."""
        plan = jnp.broadcast_to(self._fresh_plan(), (batch, self.config.horizon, self.spec.action_dim))
        return PETSMemory(plan, jnp.zeros((batch,), jnp.int32))

    def predict(
        self, state: PETSState, obs: Float[Array, "batch obs"], memory: PETSMemory
    ) -> tuple[Float[Array, "batch act"], PETSMemory]:
        """Plan for every row from its own warm start; pure, and does not take the state.

        A row's random numbers depend on its step counter alone, so a row is planned for in the
        same way whichever rows stand beside it.
        """
        return self._predict(_World(state.model.ensemble, state.termination), obs, memory)

    def sample(
        self, state: PETSState, obs: Float[Array, "batch obs"], key: Key[Array, ""]
    ) -> Float[Array, "batch act"]:
        """Plan for every row from the middle of the box; pure, and does not take the state."""
        return self._sample(_World(state.model.ensemble, state.termination), obs, key)

    def _fresh_plan(self) -> Float[Array, "horizon act"]:
        """The middle of the box at every step."""
        middle = jnp.asarray(0.5 * (self.spec.action_low + self.spec.action_high))
        return jnp.broadcast_to(middle, (self.config.horizon, self.spec.action_dim))

    def _model_step(self, world: _World, key: Key[Array, ""]) -> ModelStep:
        """Line 6: TS1 or TS∞ through the ensemble, with the given reward if there is one."""
        (ensemble, termination), rule = world, self.termination_fn or never
        if self.config.propagation == "ts1":
            learned = as_model_step(ensemble, rule)
        else:
            members = draw_members(ensemble, self.config.num_particles, key)
            learned = as_tsinf_step(ensemble, rule, members)
        return completed(learned, self.reward_fn, termination)

    def _plan(self, world: _World, obs: Array, start: Array, key: Key[Array, ""]) -> Array:
        """Lines 5–8 for one state: the plan `[horizon, act]`."""
        member_key, plan_key = jax.random.split(key)
        config, model_step = self.config, self._model_step(world, member_key)

        def objective(actions: Array, score_key: Key[Array, ""]) -> Array:
            particles, tail = config.num_particles, config.tail_steps
            return sequence_returns(model_step, obs, actions, score_key, num_particles=particles, tail_steps=tail)

        planners: dict[str, Callable[..., Array]] = {"cem": cem, "icem": icem, "mppi": mppi}
        own: dict[str, Any] = {"iterations": config.iterations, "population": config.population}
        if config.planner == "mppi":
            own |= {"temperature": config.temperature, "noise_std": config.initial_std}
            own |= {"fresh_share": config.fresh_share}
        else:
            own |= {"num_elites": config.num_elites, "initial_std": config.initial_std, "alpha": config.alpha}
        if config.planner == "icem":
            own |= {"population_decay": config.population_decay, "kept_share": config.kept_share}
        if config.planner != "cem":
            own |= {"noise_beta": config.noise_beta}
        low, high = jnp.asarray(self.spec.action_low), jnp.asarray(self.spec.action_high)
        return planners[config.planner](objective, start, plan_key, low=low, high=high, **own)

    def _decide(self, world: _World, obs: Array, start: Array, key: Key[Array, ""]) -> tuple[Array, Array]:
        """The action for one state, and the plan moved on by a step: its new end is the box's middle."""
        plan = self._plan(world, obs, start, key)
        return plan[0], jnp.concatenate([plan[1:], self._fresh_plan()[:1]])

    # The compiled parts. `self` is static: an agent is settings only.

    @partial(jax.jit, static_argnums=0)
    def _random_action(self, real: Replay, env_step: int | Int[Array, ""], key: Key[Array, ""]) -> Array:
        return held_random_action(self.spec, real, env_step, key, hold=self.config.random_action_hold)

    @partial(jax.jit, static_argnums=0, donate_argnums=1)
    def _act(self, state: PETSState, obs: Array, key: Key[Array, ""]) -> tuple[Array, PETSState]:
        action, plan = self._decide(_World(state.model.ensemble, state.termination), obs, state.plan, key)
        return action, eqx.tree_at(lambda s: s.plan, state, plan)

    @partial(jax.jit, static_argnums=0)
    def _predict(self, world: _World, obs: Array, memory: PETSMemory) -> tuple[Array, PETSMemory]:
        def row(now: tuple[Array, Array, Array]) -> tuple[Array, Array]:
            row_obs, plan, env_step = now
            return self._decide(world, row_obs, plan, jax.random.fold_in(jax.random.key(0), env_step))

        # One row after the other, so that memory stays bounded; all at once is only a tenth faster on a CPU.
        actions, plans = jax.lax.map(row, (obs, memory.plan, memory.env_step))
        return actions, PETSMemory(plans, memory.env_step + 1)

    @partial(jax.jit, static_argnums=0)
    def _sample(self, world: _World, obs: Array, key: Key[Array, ""]) -> Array:
        fresh, keys = self._fresh_plan(), jax.random.split(key, obs.shape[0])
        return jax.lax.map(lambda row: self._decide(world, row[0], fresh, row[1])[0], (obs, keys))

    @partial(jax.jit, static_argnums=0, donate_argnums=1)
    def _store(self, state: PETSState, transition: Transition) -> PETSState:
        # A plan belongs to its episode. An end is seen here; a time limit is not, and then the next
        # episode's first search only begins at a stale plan, with the same deviation as ever.
        plan = jnp.where(transition.terminated, self._fresh_plan(), state.plan)
        return PETSState(state.model, insert(state.real, transition), plan, state.termination)

    @partial(jax.jit, static_argnums=0, donate_argnums=1)
    def _fit(self, state: PETSState, split: DataSplit, key: Key[Array, ""]) -> tuple[PETSState, Metrics]:
        fitted, metrics = refit(state.model, state.real, split, key, self.config.model)
        rule, newest = self.termination_fn, self.config.model_train_freq
        termination, found = refit_termination(state.termination, rule, state.real, split, key, newest)
        return PETSState(fitted, state.real, state.plan, termination), {**metrics, **found}
