"""An algorithm brought back from a run folder: to use, to go on with, or to branch off from."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mbpo.errors import CheckpointError, CheckpointMisfit, ConfigError, RunFolderError
from mbpo.training.binding import EnvLike
from mbpo.training.checkpoint import Checkpoint, read_checkpoint
from mbpo.training.config import RunConfig, to_dict
from mbpo.training.folder_lock import FolderLock
from mbpo.training.logbook import METRICS_FILE, read_records
from mbpo.training.loop import MAX_STEPS_BETWEEN_CHECKPOINTS
from mbpo.training.manifest import GIVEN_UP, MANIFEST, PREVIOUS
from mbpo.training.plain_files import exists
from mbpo.training.restore import check_same_config, check_same_spec
from mbpo.training.run_folder import (
    Origin,
    RunDescription,
    check_modules,
    check_no_links,
    check_unused,
    read_description,
)
from mbpo.training.status import read_status

if TYPE_CHECKING:
    from mbpo.training.algorithm import Algorithm

A = TypeVar("A", bound="Algorithm")

KEPT = ("env_id", "env_kwargs", "seed", "replay_capacity", "holdout_ratio", "residual", "critic_layer_norm")
"""Settings that a branch shares with its run: with others it would be of another task, held-out rows would be ones
that the model was trained on, or what was learned would mean something else."""
UNITS = ("bound_quantile",)
"""Settings of which None stands for other units of what was learned: a branch may have another number, no more."""
BEGUN_FILE = "metrics.begun.jsonl"
"""The records of a run that was killed before its first checkpoint, where it has begun again."""
READS = 3
"""Of a checkpoint that is replaced while it is read."""


def reopen(kind: type[A], folder: Path, *, resume: bool, **given: Any) -> A:
    """The run as it stands; `given` and errors as in `Algorithm.load`."""
    description = _described(folder)
    lock = None
    if resume:
        check_no_links(folder)
        lock = FolderLock(folder)  # Before what it holds is read.
    if resume and ended_at_once(folder, description):
        algorithm = _made(kind, folder, description, description.config, **given)
        _begin_again(folder)
        algorithm.go_on_in(folder, lock=lock)
        return algorithm
    checkpoint = read_checkpoint(folder / "checkpoint")
    algorithm = _made(kind, folder, description, description.config, **given)
    checkpoint = _take_up(algorithm, folder, checkpoint)
    check_same_config(checkpoint, description, folder, resume=resume)
    if resume:
        algorithm.go_on_in(folder, lock=lock, config_sha256=description.sha256)
    return algorithm


def ended_at_once(folder: Path, description: RunDescription) -> bool:
    """Whether a run was killed before its first checkpoint, so that to go on with it is to begin.

    Not one that says it stopped, or took all its steps, or more than there are without a checkpoint: it had one, and
    lost it. Nor one that branched off, which began with one.
    """
    had = any(exists(folder / "checkpoint" / name) for name in (MANIFEST, PREVIOUS, GIVEN_UP))
    if had or description.origin is not None or read_status(folder).get("state") in ("stopped", "finished"):
        return False
    records = read_records(folder) if exists(folder / METRICS_FILE) else []
    last = records[-1]["env_step"] if records else 0
    return last <= MAX_STEPS_BETWEEN_CHECKPOINTS and last < description.config.steps


def _begin_again(folder: Path) -> None:
    """Put aside what the killed run recorded."""
    warnings.warn(f"The run in {folder} ended before its first checkpoint, and begins again.", stacklevel=4)
    if exists(folder / METRICS_FILE):
        (folder / METRICS_FILE).replace(folder / BEGUN_FILE)


def branch_off(kind: type[A], folder: Path, config: RunConfig, out: Path | None, **given: Any) -> A:
    """A run of its own that begins where another stands; `given` and errors as in `Algorithm.fork`."""
    if out is not None:
        check_unused(out)
        _check_outside(out, folder)
    description = _described(folder)
    if config.algo != description.config.algo:
        raise ConfigError(f"The run in {folder} is one of {description.config.algo}, not of {config.algo}.")
    other = differences(to_dict(description.config), to_dict(config))
    check_kept(other)
    checkpoint = read_checkpoint(folder / "checkpoint")
    algorithm = _made(kind, folder, description, config, **given)
    check_kept(differences(to_dict(description.config), to_dict(algorithm.config)))  # An environment given has its own.
    try:
        checkpoint = _take_up(algorithm, folder, checkpoint)
    except CheckpointMisfit as error:
        raise CheckpointMisfit(
            f"What the run in {folder} has learned cannot be gone on with under these settings ({', '.join(other)}): "
            f"whatever decides how large it is has to stay. {error}"
        ) from error
    check_same_config(checkpoint, description, folder, resume=True)
    algorithm.go_on_in(out, origin=Origin(str(folder), algorithm.env_step, description.sha256))
    return algorithm


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Settings that are not the same, by their dotted names, with both values; None where one has it not."""
    found: dict[str, tuple[Any, Any]] = {}
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found |= {f"{name}.{inner}": values for inner, values in differences(old, new).items()}
        elif old != new:
            found[name] = old, new
    return found


def check_kept(other: Mapping[str, tuple[Any, Any]]) -> None:
    """Refuse another value of a setting that a branch shares with its run, wherever it is among the settings.

    Raises:
        ConfigError: There is one among those that are not the same.
    """
    for path, (was, now) in other.items():
        parts = path.split(".")
        for place, part in enumerate(parts):
            if part in KEPT or (part in UNITS and None in (was, now)):
                raise ConfigError(
                    f"A run that begins where another stands has that one's {'.'.join(parts[place:])}, which is "
                    f"{was!r}, not {now!r}; leave it out, or train from the start."
                )


def _take_up(algorithm: "Algorithm", folder: Path, checkpoint: Checkpoint) -> Checkpoint:
    """Stand where the folder's checkpoint does; the one after, if the run goes on and has replaced it meanwhile."""
    for _ in range(READS - 1):
        try:
            algorithm.take_up(checkpoint, read_records(folder))
            return checkpoint
        except CheckpointError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
        checkpoint = read_checkpoint(folder / "checkpoint")
    algorithm.take_up(checkpoint, read_records(folder))
    return checkpoint


def _check_outside(out: Path, folder: Path) -> None:
    if out.resolve().is_relative_to(folder.resolve()):
        raise RunFolderError(f"{out} is inside of {folder}, which is a run's own folder; choose one beside it.")


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
            "be made again from its name: give it in Python, as env=."
        )
    algorithm = kind(config.env_id if env is None else env, config=config, **functions)
    check_same_spec(algorithm.spec, description.spec, folder)
    return algorithm
