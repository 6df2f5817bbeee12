"""What may go wrong in a run, the same for every library: the environments, and what to look at afterwards."""

import json
import os
import re
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.classic_control.pendulum import PendulumEnv

FAULT_AT, STEPS = 70, 100
IDLE_SECONDS = 20
"""A call in which the process does nothing for this long, three times over, is given up as hanging."""
OBS_FAULTS: dict[str, Any] = {
    "nan observation": np.float32([np.nan, 0, 0]),
    "observation of another shape": np.zeros(4, np.float32),
    "observation out of its space": np.float32([0, 0, 1e6]),
}


class Faulty(PendulumEnv):
    """Pendulum, but for one fault at the step `FAULT_AT` of its life."""

    fault = ""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0

    def step(self, action: Any) -> Any:
        self.steps += 1
        obs, reward, terminated, truncated, info = super().step(action)
        if self.steps == FAULT_AT:
            if self.fault == "step raises":
                raise RuntimeError("motor overheated")
            if self.fault == "step hangs":
                time.sleep(10**6)
            obs = OBS_FAULTS.get(self.fault, obs)
            reward = float("nan") if self.fault == "nan reward" else reward
        return obs, float(reward), terminated, truncated, info


def make(fault: str = "") -> gymnasium.Env:
    """The task, in episodes of 20 steps."""
    env = Faulty()
    env.fault = fault
    return gymnasium.wrappers.TimeLimit(env, 20)


def told(function: Callable[[], Any]) -> str:
    """What comes of a call: nothing, the error it raised, or that it hangs."""
    idle, last = 0, time.process_time()

    def ring(*_: Any) -> None:
        nonlocal idle, last
        now = time.process_time()
        idle, last = (idle + 1 if now - last < 0.1 else 0), now
        if idle == 3:
            raise BaseExceptionGroup("", [KeyboardInterrupt()])

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, IDLE_SECONDS, IDLE_SECONDS)
    try:
        function()
        return "no error"
    except BaseExceptionGroup:
        return "hangs, and waits for ever"
    except Exception as error:
        text = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(error)).split())
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {text[:160]}" + ("" if text else f" (in {where.name})")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def finite(arrays: Any) -> str:
    """Whether learned weights are finite."""
    return "weights finite" if all(np.isfinite(np.asarray(a)).all() for a in arrays) else "weights NaN"


def with_full_disk(function: Callable[[], Any], room: int) -> str:
    """What comes of a call where no file may grow beyond `room` bytes."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        return told(function)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def halve(path: Path) -> None:
    """Cut a file in half."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


class Trap:
    """What a pickle may hold: it makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


def serve(situations: dict[str, Callable[[Path], str]]) -> None:
    """`python SIDE.py SITUATION FOLDER`: try it and print what happened as JSON."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    print(json.dumps(situations[name](folder)))
