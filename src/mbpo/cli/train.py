"""`mbpo train`: train an agent, or go on with a run."""

import argparse
import contextlib
import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from mbpo.agents.config import MBPOConfig
from mbpo.agents.dyna_q import DynaQConfig
from mbpo.agents.mbpo_dh_config import MBPODHConfig
from mbpo.agents.pets import PETSConfig
from mbpo.agents.sac_agent import SACAgentConfig
from mbpo.cli.arguments import parse
from mbpo.cli.display import open_display
from mbpo.errors import ConfigError, MBPOError
from mbpo.training.config import ALGOS, RunConfig, section
from mbpo.training.presets import preset


@dataclass(frozen=True)
class TrainArguments:
    """Train an agent. Defaults are the preset of the environment, shown for Pendulum-v1."""

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
    out: Path | None = None
    """Folder for the run; default runs/ENV_ID/ALGO-seedN."""
    resume: Path | None = None
    """Go on with the run in this folder; its settings are kept, only --steps may be given too."""
    final_episodes: int = 100
    """Episodes to report the trained policy on; 0 for none."""


@dataclass(frozen=True)
class MBPOArguments(TrainArguments):
    """Train MBPO, model-based policy optimization."""

    settings: Annotated[MBPOConfig, tyro.conf.arg(name="")] = field(default_factory=MBPOConfig)


@dataclass(frozen=True)
class MBPODHArguments(TrainArguments):
    """Train MBPO-DH, double-horizon MBPO."""

    settings: Annotated[MBPODHConfig, tyro.conf.arg(name="")] = field(default_factory=MBPODHConfig)


@dataclass(frozen=True)
class SACArguments(TrainArguments):
    """Train SAC, soft actor-critic."""

    settings: Annotated[SACAgentConfig, tyro.conf.arg(name="")] = field(default_factory=SACAgentConfig)


@dataclass(frozen=True)
class PETSArguments(TrainArguments):
    """Train PETS, planning with probabilistic ensembles."""

    settings: Annotated[PETSConfig, tyro.conf.arg(name="")] = field(default_factory=PETSConfig)


@dataclass(frozen=True)
class DynaQArguments(TrainArguments):
    """Train Dyna-Q, on a table."""

    settings: Annotated[DynaQConfig, tyro.conf.arg(name="")] = field(default_factory=DynaQConfig)


ARGUMENTS: dict[str, type[TrainArguments]] = {
    "mbpo": MBPOArguments,
    "mbpo-dh": MBPODHArguments,
    "sac": SACArguments,
    "pets": PETSArguments,
    "dyna-q": DynaQArguments,
}


def main(argv: list[str]) -> int:
    """Train, and print where the results lie and how good the policy is."""
    # Read twice: first to learn which environment, whose preset then gives the defaults.
    algo = _algo(argv)
    first = parse(ARGUMENTS[algo], argv, prog="mbpo train", default=_defaults(preset("Pendulum-v1", algo)))
    if first.final_episodes < 0:
        raise ConfigError(f"--final-episodes is a number of episodes, or 0 for none, not {first.final_episodes}.")
    if first.resume is not None:
        return _resume(first, argv)
    arguments = parse(ARGUMENTS[algo], argv, prog="mbpo train", default=_defaults(preset(first.env_id, algo)))
    config = _run_config(arguments)
    from mbpo.training.algorithms import ALGORITHMS

    folder = arguments.out or _unused_folder(config)
    with contextlib.closing(ALGORITHMS[algo](config.env_id, config=config, out=folder)) as agent:
        return _train(agent, config.steps, folder, arguments.final_episodes)


def _resume(arguments: TrainArguments, argv: list[str]) -> int:
    options = {a.split("=")[0].replace("_", "-") for a in argv if a.startswith("--")}
    given = options - {"--resume", "--steps", "--final-episodes"}
    unnamed = dataclasses.replace(_defaults(preset("Pendulum-v1")), env_id="")
    if parse(MBPOArguments, argv, prog="mbpo train", default=unnamed).env_id:
        given.add("ENV_ID")
    if given:
        raise ConfigError(
            f"--resume goes on with the run's own settings, so {', '.join(sorted(given))} cannot be given with it; "
            "only --steps (in all) and --final-episodes can."
        )
    from mbpo.training.algorithms import load

    assert arguments.resume is not None
    with contextlib.closing(load(arguments.resume, resume=True)) as agent:
        until = arguments.steps if "--steps" in options else agent.config.steps
        if until <= agent.env_step:
            raise ConfigError(
                f"The run in {arguments.resume} has already taken {agent.env_step} of {until} steps; to train on, "
                f"give the number of steps in all: mbpo train --resume {arguments.resume} --steps {2 * agent.env_step}"
            )
        return _train(agent, until, arguments.resume, arguments.final_episodes)


def _train(agent, until: int, folder: Path, final_episodes: int) -> int:  # type: ignore[no-untyped-def]
    from mbpo.viz.curves import plot_curves

    try:
        with open_display(agent, until, folder) as display:
            agent.learn(until - agent.env_step, callback=display.record, progress=display.step)
    except KeyboardInterrupt as stop:
        print(f"\nStopped by {stop or 'Ctrl-C'} at step {agent.env_step}. {_how_to_go_on(folder)}")
        return 130
    except MBPOError as error:
        raise type(error)(f"{error} {_how_to_go_on(folder)}") from error
    print(f"results  {folder}/  (config.json, metrics.jsonl, checkpoint/, curve.png)")
    plot_curves([folder], folder / "curve.png")
    if final_episodes:
        result = agent.evaluate(final_episodes)
        print(
            f"policy   mean return {result.mean:.1f} ± {result.standard_error:.1f} (standard error, {final_episodes} "
            f"episodes) after {agent.env_step} environment steps"
        )
    return 0


def _how_to_go_on(folder: Path) -> str:
    if not (folder / "checkpoint" / "manifest.json").exists():
        return "No checkpoint had been written yet, so there is nothing to go on from."
    return f"To go on from the last checkpoint:\n  mbpo train --resume {folder}"


def _algo(argv: list[str]) -> str:
    """The algorithm asked for; its options are known only then."""
    reader = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    reader.add_argument("--algo", nargs="?")
    algo: str = reader.parse_known_args(argv)[0].algo or "mbpo"
    return preset("", algo).algo


def _defaults(config: RunConfig) -> TrainArguments:
    values = {name: getattr(config, name) for name in _run_settings()}
    return ARGUMENTS[config.algo](**values, settings=config.chosen)  # type: ignore[call-arg]


def _run_settings() -> list[str]:
    """Names of the settings that every algorithm has."""
    return [f.name for f in dataclasses.fields(RunConfig) if f.name not in map(section, ALGOS)]


def _run_config(arguments: TrainArguments) -> RunConfig:
    from mbpo.training.config import from_dict, to_dict

    values = {name: getattr(arguments, name) for name in _run_settings()}
    chosen = to_dict(arguments.settings)  # type: ignore[attr-defined]
    return from_dict({**values, section(arguments.algo): chosen}, where="the command line")


def _unused_folder(config: RunConfig) -> Path:
    """`runs/ENV_ID/ALGO-seedN`, with `-2`, `-3`, … while that is taken."""
    base = Path("runs") / config.env_id.rpartition(":")[2] / f"{config.algo}-seed{config.seed}"
    folder, number = base, 1
    while folder.exists():
        number += 1
        folder = base.with_name(f"{base.name}-{number}")
    return folder
