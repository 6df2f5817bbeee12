"""Files that are on the disk whole or not at all, whatever happens while they are written.

Each is written under a temporary name, flushed to the disk, and renamed; then its folder is
flushed, since a rename lasts only once its folder does.
"""

import contextlib
import os
from pathlib import Path

TEMPORARY = ".tmp"


def write_whole(path: Path, payload: bytes) -> None:
    """Write a file so that a reader, or a crash, sees the old contents or the new, never less.

    Raises:
        OSError: The disk refused; the old contents are untouched.
    """
    put(path, payload)
    sync_folder(path.parent)


def put(path: Path, payload: bytes) -> None:
    """As `write_whole`, but lasting only after `sync_folder`: for several files in one folder."""
    temporary = path.with_name(path.name + TEMPORARY)
    try:
        with temporary.open("wb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class AppendedFile:
    """A file that grows piece by piece; a piece that cannot be written whole leaves nothing behind."""

    def __init__(self, path: Path, *, fresh: bool = False) -> None:
        self._file = path.open("wb" if fresh else "ab", buffering=0)
        self._size = os.fstat(self._file.fileno()).st_size

    def append(self, piece: bytes) -> None:
        """Hand a piece to the system: a crash of the process loses none of it.

        Raises:
            OSError: It could not be written; the file is as it was, as far as the disk lets it.
        """
        rest = memoryview(piece)
        try:
            while rest:  # The system may take less than all of it.
                rest = rest[self._file.write(rest) or 0 :]
        except OSError:
            with contextlib.suppress(OSError):
                self._file.truncate(self._size)
            raise
        self._size += len(piece)

    def sync(self) -> None:
        """Flush to the disk: a crash of the machine loses nothing appended so far."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()
