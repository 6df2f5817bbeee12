"""The manifest of a checkpoint: which files it consists of, with sizes and checksums, and the run's counters.

    {"format": "mbpo-checkpoint", "version": 2,
     "file": "state-600-0f3a….safetensors", "bytes": …, "sha256": …,       all but the rows of replay buffers
     "rings": {"real": [{"file": "rows-77ab….safetensors", "rows": 4096, "bytes": …, "sha256": …}, …]},
     "progress": {…}, "config_sha256": …, "checksum": …}

Names are made of digits and letters only, so no manifest can point out of its folder. Version 1,
which kept everything in one file and had no checksum of its own, is still read, and so is a manifest without the
checksum of `config.json`.
"""

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mbpo.errors import CheckpointError
from mbpo.training.plain_files import read_plain

FORMAT = "mbpo-checkpoint"
FORMAT_VERSION = 2
READABLE_VERSIONS = (1, 2)
MANIFEST = "manifest.json"
PREVIOUS = "manifest.previous.json"
"""The checkpoint before, whose files are kept until the next one is written."""
GIVEN_UP = "manifest.json.damaged"
"""The checkpoint that a repair went back from, whose files are kept until the next one is written."""
MAX_BYTES = 1 << 22
_STATE_NAME = re.compile(r"state-\d{1,12}(-[0-9a-f]{16})?\.safetensors")
_ROWS_NAME = re.compile(r"rows-[0-9a-f]{32}\.safetensors")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class StoredFile:
    """A file of a checkpoint, as its manifest describes it."""

    file: str
    bytes: int | None
    """None in version 1 if it was not written down."""
    sha256: str


@dataclass(frozen=True)
class StoredRows(StoredFile):
    """A file with some consecutive rows of a replay buffer."""

    rows: int


@dataclass(frozen=True)
class Manifest:
    """What a checkpoint consists of."""

    state: StoredFile
    rings: dict[str, tuple[StoredRows, ...]]
    """Of each replay buffer, the files that hold its rows, in order."""
    progress: dict[str, Any]
    """Counters and the like, plain JSON."""
    config: str | None = None
    """SHA-256 of the run's `config.json`; None where it was not written down."""

    @property
    def files(self) -> tuple[StoredFile, ...]:
        return (self.state, *(chunk for chunks in self.rings.values() for chunk in chunks))

    def to_bytes(self) -> bytes:
        content = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            **asdict(self.state),
            "rings": {name: [asdict(chunk) for chunk in chunks] for name, chunks in self.rings.items()},
            "progress": self.progress,
            **({} if self.config is None else {"config_sha256": self.config}),
        }
        return json.dumps({**content, "checksum": _checksum(content)}, indent=1).encode()


def state_name(env_step: int, sha256: str) -> str:
    """The file that holds all but the rows."""
    return f"state-{env_step}-{sha256[:16]}.safetensors"


def rows_name(sha256: str) -> str:
    """A file with rows; contents that are equal are one file."""
    return f"rows-{sha256[:32]}.safetensors"


def is_checkpoint_file(name: str) -> bool:
    """Whether a file of this name is a checkpoint's, or the beginning of one."""
    name = name.removesuffix(".tmp")
    return bool(_STATE_NAME.fullmatch(name) or _ROWS_NAME.fullmatch(name))


def read_manifest(folder: Path, name: str = MANIFEST) -> Manifest:
    """The manifest of the folder's checkpoint, checked in itself; its files are not looked at.

    Raises:
        CheckpointError: It is missing, damaged or not one of this package's.
    """
    path = folder / name
    content = _read_json(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a checkpoint of mbpo (its format is not '{FORMAT}').")
    version = content.get("version")
    if type(version) is not int or version not in READABLE_VERSIONS:
        raise CheckpointError(
            f"{path} was written in checkpoint format {version!r}, and this version of mbpo reads "
            f"{' and '.join(map(str, READABLE_VERSIONS))}."
        )
    manifest = _parse(path, content)
    if version > 1:
        claimed = content.pop("checksum", None)
        if claimed != _checksum(content):
            raise CheckpointError(f"{path} is damaged: its contents do not match its own checksum.")
    return manifest


def _read_json(path: Path) -> Any:
    try:
        return json.loads(read_plain(path, MAX_BYTES).decode())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CheckpointError(
            f"There is no checkpoint in {path.parent}: {path.name} is missing. A run writes its first one at the end "
            "of its first episode, and begins again with `mbpo train --resume` if it was killed before. Records that "
            "were kept without a checkpoint can be drawn, and no more."
        ) from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged and cannot be read as JSON: {error}.") from error


def _parse(path: Path, content: dict[str, Any]) -> Manifest:
    wanted: dict[str, type] = {"file": str, "sha256": str, "progress": dict}
    if content["version"] > 1:
        wanted |= {"bytes": int, "rings": dict}
    wrong = [name for name, kind in wanted.items() if not isinstance(content.get(name), kind)]
    if wrong:
        raise CheckpointError(f"{path} is damaged: '{wrong[0]}' is missing or of the wrong kind.")
    if not _STATE_NAME.fullmatch(content["file"]):
        raise CheckpointError(f"{path} names {content['file']!r}, which is not a checkpoint file's name.")
    try:
        rings = {
            name: tuple(_stored_rows(path, chunk) for chunk in chunks)
            for name, chunks in content.get("rings", {}).items()
        }
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: its replay buffers are not lists of files.") from error
    size, config = content.get("bytes"), content.get("config_sha256")
    if config is not None and not (isinstance(config, str) and _SHA256.fullmatch(config)):
        raise CheckpointError(f"{path} is damaged: 'config_sha256' is no checksum.")
    state = StoredFile(content["file"], size if isinstance(size, int) else None, content["sha256"])
    return Manifest(state, rings, content["progress"], config)


def _stored_rows(path: Path, chunk: dict[str, Any]) -> StoredRows:
    found = StoredRows(chunk["file"], chunk["bytes"], chunk["sha256"], chunk["rows"])
    if not isinstance(found.file, str) or not _ROWS_NAME.fullmatch(found.file):
        raise CheckpointError(f"{path} names {found.file!r}, which is not a checkpoint file's name.")
    numbers_fit = all(type(number) is int and 0 <= number < 2**40 for number in (found.bytes, found.rows))
    if not numbers_fit or not isinstance(found.sha256, str) or not _SHA256.fullmatch(found.sha256):
        raise ValueError("sizes or checksum")
    return found


def _checksum(content: dict[str, Any]) -> str:
    try:
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    except RecursionError:  # Nested as deep as can just be read.
        return ""
