"""Looking at files that somebody else may have put there: plain files only, of bounded size, and never waiting.

A pipe in place of a file would keep its reader waiting for ever, a device has no end, and a path that cannot
be looked at (a folder closed to us, a name too long) is no path that is not there.
"""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from mbpo.errors import RunFolderError


def open_plain(path: Path) -> BinaryIO:
    """Open a file for reading; a link is followed, and must lead to a plain file.

    Raises:
        OSError: It cannot be read, or is a folder, a pipe or a device.
    """
    # Without O_NONBLOCK, opening a pipe waits for its writer.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    descriptor = os.open(path, flags)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is not a plain file", str(path))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_plain(path: Path, most: int) -> bytes:
    """The contents of a file.

    Raises:
        OSError: As for `open_plain`.
        ValueError: It is longer than `most` bytes.
    """
    with open_plain(path) as file:
        contents = file.read(most + 1)
    if len(contents) > most:
        raise ValueError(f"it is longer than {most} bytes")
    return contents


def unreadable(error: BaseException | None) -> bool:
    """Whether an error stems from a file that only cannot be read now: no sign that its contents are damaged.

    A file that is missing, or something else in its place, is no such case.
    """
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__
    gone = isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError)
    return error is not None and not gone and error.errno not in (errno.EINVAL, errno.ENXIO)


def exists(path: Path) -> bool:
    """Whether there is anything by this name, a link that leads nowhere included.

    Raises:
        RunFolderError: That cannot be found out.
    """
    return _mode(path, follow=False) is not None


def is_folder(path: Path) -> bool:
    """Whether a path leads to a folder.

    Raises:
        RunFolderError: That cannot be found out.
    """
    mode = _mode(path, follow=True)
    return mode is not None and stat.S_ISDIR(mode)


def _mode(path: Path, *, follow: bool) -> int | None:
    try:
        return os.stat(path, follow_symlinks=follow).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        shown = str(path) if len(str(path)) <= 200 else f"{str(path)[:200]}…"
        reason = error.strerror if isinstance(error, OSError) else error
        raise RunFolderError(
            f"{shown!r} cannot be looked at: {reason}. Choose another folder, or make this one accessible."
        ) from error


def folder_size(folder: Path) -> int:
    """Bytes of all files below a folder, as far as they can be looked at; links are not followed."""
    total = 0
    for place, _, files in os.walk(folder):
        for name in files:
            try:
                found = os.lstat(os.path.join(place, name))
            except OSError:
                continue
            total += found.st_size if stat.S_ISREG(found.st_mode) else 0
    return total
