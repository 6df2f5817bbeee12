"""What this machine can do at best: float32 matrix multiplication, by NumPy's library and by XLA."""

import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from worker import Measure, serve

SIZE = 2048
MULTIPLICATIONS = 4
"""In a turn, by each of the two."""


def prepare(job: dict[str, Any]) -> Measure:
    rng = np.random.default_rng(0)
    a, b = (rng.random((SIZE, SIZE), np.float32) for _ in range(2))
    on_device = jax.device_put(a), jax.device_put(b)
    multiply = jax.jit(jax.numpy.matmul)
    ways: dict[str, Callable[[], Any]] = {
        "numpy": lambda: a @ b,
        "xla": lambda: multiply(*on_device).block_until_ready(),
    }
    for way in ways.values():
        way()

    def measure(calls: int) -> dict[str, Any]:
        best = {name: min(_seconds(way) for _ in range(MULTIPLICATIONS * calls)) for name, way in ways.items()}
        rates = {f"gflops_{name}": 2 * SIZE**3 / seconds / 1e9 for name, seconds in best.items()}
        # A turn's rate is the better way's best multiplication, whatever the turn took in all.
        return {**rates, "units": 2 * SIZE**3, "seconds": min(best.values())}

    return measure


def _seconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    serve(prepare, ("jax", "jaxlib", "numpy"))
