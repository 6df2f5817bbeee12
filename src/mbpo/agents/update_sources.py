"""What an update of double-horizon MBPO draws from: states to imagine from and, besides, transitions that were seen."""

from typing import NamedTuple

import jax
from jaxtyping import Array, Float, Int, Key

from mbpo.agents.mbpo_dh_config import ValueGradientConfig
from mbpo.data.replay import Replay, draw_slots, sample_rows
from mbpo.types import Transition


class Sources(NamedTuple):
    """What an update draws from."""

    starts: Float[Array, "row obs"]
    """States of long rollouts."""
    size: Int[Array, ""]
    """So many of these rows hold one."""
    real: Replay


def drawn(
    sources: Sources, key: Key[Array, ""], config: ValueGradientConfig
) -> tuple[Float[Array, "batch obs"], Transition | None]:
    """Start states of one update's short rollouts, and the real transitions that its critics learn from besides."""
    starts = sources.starts[draw_slots(key, (config.batch_size,), sources.size)]
    seen = sample_rows(sources.real, jax.random.fold_in(key, 1), (config.real_rows,)) if config.real_rows else None
    return starts, seen
