"""The folder that a run is written to, if it has one: opened once, when training begins, and given back at the end."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mbpo.training.folder_lock import FolderLock
from mbpo.training.logbook import Logbook
from mbpo.training.loop import Run
from mbpo.training.restore import UnfinishedEpisode, resume_episode
from mbpo.training.run_folder import Origin, check_unused

Describe = Callable[[Path], str]
"""Writes a run's settings and dimensions to a folder; returns the SHA-256 of its `config.json`."""


@dataclass
class Home:
    """Where a run lives and what it left open there."""

    folder: Path | None
    """None: the run is not written down."""
    lock: FolderLock | None = None
    """The right to write there; taken when the folder is opened, or before, where what it holds is read first."""
    origin: Origin | None = None
    """The run that this one began from, which is in another folder."""
    unfinished: UnfinishedEpisode | None = None
    """The episode that was under way in the checkpoint that the run stands at."""
    opened: bool = False

    def open(self, run: Run[Any], describe: Describe) -> None:
        """Let the run write here, and return to the episode that was under way; once.

        Raises:
            RunFolderError: The folder holds another run, or another process writes to it.
            EnvironmentFault: The environment failed more often than it may.
        """
        if self.opened:
            return
        if self.folder is not None:
            if self.lock is None:  # A folder of its own; one that is gone on with is held already.
                self.lock = FolderLock(self.folder)
                check_unused(self.folder)
            if run.config_sha256 is None:  # What is told there holds from the run's beginning on.
                run.config_sha256 = describe(self.folder)
            run.logbook = Logbook(self.folder, keep=run.logbook.records)
            run.folder = self.folder
        if self.unfinished is not None:
            resume_episode(run, self.unfinished)
        if self.origin is not None and self.folder is not None:
            run.saved, run.checkpoint_step = None, 0  # The folder holds no checkpoint yet.
            run.save()
        self.opened = True

    def left_open(self, run: Run[Any]) -> None:
        """Let what is saved of the run before it trains again hold the episode that was under way."""
        if self.unfinished is not None and not self.opened:
            run.episodes.stand_at(*self.unfinished)

    def close(self) -> None:
        """Let others write here."""
        if self.lock is not None:
            self.lock.release()
            self.lock = None
