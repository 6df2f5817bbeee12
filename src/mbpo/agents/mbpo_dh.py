"""Double-horizon model-based policy optimization (Kubo et al. 2025, arXiv:2512.15439).

    1  take random actions; add to D_env                                            act, improve
    2  every `model_train_freq` steps:
    3      fit the model p_θ to D_env                                               learn_model
    4      some updates of the critics alone                                        learn_model
    5  at every step: take an action from π; add to D_env                           act, improve
    6      every `rollout_freq` updates: from states of D_env, long rollouts
           with π and p_θ, without gradients; keep their states                     improve
    7      from such states, short rollouts with gradients through p_θ:
           one update of π and the critics                                          improve
    (with `updates_at_refit` 6 and 7 follow line 4, so many times as steps were taken since the last refit)

Two horizons for two ends: the long rollouts bring states that π itself visits, the short ones bring
a gradient whose variance stays small. Model, buffers and rollouts are MBPO's; the learner is
`value_gradient`.
"""

from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from mbpo.agents.base import Agent, Memory
from mbpo.agents.exploration import held_random_action
from mbpo.agents.mbpo_dh_config import MBPODHConfig
from mbpo.agents.sac import action_bounds
from mbpo.agents.update_sources import Sources, drawn
from mbpo.agents.value_gradient import Eyes, mean_action, sample_action
from mbpo.agents.value_updates import (
    ValueState,
    critic_only_update,
    fresh_optimizers,
    init_value,
    renormalized_learner,
    value_update,
)
from mbpo.agents.world_model import (
    completed,
    ending_early,
    init_model,
    init_termination,
    refit,
    refit_termination,
    split_rows,
)
from mbpo.data.replay import Replay, insert, make_replay, sample_rows
from mbpo.data.split import DataSplit
from mbpo.model.differentiable import as_differentiable_step
from mbpo.model.end_margin import obs_spread
from mbpo.model.ensemble import Ensemble
from mbpo.model.fit import FitState
from mbpo.model.reward import check_reward_fn
from mbpo.model.rollout import branched_rollouts
from mbpo.model.termination import TerminationModel, never
from mbpo.nn.normalizer import Normalizer
from mbpo.nn.normed_mlp import NormedMLP
from mbpo.types import Metrics, ModelStep, RewardFn, Spec, TerminationFn, Transition


class MBPODHState(eqx.Module):
    """All that double-horizon MBPO has learned and seen."""

    learner: ValueState
    model: FitState
    real: Replay
    """D_env"""
    imagined: Replay
    """Long rollouts; short ones start from their states."""
    termination: TerminationModel | None
    """When episodes end, where that has to be learned."""


class World(NamedTuple):
    """What rollouts follow."""

    ensemble: Ensemble
    termination: TerminationModel | None


class MBPODHAgent(Agent[MBPODHState]):
    """Double-horizon MBPO for one environment's shape, settings and termination rule."""

    spec: Spec
    grown = ("real",)
    parts = MappingProxyType({"_fit": "fit", "_imagine": "rollout"})
    steadier = "a smaller learner.learning_rate, learner.horizon or model.learning_rate"

    def __init__(
        self,
        spec: Spec,
        config: MBPODHConfig,
        termination_fn: TerminationFn | None,
        key: Key[Array, ""],
        reward_fn: RewardFn | None = None,
    ) -> None:
        """Args:
        termination_fn: The task's rule; None to learn when episodes end.
        key: Draws the bootstrap and hold-out tables, which are fixed for the whole run.
        reward_fn: Replaces the learned reward in imagined transitions; gradients pass through it.
        """
        self.spec = spec
        self.config = config
        self.termination_fn = termination_fn
        self.reward_fn = reward_fn
        if reward_fn is not None:
            check_reward_fn(reward_fn, spec)
        self.split = split_rows(config.model, config.replay_capacity, key)

    def init(self, key: Key[Array, ""]) -> MBPODHState:
        learner_key, model_key = jax.random.split(key)
        spec, config = self.spec, self.config
        retained = config.retain_rollouts * config.rollout_batch_size * config.rollout_length
        return MBPODHState(
            learner=init_value(spec, config.learner, learner_key),
            model=init_model(spec, config.model, model_key),
            real=make_replay(config.replay_capacity, spec.obs_dim, spec.action_dim),
            imagined=make_replay(retained, spec.obs_dim, spec.action_dim),
            termination=init_termination(spec, self.termination_fn, key),
        )

    def learn_model(self, state: MBPODHState, env_step: int, key: Key[Array, ""]) -> tuple[MBPODHState, Metrics]:
        """Lines 2–4, and the updates that are owed: for the random steps, or for all since the last refit."""
        config = self.config
        since_start = env_step - config.random_steps
        if since_start < 0 or since_start % config.model_train_freq != 0:
            return state, {}
        fit_key, rollout_key, critic_key, update_key = jax.random.split(key, 4)
        state, metrics = self._refit(state, fit_key)
        state, found = self._imagine(state, rollout_key)
        world = World(state.model.ensemble, state.termination)
        learner = self._critic_updates(state.learner, world, sources_of(state), critic_key)
        state = replace(state, learner=learner)
        each = config.model_train_freq * config.utd_ratio if config.updates_at_refit else 0
        owed = config.first_updates if since_start == 0 else each
        learned: Metrics = {}
        for done in range(0, owed, config.rollout_freq):
            rollout_key, round_key = jax.random.split(jax.random.fold_in(update_key, done))
            state, found = self._imagine(state, rollout_key)
            state, learned = self._update(state, min(config.rollout_freq, owed - done), round_key)
        return state, {**metrics, **found, **learned}

    def act(
        self, state: MBPODHState, obs: np.ndarray, env_step: int, key: Key[Array, ""]
    ) -> tuple[np.ndarray, MBPODHState]:
        """Lines 1 and 5: uniform over the action box at first, then drawn from the policy."""
        if env_step < self.config.random_steps:
            return np.asarray(self._random_action(state.real, env_step, key)), state
        return np.asarray(self.sample(state, jnp.asarray(obs[None]), key))[0], state

    def improve(
        self, state: MBPODHState, transition: Transition, env_step: int, key: Key[Array, ""]
    ) -> tuple[MBPODHState, Metrics]:
        """Lines 5–7: store the real transition; every `rollout_freq` updates, long rollouts and these updates."""
        state = replace(state, real=self._store(state.real, transition))
        if env_step < self.config.random_steps or self.config.updates_at_refit:
            return state, {}
        # All updates between two long rollouts at once: one by one, each would be a call of its own, whose
        # buffers cost about half as much again as the update itself.
        every = max(self.config.rollout_freq // self.config.utd_ratio, 1)
        if (env_step - self.config.random_steps) % every != 0:
            return state, {}
        rollout_key, update_key = jax.random.split(key)
        state, imagined = self._imagine(state, rollout_key)
        state, learned = self._update(state, every * self.config.utd_ratio, update_key)
        return state, {**imagined, **learned}

    def memory(self, batch: int) -> Memory:
        return ()

    def predict(
        self, state: MBPODHState, obs: Float[Array, "batch obs"], memory: Memory
    ) -> tuple[Float[Array, "batch act"], Memory]:
        return self._mean(state.learner.policy, state.model.ensemble.inputs, obs), memory

    def sample(
        self, state: MBPODHState, obs: Float[Array, "batch obs"], key: Key[Array, ""]
    ) -> Float[Array, "batch act"]:
        return self._sample(state.learner.params.actor, state.model.ensemble.inputs, obs, key)

    def eyes(self, inputs: Normalizer) -> Eyes:
        """What the actor sees: observations as the model's inputs are normalised, since its last fit."""
        size = self.spec.seen_dim
        return Eyes(Normalizer(inputs.mean[:size], inputs.std[:size], inputs.angles), action_bounds(self.spec))

    def model_step(self, world: World) -> ModelStep:
        """The model with rewards and ends, as rollouts of both kinds follow it."""
        rule, learned = self.termination_fn or never, world.termination
        step = completed(as_differentiable_step(world.ensemble, rule), self.reward_fn, learned)
        spread = obs_spread(world.ensemble.inputs, self.spec)
        return ending_early(step, rule, learned, spread, self.config.model.end_margin)

    def _refit(self, state: MBPODHState, key: Key[Array, ""]) -> tuple[MBPODHState, Metrics]:
        """Line 3. The optimisers forget the moments of gradients through a model that is no more."""
        # Before the first fit weights are random draws meant for normalised data.
        absorbs = self.config.learner.absorb_normalizers and int(state.model.num_fits) > 0
        seen_before = self.eyes(state.model.ensemble.inputs).obs
        model, termination, metrics = self._fit(state.model, state.termination, state.real, self.split, key)
        learner = fresh_optimizers(state.learner, self.config.learner)
        if absorbs:
            learner = renormalized_learner(learner, seen_before, self.eyes(model.ensemble.inputs).obs)
        return replace(state, learner=learner, model=model, termination=termination), metrics

    def _imagine(self, state: MBPODHState, key: Key[Array, ""]) -> tuple[MBPODHState, Metrics]:
        """Line 6."""
        actor = state.learner.params.actor
        imagined, metrics = self._long_rollouts(
            state.imagined, state.real, actor, World(state.model.ensemble, state.termination), key
        )
        return replace(state, imagined=imagined), metrics

    def _update(self, state: MBPODHState, count: int, key: Key[Array, ""]) -> tuple[MBPODHState, Metrics]:
        """Line 7, `count` times."""
        world = World(state.model.ensemble, state.termination)
        learner, metrics = self._updates(state.learner, world, sources_of(state), jnp.asarray(count), key)
        return replace(state, learner=learner), metrics

    # The compiled parts. `self` is static: an agent is settings only. Each is handed what it reads and
    # gives back what it writes: a large buffer that only passed through would be copied.

    @partial(jax.jit, static_argnums=0)
    def _random_action(self, real: Replay, env_step: int | Int[Array, ""], key: Key[Array, ""]) -> Array:
        return held_random_action(self.spec, real, env_step, key, hold=self.config.random_action_hold)

    @partial(jax.jit, static_argnums=0)
    def _sample(self, actor: NormedMLP, inputs: Normalizer, obs: Array, key: Key[Array, ""]) -> Array:
        return sample_action(actor, obs, key, self.eyes(inputs))[0]

    @partial(jax.jit, static_argnums=0)
    def _mean(self, actor: NormedMLP, inputs: Normalizer, obs: Array) -> Array:
        return mean_action(actor, obs, self.eyes(inputs))

    @partial(jax.jit, static_argnums=0, donate_argnums=1)
    def _store(self, real: Replay, transition: Transition) -> Replay:
        return insert(real, transition)

    @partial(jax.jit, static_argnums=0, donate_argnums=(1, 2))
    def _fit(
        self,
        model: FitState,
        termination: TerminationModel | None,
        real: Replay,
        split: DataSplit,
        key: Key[Array, ""],
    ) -> tuple[FitState, TerminationModel | None, Metrics]:
        rule, newest = self.termination_fn, self.config.model_train_freq
        model, metrics = refit(model, real, split, key, self.config.model, newest=newest)
        termination, found = refit_termination(termination, rule, real, split, key, newest)
        return model, termination, {**metrics, **found}

    @partial(jax.jit, static_argnums=0, donate_argnums=1)
    def _long_rollouts(
        self, imagined: Replay, real: Replay, actor: NormedMLP, world: World, key: Key[Array, ""]
    ) -> tuple[Replay, Metrics]:
        start_key, rollout_key = jax.random.split(key)
        eyes = self.eyes(world.ensemble.inputs)
        imagined, metrics = branched_rollouts(
            self.model_step(world),
            lambda obs, k: sample_action(actor, obs, k, eyes)[0],
            sample_rows(real, start_key, (self.config.rollout_batch_size,)).obs,
            imagined,
            rollout_key,
            rollout_length=jnp.asarray(self.config.rollout_length, jnp.int32),
            retain=jnp.asarray(imagined.capacity, jnp.int32),
        )
        del metrics["rollout_gated"]  # No gate ends them.
        return imagined, metrics

    @partial(jax.jit, static_argnums=0, donate_argnums=1)
    def _critic_updates(self, learner: ValueState, world: World, sources: Sources, key: Key[Array, ""]) -> ValueState:
        step, eyes, config = self.model_step(world), self.eyes(world.ensemble.inputs), self.config.learner

        def lap(i: Int[Array, ""], learner: ValueState) -> ValueState:
            draw_key, update_key = jax.random.split(jax.random.fold_in(key, i))
            start_obs, seen = drawn(sources, draw_key, config)
            return critic_only_update(learner, step, start_obs, update_key, seen, eyes=eyes, config=config)

        return jax.lax.fori_loop(0, self.config.critic_updates, lap, learner)

    @partial(jax.jit, static_argnums=0, donate_argnums=1)
    def _updates(
        self,
        learner: ValueState,
        world: World,
        sources: Sources,
        count: Int[Array, ""],
        key: Key[Array, ""],
    ) -> tuple[ValueState, Metrics]:
        """`count` updates, 1 or more; the metrics are those of the last."""
        step, eyes, config = self.model_step(world), self.eyes(world.ensemble.inputs), self.config.learner

        def update(learner: ValueState, i: Int[Array, ""]) -> tuple[ValueState, Metrics]:
            draw_key, update_key = jax.random.split(jax.random.fold_in(key, i))
            start_obs, seen = drawn(sources, draw_key, config)
            return value_update(learner, step, start_obs, update_key, seen, eyes=eyes, config=config)

        shapes = jax.eval_shape(lambda: update(learner, count))[1]
        zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)
        return jax.lax.fori_loop(0, count, lambda i, carry: update(carry[0], i), (learner, zeros))


def sources_of(state: MBPODHState) -> Sources:
    """What an update draws from."""
    return Sources(state.imagined.data.obs, state.imagined.size, state.real)
