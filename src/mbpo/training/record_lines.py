"""The lines of `metrics.jsonl` one by one, good and damaged, for whoever repairs the file."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from mbpo.errors import RunFolderError
from mbpo.training.durable import free_name, set_aside, write_whole
from mbpo.training.logbook import MAX_BYTES, Record, read_line
from mbpo.training.plain_files import open_plain, read_plain


@dataclass
class RecordLines:
    """What a file of records holds."""

    good: list[bytes] = field(default_factory=list)
    """Lines that are records, each ended."""
    steps: list[int] = field(default_factory=list)
    """Their environment steps."""
    damaged: list[str] = field(default_factory=list)
    """A sentence for each line that is no record."""
    cut: bool = False
    """Whether the last line has no end, as after a crash."""


def read_lines(path: Path) -> RecordLines:
    """Sort the lines of a file; blank ones are left out.

    Raises:
        OSError: It is missing, cannot be read, or is no plain file.
        ValueError: It is larger than any that a run writes.
    """
    found = RecordLines()
    with open_plain(path) as file:
        if os.fstat(file.fileno()).st_size > MAX_BYTES:
            raise ValueError(f"it is larger than {MAX_BYTES >> 20} MiB")
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            if not line.endswith(b"\n"):
                found.cut = True
                continue
            records: list[Record] = []
            try:
                read_line(path, number, line, records)
            except RunFolderError as error:
                found.damaged.append(str(error))
                continue
            found.good.append(line)
            found.steps.append(records[0]["env_step"])
    return found


def rewrite(path: Path, lines: list[bytes]) -> None:
    """Replace a file by these lines; what it was is kept as `NAME.damaged`.

    Raises:
        OSError: The disk refused; nothing is lost.
    """
    if path.is_file():
        write_whole(free_name(path), read_plain(path, MAX_BYTES))
    elif os.path.lexists(path):  # A folder or a pipe, say.
        set_aside(path)
    write_whole(path, b"".join(lines))
