"""What a run writes down: one JSON line per record, and the same numbers for TensorBoard.

`metrics.jsonl` is the record of truth. A resumed run drops the lines written after its
checkpoint, since those steps are repeated, so the file reads as if nothing had happened.
"""

import contextlib
import json
import math
import os
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mbpo.errors import RunFolderError, TrainingError
from mbpo.training.durable import AppendedFile, write_whole
from mbpo.training.plain_files import open_plain

METRICS_FILE = "metrics.jsonl"
TAIL_BYTES = 65_536
"""What `read_latest` reads: the last hundred records or so."""
MAX_BYTES = 1 << 28
"""More than any run writes (see `Logbook.due`)."""
MIN_SHARE = 10_000
"""An episode is recorded if at least this part of all steps has been taken since the last record."""
Record = dict[str, Any]


def read_records(folder: Path) -> list[Record]:
    """The records of a run, finished or running.

    A last line that a crash cut short is left out.

    Raises:
        RunFolderError: The file is missing or too large, or a line before the last is not a record.
    """
    path = folder / METRICS_FILE
    records: list[Record] = []
    try:
        with open_plain(path) as file:
            if os.fstat(file.fileno()).st_size > MAX_BYTES:
                raise RunFolderError(f"{path} is larger than {MAX_BYTES >> 20} MiB, which no run of mbpo writes.")
            for number, line in enumerate(file, 1):
                if line.strip() and not read_line(path, number, line, records):
                    break
    except OSError as error:
        raise RunFolderError(
            f"{folder} holds no {METRICS_FILE} that can be read ({error.strerror or error}). If it is a run folder of "
            f"mbpo, `mbpo doctor {folder}` says what is left of it, and --repair goes on from that."
        ) from error
    return records


def read_line(path: Path, number: int, line: bytes, records: list[Record]) -> bool:
    """Add the record of line `number` of `path`; False if it was cut short while being written.

    Raises:
        RunFolderError: It is no record.
    """
    try:
        record = json.loads(line.decode())
    except (ValueError, RecursionError) as error:
        if not line.endswith(b"\n"):
            return False
        raise RunFolderError(f"Line {number} of {path} is damaged: no JSON. {_mend(path)}") from error
    if not is_record(record):
        raise RunFolderError(f"Line {number} of {path} is not a record. {_mend(path)}")
    records.append(record)
    return True


def _mend(path: Path) -> str:
    return f"`mbpo doctor {path.parent}` says what is left, and --repair keeps the lines that can be read."


def is_record(values: Any) -> bool:
    """Whether some JSON is a record: an object of numbers, each of them finite or null, with its step."""
    if not isinstance(values, dict) or type(step := values.get("env_step")) is not int or step < 0:
        return False
    return all(value is None or is_number(value) for value in values.values())


def is_number(value: Any) -> bool:
    """Whether a value that came from a file is a finite number, of at most 64 bits if it is a whole one."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and abs(value) < 2**63


def read_latest(folder: Path) -> Record:
    """The newest value of every name in the last records of a run, which may be under way.

    Reads the file's end only, so that it can be asked often. Empty if nothing is recorded yet.
    """
    try:
        with open_plain(folder / METRICS_FILE) as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            lines = file.read().split(b"\n")
    except OSError:
        return {}
    latest: Record = {}
    for line in lines:
        with contextlib.suppress(ValueError):  # Cut by where we began, or not yet written whole.
            record = json.loads(line.decode())
            latest.update(record if isinstance(record, dict) else {})
    return latest


class Logbook:
    """Appends records to a run folder, or remembers them when there is no folder."""

    def __init__(self, folder: Path | None, *, keep: list[Record]) -> None:
        """Args:
        folder: Where to write; None to keep the records in memory only.
        keep: The records to begin with; what else the folder's file holds is dropped.
        """
        self.count = len(keep)
        """Records so far."""
        self._folder = folder
        self._remembered = list(keep) if folder is None else []
        self._last_step = int(keep[-1]["env_step"]) if keep else 0
        self._file: AppendedFile | None = None
        self._board: _Board | None = None
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                write_whole(folder / METRICS_FILE, b"".join(_line(record) for record in keep))
                self._file = AppendedFile(folder / METRICS_FILE)
                self._board = _Board(folder / "tensorboard", self._last_step + 1 if keep else 0)
            except OSError as error:
                raise RunFolderError(f"Cannot write to {folder}: {error.strerror or error}.") from error

    @property
    def records(self) -> list[Record]:
        """Every record so far; read from the folder, if there is one, so that a long run needs no memory for them.

        Raises:
            RunFolderError: The folder's file was damaged or taken away.
        """
        return list(self._remembered) if self._folder is None else read_records(self._folder)

    def due(self, env_step: int) -> bool:
        """Whether an episode that ended at this step is to be recorded.

        All are, until there are very many: in the long run a record for every ten-thousandth part of
        the steps, so that the file of a run ten times as long is a fixed number of records longer.
        """
        return (env_step - self._last_step) * MIN_SHARE >= env_step

    def write(self, record: Mapping[str, Any]) -> None:
        """Append one record, handed to the system, so that a crash of the process loses none."""
        record = dict(record)
        if self._file is None or self._board is None:
            self._remembered.append(record)
        else:
            try:
                self._file.append(_line(record))
                self._board.write(record)
            except OSError as error:
                raise TrainingError(
                    f"Could not write to {METRICS_FILE}: {error.strerror or error}. The last checkpoint is intact; "
                    "free some space, or make the folder writable again."
                ) from error
        self.count += 1
        self._last_step = int(record["env_step"])

    def sync(self) -> None:
        """Flush the records to the disk.

        Raises:
            TrainingError: The disk refused.
        """
        if self._file is None:
            return
        try:
            self._file.sync()
        except OSError as error:
            raise TrainingError(
                f"Could not write to {METRICS_FILE}: {error.strerror or error}. The last checkpoint is intact."
            ) from error

    def close(self) -> None:
        """Close the files; further writes are errors."""
        for file in (self._file, self._board):
            if file is not None:
                with contextlib.suppress(OSError):  # A full disk was reported by the write that met it.
                    file.close()


class _Board:
    """TensorBoard's event file, written at once and by ourselves.

    tensorboardX's `SummaryWriter` writes from a thread, which dies of a full disk and leaves the
    run waiting for it for ever.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        # Imported here: it costs a second, and only a run that writes a folder needs it.
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        from tensorboardX.proto.summary_pb2 import Summary
        from tensorboardX.record_writer import masked_crc32c

        self._event, self._summary, self._checksum = Event, Summary, masked_crc32c
        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time_ns() // 10**9:010d}.{socket.gethostname()}.{first_step}"
        self._file = AppendedFile(folder / name, fresh=True)
        self._append(Event(wall_time=time.time(), file_version="brain.Event:2"))
        # Hides what an interrupted run wrote of the steps that are repeated.
        self._append(Event(step=first_step, session_log=SessionLog(status=SessionLog.START)))

    def write(self, record: Mapping[str, Any]) -> None:
        numbers = {k: v for k, v in record.items() if isinstance(v, int | float) and k != "env_step"}
        values = [self._summary.Value(tag=name, simple_value=value) for name, value in numbers.items()]
        summary = self._summary(value=values)
        self._append(self._event(wall_time=time.time(), step=record["env_step"], summary=summary))

    def _append(self, event: Any) -> None:
        """Length, its checksum, data, its checksum: a TFRecord."""
        data = event.SerializeToString()
        parts = (struct.pack("<Q", len(data)), data)
        self._file.append(b"".join(part + struct.pack("<I", self._checksum(part)) for part in parts))

    def close(self) -> None:
        self._file.close()


def _line(record: Mapping[str, Any]) -> bytes:
    # JSON has no NaN; a metric that is not finite is written as null.
    clean = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}
    return json.dumps(clean).encode() + b"\n"
