"""Checkpoints: whole or not at all when written, doubted when read."""

import ast
import errno
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from tiny_tasks import one_paragraph

import mbpo
from mbpo.errors import CheckpointError, TrainingError
from mbpo.training.checkpoint import read_checkpoint, saved_step, write_checkpoint
from mbpo.training.durable import write_whole
from mbpo.training.manifest import MANIFEST, PREVIOUS, _checksum

ARRAYS = {"weights": np.arange(6, dtype=np.float32).reshape(2, 3), "done": np.array([True, False]), "step": np.int32(4)}


def write(folder: Path, step: int = 20) -> None:
    write_checkpoint(folder, ARRAYS | {"step": np.asarray(step, np.int32)}, {"env_step": step, "note": "ö"})


def read_step(folder: Path) -> int:
    checkpoint = read_checkpoint(folder)
    assert checkpoint.progress["env_step"] == int(checkpoint.read("step"))
    return checkpoint.progress["env_step"]


def complaint(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        checkpoint = read_checkpoint(folder)
        for name in checkpoint.keys():
            checkpoint.read(name)
    return one_paragraph(str(caught.value))


def edit_manifest(folder: Path, **changes) -> None:
    """Other contents under a checksum that fits, as somebody else would write them."""
    path = folder / MANIFEST
    content = json.loads(path.read_text()) | changes
    del content["checksum"]
    path.write_text(json.dumps(content | {"checksum": _checksum(content)}))


def state_file(folder: Path) -> Path:
    return folder / json.loads((folder / MANIFEST).read_text())["file"]


def test_there_and_back(tmp_path):
    write(tmp_path / "run" / "checkpoint")
    checkpoint = read_checkpoint(tmp_path / "run" / "checkpoint")
    assert checkpoint.progress == {"env_step": 20, "note": "ö"}
    assert sorted(checkpoint.keys()) == ["done", "step", "weights"]
    assert (checkpoint.shape("weights"), checkpoint.shape("step")) == ((2, 3), ())
    np.testing.assert_array_equal(checkpoint.read("weights"), ARRAYS["weights"])
    assert checkpoint.read("done").dtype == np.bool_


def test_the_newest_counts_and_at_most_one_older_is_kept(tmp_path):
    for step in (20, 40, 60, 80):
        write(tmp_path, step)
        assert read_step(tmp_path) == step
    names = sorted(path.name.split("-")[0] + path.name.split("-")[-2] for path in tmp_path.glob("state-*"))
    assert names == ["state60", "state80"]
    assert sorted(path.name for path in tmp_path.glob("m*")) == [MANIFEST, PREVIOUS]
    assert read_checkpoint(tmp_path, PREVIOUS).progress["env_step"] == 60


def failing(function, at: int):
    """The function, but its call number `at` (from 0) finds the disk full."""
    calls = iter(range(10**6))

    def call(*args, **kwargs):
        if next(calls) == at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return function(*args, **kwargs)

    return call


def full_disk(open_file, at: int):
    """`Path.open`, but the file opened for writing as number `at` lies on a full disk."""
    writes = iter(range(10**6))

    def call(path, mode="r", *args, **kwargs):
        if "x" in mode and next(writes) == at:
            open_file(path, mode, *args, **kwargs).close()
            return open(os.devnull.replace("null", "full"), "wb", *args, **kwargs)
        return open_file(path, mode, *args, **kwargs)

    return call


FAULTS = [
    *(("fsync", at) for at in range(6)),  # State, folder; manifest before, folder; manifest, folder.
    *(("replace", at) for at in range(3)),
    *(("write", at) for at in range(3)),
]


@pytest.mark.parametrize(("where", "at"), FAULTS)
def test_full_disk_leaves_a_whole_checkpoint(tmp_path, monkeypatch, where, at):
    folder = tmp_path / "run" / "checkpoint"
    write(folder, 20)
    with monkeypatch.context() as patch:
        if where == "write":
            patch.setattr(Path, "open", full_disk(Path.open, at))
        else:
            patch.setattr(os, where, failing(getattr(os, where), at))
        with pytest.raises(TrainingError) as caught:
            write(folder, 40)
    message = one_paragraph(str(caught.value))
    assert "No space left on device" in message
    assert str(folder) in message
    # The manifest was renamed before the last flush: then the new one counts, and is whole.
    assert read_step(folder) == (40 if (where, at) == ("fsync", 5) else 20)
    assert not list(folder.glob("*.tmp"))
    write(folder, 60)
    assert read_step(folder) == 60
    assert len(list(folder.glob("state-*"))) <= 2


def test_every_fault_above_was_met(tmp_path, monkeypatch):
    counts = {"fsync": 0, "replace": 0}
    for name in counts:

        def counted(*args, name=name, function=getattr(os, name)):
            counts[name] += 1
            return function(*args)

        monkeypatch.setattr(os, name, counted)
    write(tmp_path)
    assert counts == {"fsync": 4, "replace": 2}  # There is no checkpoint before the first.
    write(tmp_path, 40)
    assert counts == {"fsync": 10, "replace": 5}


@pytest.mark.parametrize("call", range(9))
def test_killed_while_writing(tmp_path, monkeypatch, call):
    # Nothing after the kill runs, not even the clean-up: what lies there then must still be whole.
    class Killed(BaseException):
        pass

    write(tmp_path, 20)
    calls = iter(range(10**6))
    with monkeypatch.context() as patch:
        for name in ("fsync", "replace"):

            def killing(*args, function=getattr(os, name)):
                if next(calls) == call:
                    raise Killed
                return function(*args)

            patch.setattr(os, name, killing)
        with pytest.raises(Killed):
            write(tmp_path, 40)
    assert read_step(tmp_path) == (40 if call == 8 else 20)
    write(tmp_path, 40)
    assert read_step(tmp_path) == 40


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="file"):
        write(tmp_path / "file" / "checkpoint")


def test_write_whole_keeps_the_old_contents(tmp_path, monkeypatch):
    path = tmp_path / "config.json"
    write_whole(path, b"old")
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(os, "replace", failing(os.replace, 0))
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    write_whole(path, b"new")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("config.json", b"new")]


# --- damaged and foreign ----------------------------------------------------------------------


def test_no_checkpoint(tmp_path):
    assert "no checkpoint" in complaint(tmp_path)
    assert "no checkpoint" in complaint(tmp_path / "nowhere")


@pytest.mark.parametrize("where", [0.0, 0.5, 1.0])
def test_one_flipped_bit(tmp_path, where):
    write(tmp_path)
    path = state_file(tmp_path)
    data = bytearray(path.read_bytes())
    data[int(where * (len(data) - 1))] ^= 1
    path.write_bytes(data)
    message = complaint(tmp_path)
    assert "damaged" in message
    assert path.name in message


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_truncated_file(tmp_path, keep):
    write(tmp_path)
    path = state_file(tmp_path)
    path.write_bytes(path.read_bytes()[:keep])
    assert "damaged" in complaint(tmp_path)


def test_missing_file(tmp_path):
    write(tmp_path)
    (state_file(tmp_path)).unlink()
    assert ".safetensors cannot be read" in complaint(tmp_path)


def with_contents(folder: Path, payload: bytes) -> None:
    """A manifest that vouches for any contents, as somebody else's would."""
    write(folder)
    (state_file(folder)).write_bytes(payload)
    edit_manifest(folder, sha256=hashlib.sha256(payload).hexdigest(), bytes=len(payload))


def test_something_else_under_the_name(tmp_path):
    with_contents(tmp_path, b"\x80\x04\x95 a pickle, say")
    assert "not a safetensors file" in complaint(tmp_path)


def test_an_array_that_is_not_there(tmp_path):
    write(tmp_path)
    checkpoint = read_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match="'nothing'"):
        checkpoint.read("nothing")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "damaged"),
        ('{"format": "mbpo-check', "damaged"),
        ("\x00\x01", "damaged"),
        ("[" * 100_000, "damaged"),
        ("[]", "not a checkpoint of mbpo"),
        ("3", "not a checkpoint of mbpo"),
        ("{}", "not a checkpoint of mbpo"),
        ('{"format": "pytorch", "version": 1}', "not a checkpoint of mbpo"),
    ],
)
def test_foreign_manifest(tmp_path, text, words):
    write(tmp_path)
    (tmp_path / MANIFEST).write_text(text)
    assert words in complaint(tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"version": 3}, "format 3"),
        ({"version": "1"}, "format '1'"),
        ({"version": None}, "format None"),
        ({"progress": []}, "'progress'"),
        ({"sha256": 5}, "'sha256'"),
        ({"sha256": "0" * 64}, "damaged"),
        ({"bytes": 5}, "damaged"),
        ({"bytes": None}, "'bytes'"),
        ({"rings": []}, "'rings'"),
        ({"rings": {"real": 3}}, "not lists of files"),
        ({"rings": {"real": [{"file": "../x", "bytes": 0, "sha256": "0" * 64, "rows": 0}]}}, "'../x'"),
        ({"rings": {"real": [{"file": "rows-00.safetensors", "bytes": 0, "sha256": "0" * 64, "rows": 0}]}}, "rows-00"),
        (
            {"rings": {"real": [{"file": f"rows-{'0' * 32}.safetensors", "bytes": -1, "sha256": "0" * 64, "rows": 0}]}},
            "not lists of files",
        ),
        ({"file": None}, "'file'"),
        ({"file": "../x"}, "'../x'"),
        ({"file": "../state-20.safetensors"}, "not a checkpoint file's name"),
        ({"file": "/etc/passwd"}, "not a checkpoint file's name"),
        ({"file": "state-20.safetensors\n"}, "not a checkpoint file's name"),
        ({"file": "state-20.pkl"}, "not a checkpoint file's name"),
        ({"file": "state-99.safetensors"}, "cannot be read"),
    ],
)
def test_manifest_that_says_something_else(tmp_path, changes, words):
    write(tmp_path)
    edit_manifest(tmp_path, **changes)
    assert words in complaint(tmp_path)


def test_a_manifest_that_is_damaged_can_be_replaced(tmp_path):
    write(tmp_path, 20)
    (tmp_path / MANIFEST).write_text("{")
    write(tmp_path, 40)
    assert read_step(tmp_path) == 40


EXECUTES_WHAT_IT_READS = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "torch", "jsonpickle"}
FUNCTIONS = {"eval", "exec", "tree_deserialise_leaves", "fromfile", "allow_pickle"}


def test_nothing_in_the_package_can_execute_a_file():
    files = sorted(Path(mbpo.__file__).parent.rglob("*.py"))
    assert len(files) > 20
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            names: set[str] = set()
            if isinstance(node, ast.Import):
                names = {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names = {(node.module or "").split(".")[0], *(alias.name for alias in node.names)}
            elif isinstance(node, ast.Call):
                function = node.func
                called = function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")
                owner = ast.unparse(function)
                names = {called, *(keyword.arg or "" for keyword in node.keywords)}
                assert owner not in ("np.load", "numpy.load", "jnp.load"), f"{file}: {owner}"
            assert not names & (EXECUTES_WHAT_IT_READS | FUNCTIONS), f"{file}: {names}"


def test_saved_step(tmp_path):
    assert saved_step(tmp_path) is None
    write(tmp_path, 40)
    assert saved_step(tmp_path) == 40
    edit_manifest(tmp_path, progress={})
    with pytest.raises(CheckpointError, match="env_step"):
        saved_step(tmp_path)
    (tmp_path / MANIFEST).write_text("{")
    with pytest.raises(CheckpointError, match="damaged"):
        saved_step(tmp_path)
