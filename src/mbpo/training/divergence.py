"""Training that has gone to infinity: which quantity did, and what usually helps."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mbpo.agents.base import Agent
from mbpo.errors import TrainingError
from mbpo.training.serialize import nonfinite_names


def diverged(
    agent: Agent[Any], state: Any, metrics: Mapping[str, Any], *, env_step: int, checkpoint_step: int | None
) -> TrainingError:
    """The error that names the first quantity that is not finite.

    Args:
        checkpoint_step: Environment step of the checkpoint that is kept; None where there is none.
    """
    values = {name: float(value) for name, value in metrics.items()}
    bad = [f"the metric '{name}' is {value}" for name, value in values.items() if not np.isfinite(value)]
    bad += [f"the weights '{name}' are not finite" for name in nonfinite_names(state)]
    what = bad[0] if bad else "the policy's action is not finite"
    kept = "" if checkpoint_step is None else f" The checkpoint of step {checkpoint_step} is kept."
    return TrainingError(
        f"Training diverged at environment step {env_step}: {what}.{kept} What usually helps: {agent.steadier}."
    )
