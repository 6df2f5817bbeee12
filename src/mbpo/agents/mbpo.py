"""Model-based policy optimization (Janner et al. 2019, arXiv:1906.08253), algorithm 2.

    1  initialise policy π, predictive model p_θ, environment data D_env, model data D_model
    2  for N epochs do
    3      train model p_θ on D_env via maximum likelihood                 learn_model
    4      for E steps do
    5          take action in environment according to π; add to D_env     act, improve
    6          for M model rollouts do
    7              sample s_t uniformly from D_env                         learn_model
    8              perform k-step model rollout from s_t using π;
                   add to D_model
    9          for G gradient updates do
    10             update policy parameters on model data                  improve

Lines 6–8 run right after line 3, for all the steps until the next refit at once, as in the
authors' code. Line 10 mixes a share `real_ratio` of D_env into every batch.
"""

from functools import partial
from types import MappingProxyType

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from mbpo.agents.base import Agent, Memory
from mbpo.agents.config import MBPOConfig
from mbpo.agents.exploration import held_random_action
from mbpo.agents.gating import (
    Behaviour,
    GateState,
    gated_rollouts,
    init_gate_state,
    measure,
    uniform_behaviour,
)
from mbpo.agents.sac import (
    SACState,
    action_bounds,
    action_distribution,
    init_sac,
    mean_action,
    sac_updates,
    sac_updates_drawn,
    sample_action,
)
from mbpo.agents.world_model import completed, init_model, init_termination, refit, refit_termination, split_rows
from mbpo.data.replay import Replay, insert, make_replay, retain_newest, sample_mixed
from mbpo.data.split import DataSplit
from mbpo.model.fit import FitState
from mbpo.model.gates.bound import bounded_length
from mbpo.model.gates.schedule import scheduled_rollout_length
from mbpo.model.reward import check_reward_fn
from mbpo.model.termination import TerminationModel, never
from mbpo.types import Metrics, RewardFn, Spec, TerminationFn, Transition


class MBPOState(eqx.Module):
    """All that MBPO has learned and seen."""

    sac: SACState
    model: FitState
    real: Replay
    """D_env"""
    imagined: Replay
    """D_model"""
    gate: GateState
    termination: TerminationModel | None
    """When episodes end, where that has to be learned."""


class MBPOAgent(Agent[MBPOState]):
    """MBPO for one environment's shape, settings and termination rule."""

    spec: Spec
    grown = ("real", "gate.behaviour")
    parts = MappingProxyType({"_measure": "measure", "_fit": "fit", "_imagine": "rollout", "_imagine_gated": "rollout"})
    steadier = "a smaller sac.learning_rate or utd_ratio, or sac.critic_layer_norm"

    def __init__(
        self,
        spec: Spec,
        config: MBPOConfig,
        termination_fn: TerminationFn | None,
        key: Key[Array, ""],
        reward_fn: RewardFn | None = None,
    ) -> None:
        """Args:
        termination_fn: The task's rule; None to learn when episodes end.
        key: Draws the bootstrap and hold-out tables, which are fixed for the whole run.
        reward_fn: Replaces the learned reward in imagined transitions.
        """
        self.spec = spec
        self.config = config
        self.termination_fn = termination_fn
        self.reward_fn = reward_fn
        if reward_fn is not None:
            check_reward_fn(reward_fn, spec)
        # Nothing is imagined with a learned reward where another is given, so gates do not judge it.
        self._outputs = None if reward_fn is None else spec.obs_dim
        self.split = split_rows(config.model, config.replay_capacity, key)

    def init(self, key: Key[Array, ""]) -> MBPOState:
        sac_key, model_key = jax.random.split(key)
        spec, config = self.spec, self.config
        return MBPOState(
            sac=init_sac(spec, config.sac, sac_key),
            model=init_model(spec, config.model, model_key),
            real=make_replay(config.replay_capacity, spec.obs_dim, spec.action_dim),
            imagined=make_replay(self.retained_rows(config.max_rollout_length), spec.obs_dim, spec.action_dim),
            gate=init_gate_state(spec, config, self.retained_rounds),
            termination=init_termination(spec, self.termination_fn, key),
        )

    def rollout_length(self, env_step: int) -> int:
        """The scheduled k after `env_step` real steps; epoch 0 begins after the random ones."""
        schedule = self.config.rollout_length
        epoch = max(env_step - self.config.random_steps, 0) // self.config.epoch_length
        return scheduled_rollout_length(
            epoch,
            start_epoch=schedule.start_epoch,
            end_epoch=schedule.end_epoch,
            start=schedule.start,
            end=schedule.end,
        )

    @property
    def retained_rounds(self) -> int:
        """Refits whose rollouts are kept: `model_retain_epochs` epochs of them."""
        return max(self.config.epoch_length // self.config.model_train_freq, 1) * self.config.model_retain_epochs

    def retained_rows(self, rollout_length: int) -> int:
        """Imagined rows to keep when branches have this length."""
        return self.retained_rounds * self.config.num_branches * rollout_length

    def learn_model(self, state: MBPOState, env_step: int, key: Key[Array, ""]) -> tuple[MBPOState, Metrics]:
        """Lines 3 and 6–8: refit, then branch from replayed real states."""
        since_start = env_step - self.config.random_steps
        if since_start < 0 or since_start % self.config.model_train_freq != 0:
            return state, {}
        fit_key, rollout_key = jax.random.split(key)
        # Before the refit: what came since the last one is new to the model.
        measured = self._measure(state)
        state, fit_metrics = self._fit(state, self.split, fit_key)
        if self.config.rollout == "schedule":
            length = self.rollout_length(env_step)
            state, metrics = self._imagine(
                state, jnp.asarray(length, jnp.int32), jnp.asarray(self.retained_rows(length), jnp.int32), rollout_key
            )
            metrics = {**metrics, "rollout_length": jnp.asarray(length)}
        else:
            state, metrics = self._imagine_gated(state, measured["bound_rollout_length"], rollout_key)
        return state, {**measured, **fit_metrics, **metrics}

    def act(
        self, state: MBPOState, obs: np.ndarray, env_step: int, key: Key[Array, ""]
    ) -> tuple[np.ndarray, MBPOState]:
        """Line 5: uniform over the action box at first, then drawn from the policy."""
        if env_step < self.config.random_steps:
            return np.asarray(self._random_action(state.real, env_step, key)), state
        return np.asarray(self._sample(state.sac, obs[None], key))[0], state

    def improve(
        self, state: MBPOState, transition: Transition, env_step: int, key: Key[Array, ""]
    ) -> tuple[MBPOState, Metrics]:
        """Lines 5 and 9–10: store the real transition, then `utd_ratio` updates on mixed batches."""
        if env_step < self.config.random_steps:
            return self._store(state, transition), {}
        if self.config.utd_follows_rollouts:
            return self._store_and_follow(state, transition, key)
        return self._store_and_update(state, transition, key)

    def memory(self, batch: int) -> Memory:
        return ()

    def predict(
        self, state: MBPOState, obs: Float[Array, "batch obs"], memory: Memory
    ) -> tuple[Float[Array, "batch act"], Memory]:
        return self._mean(state.sac, obs), memory

    def sample(
        self, state: MBPOState, obs: Float[Array, "batch obs"], key: Key[Array, ""]
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

    @partial(jax.jit, static_argnums=0, donate_argnums=1)
    def _store(self, state: MBPOState, transition: Transition) -> MBPOState:
        behaviour = insert(state.gate.behaviour, uniform_behaviour(self.spec))
        return eqx.tree_at(lambda s: (s.real, s.gate.behaviour), state, (insert(state.real, transition), behaviour))

    @partial(jax.jit, static_argnums=0)
    def _measure(self, state: MBPOState) -> Metrics:
        sac, outputs = state.sac.params, self._outputs
        return measure(sac.actor, state.model, state.real, state.gate, self.config, outputs=outputs)

    @partial(jax.jit, static_argnums=0, donate_argnums=1)
    def _fit(self, state: MBPOState, split: DataSplit, key: Key[Array, ""]) -> tuple[MBPOState, Metrics]:
        model, metrics = refit(state.model, state.real, split, key, self.config.model)
        rule, newest = self.termination_fn, self.config.model_train_freq
        termination, found = refit_termination(state.termination, rule, state.real, split, key, newest)
        state = MBPOState(state.sac, model, state.real, state.imagined, state.gate, termination)
        return state, {**metrics, **found}

    @partial(jax.jit, static_argnums=0, donate_argnums=1)
    def _imagine(
        self, state: MBPOState, rollout_length: Int[Array, ""], retain: Int[Array, ""], key: Key[Array, ""]
    ) -> tuple[MBPOState, Metrics]:
        imagined, gate, metrics = self._branch(state, state.imagined, rollout_length, retain, key)
        return eqx.tree_at(lambda s: (s.imagined, s.gate), state, (imagined, gate)), metrics

    @partial(jax.jit, static_argnums=0, donate_argnums=1)
    def _imagine_gated(
        self, state: MBPOState, best_length: Float[Array, ""], key: Key[Array, ""]
    ) -> tuple[MBPOState, Metrics]:
        """As `_imagine`, with a length that only the run tells; as many rounds of rollouts are kept."""
        longest = jnp.asarray(self.config.max_rollout_length, jnp.int32)
        bound = self.config.rollout == "bound"
        length = bounded_length(best_length, longest) if bound else longest
        kept = retain_newest(state.imagined, state.gate.round_rows[:-1].sum())
        capacity = jnp.asarray(kept.capacity, jnp.int32)
        imagined, gate, metrics = self._branch(state, kept, length, capacity, key)
        used = length if bound else metrics["rollout_rows"] / self.config.num_branches
        state = eqx.tree_at(lambda s: (s.imagined, s.gate), state, (imagined, gate))
        return state, {**metrics, "rollout_length": used}

    def _branch(
        self, state: MBPOState, imagined: Replay, length: Int[Array, ""], retain: Int[Array, ""], key: Key[Array, ""]
    ) -> tuple[Replay, GateState, Metrics]:
        bounds = action_bounds(self.spec)
        return gated_rollouts(
            state.model.ensemble,
            lambda obs, k: sample_action(state.sac.params.actor, obs, k, bounds)[0],
            state.real,
            imagined,
            state.gate,
            key,
            rollout_length=length,
            retain=retain,
            termination_fn=self.termination_fn or never,
            complete=lambda model_step: completed(model_step, self.reward_fn, state.termination),
            config=self.config,
            outputs=self._outputs,
        )

    @partial(jax.jit, static_argnums=0, donate_argnums=1)
    def _store_and_update(
        self, state: MBPOState, transition: Transition, key: Key[Array, ""]
    ) -> tuple[MBPOState, Metrics]:
        state = self._insert(state, transition)
        batch_key, update_key = jax.random.split(key)
        batches = sample_mixed(
            state.real,
            state.imagined,
            batch_key,
            num_batches=self.config.utd_ratio,
            batch_size=self.config.sac.batch_size,
            real_ratio=self.config.real_ratio,
        )
        sac, metrics = sac_updates(state.sac, batches, update_key, spec=self.spec, config=self.config.sac)
        return eqx.tree_at(lambda s: s.sac, state, sac), metrics

    def _insert(self, state: MBPOState, transition: Transition) -> MBPOState:
        """The real transition, and the policy that the action was just drawn from."""
        behaviour = Behaviour(*action_distribution(state.sac.params.actor, transition.obs))
        stored = insert(state.real, transition), insert(state.gate.behaviour, behaviour)
        return eqx.tree_at(lambda s: (s.real, s.gate.behaviour), state, stored)

    @partial(jax.jit, static_argnums=0, donate_argnums=1)
    def _store_and_follow(
        self, state: MBPOState, transition: Transition, key: Key[Array, ""]
    ) -> tuple[MBPOState, Metrics]:
        """As `_store_and_update`, with `utd_follows_rollouts`: as many updates as surviving data allow."""
        state, config = self._insert(state, transition), self.config
        share = state.gate.round_rows[0] / (config.num_branches * config.max_rollout_length)
        count = jnp.maximum((2 * share * config.utd_ratio).astype(jnp.int32), 1)

        def draw(batch_key: Key[Array, ""]) -> Transition:
            size, ratio = config.sac.batch_size, config.real_ratio
            mixed = sample_mixed(
                state.real, state.imagined, batch_key, num_batches=1, batch_size=size, real_ratio=ratio
            )
            return jax.tree.map(lambda rows: rows[0], mixed)

        sac, metrics = sac_updates_drawn(state.sac, draw, key, count, spec=self.spec, config=config.sac)
        return eqx.tree_at(lambda s: s.sac, state, sac), {**metrics, "grad_steps": count}
