"""An algorithm brought back from a run folder: to use, to go on with, or to branch off from."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mbpo.errors import CheckpointError, ConfigError
from mbpo.training.binding import EnvLike
from mbpo.training.checkpoint import read_checkpoint
from mbpo.training.config import RunConfig, to_dict
from mbpo.training.folder_lock import FolderLock
from mbpo.training.logbook import read_records
from mbpo.training.restore import check_same_config, check_same_spec
from mbpo.training.run_folder import (
    Origin,
    RunDescription,
    check_modules,
    check_no_links,
    check_unused,
    read_description,
)

if TYPE_CHECKING:
    from mbpo.training.algorithm import Algorithm

A = TypeVar("A", bound="Algorithm")

KEPT = ("env_id", "seed", "replay_capacity", "holdout_ratio")
"""Settings that a branch shares with its run: with others it would be of another task, or held-out rows would be ones
that the model was trained on."""


def reopen(kind: type[A], folder: Path, *, resume: bool, **given: Any) -> A:
    """The run as it stands; `given` and errors as in `Algorithm.load`."""
    description = _described(folder)
    lock = None
    if resume:
        check_no_links(folder)
        lock = FolderLock(folder)  # Before what it holds is read.
    checkpoint = read_checkpoint(folder / "checkpoint")
    algorithm = _made(kind, folder, description, description.config, **given)
    algorithm.take_up(checkpoint, read_records(folder))
    check_same_config(checkpoint, description, folder, resume=resume)
    if resume:
        algorithm.go_on_in(folder, lock=lock, config_sha256=description.sha256)
    return algorithm


def branch_off(kind: type[A], folder: Path, config: RunConfig, out: Path | None, **given: Any) -> A:
    """A run of its own that begins where another stands; `given` and errors as in `Algorithm.fork`."""
    if out is not None:
        check_unused(out)
    description = _described(folder)
    for name in KEPT:
        check_kept(name, to_dict(description.config), to_dict(config))
    checkpoint = read_checkpoint(folder / "checkpoint")
    algorithm = _made(kind, folder, description, config, **given)
    try:
        algorithm.take_up(checkpoint, read_records(folder))
    except CheckpointError as error:
        raise CheckpointError(
            f"{error} What the run in {folder} has learned cannot be gone on with under these settings: those that "
            "decide how large it is (layers, critics, members, rows kept) stay as they are."
        ) from error
    check_same_config(checkpoint, description, folder, resume=False)
    if out is not None:
        algorithm.go_on_in(out, origin=Origin(str(folder), algorithm.env_step, description.sha256))
    return algorithm


def check_kept(name: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse another value of a setting, wherever it is among the settings.

    Raises:
        ConfigError: It differs.
    """
    for key, value in before.items():
        if isinstance(value, Mapping) and isinstance(now.get(key), Mapping):
            check_kept(name, value, now[key])
        elif key == name and now.get(key) != value:
            raise ConfigError(
                f"A run that begins where another stands has that one's {name}, which is {value!r}, not "
                f"{now.get(key)!r}; leave it out, or train from the start."
            )


def _described(folder: Path) -> RunDescription:
    description = read_description(folder)
    check_modules(folder, description.config)
    return description


def _made(
    kind: type[A],
    folder: Path,
    description: RunDescription,
    config: RunConfig,
    *,
    env: EnvLike | None,
    **functions: Any,
) -> A:
    """The algorithm, nothing learned yet, in an environment of the run's shape."""
    if env is None and not description.env_by_id:
        raise ConfigError(
            f"The run in {folder} was made with an environment given as an object ({config.env_id}), which cannot "
            "be made again from its name: pass it as load(..., env=...)."
        )
    algorithm = kind(config.env_id if env is None else env, config=config, **functions)
    check_same_spec(algorithm.spec, description.spec, folder)
    return algorithm
