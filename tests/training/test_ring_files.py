"""Replay buffers in checkpoints: files of rows, of which only those with new rows are written."""

import hashlib
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_tasks import one_paragraph, same_weights

from mbpo.data.replay import insert, make_replay
from mbpo.errors import CheckpointError, TrainingError
from mbpo.training import checkpoint, serialize
from mbpo.training.checkpoint import leftovers, read_checkpoint, write_checkpoint
from mbpo.training.manifest import MANIFEST, PREVIOUS
from mbpo.training.serialize import from_tensors, split
from mbpo.types import Transition

CHUNK, CAPACITY = 4, 18
INSERT = jax.jit(insert)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(checkpoint, "CHUNK_ROWS", CHUNK)
    monkeypatch.setattr(serialize, "CHUNK_ROWS", CHUNK)


def replay_after(steps: int):
    replay = make_replay(CAPACITY, 2, 1)
    for i in range(steps):
        row = Transition(
            jnp.full(2, 1.0 * i), jnp.full(1, -1.0 * i), jnp.float32(i), jnp.full(2, i + 1.0), jnp.bool_(0)
        )
        replay = insert(replay, row)
    return replay


def save(folder, replay, step, *, last=None, grown=("real",)):
    tensors, rings = split({"real": replay})
    return write_checkpoint(folder, tensors, {"env_step": step}, rings, grown=grown, last=last)


def load(folder, name=MANIFEST):
    found = read_checkpoint(folder, name)
    template = jax.eval_shape(lambda: {"real": make_replay(CAPACITY, 2, 1)})
    return from_tensors(template, found)["real"], found.manifest


@pytest.fixture
def written(monkeypatch):
    """Names of the files that were written, most recent last."""
    names: list[str] = []
    put = checkpoint.put

    def spy(path, payload):
        names.append(path.name)
        put(path, payload)

    monkeypatch.setattr(checkpoint, "put", spy)
    return names


@pytest.mark.parametrize("steps", [0, 1, 3, 4, 5, 8, 17, 18, 19, 25, 36, 100])
def test_there_and_back(tmp_path, steps):
    replay = replay_after(steps)
    save(tmp_path, replay, steps)
    again, manifest = load(tmp_path)
    assert same_weights(again, replay)
    assert [chunk.rows for chunk in manifest.rings["real"]][:-1] == [CHUNK] * (
        max(min(steps, CAPACITY) - 1, 0) // CHUNK
    )


@pytest.mark.parametrize(
    ("before", "after", "chunks"),
    [
        (3, 4, 1),
        (4, 5, 1),  # A new file; the one before is left alone.
        (4, 4, 0),
        (5, 9, 2),
        (17, 19, 2),  # Past the end: the last file, and the first again.
        (19, 21, 1),
        (19, 22, 1),
        (19, 23, 2),
        (3, 21, 5),  # A whole round: everything is new.
        (2, 100, 5),
    ],
)
def test_only_files_with_new_rows_are_written(tmp_path, written, before, after, chunks):
    last = save(tmp_path, replay_after(before), before)
    del written[:]
    save(tmp_path, replay_after(after), after, last=last)
    assert len([name for name in written if name.startswith("rows-")]) == chunks
    assert same_weights(load(tmp_path)[0], replay_after(after))


def test_what_a_checkpoint_writes_does_not_grow_with_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(serialize, "CHUNK_ROWS", 64)
    monkeypatch.setattr(checkpoint, "CHUNK_ROWS", 64)
    sizes, put = [], checkpoint.put

    def spy(path, payload):
        sizes[-1] += len(payload)
        put(path, payload)

    monkeypatch.setattr(checkpoint, "put", spy)
    rows = np.random.default_rng(0).normal(size=(6400, 3)).astype(np.float32)
    last = None
    for size in range(64, 6401, 64):
        sizes.append(0)
        columns = {"real.data.obs": jnp.asarray(rows)}
        ring = {"real": serialize.Ring(columns, size, size % 10_000, 10_000)}
        last = write_checkpoint(tmp_path, {"w": np.zeros(3)}, {"env_step": size}, ring, grown=("real",), last=last)
    assert len(last.rings["real"]) == 100
    assert max(sizes[1:]) - min(sizes[1:]) < 100
    np.testing.assert_array_equal(read_checkpoint(tmp_path).read("real.data.obs"), rows)


def test_a_buffer_that_was_rewritten_is_written_again_where_it_differs(tmp_path, written):
    # Not said to grow by steps, as imagined rows: then only contents count.
    replay = replay_after(12)
    last = save(tmp_path, replay, 12, grown=())
    del written[:]
    changed = jax.tree.map(lambda a: a, replay)
    changed = type(replay)(replay.data._replace(reward=replay.data.reward.at[5].set(77)), replay.position, replay.size)
    save(tmp_path, changed, 13, last=last, grown=())
    assert len([name for name in written if name.startswith("rows-")]) == 1
    assert same_weights(load(tmp_path)[0], changed)


def test_a_buffer_that_does_not_stand_where_the_steps_lead_is_written_whole(tmp_path, written):
    last = save(tmp_path, replay_after(12), 10)
    del written[:]
    other = jax.tree.map(lambda a: a, replay_after(13))
    save(tmp_path, type(other)(jax.tree.map(lambda a: a + 1, other.data), other.position, other.size), 11, last=last)
    assert len([name for name in written if name.startswith("rows-")]) == 4


def test_the_checkpoint_before_stays_whole(tmp_path):
    last = save(tmp_path, replay_after(3), 3)
    for before, steps in [(3, 9), (9, 20), (20, 31)]:
        last = save(tmp_path, replay_after(steps), steps, last=last)
        assert same_weights(load(tmp_path)[0], replay_after(steps))
        assert same_weights(load(tmp_path, PREVIOUS)[0], replay_after(before))
    named = {f.file for name in (MANIFEST, PREVIOUS) for f in read_checkpoint(tmp_path, name).manifest.files}
    assert {path.name for path in tmp_path.iterdir()} == named | {MANIFEST, PREVIOUS}


def test_a_disk_that_keeps_something_else(tmp_path, monkeypatch):
    save(tmp_path, replay_after(3), 3)
    put = checkpoint.put

    def corrupting(path, payload):
        put(path, payload)
        if path.name.startswith("rows-"):
            path.write_bytes(payload[:-1] + bytes([payload[-1] ^ 1]))

    monkeypatch.setattr(checkpoint, "put", corrupting)
    with pytest.raises(TrainingError) as caught:
        save(tmp_path, replay_after(9), 9)
    assert "read back differs" in one_paragraph(str(caught.value))
    assert load(tmp_path)[1].progress["env_step"] == 3


@pytest.mark.parametrize("damage", ["flip", "gone", "short"])
def test_damage_names_the_checkpoint_before(tmp_path, damage):
    folder = tmp_path / "run" / "checkpoint"
    save(folder, replay_after(3), 3)
    manifest = save(folder, replay_after(9), 9)
    path = folder / manifest.rings["real"][1].file
    data = path.read_bytes()
    match damage:
        case "flip":
            path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        case "gone":
            path.unlink()
        case "short":
            path.write_bytes(data[:-1])
    with pytest.raises(CheckpointError) as caught:
        load(folder)
    message = one_paragraph(str(caught.value))
    assert path.name in message
    assert "of environment step 3, is whole" in message
    assert f"mbpo doctor {tmp_path / 'run'} --repair" in message
    assert leftovers(folder) == []


def test_leftovers_are_removed_by_the_next_checkpoint(tmp_path):
    last = save(tmp_path, replay_after(3), 3)
    junk = ["state-7-0123456789abcdef.safetensors", "rows-" + "0" * 32 + ".safetensors.tmp", MANIFEST + ".tmp"]
    for name in (*junk, "notes.txt"):
        (tmp_path / name).write_text("half")
    assert [path.name for path in leftovers(tmp_path)] == sorted(junk)
    save(tmp_path, replay_after(5), 5, last=last)
    assert leftovers(tmp_path) == []
    assert (tmp_path / "notes.txt").exists()


def test_files_that_do_not_belong_together(tmp_path):
    # Each is whole and vouched for; together they are no buffer.
    manifest = save(tmp_path, replay_after(9), 9)
    first, *rest = manifest.rings["real"]
    other = checkpoint.to_safetensors
    for payload, words in [
        (other({"real.data.obs": np.zeros((4, 2), np.float32)}), "differ in kind"),
        (other({"real.data.obs": np.zeros((5, 2), np.float32)}), "other rows"),
        (b"\x00" * 9, "not a safetensors file"),
    ]:
        digest = hashlib.sha256(payload).hexdigest()
        name = f"rows-{digest[:32]}.safetensors"
        (tmp_path / name).write_bytes(payload)
        forged = checkpoint.StoredRows(name, len(payload), digest, 4)
        rings = {"real": (first, forged, *rest[1:])}
        (tmp_path / MANIFEST).write_bytes(checkpoint.Manifest(manifest.state, rings, manifest.progress).to_bytes())
        with pytest.raises(CheckpointError, match=words):
            read_checkpoint(tmp_path)


def test_a_copy_on_another_device_is_read_in_pieces_of_one_size():
    column = jnp.arange(10.0)
    for first, last in [(0, 4), (4, 8), (8, 10), (9, 10), (3, 3)]:
        start = min(first, 6)
        piece = np.asarray(serialize._rows(column, start, 4))[first - start : last - start]
        np.testing.assert_array_equal(piece, np.arange(10.0)[first:last])


def test_fsync_comes_before_the_manifest(tmp_path, monkeypatch):
    order: list[str] = []
    for name in ("fsync", "replace"):

        def spy(*args, name=name, function=getattr(os, name)):
            order.append(name + (":" + os.path.basename(args[1])[:8] if name == "replace" else ""))
            return function(*args)

        monkeypatch.setattr(os, name, spy)
    save(tmp_path, replay_after(3), 3)
    assert order == ["fsync", "replace:state-3-", "fsync", order[3], "fsync", "fsync", "replace:manifest", "fsync"]
    assert order[3].startswith("replace:rows-")
