"""`mbpo train`: train an agent, or go on with a run."""

import argparse
import contextlib
import dataclasses
import functools
import math
import os
import textwrap
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from mbpo.agents.config import MBPOConfig
from mbpo.agents.dyna_q import DynaQConfig
from mbpo.agents.mbpo_dh_config import MBPODHConfig
from mbpo.agents.pets import PETSConfig
from mbpo.agents.sac_agent import SACAgentConfig
from mbpo.agents.settings import MAX_EPISODES
from mbpo.cli.arguments import changed, options, parse, read_pairs, spell_pairs
from mbpo.cli.display import open_display
from mbpo.cli.duration import read_duration
from mbpo.errors import ConfigError, MBPOError, TrainingError
from mbpo.training.config import ALGOS, RunConfig, section
from mbpo.training.presets import find_preset, preset

TIME_IS_UP = 3
"""Exit status of a run that stopped because of --max-time."""

if TYPE_CHECKING:
    from mbpo.training.profile import Profile


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
    may be changed but the seed and those that decide how much is held out, or how large what was learned is."""
    max_time: str | None = None
    """Stop after this wall-clock time (2h30m, 45m, 90s), at a checkpoint from which --resume goes on; the exit status
    is then 3."""
    final_episodes: int = 100
    """Episodes to report the trained policy on; 0 for none."""
    profile: bool = False
    """Show at the end, and write to profile.json, where the time went: every part is then waited for."""


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
    algo, base = _base(argv)
    guess = argv[0] if argv and not argv[0].startswith("-") else "Pendulum-v1"
    first = parse(ARGUMENTS[algo], argv, prog="mbpo train", default=_defaults(base(guess)))
    if not 0 <= first.final_episodes <= MAX_EPISODES:
        raise ConfigError(
            f"--final-episodes is a number of episodes up to {MAX_EPISODES}, or 0 for none, not {first.final_episodes}."
        )
    seconds = math.inf if first.max_time is None else read_duration(first.max_time, "--max-time")
    deadline = time.monotonic() + seconds
    if first.resume is not None:
        return _resume(first, argv, base, deadline)
    start = base(first.env_id)
    arguments = parse(ARGUMENTS[algo], argv, prog="mbpo train", default=_defaults(start))
    config = _run_config(arguments, start.env_kwargs)
    from mbpo.training.algorithms import ALGORITHMS

    kind, run = ALGORITHMS[algo], arguments.start_from
    folder = arguments.out or _unused_folder(config)
    with contextlib.closing(
        kind(config.env_id, config=config, out=folder) if run is None else kind.fork(run, config=config, out=folder)
    ) as agent:
        if run is not None:
            _check_steps_left(agent, config.steps, f"--from {run}")
        return _train(agent, config.steps, folder, arguments, deadline)


def _resume(arguments: TrainArguments, argv: list[str], base: Callable[[str], RunConfig], deadline: float) -> int:
    named = {a.split("=")[0].replace("_", "-") for a in argv if a.startswith("--")}
    given = named - {"--resume", "--steps", "--final-episodes", "--max-time", "--profile", "--no-profile"}
    unnamed = dataclasses.replace(arguments, env_id="")
    env_id = parse(type(arguments), argv, prog="mbpo train", default=unnamed).env_id
    assert arguments.resume is not None
    if env_id:
        given.add("ENV_ID")
    if given and (env_id or arguments.start_from is not None):
        _check_command_of(arguments.resume, base(env_id), argv)
    elif given:
        raise ConfigError(
            f"--resume goes on with the run's own settings, so {', '.join(sorted(given))} cannot be given with it; "
            "only --steps (in all), --max-time, --final-episodes and --profile can, or the whole command that began "
            "the run."
        )
    from mbpo.training.algorithms import load

    with contextlib.closing(load(arguments.resume, resume=True)) as agent:
        until = arguments.steps if "--steps" in named else agent.config.steps
        if not agent.owes_evaluation:
            _check_steps_left(agent, until, f"--resume {arguments.resume}")
        return _train(agent, max(until, agent.env_step), arguments.resume, arguments, deadline)


def _check_steps_left(agent, until: int, how: str) -> None:  # type: ignore[no-untyped-def]
    """Refuse to train to a step that a run has taken already; `how` are the option and the run's folder."""
    new = how.startswith("--from")  # Other settings may stand beside it.
    if until <= agent.env_step:
        raise ConfigError(
            f"The run in {how.partition(' ')[2]} has already taken {agent.env_step} of {until} steps; to train on, "
            f"give the number of steps in all: mbpo train {how} {'... ' if new else ''}--steps {2 * agent.env_step}"
        )


def _check_command_of(folder: Path, start: RunConfig, argv: list[str]) -> None:
    """Refuse a whole command that says anything else than a run's settings, but for its number of steps.

    Raises:
        ConfigError: It does; the settings are named.
    """
    from mbpo.training.config import to_dict
    from mbpo.training.run_folder import read_description

    arguments = parse(ARGUMENTS[start.algo], argv, prog="mbpo train", default=_defaults(start))
    saved = read_description(folder).config
    asked = dataclasses.replace(_run_config(arguments, start.env_kwargs), steps=saved.steps)
    if arguments.out not in (None, folder):
        raise ConfigError(f"--resume {folder} and --out {arguments.out} name two folders; leave out --out.")
    if asked != saved:
        # The algorithm's settings beside the others, so that options are named as they are typed.
        both = to_dict(asked), to_dict(saved)
        here, there = (settings | settings.pop(section(settings["algo"])) for settings in both)
        said, had = (textwrap.shorten(" ".join(options(d)), 200) for d in (changed(here, there), changed(there, here)))
        raise ConfigError(
            f"The run in {folder} goes on with its own settings, and this is not the command that began it: it stands "
            f"for {said}, the run has {had}. Give nothing but --resume {folder}, or the whole command as it was."
        )


def _train(agent, until: int, folder: Path, arguments: TrainArguments, deadline: float) -> int:  # type: ignore[no-untyped-def]
    from mbpo.training.profile import Profile
    from mbpo.viz.curves import plot_curves

    first_step, profile = agent.env_step, Profile() if arguments.profile else None

    try:
        with open_display(agent, until, folder) as display:
            left = deadline - time.monotonic()
            steps = until - agent.env_step
            agent.learn(steps, callback=display.record, progress=display.step, max_seconds=left, profile=profile)
    except KeyboardInterrupt as stop:
        print(f"\nStopped by {stop or 'Ctrl-C'} at step {agent.env_step}. {_how_to_go_on(folder)}")
        return 130
    except MBPOError as error:
        raise type(error)(f"{error} {_how_to_go_on(folder)}") from error
    if agent.env_step < until:
        print(f"Time is up (--max-time) at step {agent.env_step} of {until}. {_how_to_go_on(folder)}")
        return TIME_IS_UP
    print(f"results  {folder}/  (config.json, metrics.jsonl, checkpoint/, curve.png)")
    plot_curves([folder], folder / "curve.png")
    if profile is not None:
        _show_profile(profile, folder, first_step, agent.env_step)
    if episodes := arguments.final_episodes:
        result = agent.evaluate(episodes)
        print(
            f"policy   mean return {result.mean:.1f} ± {result.standard_error:.1f} (standard error, {episodes} "
            f"episodes) after {agent.env_step} environment steps"
        )
    return 0


def _show_profile(profile: "Profile", folder: Path, first_step: int, env_step: int) -> None:
    from mbpo.training.profile import profile_table, write_profile

    print(f"profile  steps {first_step} to {env_step}, also in {folder}/profile.json")
    print(profile_table(profile, env_step - first_step))
    try:
        write_profile(folder, profile, first_step, env_step)
    except OSError as error:
        raise TrainingError(f"Could not write profile.json to {folder}: {error.strerror or error}.") from error


def _how_to_go_on(folder: Path) -> str:
    if not os.path.lexists(folder / "checkpoint" / "manifest.json"):
        return "No checkpoint had been written yet, so there is nothing to go on from."
    return f"To go on from the last checkpoint:\n  mbpo train --resume {folder}"


def _base(argv: list[str]) -> tuple[str, Callable[[str], RunConfig]]:
    """The algorithm asked for, whose options are known only then, and the settings it starts from, by environment."""
    reader = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    reader.add_argument("--algo", nargs="?")
    reader.add_argument("--preset", nargs="?")
    reader.add_argument("--from", nargs="?", type=Path, dest="start_from")
    reader.add_argument("--resume", nargs="?")
    asked = reader.parse_known_args(argv)[0]
    if asked.start_from is not None:
        return _base_of_run(asked)
    if asked.preset is None:
        algo = preset("", asked.algo or "mbpo").algo
        return algo, functools.partial(preset, algo=algo)
    chosen = find_preset(asked.preset)
    if asked.algo not in (None, chosen.algo):
        raise ConfigError(f"The preset {chosen.name} is one of {chosen.algo}, which is not --algo {asked.algo}.")
    return chosen.algo, chosen.config


def _base_of_run(asked: argparse.Namespace) -> tuple[str, Callable[[str], RunConfig]]:
    """As `_base`, where a run begins at another's checkpoint: that one's algorithm and settings."""
    from mbpo.training.run_folder import read_description

    if asked.preset is not None:
        raise ConfigError(f"--from {asked.start_from} brings its own settings; leave out --preset.")
    if asked.resume is not None:
        origin = read_description(Path(asked.resume)).origin
        if origin is None or Path(origin.run).resolve() != asked.start_from.resolve():
            raise ConfigError(
                f"The run in {asked.resume} did not begin where {asked.start_from} stands; leave out --resume to begin "
                "one that does, or --from to go on with it."
            )
    config = read_description(asked.start_from).config
    if asked.algo not in (None, config.algo):
        raise ConfigError(f"The run in {asked.start_from} is one of {config.algo}, which is not --algo {asked.algo}.")
    return config.algo, lambda env_id: config


def _defaults(config: RunConfig) -> TrainArguments:
    values = {name: getattr(config, name) for name in _run_settings()}
    values["env_kwargs"] = spell_pairs(config.env_kwargs)
    return ARGUMENTS[config.algo](**values, settings=config.chosen)  # type: ignore[call-arg]


def _run_settings() -> list[str]:
    """Names of the settings that every algorithm has."""
    return [f.name for f in dataclasses.fields(RunConfig) if f.name not in map(section, ALGOS)]


def _run_config(arguments: TrainArguments, env_kwargs: Mapping[str, Any] | None = None) -> RunConfig:
    """The settings of the run; arguments of the environment are added to those it has by default."""
    from mbpo.training.config import from_dict, to_dict

    values = {name: getattr(arguments, name) for name in _run_settings()}
    values["env_kwargs"] = {**(env_kwargs or {}), **read_pairs(arguments.env_kwargs, "--env-kwargs")}
    chosen = to_dict(arguments.settings)  # type: ignore[attr-defined]
    return from_dict({**values, section(arguments.algo): chosen}, where="the command line")


def _unused_folder(config: RunConfig) -> Path:
    """`runs/ENV_ID/ALGO-seedN`, with `-2`, `-3`, … while that is taken."""
    base = Path("runs") / config.env_id.rpartition(":")[2] / f"{config.algo}-seed{config.seed}"
    folder, number = base, 1
    while os.path.lexists(folder):
        number += 1
        folder = base.with_name(f"{base.name}-{number}")
    return folder
