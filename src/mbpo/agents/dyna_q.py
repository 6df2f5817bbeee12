"""Tabular Dyna-Q (Sutton 1990; Sutton & Barto 2018, §8.2), its variants Dyna-Q+ and prioritized sweeping.

    initialise Q(s, a) and Model(s, a)                                            init
    loop forever:
    (a)  S ← current (nonterminal) state
    (b)  A ← ε-greedy(S, Q)                                                       act
    (c)  take action A; observe reward R and state S'                             (the loop)
    (d)  Q(S, A) ← Q(S, A) + α [R + γ max_a Q(S', a) − Q(S, A)]                   improve
    (e)  Model(S, A) ← R, S'                                                      improve: record
    (f)  loop repeat n times:                                                     improve: _plan
             S ← random previously observed state
             A ← random action previously taken in S
             R, S' ← Model(S, A)
             Q(S, A) ← Q(S, A) + α [R + γ max_a Q(S', a) − Q(S, A)]

Dyna-Q+ (§8.3; `exploration_bonus` κ > 0) plans with R + κ√τ, τ the real steps since the pair was
last tried, and also with actions never tried in states seen.

Prioritized sweeping (§8.4; `prioritized`) replaces (d) and (f):

    (e') P ← |R + γ max_a Q(S', a) − Q(S, A)|; if P > θ, insert S, A with P       improve: _sweep
    (f') loop repeat n times, while the queue is not empty:
             S, A ← first of the queue
             Q(S, A) ← Q(S, A) + α [R + γ max_a Q(S', a) − Q(S, A)], R, S' of the model
             for all S̄, Ā predicted to lead to S:
                 P ← |R̄ + γ max_a Q(S, a) − Q(S̄, Ā)|; if P > θ, insert S̄, Ā with P

Deviations. The model counts all outcomes, where the book keeps the last: Dyna-Q draws one, and
prioritized sweeping takes the mean over them, which in a deterministic world is the same. In
(f), the seen pair is drawn uniformly at once, not the state first, so that a pair's chance does
not depend on how many actions its state has seen; Dyna-Q+ draws a state and any of its actions,
which is uniform too. In (f'), an update with α < 1 leaves 1 − α of the error, and the pair stays in
the queue with it; the book drops the pair. With α = 1 there is no difference. As in the book, a
pair that is queued keeps its priority where its error has become smaller than θ since.
"""

from functools import partial
from typing import Annotated

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Gt, Le
from jaxtyping import Array, Bool, Float, Int, Key
from pydantic import model_validator

from mbpo.agents.base import Agent, Memory
from mbpo.agents.settings import NonNegativeFloat, NonNegativeInt, PositiveInt, Share, settings
from mbpo.errors import ConfigError
from mbpo.model.table import (
    Table,
    draw_any_action,
    draw_outcome,
    draw_pair,
    expected_return,
    leads_to,
    make_table,
    outcomes_of,
    record,
)
from mbpo.types import MAX_STATES, Metrics, TabularSpec, Transition


@settings
class DynaQConfig:
    """Dyna-Q; the defaults are those of the book's mazes (Sutton & Barto 2018, example 8.1)."""

    planning_steps: NonNegativeInt = 10
    """Imagined updates per real step, n; 0 is plain Q-learning. At most, if `prioritized`."""
    alpha: Annotated[float, Gt(0), Le(1)] = 0.1
    """Step size of every update, real or imagined."""
    gamma: Share = 0.95
    """Discount per environment step."""
    epsilon: Share = 0.1
    """Chance of a uniformly random action."""
    exploration_bonus: NonNegativeFloat = 0.0
    """κ of Dyna-Q+: a pair not tried for τ real steps is planned with κ√τ more reward. Above 0,
    actions never tried are planned too, as steps to the same state without reward."""
    prioritized: bool = False
    """Prioritized sweeping: update where the values are most wrong, not anywhere."""
    priority_threshold: NonNegativeFloat = 1e-4
    """θ: smaller errors are not queued (example 8.4)."""
    max_outcomes: PositiveInt = 8
    """Distinct outcomes remembered of each (state, action). Enough for any of Gymnasium's toy texts
    (FrozenLake has 3); memory grows with it. Beyond it, the rarest is replaced."""

    @model_validator(mode="after")
    def _one_variant(self) -> "DynaQConfig":
        if self.prioritized and self.exploration_bonus > 0:
            raise ConfigError(
                "prioritized and exploration_bonus exclude each other: the bonus changes every value at every step, "
                "which the queue would not notice. Set one of them."
            )
        return self


class DynaQState(eqx.Module):
    """All that Dyna-Q has learned and seen."""

    q: Float[Array, "state act"]
    table: Table
    priority: Float[Array, "state act"]
    """The queue of prioritized sweeping: 0 is not queued. Always 0 without it."""
    planning_updates: Int[Array, ""]
    """Imagined updates so far."""


class DynaQAgent(Agent[DynaQState]):
    """Dyna-Q for one environment's numbers of states and actions, and settings."""

    spec: TabularSpec
    steadier = "a smaller alpha"

    def __init__(self, spec: TabularSpec, config: DynaQConfig) -> None:
        numbers = (spec.num_states, spec.num_actions)
        if not all(0 < number <= MAX_STATES for number in numbers):
            raise ConfigError(
                f"A table needs between 1 and {MAX_STATES} states and actions, but there are {numbers[0]} states and "
                f"{numbers[1]} actions."
            )
        self.spec = spec
        self.config = config

    def init(self, key: Key[Array, ""]) -> DynaQState:
        """A state that has learned nothing; nothing in it is random."""
        shape = (self.spec.num_states, self.spec.num_actions)
        return DynaQState(
            q=jnp.zeros(shape),
            table=make_table(*shape, self.config.max_outcomes),
            priority=jnp.zeros(shape),
            planning_updates=jnp.zeros((), jnp.int32),
        )

    def learn_model(self, state: DynaQState, env_step: int, key: Key[Array, ""]) -> tuple[DynaQState, Metrics]:
        """Nothing: the table learns from each transition as it comes (e)."""
        return state, {}

    def act(
        self, state: DynaQState, obs: np.ndarray, env_step: int, key: Key[Array, ""]
    ) -> tuple[np.ndarray, DynaQState]:
        """(b): the action's number `[1]` for the state's number `[1]`, both float32."""
        return np.asarray(self._sample(state.q, obs[None], key))[0], state

    def improve(
        self, state: DynaQState, transition: Transition, env_step: int, key: Key[Array, ""]
    ) -> tuple[DynaQState, Metrics]:
        """(d)-(f): learn from the real transition, remember it, then plan."""
        return self._improve(state, transition, key)

    def memory(self, batch: int) -> Memory:
        return ()

    def predict(
        self, state: DynaQState, obs: Float[Array, "batch 1"], memory: Memory
    ) -> tuple[Float[Array, "batch 1"], Memory]:
        """The best actions, without exploration; of equally good ones, the first."""
        return self._best(state.q, obs), memory

    def sample(self, state: DynaQState, obs: Float[Array, "batch 1"], key: Key[Array, ""]) -> Float[Array, "batch 1"]:
        """ε-greedy actions, as during training."""
        return self._sample(state.q, obs, key)

    # The compiled parts. `self` is static: an agent is settings only.

    @partial(jax.jit, static_argnums=0)
    def _best(self, q: Array, obs: Array) -> Array:
        return jnp.argmax(q[_number(obs)], axis=-1)[:, None].astype(jnp.float32)

    @partial(jax.jit, static_argnums=0)
    def _sample(self, q: Array, obs: Array, key: Key[Array, ""]) -> Array:
        values = q[_number(obs)]
        draws = jax.random.uniform(key, (values.shape[0], values.shape[1] + 1))
        explore = draws[:, :1] < self.config.epsilon
        candidate = explore | (values == jnp.max(values, axis=-1, keepdims=True))
        # The candidate with the highest draw: all have the same chance, so ties are broken at random.
        action = jnp.argmax(jnp.where(candidate, draws[:, 1:], -1.0), axis=-1)
        return action[:, None].astype(jnp.float32)

    @partial(jax.jit, static_argnums=0, donate_argnums=1)
    def _improve(self, state: DynaQState, transition: Transition, key: Key[Array, ""]) -> tuple[DynaQState, Metrics]:
        s, a, next_s = (_number(x) for x in (transition.obs, transition.action, transition.next_obs))
        reward, terminated = jnp.asarray(transition.reward, jnp.float32), jnp.asarray(transition.terminated)
        td_error = self._target(state.q, reward, next_s, terminated) - state.q[s, a]
        table = record(state.table, s, a, reward, next_s, terminated)
        if self.config.prioritized:
            q, priority, updates = self._sweep(state.q, table, state.priority, s, a)
        else:
            q, priority = state.q.at[s, a].add(self.config.alpha * td_error), state.priority
            q, updates = self._plan(q, table, key), jnp.asarray(self.config.planning_steps, jnp.int32)
        metrics = {
            "td_error": td_error,
            "q_mean": jnp.sum(jnp.where(table.visits > 0, q, 0.0)) / table.num_pairs,
            "table_pairs": table.num_pairs,
            "planning_updates": updates,
        }
        return DynaQState(q, table, priority, state.planning_updates + updates), metrics

    def _target(self, q: Array, reward: Array, next_state: Array, terminated: Bool[Array, ""]) -> Float[Array, ""]:
        """R + discount · max_a Q(S', a); nothing follows the end of an episode."""
        discount = self.config.gamma * (1.0 - terminated)
        return reward + discount * jnp.max(q[next_state])

    def _plan(self, q: Array, table: Table, key: Key[Array, ""]) -> Array:
        """(f): n updates on imagined steps from seen pairs."""
        if self.config.planning_steps == 0:
            return q
        kappa = self.config.exploration_bonus
        # All random bits at once: generating them inside the loop costs more than the updates.
        bits = jax.random.bits(key, (self.config.planning_steps, 3))

        def update(i: Array, q: Array) -> Array:
            s, a = draw_any_action(table, bits[i, 0], bits[i, 1]) if kappa > 0 else draw_pair(table, bits[i, 0])
            outcome = draw_outcome(table, s, a, bits[i, 2])
            elapsed = (table.time - table.last_tried[s, a]).astype(jnp.float32)
            reward = outcome.reward + kappa * jnp.sqrt(elapsed) if kappa > 0 else outcome.reward
            target = self._target(q, reward, outcome.next_state, outcome.terminated)
            return q.at[s, a].add(self.config.alpha * (target - q[s, a]))

        return jax.lax.fori_loop(0, self.config.planning_steps, update, q)

    def _sweep(
        self, q: Array, table: Table, priority: Array, s: Int[Array, ""], a: Int[Array, ""]
    ) -> tuple[Array, Array, Int[Array, ""]]:
        """(e') and (f'): up to n updates, the pair with the largest error first."""
        config = self.config

        def more(carry: tuple[Array, Array, Array]) -> Array:
            _, priority, updates = carry
            return (updates < config.planning_steps) & (jnp.max(priority) > 0)

        def update(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            q, priority, updates = carry
            s, a = jnp.divmod(jnp.argmax(priority), self.spec.num_actions)
            target = expected_return(outcomes_of(table, s, a), jnp.max(q, axis=1), config.gamma)
            q = q.at[s, a].add(config.alpha * (target - q[s, a]))
            error = jnp.abs(expected_return(table.outcomes, jnp.max(q, axis=1), config.gamma) - q)
            insert = leads_to(table, s).at[s, a].set(True) & (error > config.priority_threshold)
            priority = jnp.where(insert, error, priority.at[s, a].set(0.0))
            return q, priority, updates + 1

        target = expected_return(outcomes_of(table, s, a), jnp.max(q, axis=1), config.gamma)
        error = jnp.abs(target - q[s, a])
        priority = priority.at[s, a].set(jnp.where(error > config.priority_threshold, error, priority[s, a]))
        return jax.lax.while_loop(more, update, (q, priority, jnp.zeros((), jnp.int32)))


def _number(vector: Float[Array, "*batch 1"]) -> Int[Array, "*batch"]:
    """The number of a state or an action from the vector that carries it."""
    return jnp.asarray(vector)[..., 0].astype(jnp.int32)
