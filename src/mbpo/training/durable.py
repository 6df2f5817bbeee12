"""Files that are on the disk whole or not at all, whatever happens while they are written.

Each is written under a temporary name, flushed to the disk, and renamed; then its folder is
flushed, since a rename lasts only once its folder does. Nothing is ever written through a link,
which could lead out of the folder.
"""

import contextlib
import itertools
import os
from pathlib import Path
from typing import BinaryIO

TEMPORARY = ".tmp"


def write_whole(path: Path, payload: bytes) -> None:
    """Write a file so that a reader, or a crash, sees the old contents or the new, never less.

    Raises:
        OSError: The disk refused; the old contents are untouched.
    """
    put(path, payload)
    sync_folder(path.parent)


def put(path: Path, payload: bytes, *, flush: bool = True) -> None:
    """As `write_whole`, but lasting only after `sync_folder`: for several files in one folder.

    Args:
        flush: Whether the contents go to the disk at once; without, only a crash of the machine can lose them.
    """
    temporary = path.with_name(path.name + TEMPORARY)
    try:
        with open_new(temporary) as file:
            file.write(payload)
            if flush:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def open_new(path: Path) -> BinaryIO:
    """Open a file that is made now, in place of whatever had its name; never what a link leads to."""
    path.unlink(missing_ok=True)
    return path.open("xb")  # Exclusive creation follows no link.


def open_appending(path: Path) -> BinaryIO:
    """Open a file to append to it, unbuffered; it is made if need be.

    Raises:
        OSError: It cannot be written, or is a link.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    for name in ("O_NOFOLLOW", "O_CLOEXEC", "O_BINARY"):  # Not every system has each.
        flags |= getattr(os, name, 0)
    return os.fdopen(os.open(path, flags, 0o666), "ab", buffering=0)


def set_aside(path: Path) -> None:
    """Give what lies at a path another name beside it, `NAME.damaged`; nothing is written over.

    Raises:
        OSError: It cannot be renamed.
    """
    os.rename(path, free_name(path))


def free_name(path: Path) -> Path:
    """`NAME.damaged` beside a path, with a number where that is taken."""
    names = (f"{path.name}.damaged" + (f"-{number}" if number > 1 else "") for number in itertools.count(1))
    return next(path.with_name(name) for name in names if not os.path.lexists(path.with_name(name)))


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
        if fresh:
            path.unlink(missing_ok=True)
        self._file = open_appending(path)
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
