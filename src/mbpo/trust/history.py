"""What the run wrote down about its own trust: rollout lengths, branches cut, errors and shifts."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from mbpo.training.logbook import Record

TRACKED = (
    "rollout_length",
    "rollout_rows",
    "rollout_alive",
    "rollout_nonfinite",
    "rollout_gated",
    "model_uncertainty",
    "model_holdout_error",
    "policy_shift",
    "on_policy_error",
    "bound_rollout_length",
)
"""Metrics looked for, as the algorithms' pages define them; a run need not record all."""


class Track(NamedTuple):
    """One metric over the run."""

    env_step: Float[np.ndarray, " record"]
    value: Float[np.ndarray, " record"]

    @property
    def last(self) -> float:
        return float(self.value[-1])


def read_history(records: list[Record]) -> dict[str, Track]:
    """The tracked metrics that the run recorded; the others are left out."""
    found = {}
    for name in TRACKED:
        points = [(r["env_step"], r[name]) for r in records if isinstance(r.get(name), int | float)]
        if points:
            steps, values = zip(*points, strict=True)
            found[name] = Track(np.asarray(steps, float), np.asarray(values, float))
    return found
