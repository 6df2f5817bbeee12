"""Checkpoints on disk: written whole or not at all, verified when written and when read.

A checkpoint is a `manifest.json` and the files that it names with their SHA-256: one with the
networks and everything else that is small, and, of each replay buffer, files of `CHUNK_ROWS`
rows each. Files are named after their contents and never changed, so a checkpoint writes only what is new;
the manifest comes last, after everything new has been read back from the disk. At every instant
`manifest.json` points to whole files. The checkpoint before is kept too, as `manifest.previous.json`.
"""

import contextlib
import hashlib
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save as to_safetensors

from mbpo.errors import CheckpointError, TrainingError
from mbpo.training.durable import put, set_aside, sync_folder, write_whole
from mbpo.training.manifest import (
    GIVEN_UP,
    MANIFEST,
    MAX_BYTES,
    PREVIOUS,
    Manifest,
    StoredFile,
    StoredRows,
    is_checkpoint_file,
    read_manifest,
    rows_name,
    state_name,
)
from mbpo.training.plain_files import open_plain, read_plain, unreadable
from mbpo.training.serialize import CHUNK_ROWS, Ring
from mbpo.training.tensor_file import TensorPlace, read_header, read_tensor


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint on disk, its arrays not read yet (a `TensorSource`)."""

    folder: Path
    manifest: Manifest
    places: dict[str, tuple[tuple[Path, TensorPlace], ...]]
    """Where each array lies; a replay buffer's column in several files, one after the other."""

    @property
    def progress(self) -> dict[str, Any]:
        """Counters and the like, plain JSON."""
        return self.manifest.progress

    def keys(self) -> list[str]:
        return list(self.places)

    def shape(self, name: str) -> tuple[int, ...]:
        parts = self._parts(name)
        first = parts[0][1].shape
        return first if len(parts) == 1 else (sum(place.shape[0] for _, place in parts), *first[1:])

    def read(self, name: str) -> np.ndarray:
        parts = self._parts(name)
        try:
            arrays = [read_tensor(path, place) for path, place in parts]
        except (ValueError, OSError) as error:
            raise CheckpointError(f"The array '{name}' of {self.folder} cannot be read: {error}.") from error
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)

    def _parts(self, name: str) -> tuple[tuple[Path, TensorPlace], ...]:
        if name not in self.places:
            raise CheckpointError(f"The checkpoint in {self.folder} holds no array '{name}'.")
        return self.places[name]


def write_checkpoint(
    folder: Path,
    tensors: Mapping[str, np.ndarray],
    progress: Mapping[str, Any],
    rings: Mapping[str, Ring] | None = None,
    *,
    grown: Collection[str] = (),
    last: Manifest | None = None,
    config: str | None = None,
) -> Manifest:
    """Replace the folder's checkpoint with a new one.

    Args:
        tensors: All but the rows of replay buffers.
        progress: Plain JSON, with `env_step`.
        rings: The replay buffers by name.
        grown: Names of those that take exactly one row at every environment step.
        last: The folder's checkpoint as it was last written or read: what it holds is not written again.
        config: SHA-256 of the run's `config.json`.

    Raises:
        TrainingError: The disk refused (full, read-only, failing); the checkpoint before is untouched.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = {stored.file for stored in last.files} if last else set()
        payload = to_safetensors(dict(tensors))
        digest = hashlib.sha256(payload).hexdigest()
        state = StoredFile(state_name(int(progress["env_step"]), digest), len(payload), digest)
        put(folder / state.file, payload)
        stored = {
            name: tuple(_store_ring(folder, name, ring, int(progress["env_step"]), last, held, name in grown))
            for name, ring in (rings or {}).items()
        }
        manifest = Manifest(state, stored, dict(progress), config)
        sync_folder(folder)
        for new in manifest.files:
            if new.file not in held:
                _read_back(folder / new.file, new.sha256)
        _keep_previous(folder)
        write_whole(folder / MANIFEST, manifest.to_bytes())
    except OSError as error:
        raise TrainingError(
            f"Could not write a checkpoint to {folder}: {error.strerror or error}. The last checkpoint is intact; "
            "free some space, or make the folder writable again."
        ) from error
    with contextlib.suppress(OSError):
        (folder / GIVEN_UP).unlink()  # The run has gone on without it.
    remove_leftovers(folder)
    return manifest


def read_checkpoint(folder: Path, name: str = MANIFEST) -> Checkpoint:
    """Find and verify the folder's checkpoint.

    Args:
        name: `PREVIOUS` for the checkpoint before.

    Raises:
        CheckpointError: There is none, it is damaged, or it is not one of this package's.
    """
    try:
        return _read_checkpoint(folder, read_manifest(folder, name))
    except CheckpointError as error:
        older = None if name == PREVIOUS or unreadable(error) else previous_step(folder)
        if older is None:
            raise
        raise CheckpointError(
            f"{error} The checkpoint before it, of environment step {older}, is whole: `mbpo doctor {folder.parent} "
            "--repair` goes back to it."
        ) from error


def previous_step(folder: Path) -> int | None:
    """Environment steps taken at the checkpoint before the last, if that one is whole."""
    try:
        step = read_checkpoint(folder, PREVIOUS).progress.get("env_step")
    except CheckpointError:
        return None
    return step if type(step) is int else None


def saved_step(folder: Path) -> int | None:
    """Environment steps taken at the folder's checkpoint, as its manifest says; None without one.

    Raises:
        CheckpointError: The manifest is damaged or not one of this package's.
    """
    try:
        step = read_manifest(folder).progress.get("env_step")
    except CheckpointError as error:
        if isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
            return None
        raise
    if type(step) is not int:
        raise CheckpointError(f"{folder / MANIFEST} is damaged: 'env_step' is missing or of the wrong kind.")
    return step


def leftovers(folder: Path) -> list[Path]:
    """Files of checkpoints older than the one before, or never finished; none if a manifest is damaged or lost."""
    if not os.path.lexists(folder / MANIFEST):
        return []
    named = set()
    for manifest in (MANIFEST, PREVIOUS, GIVEN_UP):
        if os.path.lexists(folder / manifest):
            try:
                named |= {stored.file for stored in read_manifest(folder, manifest).files}
            except CheckpointError:
                return []  # What it named can no longer be told from a leftover.
    found = [path for path in folder.iterdir() if is_checkpoint_file(path.name) and path.name not in named]
    return sorted(
        found + [folder / f"{name}.tmp" for name in (MANIFEST, PREVIOUS) if (folder / f"{name}.tmp").is_file()]
    )


def remove_leftovers(folder: Path) -> None:
    """Delete them; what cannot be deleted stays, and does no harm."""
    try:
        for path in leftovers(folder):
            path.unlink()
    except OSError:
        return


def _store_ring(
    folder: Path, name: str, ring: Ring, env_step: int, last: Manifest | None, held: set[str], grown: bool
) -> Iterator[StoredRows]:
    """Write the chunks that are not held yet."""
    before = last.rings.get(name, ()) if last else ()
    untouched: set[int] = set()
    if grown and last is not None and ring.grew_by_steps(env_step):
        written = ring.slots_written(int(last.progress["env_step"]), env_step)
        untouched = set(range(len(before))) - set((written // CHUNK_ROWS).tolist())
    for index, first in enumerate(range(0, max(ring.size, 1), CHUNK_ROWS)):
        rows = min(CHUNK_ROWS, ring.size - first)
        if index in untouched and before[index].rows == rows:
            yield before[index]
            continue
        payload = to_safetensors(ring.rows(first, first + rows))
        digest = hashlib.sha256(payload).hexdigest()
        chunk = StoredRows(rows_name(digest), len(payload), digest, rows)
        if chunk.file not in held:
            put(folder / chunk.file, payload)
        yield chunk


def _read_back(path: Path, sha256: str) -> None:
    """Raise unless the disk gives back what it was given."""
    if hasattr(os, "posix_fadvise"):
        with open_plain(path) as file:  # From the disk, where the system lets go of its copy in memory.
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if _sha256(path) != sha256:
        raise OSError(0, f"{path.name} read back differs from what was written; is the disk failing?")


def _keep_previous(folder: Path) -> None:
    try:
        read_manifest(folder)
    except CheckpointError:
        return
    if (folder / PREVIOUS).is_dir() and not (folder / PREVIOUS).is_symlink():
        set_aside(folder / PREVIOUS)  # Whoever put it there; a file cannot be renamed over it.
    write_whole(folder / PREVIOUS, read_plain(folder / MANIFEST, MAX_BYTES))


def _read_checkpoint(folder: Path, manifest: Manifest) -> Checkpoint:
    for stored in manifest.files:
        _verify(folder / stored.file, stored)
    places: dict[str, tuple[tuple[Path, TensorPlace], ...]] = {}
    for name, place in _header(folder, manifest.state).items():
        places[name] = ((folder / manifest.state.file, place),)
    for name, chunks in manifest.rings.items():
        columns: dict[str, list[tuple[Path, TensorPlace]]] = {}
        for chunk in chunks:
            header = _header(folder, chunk)
            if any(place.shape[:1] != (chunk.rows,) for place in header.values()):
                raise CheckpointError(f"The checkpoint file {folder / chunk.file} is damaged: it has other rows.")
            for column, place in header.items():
                columns.setdefault(column, []).append((folder / chunk.file, place))
        for column, parts in columns.items():
            alike = {(place.dtype, place.shape[1:]) for _, place in parts}
            if column in places or len(parts) != len(chunks) or len(alike) != 1:
                raise CheckpointError(f"The checkpoint in {folder} is damaged: the files of '{name}' differ in kind.")
            places[column] = tuple(parts)
    return Checkpoint(folder, manifest, places)


def _verify(path: Path, stored: StoredFile) -> None:
    try:
        # The size first: a file that claims to be a checkpoint may be of any length.
        whole = stored.bytes in (None, path.stat().st_size) and _sha256(path) == stored.sha256
    except OSError as error:
        raise CheckpointError(
            f"The checkpoint file {path} cannot be read ({error.strerror or error}); bring it back, or make it "
            "readable."
        ) from error
    if not whole:
        raise CheckpointError(
            f"The checkpoint file {path} is damaged: its contents do not match the checksum in {MANIFEST}. "
            "Restore the file from a copy, or train again into a new folder."
        )


def _header(folder: Path, stored: StoredFile) -> dict[str, TensorPlace]:
    path = folder / stored.file
    try:
        return read_header(path)
    except (ValueError, OSError) as error:
        raise CheckpointError(f"The checkpoint file {path} is not a safetensors file: {error}.") from error


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open_plain(path) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
