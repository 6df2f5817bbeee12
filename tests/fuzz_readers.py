"""Everything that reads what a run left behind, to be handed any bytes at all.

`Readers(folder)` makes a small run in a folder of its own; `read(data)` puts the bytes in place of one of its
files, the first byte says which, and reads. Only the documented errors are caught. Where a checksum
would turn every change away at the door, it is made to fit first: whoever forges a file can do so too.
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors.numpy import save as to_safetensors
from spy_runs import make_run, train
from tiny_tasks import SpyAgent

from mbpo.errors import CheckpointError, ConfigError, MBPOError, RunFolderError
from mbpo.training.checkpoint import read_checkpoint
from mbpo.training.config import RunConfig
from mbpo.training.doctor import examine
from mbpo.training.logbook import METRICS_FILE, read_latest, read_records
from mbpo.training.manifest import MANIFEST, PREVIOUS, _checksum, read_manifest
from mbpo.training.restore import _Without, restore_progress
from mbpo.training.run_folder import CONFIG_FILE, read_description, write_description
from mbpo.training.serialize import from_tensors
from mbpo.training.snapshot import EPISODE_ACTIONS, EPISODE_OBS
from mbpo.training.tensor_file import read_header, read_tensor

KINDS = ("tensor file", "manifest", "forged manifest", "forged state", "progress", "records", "description", "doctor")
WHICH = 29 * [*range(7)] + [7]
"""The reader by the first byte: the doctor, who reads everything, takes as long as all others together."""
TEMPLATE = {"improved": np.zeros((), np.int32), "weight": np.zeros(3, np.float32)}
FORBIDDEN = (
    "exec",
    "compile",
    "import",
    "os.system",
    "os.exec",
    "subprocess.Popen",
    "pickle.find_class",
    "ctypes.dlopen",
)
"""Events of Python's own audit that reading a file must never cause."""


class Readers:
    """A small run in a folder, whose files are replaced one at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "run"
        self.run = train(make_run(agent=SpyAgent(), folder=self.folder, eval_freq=3), 8)
        write_description(self.folder, RunConfig(), self.run.agent.spec, env_by_id=True)
        (self.folder / METRICS_FILE).write_text("".join(json.dumps(r) + "\n" for r in self.run.logbook.records))
        self.manifest = self.folder / "checkpoint" / MANIFEST
        # Whatever is refused would have it verified for the error's last sentence, at the price of the rest.
        self.manifest.with_name(PREVIOUS).unlink(missing_ok=True)
        self.good = {path: path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}
        self.content = json.loads(self.good[self.manifest])
        self.state = self.manifest.with_name(self.content["file"])
        self.changed: set[Path] = set()
        self.watching = False
        self.breaches: list[str] = []

    def seeds(self) -> list[bytes]:
        """Inputs to begin with: for every reader, what it expects."""
        tensors = to_safetensors({"improved": np.array(4, np.int32), "weight": np.ones(3, np.float32)})
        ring = {"file": f"rows-{'0' * 32}.safetensors", "bytes": 9, "sha256": "0" * 64, "rows": 3}
        contents = {
            "tensor file": [tensors, to_safetensors({"a": np.zeros((2, 0)), "b": np.array([True])})],
            "manifest": [self.good[self.manifest]],
            "forged manifest": [json.dumps(self.content | {"rings": {"real": [ring]}}).encode()],
            "forged state": [self.good[self.state], tensors],
            "progress": [json.dumps(self.content["progress"]).encode()],
            "records": [self.good[self.folder / METRICS_FILE]],
            "description": [self.good[self.folder / CONFIG_FILE]],
            "doctor": [self.good[self.folder / METRICS_FILE]],
        }
        return [bytes([WHICH.index(KINDS.index(kind))]) + data for kind, inputs in contents.items() for data in inputs]

    def read(self, data: bytes) -> str:
        """Which reader read the bytes, and whether it took them or raised a documented error.

        Raises:
            Anything else.
        """
        kind = KINDS[WHICH[data[0] % len(WHICH)]] if data else KINDS[0]
        for path in self.changed:
            path.write_bytes(self.good.get(path, b""))
        self.changed.clear()
        self.watching = True
        try:
            getattr(self, "_" + kind.replace(" ", "_"))(data[1:])
            return f"{kind}: read"
        except _Refused as refusal:
            return f"{kind}: {refusal}"
        finally:
            self.watching = False

    def watch(self) -> None:
        """From now on, note every file opened for writing elsewhere, and everything that could run code.

        Compiled code that JAX keeps is not meant: its folder is the user's own, and no reader chooses it.
        """

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            if not self.watching:
                return
            if event in FORBIDDEN:
                self.breaches.append(f"{event} {arguments[:1]}")
            elif event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
                path, cache = arguments[0], jax.config.jax_compilation_cache_dir
                if isinstance(path, int):
                    return
                found = Path(str(path)).resolve()
                if not found.is_relative_to(self.folder) and not (
                    cache and found.is_relative_to(Path(cache).resolve())
                ):
                    self.breaches.append(f"open {path}")

        sys.addaudithook(hook)

    def _tensor_file(self, data: bytes) -> None:
        path = self._put(self.folder / "arrays", data)
        with _only(ValueError):
            for place in read_header(path).values():
                read_tensor(path, place)

    def _manifest(self, data: bytes) -> None:
        self._put(self.manifest, data)
        with _only(CheckpointError):
            read_manifest(self.manifest.parent)

    def _forged_manifest(self, data: bytes) -> None:
        try:
            content = json.loads(data.decode())
            content = {k: v for k, v in content.items() if k != "checksum"}
            data = json.dumps(content | {"checksum": _checksum(content)}).encode()
        except (ValueError, AttributeError, RecursionError, TypeError):
            pass
        self._put(self.manifest, data)
        self._load()

    def _forged_state(self, data: bytes) -> None:
        self._put(self.state, data)
        self._forge(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        self._load()

    def _progress(self, data: bytes) -> None:
        try:
            progress = json.loads(data.decode())
        except (ValueError, RecursionError):
            progress = {}
        try:
            self._forge(progress=progress)
        except RecursionError:
            return
        self._load()

    def _records(self, data: bytes) -> None:
        self._put(self.folder / METRICS_FILE, data)
        with _only(RunFolderError):
            read_latest(self.folder)
            read_records(self.folder)

    def _description(self, data: bytes) -> None:
        self._put(self.folder / CONFIG_FILE, data)
        with _only(RunFolderError, ConfigError):
            read_description(self.folder)

    def _doctor(self, data: bytes) -> None:
        self._put(self.folder / METRICS_FILE, data)
        self._put(self.manifest, self.good[self.manifest] if len(data) % 2 else data)
        with _only():
            examine(self.folder)

    def _load(self) -> None:
        """As a run is brought back."""
        with _only(CheckpointError):
            checkpoint = read_checkpoint(self.manifest.parent)
            from_tensors(TEMPLATE, _Without(checkpoint, EPISODE_ACTIONS, EPISODE_OBS))
            restore_progress(self.run, checkpoint, [{"env_step": 1}] * 9)

    def _forge(self, **changes: Any) -> None:
        content = {k: v for k, v in self.content.items() if k != "checksum"} | changes
        self._put(self.manifest, json.dumps(content | {"checksum": _checksum(content)}).encode())

    def _put(self, path: Path, data: bytes) -> Path:
        """Replace one file; `read` puts it back."""
        self.changed.add(path)
        path.write_bytes(data)
        return path


class _Refused(Exception):
    pass


class _only:
    """Lets the errors named become a refusal, whose sentence is one that a person can read."""

    def __init__(self, *errors: type[Exception]) -> None:
        self.errors = errors

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: Any, _: Any) -> None:
        if error is not None and isinstance(error, self.errors):
            if isinstance(error, MBPOError):
                assert str(error).strip() and "Traceback" not in str(error)
            raise _Refused(type(error).__name__) from None
