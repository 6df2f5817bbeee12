"""What a run folder holds, whether it is whole, and repairing what can be repaired.

Repairs only take away what a run would repeat or never read: a half-written last record, files of
checkpoints never finished, a checkpoint that is damaged while the one before it is whole. What was
lost for good is said, and left alone.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mbpo.errors import CheckpointError, MBPOError, RunFolderError
from mbpo.training.checkpoint import Checkpoint, leftovers, previous_step, read_checkpoint
from mbpo.training.durable import TEMPORARY, write_whole
from mbpo.training.folder_lock import FolderLock
from mbpo.training.logbook import METRICS_FILE, read_line, read_records
from mbpo.training.manifest import MANIFEST, PREVIOUS
from mbpo.training.run_folder import CONFIG_FILE, read_description


@dataclass(frozen=True)
class Problem:
    """Something wrong with a run folder."""

    sentence: str
    repair: Callable[[], None] | None = None
    """Repairs it, where that is possible."""
    remedy: str = ""
    """What the repair does."""


@dataclass(frozen=True)
class Diagnosis:
    """What a run folder holds and what is wrong with it."""

    holds: dict[str, Any]
    problems: list[Problem]


def examine(folder: Path) -> Diagnosis:
    """Read everything in a run folder and verify it; nothing is changed.

    Raises:
        RunFolderError: There is no such folder, or it holds nothing of a run.
    """
    if not folder.is_dir():
        raise RunFolderError(f"There is no folder {folder}. A run's folder is printed when it starts.")
    if not any((folder / name).exists() for name in (CONFIG_FILE, METRICS_FILE, "checkpoint")):
        raise RunFolderError(f"{folder} is not a run folder of mbpo: it holds none of a run's files.")
    holds: dict[str, Any] = {}
    problems: list[Problem] = []
    _examine_description(folder, holds, problems)
    checkpoint = _examine_checkpoint(folder / "checkpoint", holds, problems)
    _examine_records(folder, checkpoint, holds, problems)
    _examine_leftovers(folder, problems)
    holds["bytes"] = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Diagnosis(holds, problems)


def repair(folder: Path) -> list[str]:
    """Repair what can be repaired; sentences that say what was done.

    Raises:
        RunFolderError: A process is writing to the folder, or it cannot be written to.
    """
    if not folder.is_dir():
        raise RunFolderError(f"There is no folder {folder}. A run's folder is printed when it starts.")
    done = []
    lock = FolderLock(folder)
    try:
        # One repair may bring another to light: records are judged by the checkpoint that counts.
        while problems := [problem for problem in examine(folder).problems if problem.repair is not None]:
            assert problems[0].repair is not None
            problems[0].repair()
            done.append(problems[0].remedy)
    except OSError as error:
        raise RunFolderError(f"Cannot write to {folder}: {error.strerror or error}.") from error
    finally:
        lock.release()
    return done


def _examine_description(folder: Path, holds: dict[str, Any], problems: list[Problem]) -> None:
    try:
        config = read_description(folder).config
    except MBPOError as error:
        problems.append(Problem(str(error)))
        return
    holds |= {"algo": config.algo, "env_id": config.env_id, "seed": config.seed, "steps": config.steps}


def _examine_checkpoint(folder: Path, holds: dict[str, Any], problems: list[Problem]) -> Checkpoint | None:
    older = previous_step(folder)
    if older is not None:
        holds["previous_checkpoint_step"] = older
    try:
        checkpoint = read_checkpoint(folder)
        step, bad = checkpoint.progress.get("env_step"), _nonfinite(checkpoint)
    except CheckpointError as error:
        back = None if older is None else lambda: write_whole(folder / MANIFEST, (folder / PREVIOUS).read_bytes())
        sentence = str(error).partition(" The checkpoint before it")[0]
        problems.append(Problem(sentence, back, f"Went back to the checkpoint of step {older}."))
        return None
    if bad:
        problems.append(Problem(f"The array '{bad}' of the checkpoint in {folder} holds values that are not finite."))
    holds["checkpoint_step"] = step
    holds["checkpoint_files"] = len({stored.file for stored in checkpoint.manifest.files})
    holds["replay_rows"] = {
        name: sum(chunk.rows for chunk in chunks) for name, chunks in checkpoint.manifest.rings.items()
    }
    return checkpoint


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
    counted = checkpoint.progress.get("records") if checkpoint is not None else None
    counted = counted if type(counted) is int else 0
    try:
        records = read_records(folder)
    except RunFolderError as error:
        whole = _whole_lines(path)
        lost = max(counted - len(whole), 0)
        what = f"{lost} records are lost" if lost else "the run repeats the rest"
        remedy = f"Cut {METRICS_FILE} after its {len(whole)} whole records; {what}."
        problems.append(Problem(str(error), lambda: write_whole(path, b"".join(whole)), remedy))
        return
    holds["records"] = len(records)
    holds["last_record_step"] = records[-1]["env_step"] if records else None
    text = path.read_bytes()
    if text and not text.endswith(b"\n"):
        whole = _whole_lines(path)
        problems.append(
            Problem(
                f"The last line of {path} is half-written.",
                lambda: write_whole(path, b"".join(whole)),
                f"Cut the half-written last line of {METRICS_FILE}.",
            )
        )
    if len(records) < counted:
        problems.append(
            Problem(
                f"{path} holds {len(records)} records, and the checkpoint counts on {counted}: the missing ones are "
                "lost. Nothing else depends on them, and the run can go on."
            )
        )


def _whole_lines(path: Path) -> list[bytes]:
    """The lines before the first that is no record, each ended."""
    lines: list[bytes] = []
    with contextlib.suppress(OSError, RunFolderError), path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n") or (line.strip() and not read_line(path, number, line, [])):
                break
            lines.append(line)
    return lines


def _examine_leftovers(folder: Path, problems: list[Problem]) -> None:
    found = [folder / f"{name}{TEMPORARY}" for name in (CONFIG_FILE, METRICS_FILE)]
    found = [path for path in found if path.is_file()]
    if (folder / "checkpoint").is_dir():
        found += leftovers(folder / "checkpoint")
    if found:
        problems.append(
            Problem(
                f"{folder} holds {len(found)} files of a write that was cut short, or of older checkpoints: "
                f"{', '.join(path.name for path in found[:3])}{', …' if len(found) > 3 else ''}.",
                lambda: _remove(found),
                f"Removed {len(found)} leftover files.",
            )
        )


def _remove(paths: list[Path]) -> None:
    for path in paths:
        path.unlink()
