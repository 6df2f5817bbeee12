"""Running jobs: many processes, some at a time, behind one small interface.

A job is a command with a name and a log; a runner runs jobs and tells what becomes of them. What
the jobs are for it does not know, and who asks for them does not know where they run. Here is the
runner for one machine.
"""

import abc
import contextlib
import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mbpo.errors import ConfigError
from mbpo.training.signals import Interrupted, stop_on_signals

POLL_SECONDS = 0.2
GRACE_SECONDS = 10.0
"""What a process gets to end by itself when the runner itself has failed."""
MESSAGE_CHARACTERS = 500

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
XLA_ONE_THREAD = "--xla_cpu_multi_thread_eigen=false"


@dataclass(frozen=True)
class Job:
    """One process to run."""

    name: str
    """Unique among the jobs of one call."""
    command: tuple[str, ...]
    log: Path
    """What the process prints is appended here; the folder is made if need be."""


@dataclass(frozen=True)
class Outcome:
    """How a job ended."""

    exit_code: int
    """0 for well; negative, the signal that ended it."""
    message: str
    """What went wrong, in the job's own words where it left any; empty if nothing did."""
    seconds: float
    stopped: bool = False
    """Whether it ended because the runner was asked to stop."""

    @property
    def ok(self) -> bool:
        return self.exit_code == 0


@dataclass(frozen=True)
class Event:
    """Something to show: a job started, is still running (several times a second), was asked to stop, or ended."""

    kind: Literal["started", "running", "stopping", "ended"]
    job: Job
    outcome: Outcome | None = None
    """Of a job that ended."""


OnEvent = Callable[[Event], None]


class Runner(abc.ABC):
    """Somewhere to run jobs."""

    @abc.abstractmethod
    def run(self, jobs: Sequence[Job], on_event: OnEvent) -> dict[str, Outcome]:
        """Run every job, beginning them in the order given; one that fails does not stop the others.

        Args:
            on_event: Called in the caller's thread.

        Returns:
            How each job ended, by its name.

        Raises:
            Interrupted: Ctrl-C or SIGTERM; the jobs under way were asked to stop, and did.
        """


class LocalRunner(Runner):
    """Runs jobs on this machine, each on one core and in one thread.

    The processes have process groups of their own, so that a Ctrl-C at the terminal reaches them
    once and through the runner. A second one, or a second SIGTERM, ends them at once.
    """

    def __init__(
        self, jobs: int | None = None, *, cores: Sequence[int] | None = None, keep_open: Iterable[int] = ()
    ) -> None:
        """Args:
            jobs: How many run at a time, at least 1; default one for each core. More than there
                are cores share them.
            cores: The numbers of the cores to use; default all that this process may use.
            keep_open: File descriptors that every job keeps open, a lock's for example.

        Raises:
            ConfigError: `jobs` is less than 1.
        """
        cores = usable_cores() if cores is None else cores
        jobs = len(cores) if jobs is None else jobs
        if jobs < 1:
            raise ConfigError(f"At least 1 job must run at a time, not {jobs}.")
        self._slots = [cores[slot % len(cores)] for slot in range(jobs)]
        self._keep_open = tuple(keep_open)

    def run(self, jobs: Sequence[Job], on_event: OnEvent) -> dict[str, Outcome]:
        """Run the jobs in order, as many at a time as there are slots; see `Runner.run`."""
        outcomes: dict[str, Outcome] = {}
        waiting, free = deque(jobs), deque(self._slots)
        running: list[_Process] = []
        told = False

        def ended(job: Job, outcome: Outcome) -> None:
            outcomes[job.name] = outcome
            on_event(Event("ended", job, outcome))

        with stop_on_signals() as stop:
            try:
                while running or waiting:
                    if stop.signal_name is not None and not told:
                        told = True
                        waiting.clear()
                        _signal(running, signal.SIGTERM)
                        for process in running:
                            on_event(Event("stopping", process.job))
                    while free and waiting:
                        job = waiting.popleft()
                        try:
                            running.append(_Process(job, free[0], self._keep_open))
                        except OSError as error:
                            ended(job, Outcome(127, f"It could not be started: {error}.", 0.0))
                            continue
                        free.popleft()
                        on_event(Event("started", job))
                    for process in [p for p in running if p.over]:
                        running.remove(process)
                        free.append(process.core)
                        ended(process.job, process.outcome(stopped=told))
                    for process in running:
                        on_event(Event("running", process.job))
                    time.sleep(POLL_SECONDS if running else 0)
            finally:
                _end(running, at_once=told)
            if told and not all(job.name in outcomes and outcomes[job.name].ok for job in jobs):
                raise Interrupted(stop.signal_name)
        return outcomes


def usable_cores() -> list[int]:
    """The numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


class _Process:
    """A job under way on a core."""

    def __init__(self, job: Job, core: int, keep_open: tuple[int, ...]) -> None:
        self.job, self.core = job, core
        self._started = time.monotonic()
        can_pin = hasattr(os, "sched_setaffinity")
        job.log.parent.mkdir(parents=True, exist_ok=True)
        with job.log.open("ab") as log:
            self._log_start = log.tell()
            self.popen = subprocess.Popen(
                job.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_environment(os.environ, pinned=can_pin),
                process_group=0,
                pass_fds=keep_open,
            )
        if can_pin:
            # From here rather than between fork and exec, which is not safe beside JAX's threads. The
            # process has no threads yet, and those it makes inherit the core.
            with contextlib.suppress(OSError):  # It is over already.
                os.sched_setaffinity(self.popen.pid, {core})

    @property
    def over(self) -> bool:
        return self.popen.poll() is not None

    def outcome(self, *, stopped: bool) -> Outcome:
        code = self.popen.wait()
        message = "" if code == 0 else _last_words(self.job.log, self._log_start, code)
        return Outcome(code, message, time.monotonic() - self._started, stopped=stopped and code != 0)


def _environment(given: Mapping[str, str], *, pinned: bool) -> dict[str, str]:
    """The user's environment, with one thread a process wherever the user has not said otherwise."""
    # Several processes on one GPU must not each take most of its memory.
    added = {**ONE_THREAD, "XLA_PYTHON_CLIENT_PREALLOCATE": "false", "PYTHONUNBUFFERED": "1"}
    if not pinned:  # XLA makes as many threads as the process has cores.
        added["XLA_FLAGS"] = f"{given.get('XLA_FLAGS', '')} {XLA_ONE_THREAD}".strip()
        given = {name: value for name, value in given.items() if name != "XLA_FLAGS"}
    return {**added, **given}


def _signal(processes: Sequence[_Process], number: signal.Signals) -> None:
    for process in processes:
        process.popen.send_signal(number)  # To one that is over already, Python sends nothing.


def _end(processes: Sequence[_Process], *, at_once: bool) -> None:
    """No process outlives the runner; in the usual course none is left here."""
    if not at_once:
        _signal(processes, signal.SIGTERM)
        deadline = time.monotonic() + GRACE_SECONDS
        while time.monotonic() < deadline and not all(process.over for process in processes):
            time.sleep(POLL_SECONDS / 4)
    _signal(processes, signal.SIGKILL)
    for process in processes:
        process.popen.wait()


def _last_words(log: Path, start: int, code: int) -> str:
    """What a failed process said: its message if it is one of ours, else its last line."""
    how = f"it ended with status {code}"
    if code < 0:
        how = f"it was ended by {signal.Signals(-code).name}"
        if -code == signal.SIGKILL:
            how += ", as happens where memory runs out"
    with contextlib.suppress(OSError), log.open("rb") as file:
        file.seek(start)
        text = file.read().decode(errors="replace")
        _, found, said = f"\n{text}".rpartition("\nmbpo: ")
        lines = said.strip().splitlines()
        words = " ".join(" ".join(lines if found else lines[-1:]).split())
        if words and (found or code > 0):  # The last line before a signal says nothing of it.
            return words[-MESSAGE_CHARACTERS:]
    return f"{how[0].upper()}{how[1:]}."
