"""What a gate is: two pure functions that decide, row by row, whether a branch may go on.

A gate sees what the model says (`ModelOutput`, whose `uncertainty` is of whatever kind the gate reads)
and remembers per branch what it likes, in a pytree that it declares. Thresholds are arrays in the
closure of its functions, so that new ones recompile nothing.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax.numpy as jnp
from jaxtyping import Array, Bool

from mbpo.types import ModelOutput

GateMemory: TypeAlias = Any
"""A pytree of arrays with a leading `batch` axis; `()` where nothing is remembered."""


class Gate(NamedTuple):
    """When a branch must stop. A row that is not admitted is not stored, and nothing follows it."""

    start: Callable[[int], GateMemory]
    """`batch -> memory`, before the first step."""
    admit: Callable[[GateMemory, ModelOutput], tuple[Bool[Array, " batch"], GateMemory]]
    """`(memory, out) -> (admitted, memory)`, at every step. Rows of branches that have ended are
    judged too and ignored."""


def open_gate() -> Gate:
    """Admits everything: the length of a branch is decided by k and by termination alone."""

    def admit(memory: GateMemory, out: ModelOutput) -> tuple[Bool[Array, " batch"], GateMemory]:
        return jnp.ones(out.reward.shape, bool), memory

    return Gate(start=lambda batch: (), admit=admit)
