"""What a run folder holds, whether it is whole, and repairing what can be repaired.

Repairs only take away what a run would repeat or never read: a half-written last record, files of
checkpoints never finished, a checkpoint that is damaged while the one before it is whole. What a repair
replaces is kept beside it (`*.damaged`), what was lost for good is said, and a file that merely cannot be
read now is left alone: it may be whole.
"""

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mbpo.errors import CheckpointError, MBPOError, RunFolderError
from mbpo.training.checkpoint import Checkpoint, leftovers, read_checkpoint
from mbpo.training.durable import TEMPORARY, set_aside, write_whole
from mbpo.training.folder_lock import FolderLock, is_locked
from mbpo.training.logbook import METRICS_FILE
from mbpo.training.manifest import GIVEN_UP, MANIFEST, MAX_BYTES, PREVIOUS
from mbpo.training.plain_files import exists, folder_size, read_plain, unreadable
from mbpo.training.record_lines import RecordLines, read_lines, rewrite
from mbpo.training.run_folder import CONFIG_FILE, RunDescription, check_folder, check_no_links, read_description
from mbpo.training.status import STATUS_FILE

NO_DAMAGE = "That is no sign of damage, so nothing is repaired: make it readable, and ask again."
LOOKS, PAUSE = 5, 0.2
"""How often a folder that is being written to is looked at, and the seconds between two looks."""


@dataclass(frozen=True)
class Problem:
    """Something wrong with a run folder."""

    sentence: str
    repair: Callable[[], object] | None = None
    """Repairs it, where that is possible."""
    remedy: str = ""
    """What the repair does."""
    passing: bool = False
    """Whether a process that writes to the folder leaves it so for a moment."""


@dataclass(frozen=True)
class Diagnosis:
    """What a run folder holds and what is wrong with it."""

    holds: dict[str, Any]
    problems: list[Problem]


def examine(folder: Path) -> Diagnosis:
    """Read everything in a run folder and verify it; nothing is changed.

    Of a folder that a process is writing to, only what is wrong each time it is looked at counts.

    Raises:
        RunFolderError: There is no such folder, or it holds nothing of a run.
    """
    diagnosis = _look(folder)
    if not diagnosis.problems or not is_locked(folder):
        return diagnosis
    lasting = [problem for problem in diagnosis.problems if not problem.passing]
    for _ in range(LOOKS - 1):
        if not lasting:
            break
        time.sleep(PAUSE)
        diagnosis = _look(folder)
        lasting = [problem for problem in diagnosis.problems if not problem.passing]
    return Diagnosis(diagnosis.holds | {"written_to": "now, by a process"}, lasting)


def repair(folder: Path) -> list[str]:
    """Repair what can be repaired; sentences that say what was done.

    Raises:
        RunFolderError: A process is writing to the folder, or it cannot be written to.
    """
    check_folder(folder)
    check_no_links(folder)
    done: list[str] = []
    tried: set[str] = set()
    lock = FolderLock(folder)
    try:
        # One repair may bring another to light: records are judged by the checkpoint that counts.
        while problem := next((p for p in _look(folder).problems if p.repair and p.sentence not in tried), None):
            tried.add(problem.sentence)  # What a repair does not cure is left.
            assert problem.repair is not None
            problem.repair()
            done.append(problem.remedy)
    except OSError as error:
        raise RunFolderError(f"Cannot write to {folder}: {error.strerror or error}.") from error
    finally:
        lock.release()
    return done


def _look(folder: Path) -> Diagnosis:
    check_folder(folder)
    if not any(exists(folder / name) for name in (CONFIG_FILE, METRICS_FILE, "checkpoint")):
        raise RunFolderError(f"{folder} is not a run folder of mbpo: it holds none of a run's files.")
    holds: dict[str, Any] = {}
    problems: list[Problem] = []
    description = _examine_description(folder, holds, problems)
    checkpoint = _examine_checkpoint(folder / "checkpoint", holds, problems)
    if checkpoint is not None and description is not None:
        _examine_settings(folder, description, checkpoint, problems)
    _examine_records(folder, checkpoint, holds, problems)
    _examine_leftovers(folder, problems)
    holds["bytes"] = folder_size(folder)
    return Diagnosis(holds, problems)


def _examine_description(folder: Path, holds: dict[str, Any], problems: list[Problem]) -> RunDescription | None:
    try:
        description = read_description(folder)
    except MBPOError as error:
        problems.append(Problem(str(error)))
        return None
    config = description.config
    holds |= {"algo": config.algo, "env_id": config.env_id, "seed": config.seed, "steps": config.steps}
    return description


def _examine_settings(
    folder: Path, description: RunDescription, checkpoint: Checkpoint, problems: list[Problem]
) -> None:
    if checkpoint.manifest.config not in (None, description.sha256):
        problems.append(
            Problem(
                f"{folder / CONFIG_FILE} is not the file that the checkpoint was written with: a setting was changed "
                "since, or it is damaged. Bring it back from a copy."
            )
        )


def _examine_checkpoint(folder: Path, holds: dict[str, Any], problems: list[Problem]) -> Checkpoint | None:
    older, trouble = _previous(folder)
    if older is not None:
        holds["previous_checkpoint_step"] = older
    if exists(folder / GIVEN_UP):
        holds["given_up_checkpoint"] = "kept until the run writes its next one"
    try:
        checkpoint = read_checkpoint(folder)
        step, bad = checkpoint.progress.get("env_step"), _nonfinite(checkpoint)
    except CheckpointError as error:
        sentence = str(error).partition(" The checkpoint before it")[0]
        if unreadable(error):
            problems.append(Problem(f"{sentence} {NO_DAMAGE}"))
        else:
            back = None if older is None else lambda: _go_back(folder)
            remedy = f"Went back to the checkpoint of step {older}; the one given up is kept until the run's next one."
            problems.append(Problem(sentence, back, remedy))
        problems += [] if trouble is None else [replace(trouble, repair=None)]
        return None
    if bad:
        problems.append(Problem(f"The array '{bad}' of the checkpoint in {folder} holds values that are not finite."))
    problems += [] if trouble is None else [trouble]
    holds["checkpoint_step"] = step
    holds["checkpoint_files"] = len({stored.file for stored in checkpoint.manifest.files})
    holds["replay_rows"] = {
        name: sum(chunk.rows for chunk in chunks) for name, chunks in checkpoint.manifest.rings.items()
    }
    return checkpoint


def _previous(folder: Path) -> tuple[int | None, Problem | None]:
    """Environment steps at the checkpoint before the last, and what is wrong with it; a repair removes it."""
    if not exists(folder / PREVIOUS):
        return None, None
    try:
        step = read_checkpoint(folder, PREVIOUS).progress.get("env_step")
        return (step, None) if type(step) is int else (None, None)
    except CheckpointError as error:
        if unreadable(error):
            return None, Problem(f"The checkpoint before the last: {error} {NO_DAMAGE}")
        remedy = "Removed what was left of the checkpoint before the last; the last is whole."
        return None, Problem(f"The checkpoint before the last: {error}", lambda: _discard(folder / PREVIOUS), remedy)


def _go_back(folder: Path) -> None:
    older = read_plain(folder / PREVIOUS, MAX_BYTES)
    if exists(folder / MANIFEST):
        os.replace(folder / MANIFEST, folder / GIVEN_UP)
    write_whole(folder / MANIFEST, older)


def _discard(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        set_aside(path)  # No file of ours, so not ours to delete.
    else:
        path.unlink()


def _nonfinite(checkpoint: Checkpoint) -> str | None:
    """The first array with a NaN or an infinity; scores are infinite before the first fit."""
    for name in checkpoint.keys():
        array = checkpoint.read(name)
        if array.dtype.kind == "f" and not np.isfinite(array).all() and not name.endswith("holdout_scores"):
            return name
    return None


def _examine_records(
    folder: Path, checkpoint: Checkpoint | None, holds: dict[str, Any], problems: list[Problem]
) -> None:
    path = folder / METRICS_FILE
    try:
        lines = read_lines(path)
    except (OSError, ValueError) as error:
        if unreadable(error):
            problems.append(Problem(f"{path} cannot be read ({error}). {NO_DAMAGE}"))
        elif isinstance(error, OSError):
            sentence = f"{folder} holds no {METRICS_FILE}, or something else in its place ({error.strerror or error})."
            problems.append(Problem(sentence, lambda: rewrite(path, []), f"Began an empty {METRICS_FILE}."))
        else:
            problems.append(Problem(f"{path} cannot be read: {error}, which no run of mbpo writes."))
        return
    holds["records"] = len(lines.steps)
    holds["last_record_step"] = lines.steps[-1] if lines.steps else None
    if lines.damaged:
        more = f" {len(lines.damaged) - 1} more lines are damaged." if len(lines.damaged) > 1 else ""
        remedy = f"Dropped {len(lines.damaged)} damaged lines of {METRICS_FILE}; as it was, it is kept as *.damaged."
        problems.append(Problem(lines.damaged[0] + more, lambda: rewrite(path, lines.good), remedy))
        return
    if lines.cut:
        problems.append(
            Problem(
                f"The last line of {path} is half-written.",
                lambda: write_whole(path, b"".join(lines.good)),
                f"Cut the half-written last line of {METRICS_FILE}.",
                passing=True,
            )
        )
    if checkpoint is not None:
        _examine_count(path, lines, checkpoint, problems)


def _examine_count(path: Path, lines: RecordLines, checkpoint: Checkpoint, problems: list[Problem]) -> None:
    counted, until = (checkpoint.progress.get(name) for name in ("records", "env_step"))
    if type(counted) is not int or type(until) is not int:
        return
    found = sum(step <= until for step in lines.steps)
    if found < counted:
        problems.append(
            Problem(
                f"{path} holds {found} records, and the checkpoint counts on {counted}: the missing ones are lost. "
                "Nothing else depends on them, and the run can go on.",
                lambda: _count_on(checkpoint, found),
                f"Had the checkpoint count on the {found} records that are left; {counted - found} are lost.",
            )
        )


def _count_on(checkpoint: Checkpoint, records: int) -> None:
    manifest, folder = checkpoint.manifest, checkpoint.folder
    size = (folder / manifest.state.file).stat().st_size  # Version 1 may not have written it down.
    counted = replace(
        manifest, state=replace(manifest.state, bytes=size), progress=manifest.progress | {"records": records}
    )
    write_whole(folder / MANIFEST, counted.to_bytes())


def _examine_leftovers(folder: Path, problems: list[Problem]) -> None:
    found = [folder / f"{name}{TEMPORARY}" for name in (CONFIG_FILE, METRICS_FILE, STATUS_FILE)]
    found = [path for path in found if exists(path) and not path.is_dir()]
    with contextlib.suppress(OSError):  # Whoever reads the checkpoint says what is wrong with its folder.
        found += leftovers(folder / "checkpoint")
    if found:
        problems.append(
            Problem(
                f"{folder} holds {len(found)} files of a write that was cut short, or of older checkpoints: "
                f"{', '.join(path.name for path in found[:3])}{', …' if len(found) > 3 else ''}.",
                lambda: _remove(found),
                f"Removed {len(found)} leftover files.",
                passing=True,
            )
        )


def _remove(paths: list[Path]) -> None:
    for path in paths:
        path.unlink()
