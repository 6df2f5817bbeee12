"""The verbs every algorithm answers: learn a model, act, improve.

An agent is an algorithm with its settings and no memory: all that it learns lives in a state
(a pytree declared by the agent), which goes in and comes out of every verb. So a run can be
stopped, saved and repeated, and the one loop in `training.loop` drives every algorithm.
"""

import abc
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

import numpy as np
from jaxtyping import Array, Float, Key

from mbpo.types import Metrics, RewardFn, Spec, TabularSpec, TerminationFn, Transition

State = TypeVar("State")
Memory: TypeAlias = Any
"""A pytree of arrays with a leading `batch` axis: what acting remembers within an episode. A policy
remembers nothing, `()`; a planner its plan."""


class Agent(abc.ABC, Generic[State]):
    """One algorithm on one kind of environment. The loop calls, at every environment step,

        state, metrics = agent.learn_model(state, env_step, key)
        action, state  = agent.act(state, obs, env_step, key)
        state, metrics = agent.improve(state, transition, env_step, key)

    with `env_step` the number of real transitions seen so far, and a key folded from the run's
    seed and `env_step`. Verbs take and give back ownership of the state: its buffers are
    donated, so a state handed in must not be used again.
    """

    spec: Spec | TabularSpec
    config: Any = None
    """Its settings, if it has any; they can be hashed."""
    termination_fn: TerminationFn | None = None
    reward_fn: RewardFn | None = None
    grown: ClassVar[tuple[str, ...]] = ()
    """Paths, in the state, of the replay buffers that take exactly one row at every environment step."""
    parts: ClassVar[Mapping[str, str]] = {}
    """Methods that a verb calls and that a profile tells apart, with the section each counts as."""
    steadier: ClassVar[str]
    """What usually helps where training diverges, with the names of its settings."""

    def __eq__(self, other: object) -> bool:
        """Agents of equal settings are equal: what is compiled for one serves the other too."""
        return self is other or (isinstance(other, Agent) and self._compiled_for == other._compiled_for)

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _compiled_for(self) -> tuple[Any, ...]:
        """All that a compiled part may read of its agent; anything else has to be handed to it."""
        return type(self), self.spec, self.config, self.termination_fn, self.reward_fn

    @cached_property
    def _hash(self) -> int:
        return hash(self._compiled_for)  # Once: it is asked for at every call of a compiled part.

    @abc.abstractmethod
    def init(self, key: Key[Array, ""]) -> State:
        """A state that has learned nothing."""

    @abc.abstractmethod
    def learn_model(self, state: State, env_step: int, key: Key[Array, ""]) -> tuple[State, Metrics]:
        """Refit the model and imagine, if due at this step; otherwise the state as it is."""

    @abc.abstractmethod
    def act(self, state: State, obs: np.ndarray, env_step: int, key: Key[Array, ""]) -> tuple[np.ndarray, State]:
        """The exploring action for one observation `[obs]`, in the environment's units.

        The state comes back too: a planner keeps its plan in it.
        """

    @abc.abstractmethod
    def improve(
        self, state: State, transition: Transition, env_step: int, key: Key[Array, ""]
    ) -> tuple[State, Metrics]:
        """Store the transition that `act` led to, and improve the policy."""

    @abc.abstractmethod
    def memory(self, batch: int) -> Memory:
        """What `predict` remembers of `batch` episodes that are about to begin."""

    @abc.abstractmethod
    def predict(
        self, state: State, obs: Float[Array, "batch obs"], memory: Memory
    ) -> tuple[Float[Array, "batch act"], Memory]:
        """The best actions known, without exploration; pure, and does not take the state.

        Args:
            memory: From `memory` at the beginning of an episode, afterwards from the call before.
        """

    @abc.abstractmethod
    def sample(self, state: State, obs: Float[Array, "batch obs"], key: Key[Array, ""]) -> Float[Array, "batch act"]:
        """Actions as the learned policy explores; pure, and does not take the state."""
