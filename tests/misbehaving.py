"""Environments that misbehave, one way each, and what a user must be told of it.

All observe two numbers, take one action in [-1, 1], and would be well-behaved but for their fault,
which happens at the third step of an episode, or at its reset.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium import spaces

FAULT_STEP = 3
GOOD_OBS = np.float32([0.5, -0.5])


class Misbehaving(gymnasium.Env):
    """Does what it should, but for what its fault makes of the five values at one step, or of a reset.

    Attributes:
        faults: How many times the fault happens; after that the environment is well.
    """

    observation_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, fault: Callable, *, at_reset: bool = False, length: int = 5) -> None:
        self.fault, self.at_reset, self.length = fault, at_reset, length
        self.faults, self.clock = 10**9, 0

    def _struck(self) -> bool:
        self.faults -= 1
        return self.faults >= 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.clock = 0
        good = GOOD_OBS.copy(), {}
        return self.fault(*good) if self.at_reset and self._struck() else good

    def step(self, action):
        self.clock += 1
        good = GOOD_OBS.copy(), 1.0, False, self.clock >= self.length, {}
        return self.fault(*good) if not self.at_reset and self.clock == FAULT_STEP and self._struck() else good


def changed(index: int, value: Any) -> Callable:
    """The values with another one at `index`."""

    def fault(*values):
        return *values[:index], value, *values[index + 1 :]

    return fault


def raising(error: BaseException) -> Callable:
    def fault(*values):
        raise error

    return fault


def hanging(*values):
    time.sleep(30)
    return values


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no words for it")


class Speechless(RuntimeError):
    def __str__(self) -> str:
        raise ValueError("no words for it")


class Attached:
    """As a tensor of another library that is part of a graph."""

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("call detach() first")


class Case(NamedTuple):
    """One way to misbehave."""

    name: str
    fault: Callable
    sentence: str
    """What the error says after where it happened."""
    at_reset: bool = False


OBS, REWARD, TERMINATED, TRUNCATED = range(4)
SPACE = "of the observation"

CASES = [
    Case("step raises", raising(RuntimeError("motor overheated")), "its step raised RuntimeError: motor overheated."),
    Case("step raises silently", raising(ValueError()), "its step raised ValueError."),
    Case(
        "step raises at length",
        raising(OSError("port lost\nTraceback of the driver\n...")),
        "its step raised OSError: port lost.",
    ),
    Case("step times out by itself", raising(TimeoutError("no answer")), "its step raised TimeoutError: no answer."),
    Case("step exits", raising(StopIteration("over")), "its step raised StopIteration: over."),
    Case("step exits the process", raising(SystemExit(0)), "its step raised SystemExit: 0."),
    Case("step exits a generator", raising(GeneratorExit()), "its step raised GeneratorExit."),
    Case("step raises what has no words", raising(Speechless()), "its step raised Speechless."),
    Case("step hangs", hanging, "its step did not come back within 0.2 seconds."),
    Case("step returns nothing", lambda *v: None, "its step returned the type NoneType instead of five values"),
    Case("step of the old gym", lambda *v: (v[0], v[1], v[2], v[4]), "its step returned a tuple of 4 instead of five"),
    Case("step returns a list", lambda *v: list(v), "its step returned the type list instead of five values"),
    Case("observation of another shape", changed(OBS, np.zeros(3, np.float32)), "shape (3,) instead of (2,)."),
    Case("observation with a batch axis", changed(OBS, np.zeros((1, 2), np.float32)), "shape (1, 2) instead of (2,)."),
    Case("observation that is a number", changed(OBS, 0.5), "shape () instead of (2,)."),
    Case("observation that is empty", changed(OBS, np.zeros(0, np.float32)), "shape (0,) instead of (2,)."),
    Case("observation that is a dict", changed(OBS, {"position": 0.0}), "the type dict with dtype object, and its"),
    Case("observation that is missing", changed(OBS, None), "the type NoneType with dtype object, and its space"),
    Case("observation of text", changed(OBS, np.array(["0.1", "0.2"])), "with dtype <U3, and its space declares fl"),
    Case("observation of complex numbers", changed(OBS, np.zeros(2, complex)), "with dtype complex128, and its space"),
    Case("observation that is ragged", changed(OBS, [[1.0], [2.0, 3.0]]), "an observation that cannot be read ("),
    Case("observation with strings attached", changed(OBS, Attached()), "cannot be read (RuntimeError: call detach()"),
    Case("observation with a NaN", changed(OBS, np.float32([0, np.nan])), f"it returned nan in dimension 1 {SPACE}."),
    Case("observation at infinity", changed(OBS, np.float32([-np.inf, 0])), f"returned -inf in dimension 0 {SPACE}."),
    Case("observation beyond float32", changed(OBS, np.float64([0, 1e300])), f"returned inf in dimension 1 {SPACE}."),
    Case("observation above its bound", changed(OBS, np.float32([0, 1.5])), "1.5 in dimension 1 of the observation, "),
    Case("observation below its bound", changed(OBS, np.float32([-9, 0])), "which its space bounds by -1.0 and 1.0;"),
    Case("reward that is missing", changed(REWARD, None), "it returned the reward None, which is not a number."),
    Case("reward of text", changed(REWARD, "much"), "it returned the reward 'much', which is not a number."),
    Case("reward that is an array", changed(REWARD, np.ones(1)), "a reward of shape (1,) instead of one number"),
    Case("reward that is complex", changed(REWARD, 1j), "it returned the reward 1j, which is not a number."),
    Case("reward with no words", changed(REWARD, Unprintable()), "the reward <Unprintable>, which is not a number."),
    Case("reward that is NaN", changed(REWARD, float("nan")), "it returned the reward nan."),
    Case("reward beyond float32", changed(REWARD, 1e39), "it returned the reward 1e+39."),
    Case("terminated that is text", changed(TERMINATED, "False"), "it returned 'False' for terminated instead of True"),
    Case("terminated that is missing", changed(TERMINATED, None), "it returned None for terminated instead of True or"),
    Case("terminated that is an array", changed(TERMINATED, np.array([False])), "for terminated instead of True or F"),
    Case("truncated that is a dict", changed(TRUNCATED, {}), "it returned {} for truncated instead of True or False."),
    Case("reset raises", raising(RuntimeError("out of licences")), "raised RuntimeError: out of licences.", True),
    Case("reset exits the process", raising(SystemExit()), "raised SystemExit.", True),
    Case("reset hangs", hanging, "did not come back within 0.2 seconds.", True),
    Case("reset of the old gym", lambda obs, info: obs, "returned the type ndarray instead of an observation", True),
    Case("reset with a NaN", changed(OBS, np.float32([np.nan, 0])), f"it returned nan in dimension 0 {SPACE}.", True),
    Case("reset of another shape", changed(OBS, np.zeros(4, np.float32)), "shape (4,) instead of (2,).", True),
]
