"""The settings of a whole run, read from JSON or from Python and validated either way."""

import copy
import dataclasses
import json
from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any, Literal, get_args

import numpy as np
from annotated_types import Ge, Lt
from pydantic import AfterValidator, TypeAdapter, ValidationError

from mbpo.agents.config import MBPOConfig
from mbpo.agents.dyna_q import DynaQConfig
from mbpo.agents.mbpo_dh_config import MBPODHConfig
from mbpo.agents.pets import PETSConfig
from mbpo.agents.sac_agent import SACAgentConfig
from mbpo.agents.settings import Episodes, NonNegativeInt, PositiveInt, Seconds, explain, setting_names, settings
from mbpo.errors import ConfigError

Algo = Literal["mbpo", "mbpo-dh", "sac", "pets", "dyna-q"]
ALGOS: tuple[str, ...] = get_args(Algo)
TABULAR_ALGOS = ("dyna-q",)
"""Those for `Discrete` observations and actions; the others are for `Box` ones."""


def _ascending(numbers: tuple[int, ...]) -> tuple[int, ...]:
    """The same set of numbers, however it was given."""
    return tuple(sorted(set(numbers)))


ADDED_SINCE = {("mbpo_dh", "learner", "actor_average_rate"): 1.0}
"""Settings that older runs did not write down, where their default would not have those go on as they were."""

REMOVED_SINCE = {("mbpo_dh", "model", "unseen_noise_rows"): "newest"}
"""Settings that older runs may hold, and the value at which they are as those without it."""


@settings
class RunConfig:
    """Everything a run is a function of."""

    env_id: str = "Pendulum-v1"
    """Gymnasium id, or `module:Env-v0` for an environment that importing `module` registers."""
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    """Arguments of the environment, as `gymnasium.make` takes them: part of the task, so part of the run."""
    algo: Algo = "mbpo"
    """The algorithm."""
    seed: Annotated[int, Ge(0), Lt(2**32)] = 0
    """Every random draw of the run derives from this number."""
    steps: PositiveInt = 100_000
    """Real environment steps in all, the random ones included."""
    eval_freq: PositiveInt = 1000
    """Environment steps between evaluations with the mean action."""
    eval_episodes: Episodes = 10
    """Episodes per evaluation during training."""
    eval_max_steps: PositiveInt = 10_000
    """Steps after which an evaluation episode is cut. For tasks that may never end: a time limit of
    the environment's own should come first, since what follows the cut does not count."""
    termination: str = "auto"
    """When imagined episodes end: `auto` (by the known rule of a known task, learned for others),
    `learned`, `never`, or `module:function` with `(obs, action, next_obs) -> terminated` on batches."""
    reward: str = "learned"
    """The reward that the model imagines: `learned` with the dynamics, or the task's own as
    `module:function` with `(obs, action, next_obs) -> reward` on batches."""
    angles: Annotated[tuple[NonNegativeInt, ...], AfterValidator(_ascending)] | None = None
    """Numbers of the observation, counted from 0, that are angles in radians: networks see their cosines and
    sines, so that a turn more changes nothing. None for those of a known task: HalfCheetah's pitch."""
    env_timeout: Seconds | None = None
    """Seconds that a step or a reset of the environment may take; None for any time."""
    env_retries: NonNegativeInt = 0
    """Faults of the environment in a row (it raises, does not come back, returns what it should not)
    that are answered by a fresh episode; the next one stops the run. What was collected is kept."""
    check_bounds: bool = True
    """Whether an observation outside of the bounds that its space declares is a fault."""
    mbpo: MBPOConfig = field(default_factory=MBPOConfig)
    mbpo_dh: MBPODHConfig = field(default_factory=MBPODHConfig)
    sac: SACAgentConfig = field(default_factory=SACAgentConfig)
    pets: PETSConfig = field(default_factory=PETSConfig)
    dyna_q: DynaQConfig = field(default_factory=DynaQConfig)
    """Settings of each algorithm; only those of `algo` count, and only they are written down."""

    @property
    def chosen(self) -> Any:
        """Settings of the algorithm that runs."""
        return getattr(self, section(self.algo))


def section(algo: str) -> str:
    """The field of `RunConfig` that holds an algorithm's settings."""
    return algo.replace("-", "_")


def to_dict(config: Any) -> dict[str, Any]:
    """The settings as plain JSON types; of a run, without those of algorithms that do not run."""
    values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    if isinstance(config, RunConfig):
        others = {section(algo) for algo in ALGOS} - {section(config.algo)}
        values = {name: value for name, value in values.items() if name not in others}
    return values


def from_dict(values: Mapping[str, Any], *, where: str) -> RunConfig:
    """Validated settings.

    Args:
        where: Named in the error, for example a file.

    Raises:
        ConfigError: An unknown name, a wrong type or an impossible value.
    """
    try:
        text = json.dumps(values, default=_plain)
    except TypeError as error:
        raise ConfigError(f"A setting in {where} is not a number, text, list or mapping: {error}.") from error
    try:
        return TypeAdapter(RunConfig).validate_json(text)
    except ValidationError as error:
        raise ConfigError(explain(error, where=where, known=setting_names(RunConfig))) from error


def from_run(values: Mapping[str, Any], *, where: str) -> RunConfig:
    """As `from_dict`, of settings that a run wrote, perhaps before some of them were there or others gone."""
    values = copy.deepcopy(dict(values))

    def section_of(path: list[str]) -> dict[str, Any]:
        inner: Any = values
        for part in path:
            inner = inner.get(part) if isinstance(inner, dict) else None
        return inner if isinstance(inner, dict) else {}

    for (*path, name), then in ADDED_SINCE.items():
        section_of(path).setdefault(name, then)
    for (*path, name), nothing in REMOVED_SINCE.items():
        inner = section_of(path)
        if inner.get(name) == nothing:
            del inner[name]
    return from_dict(values, where=where)


def _plain(value: object) -> Any:
    """NumPy's numbers and arrays as Python's."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{value!r} is a {type(value).__name__}")


def merge(base: RunConfig, overrides: Mapping[str, Any], *, where: str) -> RunConfig:
    """`base` with some settings changed; nested settings are given as nested mappings."""

    def merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
        result = dict(old)
        for name, value in new.items():
            inner = old.get(name)
            nested = isinstance(inner, Mapping) and isinstance(value, Mapping)
            result[name] = merged(inner, value) if nested else value  # type: ignore[arg-type]
        return result

    return from_dict(merged(to_dict(base), overrides), where=where)


def place(settings: Mapping[str, Any], seed: int | None, own: str) -> dict[str, Any]:
    """Keyword settings where they belong: the run's own at the top, the rest in the section `own`.

    Raises:
        ConfigError: The environment or the algorithm are among them.
    """
    shared = set(RunConfig.__dataclass_fields__) - {section(algo) for algo in ALGOS}
    top = {name: value for name, value in settings.items() if name in shared}
    inner = {name: value for name, value in settings.items() if name not in top}
    if "env_id" in top or "algo" in top:
        raise ConfigError("env_id and algo are not settings here: the environment is the first argument.")
    if seed is not None:
        top["seed"] = seed
    return {**top, own: inner} if inner else top
