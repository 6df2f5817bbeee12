"""A comparison of algorithms on one task: what was asked for, what its folder holds, what is left to do.

    DIR/compare.json            settings of every algorithm, number of seeds, versions and commit
    DIR/ALGO/seed-00/           a run folder
    DIR/ALGO/seed-00.log        what that run printed
    DIR/summary.csv, curves.png

A comparison may grow (more steps, seeds or algorithms) and goes on where it stands; whatever else
is asked of the same folder is refused, since its curves could not be compared.
"""

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mbpo.errors import CheckpointError, MBPOError, RunFolderError
from mbpo.training.checkpoint import saved_step
from mbpo.training.config import RunConfig, from_run, section, to_dict
from mbpo.training.durable import write_whole
from mbpo.training.manifest import GIVEN_UP, MANIFEST, MAX_BYTES, PREVIOUS
from mbpo.training.plain_files import exists, is_folder, read_plain
from mbpo.training.run_folder import commit, versions
from mbpo.training.runner import Job

COMPARISON_FILE = "compare.json"
LOCK_FILE = "compare.lock"
SHARED = ("env_id", "env_kwargs", "termination")
"""Settings in which all algorithms of a comparison agree."""


@dataclass(frozen=True)
class Entry:
    """One algorithm of a comparison."""

    config: RunConfig
    """Settings of all its runs; the seed here is not one of theirs."""
    seeds: int
    """How many, from 0."""


@dataclass(frozen=True)
class Comparison:
    """A folder and what has been asked of it so far."""

    folder: Path
    entries: dict[str, Entry]
    """By algorithm, in the order they were first asked for."""

    def run_folder(self, algo: str, seed: int) -> Path:
        return self.folder / algo / f"seed-{seed:02d}"

    def log(self, algo: str, seed: int) -> Path:
        return self.folder / algo / f"seed-{seed:02d}.log"

    def finished(self, algo: str) -> list[Path]:
        """The run folders of an algorithm that have all their steps."""
        entry = self.entries[algo]
        folders = [self.run_folder(algo, seed) for seed in range(entry.seeds)]
        return [folder for folder in folders if steps_taken(folder) >= entry.config.steps]

    def jobs(self, asked: Mapping[str, Entry], options: Mapping[str, Sequence[str]]) -> dict[tuple[str, int], Job]:
        """What is left to do, by algorithm and seed: every algorithm's seed 0, then every seed 1, …

        A run that ended before its first checkpoint is deleted, to be trained afresh.

        Args:
            asked: The algorithms to train, each for its number of seeds.
            options: What `mbpo train` is given for an algorithm besides what all runs have.
        """
        jobs = {}
        for seed in range(max(entry.seeds for entry in asked.values())):
            for algo in (algo for algo, entry in asked.items() if seed < entry.seeds):
                folder, config = self.run_folder(algo, seed), self.entries[algo].config
                command = train_command(
                    folder, config.steps, [config.env_id, "--algo", algo, "--seed", str(seed), *options[algo]]
                )
                if command is not None:
                    jobs[algo, seed] = Job(f"{algo} seed {seed}", command, self.log(algo, seed))
        return jobs

    def write(self) -> None:
        """Write `compare.json`.

        Raises:
            RunFolderError: The disk refused.
        """
        algorithms = {
            algo: {"seeds": entry.seeds, "config": _without_seed(entry.config)} for algo, entry in self.entries.items()
        }
        values = {"algorithms": algorithms, "versions": versions(), "commit": commit()}
        try:
            write_whole(self.folder / COMPARISON_FILE, json.dumps(values, indent=2).encode() + b"\n")
        except OSError as error:
            raise RunFolderError(f"Cannot write to {self.folder}: {error.strerror or error}.") from error


def steps_taken(folder: Path) -> int:
    """Environment steps at a run's checkpoint; 0 where there is none that can be read."""
    try:
        return saved_step(folder / "checkpoint") or 0
    except CheckpointError:
        return 0  # Going on with the run will say what is wrong with it.


def train_command(folder: Path, steps: int, arguments: Sequence[str]) -> tuple[str, ...] | None:
    """The `mbpo train` that brings one run to `steps` environment steps, or None if it has them.

    A run that ended before its first checkpoint is deleted, to be trained afresh.

    Args:
        folder: The run folder.
        arguments: For a run that is yet to begin: the environment, and all settings but the steps.

    Raises:
        RunFolderError: The run has lost its last checkpoint's manifest, or the folder cannot be looked at.
    """
    command = [sys.executable, "-m", "mbpo.cli.main", "train"]
    checkpoint = folder / "checkpoint"
    if not exists(checkpoint / MANIFEST) and any(exists(checkpoint / name) for name in (PREVIOUS, GIVEN_UP)):
        raise RunFolderError(
            f"{checkpoint / MANIFEST} is missing, and the checkpoint before it is there, so this run is neither "
            f"trained on nor deleted. Repair it with: mbpo doctor {folder} --repair"
        )
    if exists(checkpoint / MANIFEST):
        if steps_taken(folder) >= steps:
            return None
        command += ["--resume", str(folder)]
    else:
        shutil.rmtree(folder, ignore_errors=True)
        command += [*arguments, "--out", str(folder)]
    return (*command, "--steps", str(steps), "--final-episodes", "0")


def check_trainable(entries: Mapping[str, Entry]) -> None:
    """Make every algorithm on the environment once, as `mbpo train` does, to find what cannot be.

    Raises:
        UnsupportedEnvironment: The environment is unknown, or one that an algorithm cannot learn in.
        ConfigError: The termination rule is unknown.
    """
    from mbpo.envs.make import EnvSource
    from mbpo.training.algorithms import ALGORITHMS

    for algo, entry in entries.items():
        EnvSource.of(entry.config.env_id, entry.config.env_kwargs)
        try:
            ALGORITHMS[algo](entry.config.env_id, config=entry.config).close()
        except MBPOError as error:
            raise type(error)(f"{algo} cannot be compared here. {error}") from error


def extend(folder: Path, asked: Mapping[str, Entry]) -> Comparison:
    """The comparison that a folder holds, grown by what is asked now; nothing is written yet.

    Raises:
        RunFolderError: The folder holds something else, or a comparison with other settings; the
            message says which.
        ConfigError: A setting of the folder's comparison is not valid in this version.
    """
    held = _read(folder)
    differences = [text for algo in asked for text in _differences(held, algo, asked[algo])]
    if differences:
        shown = "; ".join(differences[:5]) + ("; …" if len(differences) > 5 else "")
        raise RunFolderError(
            f"{folder} holds a comparison that differs from this one: {shown}. A comparison can only grow, by more "
            "--steps, --seeds or --algos; for anything else choose another --out."
        )
    entries = dict(held)
    for algo, entry in asked.items():
        entries[algo] = replace(entry, seeds=max(entry.seeds, held[algo].seeds)) if algo in held else entry
    return Comparison(folder, entries)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[list[int]]:
    """Make the folder, and keep other comparisons out of it.

    Yields:
        The lock's file descriptor, for the runs to keep open: so the folder stays locked as long as
        one of them lives, even when nobody could stop it. Empty where there are no such locks.

    Raises:
        RunFolderError: Another command is at work in the folder, or it cannot be written to.
    """
    try:
        import fcntl
    except ImportError:  # Not on Windows.
        folder.mkdir(parents=True, exist_ok=True)
        yield []
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK_FILE).open("ab")
    except OSError as error:
        raise RunFolderError(
            f"Cannot write the folder of the comparison, {folder}: {error.strerror or error}."
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunFolderError(
                f"Another mbpo compare is at work in {folder}, or runs that it left behind are. Wait for it, stop it, "
                "or choose another --out."
            ) from error
        except OSError:  # A file system without locks.
            yield []
            return
        yield [file.fileno()]


def _read(folder: Path) -> dict[str, Entry]:
    path = folder / COMPARISON_FILE
    if exists(folder) and not is_folder(folder):
        raise RunFolderError(f"{folder} is a file; --out must name a folder for the comparison.")
    if not exists(path):
        try:
            others = [name for name in os.listdir(folder) if name != LOCK_FILE] if exists(folder) else []
        except OSError as error:
            raise RunFolderError(f"{folder} cannot be looked into: {error.strerror}; choose another --out.") from error
        if others:
            raise RunFolderError(
                f"{folder} holds something else than a comparison ({others[0]}, but no {COMPARISON_FILE}), which is "
                "left as it is. Choose another --out."
            )
        return {}
    try:
        algorithms = json.loads(read_plain(path, MAX_BYTES))["algorithms"]
        read = {algo: (values["config"], int(values["seeds"])) for algo, values in algorithms.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunFolderError(f"{path} is damaged or not a comparison of mbpo: {error}.") from error
    return {algo: Entry(from_run(config, where=str(path)), seeds) for algo, (config, seeds) in read.items()}


def _differences(held: Mapping[str, Entry], algo: str, asked: Entry) -> list[str]:
    """In words, what a comparison cannot grow to."""
    now, other = _flat(asked.config), next(iter(held.values()), None)
    if algo in held:
        before = _flat(held[algo].config)
    elif other is not None:
        flat = _flat(other.config)
        before = now | {name: flat[name] for name in SHARED}
    else:
        return []
    names = [name for name in {**before, **now} if name != "steps" and before.get(name) != now.get(name)]
    found = [f"{_shown(name, algo)} is {before.get(name)} there and {now.get(name)} now" for name in names]
    if now["steps"] < before["steps"]:
        found.append(f"{algo} has {before['steps']} steps there and {now['steps']} now")
    return found


def _flat(config: RunConfig) -> dict[str, Any]:
    """Settings by their dotted names, without the seed."""

    def flat(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in values.items():
            nested = isinstance(value, dict) and name != "env_kwargs"
            found |= flat(value, f"{prefix}{name}.") if nested else {f"{prefix}{name}": value}
        return found

    return flat(_without_seed(config), "")


def _without_seed(config: RunConfig) -> dict[str, Any]:
    return {name: value for name, value in to_dict(config).items() if name != "seed"}


def _shown(name: str, algo: str) -> str:
    """A setting's name, with its algorithm where it is not plain."""
    return name if name in SHARED or name.startswith(f"{section(algo)}.") else f"{algo}'s {name}"
