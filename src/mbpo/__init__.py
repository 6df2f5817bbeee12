"""Model-based policy optimization that knows when to trust its model."""

from mbpo.errors import MBPOError
from mbpo.training.algorithms import MBPO, MBPODH, PETS, SAC, DynaQ
from mbpo.training.config import RunConfig
from mbpo.training.evaluate import Evaluation
from mbpo.types import ModelOutput, ModelStep, Policy, RewardFn, TerminationFn, Transition

__all__ = [
    "MBPO",
    "MBPODH",
    "PETS",
    "SAC",
    "DynaQ",
    "Evaluation",
    "MBPOError",
    "ModelOutput",
    "ModelStep",
    "Policy",
    "RewardFn",
    "RunConfig",
    "TerminationFn",
    "Transition",
]
__version__ = "0.1.0"
