"""What every side of a comparison shares: how it is told to measure, and the data it works on.

A worker is a process that prepares its workload once, says that it is ready, and then measures
whenever it is told to, so that sides can take turns at the cost of a line through a pipe. NumPy
only, since a peer's environment has neither JAX nor this package.
"""

import json
import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

Measure = Callable[[int], dict[str, Any]]
"""Do the work so many times and wait until it is done; `{"units": work done, …}`."""


def serve(prepare: Callable[[dict[str, Any]], Measure], packages: tuple[str, ...]) -> None:
    """Answer on standard output, one JSON object a line, until standard input ends.

    Everything else that the process prints goes to standard error.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**values: Any) -> None:
        print(json.dumps(values), file=answers, flush=True)

    measure = prepare(json.loads(sys.argv[1]))
    answer(ready=True, versions={"python": platform.python_version(), **_versions(packages)})
    for line in sys.stdin:
        calls = json.loads(line)["calls"]
        wall, cpu = time.perf_counter(), time.process_time()
        done = measure(calls)
        seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
        answer(**{"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_rss_mb": peak_rss_mb(), **done})


def peak_rss_mb() -> float:
    """The most memory this process has had in use, in MB (10⁶ bytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def _versions(packages: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def transitions(rows: int, obs_dim: int, action_dim: int) -> dict[str, np.ndarray]:
    """Rows of a smooth, slightly noisy world that a model can learn; the same for every side."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(obs_dim + action_dim, obs_dim)) / np.sqrt(obs_dim + action_dim)
    obs = rng.normal(size=(rows, obs_dim))
    action = rng.uniform(-1, 1, (rows, action_dim))
    change = np.tanh(np.concatenate([obs, action], axis=1) @ mixing) + 0.05 * rng.normal(size=(rows, obs_dim))
    next_obs = obs + 0.1 * change
    reward = -np.mean(next_obs**2, axis=1)
    found = {"obs": obs, "action": action, "reward": reward, "next_obs": next_obs}
    return {name: values.astype(np.float32) for name, values in found.items()}
