"""A run folder: `config.json`, `metrics.jsonl`, `status.json`, `checkpoint/`, `tensorboard/`, `curve.png`."""

import dataclasses
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from mbpo.errors import RunFolderError
from mbpo.training.config import RunConfig, from_run, to_dict
from mbpo.training.device import describe_device
from mbpo.training.durable import write_whole
from mbpo.training.logbook import METRICS_FILE
from mbpo.training.manifest import MANIFEST, PREVIOUS
from mbpo.training.module_places import module_places
from mbpo.training.plain_files import exists, is_folder, read_plain
from mbpo.types import Spec, TabularSpec

CONFIG_FILE = "config.json"
MAX_BYTES = 1 << 20
PARTS = ("checkpoint", "tensorboard", "trust")
"""Folders inside of a run folder."""
_PACKAGES = ("mbpo", "jax", "jaxlib", "equinox", "optax", "gymnasium", "mujoco", "numpy")


@dataclasses.dataclass(frozen=True, eq=False)
class RunDescription:
    """What `config.json` holds."""

    config: RunConfig
    spec: Spec | TabularSpec
    env_by_id: bool
    """Whether the environment can be made again from `config.env_id`."""
    sha256: str
    """Of the file."""
    origin: "Origin | None" = None
    """Where it branched off, if it did."""


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where a run began that did not begin at the beginning."""

    run: str
    """Folder of the run that it branched off from, as it was given."""
    env_step: int
    config_sha256: str
    """Of that run's `config.json`."""


def write_description(
    folder: Path,
    config: RunConfig,
    spec: Spec | TabularSpec,
    *,
    env_by_id: bool,
    origin: Origin | None = None,
) -> str:
    """Write `config.json`: every resolved setting, the spaces, versions, device, commit, and where it branched off.

    Returns:
        Its SHA-256, which every checkpoint of the run repeats.

    Raises:
        RunFolderError: The folder cannot be written to.
    """
    description = {
        "config": to_dict(config),
        "env_by_id": env_by_id,
        "spec": _spec_to_json(spec),
        "versions": versions(),
        "device": describe_device(),
        "commit": commit(),
        **({} if origin is None else {"origin": dataclasses.asdict(origin)}),
    }
    payload = json.dumps(description, indent=2).encode() + b"\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / CONFIG_FILE, payload)
    except OSError as error:
        raise RunFolderError(f"Cannot write the run folder {folder}: {error.strerror or error}.") from error
    return hashlib.sha256(payload).hexdigest()


def read_description(folder: Path) -> RunDescription:
    """Read `config.json`.

    Raises:
        RunFolderError: The folder is not a run, or its description is damaged.
        ConfigError: A setting is not valid in this version.
    """
    path = folder / CONFIG_FILE
    check_folder(folder)
    try:
        text = read_plain(path, MAX_BYTES)
        values = json.loads(text.decode())
    except OSError as error:
        raise RunFolderError(
            f"{folder} is not a run folder of mbpo: it has no readable {CONFIG_FILE} ({error.strerror or error})."
        ) from error
    except (ValueError, RecursionError) as error:
        raise RunFolderError(f"{path} is damaged and cannot be read as JSON: {error}.") from error
    try:
        config, spec, env_by_id = values["config"], _spec_from_json(values["spec"]), bool(values["env_by_id"])
        origin = Origin(**values["origin"]) if "origin" in values else None
        if not isinstance(config, dict):
            raise ValueError("its settings are not a mapping")
    except KeyError as error:
        raise RunFolderError(f"{path} is not a run description of mbpo: it lacks {error}.") from error
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise RunFolderError(f"{path} is not a run description of mbpo: {error}.") from error
    return RunDescription(from_run(config, where=str(path)), spec, env_by_id, hashlib.sha256(text).hexdigest(), origin)


def check_folder(folder: Path) -> None:
    """Refuse a path that is no folder.

    Raises:
        RunFolderError: It is none, or cannot be looked at.
    """
    if not is_folder(folder):
        raise RunFolderError(f"There is no folder {folder}. A run's folder is printed when it starts.")


def check_no_links(folder: Path) -> None:
    """Refuse to write to a run folder whose parts are links, since they could lead anywhere.

    Raises:
        RunFolderError: One is.
    """
    for name in PARTS:
        if os.path.islink(folder / name):
            raise RunFolderError(
                f"{folder / name} is a link, and a run writes into no folder but its own. Put the folder that it leads "
                "to in its place, or link the run folder as a whole."
            )


def _spec_to_json(spec: Spec | TabularSpec) -> dict[str, Any]:
    if isinstance(spec, TabularSpec):
        return dataclasses.asdict(spec)
    return {
        "obs_dim": spec.obs_dim,
        "action_low": spec.action_low.tolist(),
        "action_high": spec.action_high.tolist(),
        "angles": list(spec.angles),
    }


def _spec_from_json(values: dict[str, Any]) -> Spec | TabularSpec:
    if "num_states" in values:
        return TabularSpec(_count(values, "num_states"), _count(values, "num_actions"))
    with np.errstate(over="ignore"):
        low, high = (np.asarray(values[name], np.float32) for name in ("action_low", "action_high"))
    if low.ndim != 1 or low.shape != high.shape or not (np.isfinite(low) & np.isfinite(high)).all():
        raise ValueError("the spaces do not fit together")
    obs_dim, angles = _count(values, "obs_dim"), values.get("angles", [])
    if not isinstance(angles, list) or not all(type(i) is int and 0 <= i < obs_dim for i in angles):
        raise ValueError("angles are not numbers of the observation")
    return Spec(obs_dim, low, high, tuple(sorted(set(angles))))


def _count(values: dict[str, Any], name: str) -> int:
    value = values[name]
    if type(value) is not int or not 0 < value < 2**31:
        raise ValueError(f"{name} is not a number of at least 1")
    return value


def check_modules(folder: Path, config: RunConfig) -> None:
    """Refuse settings that name a module inside the run folder: loading a run runs no code from it.

    Modules that are installed, or lie elsewhere on the path, are the user's own and are imported as at training.

    Raises:
        RunFolderError: A module lies in the folder.
    """
    inside = folder.resolve()
    for setting, value in (("env_id", config.env_id), ("termination", config.termination), ("reward", config.reward)):
        module, colon, _ = value.partition(":")
        if colon and any(place.is_relative_to(inside) for place in module_places(module)):
            raise RunFolderError(
                f"The setting '{setting}' of the run in {folder} names the module {module!r}, which lies in the run "
                "folder itself, and loading a run executes nothing that it holds. If the module is yours, move it "
                "out of the folder."
            )


def check_unused(folder: Path) -> None:
    """Refuse a folder that already holds a run.

    Raises:
        RunFolderError: It does, or it is a file, or what will be a part of the run is a link.
    """
    check_no_links(folder)
    if exists(folder) and not is_folder(folder):
        raise RunFolderError(f"{folder} is a file; --out must name a folder for the run.")
    config, checkpoint = exists(folder / CONFIG_FILE), exists(folder / "checkpoint")
    if config and not any(exists(folder / "checkpoint" / name) for name in (MANIFEST, PREVIOUS)):
        raise RunFolderError(
            f"{folder} holds a run without a checkpoint. If it ended before its first one, this begins it again: mbpo "
            f"train --resume {folder}. Otherwise, or if it began where another stands (--from), delete the folder or "
            "choose another --out."
        )
    if exists(folder / METRICS_FILE) and not (config or checkpoint):
        raise RunFolderError(
            f"{folder} holds the records of a run ({METRICS_FILE}) without its settings, which are left as they are. "
            "Choose another --out."
        )
    if config or checkpoint:
        raise RunFolderError(
            f"{folder} already holds a run, which is left as it is. Choose another --out, or continue that run with: "
            f"mbpo train --resume {folder}"
        )


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a run's numbers."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """The commit this package's source is at (`+` appended if edited), or None outside a checkout."""
    here = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(here), *arguments], capture_output=True, text=True, timeout=10)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        if git("ls-files", "--error-unmatch", Path(__file__).name) == "":
            return None  # Inside some other project's checkout.
        edited = git("status", "--porcelain", "--", str(here.parent)) != ""
        return (git("rev-parse", "HEAD") + "+" * edited) or None
    except (OSError, subprocess.SubprocessError):
        return None
