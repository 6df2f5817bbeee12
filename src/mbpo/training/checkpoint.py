"""Checkpoints on disk: written whole or not at all, verified when read.

A checkpoint is `state-<env_step>.safetensors` and the `manifest.json` that names it with its
SHA-256. Each file is written under a temporary name, flushed to the disk and renamed; the
manifest last. So at every instant `manifest.json` points to a whole file. The file before it
is kept until the next one is in place.
"""

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_safetensors

from mbpo.errors import CheckpointError, TrainingError

FORMAT = "mbpo-checkpoint"
FORMAT_VERSION = 1
MANIFEST = "manifest.json"
_STATE_NAME = re.compile(r"state-\d{1,12}\.safetensors")


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint on disk, its arrays not read yet (a `TensorSource`)."""

    path: Path
    progress: dict[str, Any]
    """Counters and the like, plain JSON."""
    shapes: dict[str, tuple[int, ...]]

    def keys(self) -> list[str]:
        return list(self.shapes)

    def shape(self, name: str) -> tuple[int, ...]:
        return self.shapes[name]

    def read(self, name: str) -> np.ndarray:
        try:
            with safe_open(self.path, framework="numpy") as file:
                return file.get_tensor(name)
        except (SafetensorError, OSError, TypeError) as error:
            raise CheckpointError(f"The array '{name}' of {self.path} cannot be read: {error}.") from error


def write_checkpoint(folder: Path, tensors: dict[str, np.ndarray], progress: dict[str, Any]) -> None:
    """Replace the folder's checkpoint with a new one.

    Raises:
        TrainingError: The disk refused (full, read-only); the checkpoint before is untouched.
    """
    name = f"state-{int(progress['env_step'])}.safetensors"
    payload = to_safetensors(tensors)
    manifest = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "file": name,
        "bytes": len(payload),
        "sha256": hashlib.sha256(payload).hexdigest(),
        "progress": progress,
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        previous = _named_state(folder)
        write_whole(folder / name, payload)
        write_whole(folder / MANIFEST, json.dumps(manifest, indent=1).encode())
        for old in folder.glob("state-*.safetensors"):
            if old.name not in (name, previous):
                old.unlink()
    except OSError as error:
        raise TrainingError(
            f"Could not write a checkpoint to {folder}: {error.strerror or error}. The last checkpoint is intact; "
            "free some space, or make the folder writable again."
        ) from error


def read_checkpoint(folder: Path) -> Checkpoint:
    """Find and verify the folder's checkpoint.

    Raises:
        CheckpointError: There is none, it is damaged, or it is not one of this package's.
    """
    manifest = _read_manifest(folder)
    path = folder / manifest["file"]
    try:
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise CheckpointError(
            f"The checkpoint file {path} cannot be read ({error.strerror}); the run folder is incomplete."
        ) from error
    if digest.hexdigest() != manifest["sha256"]:
        raise CheckpointError(
            f"The checkpoint file {path} is damaged: its contents do not match the checksum in {MANIFEST}. "
            "Restore the file from a copy, or train again into a new folder."
        )
    try:
        with safe_open(path, framework="numpy") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
    except SafetensorError as error:
        raise CheckpointError(f"The checkpoint file {path} is not a safetensors file: {error}.") from error
    return Checkpoint(path, manifest["progress"], shapes)


def saved_step(folder: Path) -> int | None:
    """Environment steps taken at the folder's checkpoint, as its manifest says; None without one.

    Raises:
        CheckpointError: The manifest is damaged or not one of this package's.
    """
    if not (folder / MANIFEST).exists():
        return None
    step = _read_manifest(folder)["progress"].get("env_step")
    if not isinstance(step, int):
        raise CheckpointError(f"{folder / MANIFEST} is damaged: 'env_step' is missing or of the wrong kind.")
    return step


def write_whole(path: Path, payload: bytes) -> None:
    """Write a file so that a reader, or a crash, sees the old contents or the new, never less."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)  # The rename itself is durable only once its folder is.
    finally:
        os.close(descriptor)


def _named_state(folder: Path) -> str | None:
    try:
        return _read_manifest(folder)["file"]
    except CheckpointError:
        return None


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise CheckpointError(
            f"There is no checkpoint in {folder}: {MANIFEST} is missing. A run writes its first one at the end of "
            "its first episode."
        )
    try:
        manifest = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged and cannot be read as JSON: {error}.") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a checkpoint of mbpo (its format is not '{FORMAT}').")
    if manifest.get("version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} was written in checkpoint format {manifest.get('version')!r}, and this version of mbpo reads "
            f"{FORMAT_VERSION}."
        )
    wanted: dict[str, type] = {"file": str, "sha256": str, "progress": dict}
    wrong = [name for name, kind in wanted.items() if not isinstance(manifest.get(name), kind)]
    if wrong:
        raise CheckpointError(f"{path} is damaged: '{wrong[0]}' is missing or of the wrong kind.")
    if not _STATE_NAME.fullmatch(manifest["file"]):
        raise CheckpointError(f"{path} names {manifest['file']!r}, which is not a checkpoint file's name.")
    return manifest
