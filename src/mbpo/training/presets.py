"""What each task wants otherwise than the defaults: a small file for each, with the reason beside each value.

The files lie in `mbpo/presets`, in TOML: the algorithm, the environments whose default it is, and settings by
their names in `RunConfig`. `mbpo presets` lists them, and a copy of one serves any task (`--preset FILE`). A task
without one gets the paper's defaults with one-step rollouts, the setting that never hurt there.
"""

import functools
import os
import tomllib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from mbpo.errors import ConfigError, did_you_mean
from mbpo.training.config import ALGOS, RunConfig, from_dict, section

NO_KWARGS: dict[str, Any] = {}


@dataclass(frozen=True)
class Preset:
    """A file of settings."""

    name: str
    """The file's, without its suffix."""
    algo: str
    envs: tuple[str, ...]
    """Environments whose default it is, without namespace: with a version for that one only, without for any."""
    values: dict[str, Any]
    """Settings of `RunConfig`, those of the algorithm in its section."""
    text: str
    """The file as it is."""

    @property
    def title(self) -> str:
        """The file's first comment."""
        return self.text.partition("\n")[0].lstrip("# ")

    def config(self, env_id: str) -> RunConfig:
        """The settings of a run in an environment.

        Raises:
            ConfigError: A setting is unknown or impossible.
        """
        where = f"the preset {self.name}"
        return from_dict({"env_id": env_id, "algo": self.algo, **self.values}, where=where)


def read_preset(text: str, name: str) -> Preset:
    """A preset from the text of its file.

    Args:
        name: For the errors.

    Raises:
        ConfigError: It is no TOML, names no algorithm, or holds what is none of a preset's.
    """
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            f"The preset {name} cannot be read as TOML: {error}. `mbpo presets NAME` prints one to copy."
        ) from error
    algo, envs = values.pop("algo", None), values.pop("envs", [])
    if algo not in ALGOS:
        raise ConfigError(
            f'The preset {name} must name its algorithm, one of {", ".join(ALGOS)} (algo = "mbpo"), and has {algo!r}.'
        )
    if not isinstance(envs, list) or not all(isinstance(env, str) for env in envs):
        raise ConfigError(f"In the preset {name}, envs is a list of environments' names, not {envs!r}.")
    if "env_id" in values:
        raise ConfigError(f"The preset {name} sets env_id; the environment is given to `mbpo train` itself.")
    others = [other for other in ALGOS if other != algo and section(other) in values]
    if others:
        raise ConfigError(f"The preset {name} is one of {algo}, but has settings of {', '.join(others)}.")
    return Preset(name, algo, tuple(envs), values, text)


@functools.cache
def presets() -> dict[str, Preset]:
    """The presets that come with the package, by name."""
    files = sorted(resources.files("mbpo").joinpath("presets").iterdir(), key=lambda file: file.name)
    names = [(file, file.name.removesuffix(".toml")) for file in files if file.name.endswith(".toml")]
    return {name: read_preset(file.read_text(encoding="utf-8"), name) for file, name in names}


def find_preset(choice: str | Path) -> Preset:
    """The preset that a user names: one of ours, or a file.

    Raises:
        ConfigError: There is none, or it cannot be read.
    """
    if str(choice) in presets():
        return presets()[str(choice)]
    path = Path(choice)
    if not os.path.isfile(path):  # Which takes names of any length.
        raise ConfigError(
            f"There is no preset '{choice}', and no such file.{did_you_mean(str(choice), presets())} `mbpo presets` "
            "lists those there are."
        )
    try:
        return read_preset(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The preset {path} cannot be read: {error}.") from error


def presets_for(env_id: str) -> dict[str, Preset]:
    """Each algorithm's preset for an environment id (`module:Name-v0`, `space/Name-v0`), if it has one.

    One that names the version goes before one for any version.
    """
    name = env_id.rpartition(":")[2].rpartition("/")[2]
    base, dash, version = name.rpartition("-v")
    asked = (base if dash and version.isdigit() else name, name)
    return {preset.algo: preset for wanted in asked for preset in presets().values() if wanted in preset.envs}


def preset(env_id: str, algo: str = "mbpo") -> RunConfig:
    """An algorithm's settings for an environment id.

    Where it has no preset, those of another algorithm still say how the environment is set up
    (`env_kwargs`), so that all of them learn the same task.

    Raises:
        ConfigError: There is no such algorithm.
    """
    if algo not in ALGOS:
        raise ConfigError(f"There is no algorithm '{algo}'.{did_you_mean(algo, ALGOS)} There are: {', '.join(ALGOS)}.")
    found = presets_for(env_id)
    if algo in found:
        return found[algo].config(env_id)
    kwargs = next((other.values["env_kwargs"] for other in found.values() if "env_kwargs" in other.values), NO_KWARGS)
    return from_dict({"env_id": env_id, "algo": algo, "env_kwargs": kwargs}, where=f"the preset of {env_id}")
