"""What a run is doing: a small file that it renews while it trains, and what a reader makes of a run folder.

`status.json` is written when training begins, every few seconds and when it ends; a process that was killed
leaves the last one behind. So a run counts as running while its process lives and something in the folder is
renewed, and a folder without the file (copied, or of an older version) is judged by the age of its records alone.
"""

import contextlib
import json
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from mbpo.errors import MBPOError
from mbpo.training.durable import put
from mbpo.training.logbook import is_number
from mbpo.training.plain_files import read_plain

STATUS_FILE = "status.json"
MAX_BYTES = 1 << 16
BEAT_SECONDS = 10.0
"""Between two renewals. One step may take longer: a refit, an evaluation, the first compilation."""


class Progress(Protocol):
    """What is looked at of a run under way."""

    env_step: int
    wall_time: float


class Heartbeat:
    """Keeps `status.json` of a run up to date while it trains; without a folder it does nothing.

    A status that cannot be written (a full disk) is left as it is: records and checkpoints will tell.
    """

    def __init__(self, folder: Path | None, until: int, run: Progress) -> None:
        self._folder, self._until, self._run = folder, until, run
        self._next = 0.0

    def __enter__(self) -> "Heartbeat":
        self._write("running")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None:
            self._write("finished" if self._run.env_step >= self._until else "stopped")
        elif isinstance(error, KeyboardInterrupt):
            self._write("stopped", str(error))
        else:
            self._write("failed", str(error) if isinstance(error, MBPOError) else type(error).__name__)

    def after(self, progress: Callable[[Any], None] | None) -> Callable[[Any], None]:
        """`progress`, and a beat if one is due."""

        def both(run: Any) -> None:
            if progress is not None:
                progress(run)
            if time.monotonic() >= self._next:
                self._write("running")

        return both

    def _write(self, state: str, words: str = "") -> None:
        self._next = time.monotonic() + BEAT_SECONDS
        if self._folder is None:
            return
        values = {
            "state": state,
            "words": words,
            "env_step": self._run.env_step,
            "until": self._until,
            "wall_time": round(self._run.wall_time, 3),
            "time": round(time.time(), 3),
            "pid": os.getpid(),
            "host": socket.gethostname(),
        }
        with contextlib.suppress(OSError):
            put(self._folder / STATUS_FILE, json.dumps(values).encode() + b"\n", flush=False)


def read_status(folder: Path) -> dict[str, Any]:
    """What `status.json` says; empty where there is none, or none that can be read."""
    kinds = {"state": str, "env_step": int, "until": int, "wall_time": float, "time": float, "pid": int, "host": str}
    try:
        values = json.loads(read_plain(folder / STATUS_FILE, MAX_BYTES).decode())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(values, dict) or not all(isinstance(values.get(name), kind) for name, kind in kinds.items()):
        return {}
    counts, times = (values["env_step"], values["until"] - 1), (values["wall_time"], values["time"])
    if not all(is_number(number) and number >= 0 for number in (*counts, *times, values["pid"] - 1)):
        return {}
    return values


def lives(status: dict[str, Any]) -> bool | None:
    """Whether the process that wrote a status is still there; None where that cannot be known from here."""
    if not status or status["host"] != socket.gethostname():
        return None
    try:
        os.kill(status["pid"], 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # Another user's, so it is there.
        return True
    return True
