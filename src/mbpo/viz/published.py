"""Published learning curves of other implementations: `published_curves.csv` beside this file, or a user's own.

A row is one method's evaluation return on one task at a number of real environment steps: `method`, `env` (without
version), `step`, `mean`, `std` and `n_seeds` over seeds, `mean_hours` of computing where its authors say so, and
`source` (repository: path). Ours stand for the MuJoCo tasks up to version 4; version 5 pays Ant and Humanoid
otherwise.
"""

import csv
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from mbpo.errors import RunFolderError, did_you_mean

OUR_CSV = "published_curves.csv"
COLUMNS = ("method", "env", "step", "mean", "std", "n_seeds", "source")
SHOWN = ("MBPO", "DHMBPO", "MACURA", "SAC (erl_lib)")
"""Of the methods in our file, those drawn unless others are asked for: this family, and what it is built on."""


@dataclass(frozen=True, eq=False)
class PublishedCurve:
    """One method on one task."""

    method: str
    env: str
    """A task's name without version."""
    steps: np.ndarray
    """`[step]`, real environment steps, ascending."""
    mean: np.ndarray
    """`[step]`, over seeds."""
    std: np.ndarray
    """`[step]`, over seeds; 0 where there is none."""
    seeds: tuple[int, int]
    """The fewest and the most seeds of a step."""
    sources: tuple[str, ...]


def read_published(path: Path | None = None) -> list[PublishedCurve]:
    """The curves of a file, by task and method.

    Args:
        path: Default our own.

    Raises:
        RunFolderError: It cannot be read, lacks a column or has a value that is not a number.
    """
    name = OUR_CSV if path is None else str(path)
    try:
        file = resources.files("mbpo.viz").joinpath(OUR_CSV) if path is None else path
        rows = list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RunFolderError(f"The published curves {name} cannot be read: {error}.") from error
    missing = [column for column in COLUMNS if not rows or column not in rows[0]]
    if missing:
        raise RunFolderError(
            f"{name} is no table of published curves: it lacks {', '.join(missing)}. A row has {', '.join(COLUMNS)}."
        )
    groups: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in rows:
        groups.setdefault((row["env"], row["method"]), []).append(row)
    try:
        return [_curve(method, env, found) for (env, method), found in groups.items()]
    except (TypeError, ValueError) as error:
        raise RunFolderError(f"In the published curves {name} a value is not as it should be: {error}.") from error


def chosen(curves: Iterable[PublishedCurve], env_id: str, methods: Iterable[str]) -> list[PublishedCurve]:
    """The curves of a task by some methods, in their order; `all` stands for all.

    Raises:
        RunFolderError: No task at all has a method of that name.
    """
    curves, methods = list(curves), list(methods)
    known = {curve.method for curve in curves}
    unknown = [method for method in methods if method not in known and method != "all"]
    if unknown:
        raise RunFolderError(
            f"There is no published curve of '{unknown[0]}'.{did_you_mean(unknown[0], known)} There are: "
            f"{', '.join(sorted(known))}, and all."
        )
    here = [curve for curve in curves if curve.env == task_name(env_id)]
    if "all" in methods:
        return here
    return [curve for method in methods for curve in here if curve.method == method]


def task_name(env_id: str) -> str:
    """The name under which a task's published curves are found: `Hopper` for `mbpo/HopperUnclippedObs-v4`."""
    base = re.sub(r"-v\d+$", "", env_id.rpartition(":")[2].rpartition("/")[2])
    return re.sub("(TruncatedObs|UnclippedObs|RestoredObs|TorsoFrame)$", "", base)


def _curve(method: str, env: str, rows: list[dict[str, str]]) -> PublishedCurve:
    rows = sorted(rows, key=lambda row: int(row["step"]))
    steps, seeds = [int(row["step"]) for row in rows], [int(row["n_seeds"]) for row in rows]
    if len(set(steps)) < len(steps):
        raise ValueError(f"{method} has a step of {env} twice")
    mean = np.array([float(row["mean"]) for row in rows])
    std = np.array([float(row["std"] or "0") for row in rows])
    if not all(math.isfinite(value) for value in [*mean, *std]):
        raise ValueError(f"a return of {method} on {env} is not finite")
    sources = tuple(dict.fromkeys(row["source"] for row in rows))
    return PublishedCurve(method, env, np.array(steps, float), mean, std, (min(seeds), max(seeds)), sources)
