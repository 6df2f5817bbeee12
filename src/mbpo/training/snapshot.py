"""What a checkpoint holds of a run under way: all that was learned and seen, the open episode. `restore` reads it."""

from typing import Any

import numpy as np

from mbpo.agents.base import Agent
from mbpo.training.episodes import Episodes
from mbpo.training.serialize import Ring, split

EPISODE_ACTIONS, EPISODE_OBS = "episode.actions", "episode.obs"
"""Names, in a checkpoint, of what the unfinished episode needs to be returned to."""


def snapshot(agent: Agent[Any], state: Any, episodes: Episodes) -> tuple[dict[str, np.ndarray], dict[str, Ring]]:
    """Every array by its name, but the rows of replay buffers; and those."""
    tensors, rings = split(state)
    log = episodes.log
    tensors[EPISODE_ACTIONS] = np.array(log.actions, np.float32).reshape(log.length, agent.spec.action_dim)
    tensors[EPISODE_OBS] = episodes.obs
    return tensors, rings
