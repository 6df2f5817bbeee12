"""What `mbpo train` is told: an option for every setting, for each algorithm its own."""

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from mbpo.agents.config import MBPOConfig
from mbpo.agents.dyna_q import DynaQConfig
from mbpo.agents.mbpo_dh_config import MBPODHConfig
from mbpo.agents.pets import PETSConfig
from mbpo.agents.sac_agent import SACAgentConfig
from mbpo.cli.arguments import options, parse, read_pairs, spell_pairs
from mbpo.errors import ConfigError
from mbpo.training.config import ALGOS, RunConfig, from_dict, section, to_dict


@dataclass(frozen=True)
class TrainArguments:
    """Train an agent. Defaults are the preset of the environment: of the one named first, or of Pendulum-v1."""

    env_id: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="ENV_ID")]
    """Gymnasium id, or `module:Env-v0` for an environment that importing `module` registers."""
    algo: str
    """The algorithm."""
    seed: int
    """Every random draw of the run derives from this number."""
    steps: int
    """Real environment steps in all, the random ones included."""
    eval_freq: int
    """Environment steps between evaluations with the mean action."""
    eval_episodes: int
    """Episodes per evaluation during training."""
    eval_max_steps: int
    """Steps after which an evaluation episode is cut, in tasks that may never end."""
    termination: str
    """When imagined episodes end: auto (by the known rule of a known task, learned for others), learned,
    never, or module:function with (obs, action, next_obs) -> terminated on batches."""
    reward: str
    """The reward to imagine with: learned, or module:function with (obs, action, next_obs) ->
    reward on batches."""
    angles: tuple[int, ...] | None
    """Numbers of the observation, counted from 0, that are angles in radians: networks see their cosines and sines.
    None for those of a known task (HalfCheetah's pitch), nothing after --angles for none at all."""
    env_timeout: float | None
    """Seconds that a step or a reset of the environment may take; None for any time."""
    env_retries: int
    """Faults of the environment in a row that are answered by a fresh episode; the next one stops the run."""
    check_bounds: bool
    """Whether an observation outside of the bounds that its space declares is a fault."""
    env_kwargs: tuple[str, ...] = ()
    """Arguments of the environment, as NAME=VALUE (--env-kwargs reset_noise_scale=0.1 frame_skip=2);
    those of the preset stay as they are unless they are named."""
    preset: str | None = None
    """Settings to start from instead of the environment's own: a file, or a name that `mbpo presets` lists."""
    out: Path | None = None
    """Folder for the run; default runs/ENV_ID/ALGO-seedN."""
    resume: Path | None = None
    """Go on with the run in this folder; its settings are kept, only --steps and --max-time may be given too (or the
    whole command that began it)."""
    start_from: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    """Begin where the run in this folder stands, in a folder of its own: its settings are those to start from, and any
    may be changed but the seed and those that decide how much is held out, how large what was learned is, or what it
    means (residual, critic_layer_norm)."""
    max_time: str | None = None
    """Stop after this wall-clock time (2h30m, 45m, 90s), at a checkpoint from which --resume goes on; the exit status
    is then 3."""
    final_episodes: int = 100
    """Episodes to report the trained policy on; 0 for none."""
    profile: bool = False
    """Show at the end, and write to profile.json, where the time went: every part is then waited for."""


@dataclass(frozen=True)
class MBPOArguments(TrainArguments):
    """Train MBPO, model-based policy optimization.

    Defaults are those for ENV_ID, named first; without one, for Pendulum-v1.
    """

    settings: Annotated[MBPOConfig, tyro.conf.arg(name="")] = field(default_factory=MBPOConfig)


@dataclass(frozen=True)
class MBPODHArguments(TrainArguments):
    """Train MBPO-DH, double-horizon MBPO. Defaults are those for ENV_ID, named first; without one, for Pendulum-v1."""

    settings: Annotated[MBPODHConfig, tyro.conf.arg(name="")] = field(default_factory=MBPODHConfig)


@dataclass(frozen=True)
class SACArguments(TrainArguments):
    """Train SAC, soft actor-critic. Defaults are those for ENV_ID, named first; without one, for Pendulum-v1."""

    settings: Annotated[SACAgentConfig, tyro.conf.arg(name="")] = field(default_factory=SACAgentConfig)


@dataclass(frozen=True)
class PETSArguments(TrainArguments):
    """Train PETS, planning with probabilistic ensembles.

    Defaults are those for ENV_ID, named first; without one, for Pendulum-v1.
    """

    settings: Annotated[PETSConfig, tyro.conf.arg(name="")] = field(default_factory=PETSConfig)


@dataclass(frozen=True)
class DynaQArguments(TrainArguments):
    """Train Dyna-Q, on a table. Defaults are those for ENV_ID, named first; without one, for Pendulum-v1."""

    settings: Annotated[DynaQConfig, tyro.conf.arg(name="")] = field(default_factory=DynaQConfig)


ARGUMENTS: dict[str, type[TrainArguments]] = {
    "mbpo": MBPOArguments,
    "mbpo-dh": MBPODHArguments,
    "sac": SACArguments,
    "pets": PETSArguments,
    "dyna-q": DynaQArguments,
}


def read_arguments(argv: list[str], start: RunConfig) -> TrainArguments:
    """What a command says of the algorithm of `start`, whose settings are the defaults."""
    values = {name: getattr(start, name) for name in _run_settings()}
    values["env_kwargs"] = spell_pairs(start.env_kwargs)
    kind = ARGUMENTS[start.algo]
    if "--resume" not in argv:  # Of a run whose algorithm need not be named.
        _check_names(argv, start.algo)
    return parse(kind, argv, prog="mbpo train", default=kind(**values, settings=start.chosen))  # type: ignore[call-arg]


def _check_names(argv: list[str], algo: str) -> None:
    """Refuse a setting of another algorithm in words that say so.

    Raises:
        ConfigError: There is one.
    """
    for word in argv:
        name = word.partition("=")[0].replace("_", "-")
        others = [other for other in ALGOS if name in _names(other)]
        # One of this algorithm's that ends or begins so is probably meant, and found by the parser.
        bare = name.removeprefix("--")
        meant = any(own.endswith(f".{bare}") or own.startswith(f"--{bare}.") for own in _names(algo))
        if others and algo not in others and not meant:
            raise ConfigError(
                f"{name} is a setting of {' and '.join(others)}, and this is --algo {algo}. Its own are listed by "
                f"`mbpo train ENV_ID --algo {algo} --help`."
            )


@functools.cache
def _names(algo: str) -> frozenset[str]:
    """The options that are an algorithm's settings."""
    chosen = to_dict(RunConfig(algo=algo).chosen)  # type: ignore[arg-type]
    spelled = [word for switch in (True, False) for word in options(_switched(chosen, switch))]
    return frozenset(word for word in spelled if word.startswith("--"))


def _switched(settings: Mapping[str, Any], switch: bool) -> dict[str, Any]:
    """The settings with every switch on, or off."""
    return {
        name: _switched(value, switch) if isinstance(value, Mapping) else switch if isinstance(value, bool) else value
        for name, value in settings.items()
    }


def named_environment(argv: list[str], arguments: TrainArguments) -> str:
    """The environment that a command names, or nothing; `arguments` are those read from it."""
    unnamed = dataclasses.replace(arguments, env_id="")
    return parse(type(arguments), argv, prog="mbpo train", default=unnamed).env_id


def run_config(arguments: TrainArguments, env_kwargs: Mapping[str, Any]) -> RunConfig:
    """The settings of the run; arguments of the environment are added to these, which it has by default."""
    values = {name: getattr(arguments, name) for name in _run_settings()}
    values["env_kwargs"] = {**env_kwargs, **read_pairs(arguments.env_kwargs, "--env-kwargs")}
    chosen = to_dict(arguments.settings)  # type: ignore[attr-defined]
    return from_dict({**values, section(arguments.algo): chosen}, where="the command line")


def _run_settings() -> list[str]:
    """Names of the settings that every algorithm has."""
    return [f.name for f in dataclasses.fields(RunConfig) if f.name not in map(section, ALGOS)]
