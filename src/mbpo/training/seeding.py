"""Where every random number of a run comes from: its seed, and where in the run it is used.

Nothing stores a generator. The key of environment step `n` and the reset seed of episode `i` are
functions of the run's seed and of `n` or `i`, so a resumed run draws what the uninterrupted one
would have drawn.
"""

from enum import IntEnum

import jax
import numpy as np
from jaxtyping import Array, Key


class Stream(IntEnum):
    """Independent uses of one run's seed."""

    INIT = 0
    SPLIT = 1
    STEP = 2
    TRAINING_EPISODE = 3
    EVALUATION_EPISODE = 4
    PREDICT = 5
    TRUST = 6


def stream_key(seed: int, stream: Stream) -> Key[Array, ""]:
    """The key of one stream."""
    return jax.random.fold_in(jax.random.key(seed), int(stream))


@jax.jit
def step_keys(run_key: Key[Array, ""], env_step: int) -> tuple[Key[Array, ""], Key[Array, ""], Key[Array, ""]]:
    """The keys of one environment step, for learning the model, acting and improving."""
    learn_key, act_key, improve_key = jax.random.split(jax.random.fold_in(run_key, env_step), 3)
    return learn_key, act_key, improve_key


def episode_seed(seed: int, stream: Stream, *indices: int) -> int:
    """What to reset the environment with for one episode, 32 bits."""
    return int(np.random.SeedSequence([seed, int(stream), *indices]).generate_state(1)[0])
