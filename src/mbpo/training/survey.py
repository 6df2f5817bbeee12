"""Every run under a folder: which are running, where each stands, its pace, when it should end.

Reads files only, so it can be asked at any time and from another machine that sees the folder.
"""

import itertools
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mbpo.errors import MBPOError
from mbpo.training.checkpoint import saved_step
from mbpo.training.config import RunConfig
from mbpo.training.logbook import METRICS_FILE, Record, read_records
from mbpo.training.manifest import MANIFEST
from mbpo.training.plain_files import exists, is_folder
from mbpo.training.run_folder import CONFIG_FILE, read_description
from mbpo.training.status import STATUS_FILE, lives, read_status

State = Literal["running", "silent", "finished", "stopped", "failed", "damaged"]
"""`silent`: the process is there, but has written nothing for much longer than it usually takes."""
QUIET_SECONDS = 300.0
"""What a run may be silent for, at least: a first compilation, a refit, an evaluation of long episodes."""
QUIET_GAPS = 3.0
"""And so many times its longest silence between records."""
MAX_SECONDS = 1e10
"""Three centuries: more is no time that a run took, or one that is worth telling."""
PACE_SHARE, MIN_PACE_SECONDS = 0.25, 60.0
"""The pace is that of this last share of a run's time, and of so many seconds at least."""


@dataclass(frozen=True)
class Standing:
    """Where a run stands."""

    folder: Path
    state: State
    words: str = ""
    """What is wrong, or why it stopped, where that is known."""
    env_id: str = ""
    algo: str = ""
    seed: int | None = None
    env_step: int = 0
    until: int = 0
    """Environment steps that were asked for."""
    last_return: float | None = None
    """Of the last evaluation."""
    last_return_step: int | None = None
    seconds: float = 0.0
    """Spent training, over all resumptions."""
    age: float = 0.0
    """Seconds since the run last wrote anything."""
    steps_per_second: float | None = None
    """Lately, and not counting the random steps; None before there is anything to tell from."""
    seconds_left: float | None = None
    """At that pace; None for a run that is not running."""


def survey(root: Path, *, now: float | None = None) -> list[Standing]:
    """Where every run under a folder stands, by path.

    Args:
        now: Seconds since the epoch; default the clock's.

    Raises:
        MBPOError: There is no such folder.
    """
    if not is_folder(root):
        raise MBPOError(f"There is no folder {root}. Runs lie in runs/ENV_ID unless --out said otherwise.")
    return [standing(folder, now=time.time() if now is None else now) for folder in run_folders(root)]


def run_folders(root: Path) -> Iterator[Path]:
    """Folders that hold a run or what is left of one; what lies inside of a run is not looked into."""
    for place, below, files in os.walk(root):
        below.sort()
        if CONFIG_FILE in files or METRICS_FILE in files or os.path.lexists(Path(place) / "checkpoint" / MANIFEST):
            below.clear()
            yield Path(place)


def runs_in(folders: Iterable[Path]) -> list[Path]:
    """Run folders, where some may be folders that hold runs; one that is neither stays, for others to refuse."""
    return [run for folder in folders for run in (list(run_folders(folder)) or [folder])]


def standing(folder: Path, *, now: float) -> Standing:
    """Where one run stands; a damaged one is told, not raised."""
    try:
        return _standing(folder, now)
    except (MBPOError, OSError, ArithmeticError, ValueError, TypeError) as error:
        return Standing(folder, "damaged", words=" ".join(str(error).split()))


def _standing(folder: Path, now: float) -> Standing:
    config = read_description(folder).config
    records = read_records(folder) if exists(folder / METRICS_FILE) else []
    saved = saved_step(folder / "checkpoint") or 0
    status = read_status(folder)
    last = records[-1] if records else {}
    seconds = max(_number(last.get("wall_time")), _number(status.get("wall_time")))
    if not 0 <= seconds <= MAX_SECONDS:
        raise ValueError(f"{folder / METRICS_FILE} says that the run took {seconds:g} seconds.")
    step = max(saved, last.get("env_step", 0), status.get("env_step", 0))
    until = status.get("until", config.steps)
    age = max(0.0, now - _last_written(folder))
    state, words = _state(status, step >= until, age, _longest_gap(records))
    pace = _pace(config, records, step, seconds)
    left = (until - step) / pace if pace and state == "running" else None
    evaluated = next((record for record in reversed(records) if "eval_return_mean" in record), {})
    return Standing(
        folder=folder,
        state=state,
        words=words,
        env_id=config.env_id,
        algo=config.algo,
        seed=config.seed,
        env_step=step,
        until=until,
        last_return=evaluated.get("eval_return_mean"),
        last_return_step=evaluated.get("env_step"),
        seconds=seconds,
        age=age,
        steps_per_second=pace,
        seconds_left=None if left is None or left > MAX_SECONDS else left,
    )


def _state(status: dict[str, Any], whole: bool, age: float, gap: float) -> tuple[State, str]:
    """What a run is doing, and why where that is known."""
    recent = age <= max(QUIET_SECONDS, QUIET_GAPS * gap)
    if status and status["state"] != "running":
        state: State = "failed" if status["state"] == "failed" else "finished" if whole else "stopped"
        return state, str(status.get("words", ""))
    there = lives(status)
    if there is False or (there is None and not recent):
        if whole:
            return "finished", ""
        return "stopped", "its process is gone" if there is False else ""
    if there is None and whole:
        return "finished", ""
    return ("running", "") if recent else ("silent", f"process {status['pid']} has written nothing for {age:.0f} s")


def _pace(config: RunConfig, records: list[Record], step: int, seconds: float) -> float | None:
    """Steps per second lately.

    Random steps cost next to nothing and say nothing of what follows. The first fit, and the updates that are owed for
    them, come before the next record: they count only until there is a minute after that record to tell from.
    """
    random_steps = getattr(config.chosen, "random_steps", 0)
    learned = [(r["env_step"], _number(r.get("wall_time"))) for r in records if r["env_step"] >= random_steps]
    told = len(learned) > 1 and seconds - learned[1][1] >= MIN_PACE_SECONDS
    points = learned[1:] if told else learned
    window = max(MIN_PACE_SECONDS, PACE_SHARE * seconds)
    earlier = [point for point in points if point[1] <= seconds - window] or points[:1]
    if not earlier or seconds <= earlier[-1][1] or step <= earlier[-1][0]:
        return None
    return float((step - earlier[-1][0]) / (seconds - earlier[-1][1]))


def _longest_gap(records: list[Record]) -> float:
    """Seconds of training between two records, at most."""
    times = [0.0, *(_number(record.get("wall_time")) for record in records)]
    return max((after - before for before, after in itertools.pairwise(times)), default=0.0)


def _last_written(folder: Path) -> float:
    """When the newest file of a run was written, in seconds since the epoch."""
    files = [folder / name for name in (CONFIG_FILE, METRICS_FILE, STATUS_FILE, f"checkpoint/{MANIFEST}")]
    return max((file.stat().st_mtime for file in files if file.exists()), default=0.0)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
