"""What a run shows while it trains: a live bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mbpo.training.logbook import Record
from mbpo.training.loop import Run

REFRESH_SECONDS = 0.2


def record_line(record: Record) -> str:
    """The figures of one record that tell how training goes."""
    parts = [f"step {record['env_step']:>7}"]
    if "eval_return_mean" in record:
        parts.append(f"return {record['eval_return_mean']:>9.1f} ± {record['eval_return_std']:<7.1f}")
    if "eval_cut" in record:
        parts.append(f"{record['eval_cut']} of {record['eval_episodes']} episodes cut")
    names = (("model_holdout_error", "model error {:.4f}"), ("rollout_length", "k {:.0f}"), ("alpha", "alpha {:.3f}"))
    parts += [text.format(record[name]) for name, text in names if name in record]
    parts.append(f"{record['wall_time']:.0f} s")
    return "  ".join(parts)


class Display:
    """Prints a line for each evaluation; on a terminal also keeps a live bar up to date."""

    def __init__(
        self, bar: Progress | None, first_step: int, until: int, utd_ratio: int, last_return: float | None = None
    ) -> None:
        """Args:
        last_return: Of the last evaluation before, if there is one.
        """
        self._bar = bar
        self._last_return = last_return
        self._utd_ratio = utd_ratio
        self._next_refresh = 0.0
        self._mark = (time.monotonic(), first_step)
        self._task = bar.add_task("", total=until, completed=first_step, figures="") if bar else None

    def record(self, record: Record) -> None:
        """Show a record that holds an evaluation."""
        if "eval_return_mean" not in record:
            return
        self._last_return = record["eval_return_mean"]
        if self._bar is not None:
            self._bar.console.print(record_line(record), highlight=False)
        else:
            print(record_line(record), flush=True)

    def step(self, run: Run[Any]) -> None:
        """Move the bar, a few times a second at most."""
        now = time.monotonic()
        if self._bar is None or self._task is None or now < self._next_refresh:
            return
        self._next_refresh = now + REFRESH_SECONDS
        self._bar.update(self._task, completed=run.env_step, figures=self._figures(run, now))

    def _figures(self, run: Run[Any], now: float) -> str:
        since, step = self._mark
        updates = self._utd_ratio * (run.env_step - step) / max(now - since, 1e-9)
        if now - since > 5:  # A rate over the last seconds, not over the whole run.
            self._mark = (now, run.env_step)
        parts = [] if self._last_return is None else [f"return {self._last_return:.0f}"]
        if "model_holdout_error" in run.latest:
            parts.append(f"model error {float(run.latest['model_holdout_error']):.4f}")
        if "rollout_length" in run.latest:
            parts.append(f"k {int(run.latest['rollout_length'])}")
        if not run.latest:
            parts.append("random actions")
        elif self._utd_ratio:
            parts.append(f"{updates:.0f} updates/s")
        return "  ".join(parts)


@contextmanager
def open_display(agent: Any, until: int, folder: Path) -> Iterator[Display]:
    """A display for one call of `learn`, and the lines that say what begins."""
    config = agent.config
    print(f"{config.algo} on {config.env_id}, seed {config.seed}, {until} environment steps; writing to {folder}")
    if config.env_kwargs:
        print(f"made with {', '.join(f'{name}={value!r}' for name, value in config.env_kwargs.items())}")
    if agent.learns_termination:
        print("when episodes end is learned from data: no rule is known or given (--termination)")
    arguments = (agent.env_step, until, getattr(config.chosen, "utd_ratio", 0))
    console = Console()
    if not (console.is_terminal and sys.stdout.isatty()):
        yield Display(None, *arguments)
        return
    columns = (BarColumn(bar_width=24), MofNCompleteColumn(), TextColumn("{task.fields[figures]}"))
    with Progress(*columns, TextColumn("ETA"), TimeRemainingColumn(compact=True), console=console) as bar:
        evaluated = (r["eval_return_mean"] for r in reversed(agent.records) if "eval_return_mean" in r)
        yield Display(bar, *arguments, last_return=next(evaluated, None))
