"""What a comparison shows while it trains: a bar for each run on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from mbpo.training.comparison import Comparison, steps_taken
from mbpo.training.logbook import read_latest
from mbpo.training.runner import Event, Job, Outcome

REFRESH_SECONDS = 1.0


@dataclass(frozen=True)
class Watched:
    """Where a job's run can be watched."""

    folder: Path
    steps: int
    begun: int
    """Environment steps it had before."""


class ComparisonDisplay:
    """Prints a line when a run starts or ends; on a terminal also keeps live bars up to date."""

    def __init__(self, bars: Progress | None, watched: Mapping[str, Watched], *, done: int, total: int) -> None:
        """Args:
        bars: None without a terminal.
        watched: By the job's name.
        done: Runs that were finished before.
        total: Runs in all.
        """
        self._bars, self._watched = bars, watched
        self._done, self._total = done, total
        self._stopping = False
        self._tasks: dict[str, TaskID] = {}
        self._next_refresh: dict[str, float] = {}
        self._overall = bars.add_task("all runs", total=total, completed=done, figures="") if bars else None

    def __call__(self, event: Event) -> None:
        """Show an event of a runner."""
        watched = self._watched[event.job.name]
        if event.kind == "started":
            self._start(event.job, watched)
        elif event.kind == "running":
            self._move(event.job, watched)
        elif event.kind == "stopping":
            if not self._stopping:
                self._print("stopping: the runs under way are saved first; asking again ends them at once")
            self._stopping = True
        elif event.outcome is not None:
            self._end(event.job, watched, event.outcome)

    def _start(self, job: Job, watched: Watched) -> None:
        if self._bars is None:
            since = f", from step {watched.begun}" if watched.begun else ""
            self._print(f"{job.name} started{since}")
            return
        self._tasks[job.name] = self._bars.add_task(
            job.name, total=watched.steps, completed=watched.begun, figures="starting"
        )

    def _move(self, job: Job, watched: Watched) -> None:
        now = time.monotonic()
        if self._bars is None or now < self._next_refresh.get(job.name, 0.0):
            return
        self._next_refresh[job.name] = now + REFRESH_SECONDS
        latest = read_latest(watched.folder)
        if latest:
            figures = f"return {latest['eval_return_mean']:.1f}" if "eval_return_mean" in latest else ""
            self._bars.update(self._tasks[job.name], completed=latest["env_step"], figures=figures)

    def _end(self, job: Job, watched: Watched, outcome: Outcome) -> None:
        self._done += outcome.ok
        latest = read_latest(watched.folder)
        took = f"{outcome.seconds:.0f} s"
        if outcome.ok:
            text = f"return {latest['eval_return_mean']:.1f} at" if "eval_return_mean" in latest else ""
            self._print(f"{job.name} done: {text} step {watched.steps}, {took} ({self._done} of {self._total})")
        elif outcome.stopped:
            self._print(f"{job.name} stopped at step {steps_taken(watched.folder)}, {took}")
        else:
            self._print(f"{job.name} FAILED after {took}: {outcome.message} Its output is in {job.log}")
        if self._bars is not None and self._overall is not None:
            self._bars.update(self._overall, completed=self._done)
            if job.name in self._tasks:
                self._bars.remove_task(self._tasks.pop(job.name))

    def _print(self, text: str) -> None:
        line = f"{time.strftime('%H:%M:%S')}  {text}"
        if self._bars is not None:
            self._bars.console.print(line, highlight=False, markup=False, soft_wrap=True)
        else:
            print(line, flush=True)


@contextmanager
def open_display(
    comparison: Comparison, jobs: Mapping[tuple[str, int], Job], total: int
) -> Iterator[ComparisonDisplay]:
    """A display for the jobs of a comparison, of `total` runs in all."""
    watched = {}
    for (algo, seed), job in jobs.items():
        folder = comparison.run_folder(algo, seed)
        watched[job.name] = Watched(folder, comparison.entries[algo].config.steps, steps_taken(folder))
    counts = {"done": total - len(jobs), "total": total}
    console = Console()
    if not (console.is_terminal and sys.stdout.isatty()):
        yield ComparisonDisplay(None, watched, **counts)
        return
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.fields[figures]}"), console=console) as bars:
        yield ComparisonDisplay(bars, watched, **counts)
