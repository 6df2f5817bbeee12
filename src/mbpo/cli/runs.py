"""`mbpo runs DIR`: which runs are under way, where each stands, and when it should end."""

import dataclasses
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from mbpo.cli.arguments import parse
from mbpo.cli.duration import show_duration
from mbpo.training.survey import Standing, survey


@dataclass(frozen=True)
class RunsArguments:
    """List the runs under a folder: what each is doing, its last evaluation, its pace and estimated end."""

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")] = Path("runs")
    """Where to look, subfolders included."""
    json: bool = False
    """Print one JSON list instead of a table."""


def main(argv: list[str]) -> int:
    """Print a row for every run."""
    arguments = parse(RunsArguments, argv, prog="mbpo runs")
    found, now = survey(arguments.folder), time.time()
    if arguments.json:
        print(json.dumps([_to_json(run, now) for run in found], indent=1))
    elif not found:
        print(f"There are no runs under {arguments.folder}.")
    else:
        print("\n".join(table(found, arguments.folder, now)))
    return 0


def table(found: Sequence[Standing], root: Path, now: float) -> list[str]:
    """Lines: a row for each run, then a sentence for each that needs one, then how many there are of each kind."""
    head = ("run", "state", "step", "return", "at step", "steps/min", "trained", "written", "left", "ends about")
    rows = [head, *(_row(run, root, now) for run in found if run.state != "damaged")]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows] if len(rows) > 1 else []
    lines += [f"{_name(run, root)} {run.state}: {run.words}" for run in found if run.words]
    counts = Counter(run.state for run in found)
    return [*lines, f"{len(found)} runs: " + ", ".join(f"{count} {state}" for state, count in counts.most_common())]


def _row(run: Standing, root: Path, now: float) -> tuple[str, ...]:
    known = run.last_return is not None
    return (
        _name(run, root),
        run.state,
        f"{run.env_step:,} of {run.until:,} ({run.env_step / max(run.until, 1):.0%})",
        f"{run.last_return:.1f}" if known else "-",
        f"{run.last_return_step:,}" if known else "-",
        "-" if run.steps_per_second is None else f"{60 * run.steps_per_second:.0f}",
        show_duration(run.seconds),
        f"{show_duration(run.age)} ago",
        "-" if run.seconds_left is None else show_duration(run.seconds_left),
        "-" if run.seconds_left is None else _clock(now + run.seconds_left, now),
    )


def _name(run: Standing, root: Path) -> str:
    name = str(run.folder.relative_to(root))
    return str(root) if name == "." else name


def _clock(moment: float, now: float) -> str:
    """Local time, with the date where it is not today's."""
    here, today = time.localtime(moment), time.localtime(now)
    return time.strftime("%H:%M" if here[:3] == today[:3] else "%Y-%m-%d %H:%M", here)


def _to_json(run: Standing, now: float) -> dict[str, object]:
    values = dataclasses.asdict(run) | {"folder": str(run.folder), "ends": None}
    if run.seconds_left is not None:
        values["ends"] = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(now + run.seconds_left))
    return values
