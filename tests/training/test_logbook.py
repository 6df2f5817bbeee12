"""`metrics.jsonl`: read back after any crash, and never the reason that a checkpoint is lost."""

import errno
import itertools
import json
import math
import os
import resource
import struct

import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tiny_tasks import one_paragraph

from mbpo.errors import RunFolderError, TrainingError
from mbpo.training import logbook
from mbpo.training.logbook import METRICS_FILE, Logbook, read_latest, read_records

RECORDS = [{"env_step": 10, "alpha": 0.5}, {"env_step": 20, "alpha": 0.25, "rollout_nonfinite": None}]


def write(folder, records=RECORDS, keep=()) -> Logbook:
    book = Logbook(folder, keep=list(keep))
    for record in records:
        book.write(record)
    return book


def complaint(folder) -> str:
    with pytest.raises(RunFolderError) as caught:
        read_records(folder)
    return one_paragraph(str(caught.value))


def test_there_and_back(tmp_path):
    book = write(tmp_path)
    assert read_records(tmp_path) == book.records == RECORDS  # Before it is closed: a crash loses none.
    book.close()
    assert (tmp_path / METRICS_FILE).read_text().count("\n") == 2


def test_without_a_folder_records_are_remembered():
    book = write(None)
    assert book.records == RECORDS
    book.close()


def test_records_are_copies():
    record = {"env_step": 1}
    book = write(None, [record])
    record["env_step"] = 2
    assert book.records == [{"env_step": 1}]


def test_what_is_not_finite_is_null(tmp_path):
    write(tmp_path, [{"env_step": 1, "a": math.nan, "b": math.inf, "c": -math.inf, "d": 1.5}]).close()
    text = (tmp_path / METRICS_FILE).read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {"env_step": 1, "a": None, "b": None, "c": None, "d": 1.5}


def test_kept_records_replace_what_the_file_held(tmp_path):
    write(tmp_path, [*RECORDS, {"env_step": 30}]).close()
    book = write(tmp_path, [{"env_step": 25}], keep=RECORDS)
    assert read_records(tmp_path) == [*RECORDS, {"env_step": 25}]
    book.close()


def test_half_written_last_line_is_left_out(tmp_path):
    write(tmp_path).close()
    whole = (tmp_path / METRICS_FILE).read_bytes()
    first = whole.index(b"\n") + 1
    for end in range(first, len(whole) - 1):
        (tmp_path / METRICS_FILE).write_bytes(whole[:end])
        assert read_records(tmp_path) == RECORDS[:1]
    (tmp_path / METRICS_FILE).write_bytes(whole[:-1])  # All but the newline arrived.
    assert read_records(tmp_path) == RECORDS


@pytest.mark.parametrize("line", ['{"env_st', "nothing", "\x00\x00\x00", '{"env_step": 20', "[" * 100_000])
def test_damaged_line_in_the_middle(tmp_path, line):
    write(tmp_path).close()
    lines = (tmp_path / METRICS_FILE).read_text().splitlines()
    (tmp_path / METRICS_FILE).write_text("\n".join([lines[0], line, lines[1], ""]))
    assert "Line 2" in complaint(tmp_path)


@pytest.mark.parametrize("line", ["3", "[]", '"text"', "null", "{}", '{"env_step": "3"}', '{"env_step": null}'])
def test_a_line_that_is_no_record(tmp_path, line):
    (tmp_path / METRICS_FILE).write_text(f'{{"env_step": 1}}\n{line}\n')
    assert "Line 2" in complaint(tmp_path)


def test_missing_file(tmp_path):
    assert METRICS_FILE in complaint(tmp_path)
    assert METRICS_FILE in complaint(tmp_path / "nowhere")


def test_empty_file(tmp_path):
    (tmp_path / METRICS_FILE).write_text("")
    assert read_records(tmp_path) == []


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError) as caught:
        Logbook(tmp_path / "file" / "run", keep=[])
    one_paragraph(str(caught.value))


class FullDisk:
    """A file whose disk is full after some bytes."""

    def __init__(self, file, room: int) -> None:
        self.file, self.room = file, room
        self.fileno, self.truncate, self.close = file.fileno, file.truncate, file.close

    def write(self, data) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = self.file.write(data[: self.room])
        self.room -= taken
        return taken


@pytest.mark.parametrize("room", [0, 1, 10])
def test_full_disk(tmp_path, room):
    book = write(tmp_path)
    file = book._file._file
    book._file._file = FullDisk(file, room)
    with pytest.raises(TrainingError) as caught:
        book.write({"env_step": 30})
    assert "No space left on device" in one_paragraph(str(caught.value))
    # Nothing of the record is left, so that the next one begins a line of its own.
    assert (tmp_path / METRICS_FILE).read_text().count("\n") == 2
    assert read_records(tmp_path) == book.records == RECORDS
    assert book.count == 2
    book._file._file = file
    book.write({"env_step": 31})
    assert read_records(tmp_path) == [*RECORDS, {"env_step": 31}]
    book.close()


def test_a_disk_that_takes_a_few_bytes_at_a_time(tmp_path):
    class Slow(FullDisk):
        def write(self, data) -> int:
            return self.file.write(data[:3])

    book = write(tmp_path)
    book._file._file = Slow(book._file._file, 0)
    book.write({"env_step": 30})
    assert read_records(tmp_path) == [*RECORDS, {"env_step": 30}]
    book.close()


def test_full_disk_under_the_tensorboard_file(tmp_path):
    # Regression: written from a thread, this waited for ever.
    book = write(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    (event_file,) = (tmp_path / "tensorboard").iterdir()
    with pytest.raises(TrainingError) as caught:
        resource.setrlimit(resource.RLIMIT_FSIZE, (event_file.stat().st_size + 20, limits[1]))
        try:
            for step in range(30, 130):  # metrics.jsonl is the shorter one at first.
                book.write({"env_step": step})
        finally:
            book.close()
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    one_paragraph(str(caught.value))
    assert len(read_records(tmp_path)) < 10


def events(folder) -> list:
    """TensorBoard's events, by the file format's definition."""
    found = []
    for path in sorted((folder / "tensorboard").iterdir()):
        assert "tfevents" in path.name
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            found.append(Event.FromString(data[12 : 12 + length]))
            data = data[16 + length :]
    return found


def test_tensorboard_gets_the_same_numbers(tmp_path):
    write(tmp_path).close()
    version, begin, *rest = events(tmp_path)
    assert version.file_version == "brain.Event:2"
    assert begin.step == 0
    assert [(event.step, [(v.tag, v.simple_value) for v in event.summary.value]) for event in rest] == [
        (10, [("alpha", 0.5)]),
        (20, [("alpha", 0.25)]),
    ]
    assert all(event.wall_time > 0 for event in rest)


def test_tensorboard_hides_the_steps_that_are_repeated(tmp_path):
    write(tmp_path).close()
    write(tmp_path, [], keep=RECORDS[:1]).close()
    begins = [event for event in events(tmp_path) if event.session_log.status == SessionLog.START]
    assert [event.step for event in begins] == [0, 11]


def test_the_latest_figures_of_a_run_under_way(tmp_path):
    assert read_latest(tmp_path) == {}
    lines = [{"env_step": 10, "return": -5.0}, {"env_step": 20, "loss": 1.0}]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / METRICS_FILE).write_text(text + '{"env_step": 3')  # The last one is still being written.
    assert read_latest(tmp_path) == {"env_step": 20, "return": -5.0, "loss": 1.0}


def test_the_latest_figures_come_from_the_end_of_a_long_file(tmp_path, monkeypatch):
    monkeypatch.setattr(logbook, "TAIL_BYTES", 30)
    lines = [json.dumps({"env_step": step, f"only_at_{step}": 1}) for step in range(10)]
    (tmp_path / METRICS_FILE).write_text("\n".join(lines) + "\n")
    assert read_latest(tmp_path) == {}  # Not one whole line of 34 bytes.
    monkeypatch.setattr(logbook, "TAIL_BYTES", 75)
    assert read_latest(tmp_path) == {"env_step": 9, "only_at_8": 1, "only_at_9": 1}


def test_episodes_are_recorded_more_rarely_in_a_very_long_run(monkeypatch):
    monkeypatch.setattr(logbook, "MIN_SHARE", 10)
    book = Logbook(None, keep=[])
    for step in range(1, 1001):  # An episode at every step.
        if book.due(step):
            book.write({"env_step": step})
    steps = [record["env_step"] for record in book.records]
    assert steps[:10] == list(range(1, 11))
    assert all((step - before) * 10 >= step for before, step in itertools.pairwise(steps))
    assert len(steps) < 10 + 10 * math.log(1000 / 10) + 10
    # What comes next does not depend on whether the run was resumed.
    again = Logbook(None, keep=book.records)
    assert [again.due(step) for step in range(1001, 1200)] == [book.due(step) for step in range(1001, 1200)]


def test_records_of_a_run_with_a_folder_lie_there_alone(tmp_path):
    book = write(tmp_path)
    assert book._remembered == []
    assert book.count == 2
    book.close()
    assert book.records == RECORDS


def test_a_file_that_no_run_writes(tmp_path):
    with (tmp_path / METRICS_FILE).open("wb") as file:
        file.truncate(1 << 40)  # A hole: a tebibyte to read, and nothing on the disk.
    assert "larger" in complaint(tmp_path)


@pytest.mark.parametrize("value", ["[1]", "{}", "1" + "0" * 400, "1e999", "NaN", '"0.5"'])
def test_values_that_no_record_holds(tmp_path, value):
    (tmp_path / METRICS_FILE).write_text(f'{{"env_step": 1, "alpha": {value}}}\n')
    assert "not a record" in complaint(tmp_path)
