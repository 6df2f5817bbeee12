"""A run folder has one writer: a second process that wants to write to it is refused.

The lock is the system's own (`flock`), on the folder itself: it leaves no file behind, and it ends
with the process that holds it, however that ends, so a killed run never locks anybody out. Within
one process a folder may be opened again, as by `load(…, resume=True)` while the agent that was
trained there still exists.
"""

import contextlib
import os
from pathlib import Path

from mbpo.errors import RunFolderError

_HELD: dict[tuple[int, Path], tuple[int, int]] = {}
"""File descriptor and number of holders, by process and folder."""


class FolderLock:
    """The right to write to a run folder, until it is released."""

    def __init__(self, folder: Path) -> None:
        """Take the lock; the folder is made if need be.

        Raises:
            RunFolderError: Another process writes to the folder, or it cannot be written to.
        """
        self._key: tuple[int, Path] | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            key = (os.getpid(), folder.resolve())
            descriptor, holders = _HELD.get(key) or (_lock(folder), 0)
        except OSError as error:
            raise RunFolderError(f"Cannot write the run folder {folder}: {error.strerror or error}.") from error
        _HELD[key] = descriptor, holders + 1
        self._key = key

    def release(self) -> None:
        """Give the lock back; once is enough, and more does no harm."""
        if self._key is None or self._key not in _HELD:
            return
        descriptor, holders = _HELD.pop(self._key)
        if holders > 1:
            _HELD[self._key] = descriptor, holders - 1
        elif descriptor >= 0:
            os.close(descriptor)
        self._key = None

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.release()


def is_locked(folder: Path) -> bool:
    """Whether a process, this one included, has the right to write to a folder; False where that cannot be told."""
    try:
        import fcntl

        descriptor = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def _lock(folder: Path) -> int:
    """The descriptor that holds the lock; -1 where there are no such locks."""
    try:
        import fcntl
    except ImportError:  # Not on Windows.
        return -1
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise RunFolderError(
            f"Another process is writing to {folder}. Wait for it, stop it, or choose another --out; its lock ends "
            "with it, and with the processes that its environment started."
        ) from error
    except OSError:  # A file system without locks.
        os.close(descriptor)
        return -1
    return descriptor
