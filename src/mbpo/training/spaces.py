"""Which algorithm can learn in which spaces, said before anything is trained."""

from typing import Any

import gymnasium

from mbpo.envs.spec import spec_of, tabular_spec_of
from mbpo.envs.tasks import angles_of
from mbpo.errors import ConfigError, UnsupportedEnvironment
from mbpo.training.config import ALGOS, TABULAR_ALGOS
from mbpo.types import Spec, TabularSpec


def spec_for(env: gymnasium.Env[Any, Any], algo: str, angles: tuple[int, ...] | None = None) -> Spec | TabularSpec:
    """What an algorithm has to know of an environment.

    Args:
        angles: Which numbers of the observation are angles; None for those of a known task.

    Raises:
        UnsupportedEnvironment: It cannot learn in these spaces; the algorithms that can are named.
        ConfigError: The observation has no such numbers, or is a number of a table.
    """
    try:
        return _read(env, algo, angles)
    except UnsupportedEnvironment as error:
        able = [other for other in ALGOS if _can(env, other)]
        if able:
            hint = f"Able to learn in it as it is: {', '.join(f'--algo {other}' for other in able)}."
        else:
            hint = f"None of {', '.join(ALGOS)} can learn in it as it is."
        raise UnsupportedEnvironment(f"{error} {hint}") from error


def _read(env: gymnasium.Env[Any, Any], algo: str, angles: tuple[int, ...] | None = None) -> Spec | TabularSpec:
    if algo not in TABULAR_ALGOS:
        return spec_of(env, algo, angles_of(env) if angles is None else angles)
    spec = tabular_spec_of(env, algo)
    if angles:
        raise ConfigError(f"{algo} learns in tables of numbered states, of which none is an angle; leave angles empty.")
    return spec


def _can(env: gymnasium.Env[Any, Any], algo: str) -> bool:
    try:
        _read(env, algo)
    except UnsupportedEnvironment:
        return False
    return True
