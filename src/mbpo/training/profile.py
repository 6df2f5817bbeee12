"""Where a run's time goes: the sections of the loop, each timed until its arrays are ready.

JAX hands work to its own threads and returns at once, so a section's time means something only if
its results are waited for. A `Profile` waits, and so changes when things are computed but never
what; without one, `NO_PROFILE` just calls. Times are exclusive: a section inside another one is
taken off the outer one, and so is compilation, which JAX reports as it happens.
"""

import functools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import jax

from mbpo.agents.base import Agent
from mbpo.training.durable import write_whole

PROFILE_FILE = "profile.json"
COMPILE, REST = "compile", "other"
_COMPILE_EVENTS = "/jax/core/compile/"

T = TypeVar("T")


class NoProfile:
    """Calls, and measures nothing."""

    def time(self, section: str, work: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """`work(*args, **kwargs)`."""
        return work(*args, **kwargs)


NO_PROFILE = NoProfile()


@dataclass
class _Section:
    """A section that is under way."""

    name: str
    started: float
    inside: float = 0.0
    """Seconds of the sections inside it."""
    compiled: list[tuple[float, float]] = field(default_factory=list)
    """When JAX traced and compiled for it, nested spans included."""


class Profile(NoProfile):
    """Seconds and calls of each section, over everything that was timed with it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.calls: dict[str, int] = {}
        self._open: list[_Section] = []
        _listen()

    def time(self, section: str, work: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """`work(*args, **kwargs)`, waited for and counted as `section`."""
        under_way = _Section(section, time.perf_counter())
        self._open.append(under_way)
        _PROFILES.append(self)
        try:
            return jax.block_until_ready(work(*args, **kwargs))
        finally:
            _PROFILES.pop()
            self._open.pop()
            self._close(under_way, time.perf_counter() - under_way.started)

    def _close(self, section: _Section, taken: float) -> None:
        compiling = _covered(section.compiled)
        self._add(section.name, taken - section.inside - compiling, 1)
        if section.compiled:
            self._add(COMPILE, compiling, 1)
        if self._open:
            self._open[-1].inside += taken

    def _add(self, name: str, seconds: float, calls: int) -> None:
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds
        self.calls[name] = self.calls.get(name, 0) + calls

    def compiled(self, seconds: float) -> None:
        """JAX has just spent so long on tracing or compiling."""
        now = time.perf_counter()
        if self._open:
            self._open[-1].compiled.append((now - seconds, now))

    def watch(self, agent: Agent[Any]) -> None:
        """Tell apart the parts of its verbs that the agent names (`Agent.parts`)."""
        for method, section in agent.parts.items():
            setattr(agent, method, functools.partial(self.time, section, getattr(agent, method)))

    @property
    def total(self) -> float:
        """Seconds in all."""
        return sum(self.seconds.values())


_PROFILES: list[Profile] = []
"""Who is timing now, the innermost last."""


@functools.cache
def _listen() -> None:
    """Ask JAX, once, for the time it spends on compilation."""

    def heard(event: str, duration_secs: float, **_: Any) -> None:
        if _PROFILES and event.startswith(_COMPILE_EVENTS):
            _PROFILES[-1].compiled(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(heard)


def _covered(spans: list[tuple[float, float]]) -> float:
    """Length of the union: a trace reports itself and, inside it, the traces it needed."""
    total, until = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total


def profile_table(profile: Profile, env_steps: int) -> str:
    """The profile in lines, the longest section first."""
    lines = [f"{'section':<12}{'seconds':>9}{'share':>8}{'ms/step':>10}{'calls':>9}"]
    for name in sorted(profile.seconds, key=lambda name: -profile.seconds[name]):
        seconds = profile.seconds[name]
        share, per_step = seconds / max(profile.total, 1e-9), 1000 * seconds / max(env_steps, 1)
        lines.append(f"{name:<12}{seconds:>9.2f}{share:>8.1%}{per_step:>10.3f}{profile.calls[name]:>9}")
    per_step = 1000 * profile.total / max(env_steps, 1)
    lines.append(f"{'total':<12}{profile.total:>9.2f}{1:>8.1%}{per_step:>10.3f}")
    return "\n".join(lines)


def write_profile(folder: Path, profile: Profile, from_step: int, to_step: int) -> None:
    """Write `profile.json`: seconds and calls of each section between two environment steps.

    Raises:
        OSError: The disk refused.
    """
    sections = {name: {"seconds": profile.seconds[name], "calls": profile.calls[name]} for name in profile.seconds}
    values = {"from_env_step": from_step, "to_env_step": to_step, "seconds": profile.total, "sections": sections}
    write_whole(folder / PROFILE_FILE, json.dumps(values, indent=2).encode() + b"\n")
