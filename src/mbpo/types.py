"""The data that flows between the parts, and the functions the parts are handed.

A `Transition` is what replay stores and every learner consumes; a `Spec` is all that the
algorithms know of an environment. `ModelStep` and `Policy` are plain functions, so a learned
ensemble, a table, a true simulator or a test oracle are interchangeable.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Array, Bool, Float, Key

Metrics: TypeAlias = dict[str, Array]
"""Flat `name -> scalar`; each name is documented with its equation on the algorithm's page."""


class Transition(NamedTuple):
    """Real or imagined experience, one row per transition.

    There is no `truncated`: a time limit ends an episode but says nothing about the value of
    the state it ended in, so it never reaches a learner (Pardo et al. 2018, arXiv:1712.00378).
    """

    obs: Float[Array, "*batch obs"]
    action: Float[Array, "*batch act"]
    """In the environment's own units, between `Spec.action_low` and `Spec.action_high`."""
    reward: Float[Array, "*batch"]
    next_obs: Float[Array, "*batch obs"]
    terminated: Bool[Array, "*batch"]
    """True where `next_obs` ends the task; its value is then zero by definition."""


@dataclass(frozen=True, eq=False)
class Spec:
    """What the algorithms know of an environment with continuous observations and actions."""

    obs_dim: int
    action_low: np.ndarray
    """Lowest action, shape `[act]`, float32, finite."""
    action_high: np.ndarray
    """Highest action, shape `[act]`, float32, finite, above `action_low` everywhere."""
    angles: tuple[int, ...] = ()
    """Which numbers of the observation are angles, in radians; networks see their cosines and sines."""

    @property
    def action_dim(self) -> int:
        return int(self.action_low.shape[0])

    @property
    def seen_dim(self) -> int:
        """Numbers that a network sees of an observation."""
        return self.obs_dim + len(self.angles)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Spec) and self._numbers == other._numbers

    def __hash__(self) -> int:
        return hash(self._numbers)

    @property
    def _numbers(self) -> tuple[int, bytes, bytes, tuple[int, ...]]:
        return self.obs_dim, self.action_low.tobytes(), self.action_high.tobytes(), self.angles


MAX_STATES = 2**24
"""Numbers of states and actions travel as float32, which tells whole numbers apart up to here."""


@dataclass(frozen=True)
class TabularSpec:
    """What the algorithms know of an environment with numbered states and actions.

    Both travel through replay, loop and checkpoints as vectors of one number, counted from 0.
    """

    num_states: int
    num_actions: int

    @property
    def obs_dim(self) -> int:
        """The state's number."""
        return 1

    @property
    def action_dim(self) -> int:
        """The action's number."""
        return 1


class ModelOutput(NamedTuple):
    """What a model says happens next, one row per imagined transition."""

    next_obs: Float[Array, "batch obs"]
    reward: Float[Array, " batch"]
    terminated: Bool[Array, " batch"]
    uncertainty: Float[Array, "batch *channels"]
    """How unsure the model is of this row, ≥ 0; 0 for a true simulator. One number, or several where
    a gate asks for each output's."""


ModelStep: TypeAlias = Callable[[Float[Array, "batch obs"], Float[Array, "batch act"], Key[Array, ""]], ModelOutput]
"""`(obs, action, key) -> ModelOutput`: one step of a world, learned or true."""

Policy: TypeAlias = Callable[[Float[Array, "batch obs"], Key[Array, ""]], Float[Array, "batch act"]]
"""`(obs, key) -> action`, in the environment's own action units."""

TerminationFn: TypeAlias = Callable[
    [Float[Array, "*batch obs"], Float[Array, "*batch act"], Float[Array, "*batch obs"]], Bool[Array, "*batch"]
]
"""`(obs, action, next_obs) -> terminated`: the task's rule for ending an episode."""

RewardFn: TypeAlias = Callable[
    [Float[Array, "*batch obs"], Float[Array, "*batch act"], Float[Array, "*batch obs"]], Float[Array, "*batch"]
]
"""`(obs, action, next_obs) -> reward`: the task's reward, where it is known."""
