"""Which environment a run is bound to, and all of its settings: the one decides the defaults of the other."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gymnasium

from mbpo.envs.make import EnvSource
from mbpo.errors import ConfigError
from mbpo.training.config import RunConfig, merge
from mbpo.training.presets import preset

EnvLike = str | gymnasium.Env[Any, Any] | Callable[[], gymnasium.Env[Any, Any]]
"""A Gymnasium id, an environment, or a function that makes one."""


def bind(env: EnvLike, algo: str, config: RunConfig | None, placed: dict[str, Any]) -> tuple[EnvSource, RunConfig]:
    """Where environments come from, and every setting.

    Args:
        config: Settings to start from; default the preset of the environment.
        placed: Settings that are given, where they belong in `RunConfig`.

    Raises:
        UnsupportedEnvironment: There is no such environment.
        ConfigError: A setting is unknown or impossible; `env_kwargs` for an environment that is made already.
    """
    where = "the settings given"
    if isinstance(env, str):
        merged = merge(preset(env, algo) if config is None else config, {**placed, "env_id": env}, where=where)
        return EnvSource.of(env, merged.env_kwargs), merged
    if "env_kwargs" in placed:
        raise ConfigError(
            "env_kwargs are arguments for making an environment by its id; the one given is made already."
        )
    source = EnvSource.of(env)
    base = replace(preset(source.name, algo), env_kwargs={}) if config is None else config
    return source, merge(base, {**placed, "env_id": source.name}, where=where)
