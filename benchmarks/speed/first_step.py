"""Pendulum-v1 that notes when it is stepped first, and what JAX compiles meanwhile.

`mbpo train benchmarks.speed.first_step:noted/Pendulum-v1` imports this and gets Pendulum's preset.
What was noted is written to the file named by NOTES when the process ends.
"""

import atexit
import json
import os
import time
from pathlib import Path
from typing import Any

import gymnasium
import jax
from gymnasium.envs.classic_control.pendulum import PendulumEnv

_notes: dict[str, Any] = {}
_spans: list[tuple[float, float]] = []


class NotedPendulum(PendulumEnv):
    def step(self, action: Any) -> Any:
        _notes.setdefault("first_step", time.time())
        return super().step(action)


def _heard(event: str, duration_secs: float, **_: Any) -> None:
    if event.startswith("/jax/core/compile/"):
        now = time.perf_counter()
        _spans.append((now - duration_secs, now))


def _write() -> None:
    # The union of the spans: what is traced on the way to something reports itself too.
    total, until = 0.0, 0.0
    for start, end in sorted(_spans):
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    Path(os.environ["NOTES"]).write_text(json.dumps({**_notes, "compile_seconds": total}))


gymnasium.register("noted/Pendulum-v1", entry_point=NotedPendulum, max_episode_steps=200)
jax.monitoring.register_event_duration_secs_listener(_heard)
atexit.register(_write)
