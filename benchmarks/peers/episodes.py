"""What both sides of a comparison share: the job, the episodes they are judged on, and the clock.

NumPy and Gymnasium only, since the peer's environment has neither JAX nor this package.
"""

import json
import platform
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np


def returns(env_id: str, seeds: list[int], act: Callable[[np.ndarray], np.ndarray]) -> list[float]:
    """Undiscounted returns of one episode per reset seed, all stepped side by side.

    Args:
        act: Observations `[episodes, obs]` to actions `[episodes, act]`.
    """
    envs = [gymnasium.make(env_id) for _ in seeds]
    obs = np.stack([env.reset(seed=seed)[0] for env, seed in zip(envs, seeds, strict=True)])
    totals, active = np.zeros(len(seeds)), np.ones(len(seeds), bool)
    while active.any():
        actions = act(obs)
        for i in np.flatnonzero(active):
            obs[i], reward, terminated, truncated, _ = envs[i].step(actions[i])
            totals[i] += float(reward)
            active[i] = not (terminated or truncated)
    return totals.tolist()


class Clock:
    """Wall-clock and CPU seconds at two environment steps: when everything is compiled and warm, and near the end.

    CPU seconds, of all threads together, do not suffer from what else the machine has to do.
    """

    def __init__(self, first: int, last: int) -> None:
        self._times: dict[int, tuple[float, float]] = {}
        self._first, self._last = first, last
        self._started = time.monotonic()

    def tick(self, env_step: int) -> None:
        """Tell it how many environment steps have been taken."""
        if env_step in (self._first, self._last):
            self._times[env_step] = (time.monotonic(), time.process_time())

    def report(self) -> dict[str, float]:
        """Updates per second between the two steps, and seconds to the last one with all that came before."""
        (wall, cpu), (last_wall, last_cpu) = self._times[self._first], self._times[self._last]
        updates = self._last - self._first
        return {
            "updates_per_second": updates / (last_wall - wall),
            "updates_per_cpu_second": updates / (last_cpu - cpu),
            "seconds_in_all": last_wall - self._started,
        }


def serve(work: Callable[[dict[str, Any]], dict[str, Any]], packages: tuple[str, ...]) -> None:
    """Read a job from the file named first, do it, and write the result to the file named second."""
    job = json.loads(Path(sys.argv[1]).read_text())
    result = work(job)
    versions = {"python": platform.python_version(), **{name: version(name) for name in packages}}
    out = Path(sys.argv[2])
    part = out.with_suffix(".part")
    part.write_text(json.dumps({**result, "versions": versions, "job": job}) + "\n")
    part.replace(out)
