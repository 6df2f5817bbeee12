"""`mbpo train`: train an agent, or go on with a run."""

import argparse
import contextlib
import dataclasses
import functools
import math
import os
import shlex
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mbpo.agents.settings import MAX_EPISODES
from mbpo.cli.arguments import changed, options
from mbpo.cli.display import open_display
from mbpo.cli.duration import read_duration
from mbpo.cli.train_arguments import TrainArguments, named_environment, read_arguments, run_config
from mbpo.errors import ConfigError, EnvironmentFault, MBPOError, TrainingError, UnsupportedEnvironment
from mbpo.training.config import RunConfig, section, to_dict
from mbpo.training.presets import find_preset, preset

TIME_IS_UP = 3
"""Exit status of a run that stopped because of --max-time."""

if TYPE_CHECKING:
    from mbpo.training.profile import Profile


def main(argv: list[str]) -> int:
    """Train, and print where the results lie and how good the policy is."""
    # Read twice: first to learn which environment, whose preset then gives the defaults.
    algo, base = _base(argv)
    guess = argv[0] if argv and not argv[0].startswith("-") else "Pendulum-v1"
    first = read_arguments(argv, base(guess))
    if not 0 <= first.final_episodes <= MAX_EPISODES:
        raise ConfigError(
            f"--final-episodes is a number of episodes up to {MAX_EPISODES}, or 0 for none, not {first.final_episodes}."
        )
    seconds = math.inf if first.max_time is None else read_duration(first.max_time, "--max-time")
    deadline = time.monotonic() + seconds
    if first.resume is not None:
        return _resume(first, argv, base, deadline)
    start = base(first.env_id)
    arguments = read_arguments(argv, start)
    config = run_config(arguments, start.env_kwargs)
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
    env_id = named_environment(argv, arguments)
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
    from mbpo.training.run_folder import read_description

    arguments = read_arguments(argv, start)
    saved = read_description(folder).config
    asked = dataclasses.replace(run_config(arguments, start.env_kwargs), steps=saved.steps)
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
    go_on = functools.partial(_how_to_go_on, folder, agent.config, until)

    try:
        with open_display(agent, until, folder) as display:
            left = deadline - time.monotonic()
            steps = until - agent.env_step
            agent.learn(steps, callback=display.record, progress=display.step, max_seconds=left, profile=profile)
    except KeyboardInterrupt as stop:
        print(f"\nStopped by {stop or 'Ctrl-C'} at step {agent.env_step}. {go_on()}")
        return 130
    except MBPOError as error:
        mend = "Mend the environment first. " if isinstance(error, EnvironmentFault | UnsupportedEnvironment) else ""
        raise type(error)(f"{error} {mend}{go_on()}") from error
    if agent.env_step < until:
        print(f"Time is up (--max-time) at step {agent.env_step} of {until}. {go_on()}")
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


def _how_to_go_on(folder: Path, config: RunConfig, until: int) -> str:
    if not os.path.lexists(folder / "checkpoint" / "manifest.json"):
        begun = os.path.lexists(folder / "config.json")
        again = f"; to begin again: mbpo train --resume {shlex.quote(str(folder))}" if begun else ""
        return f"No checkpoint had been written yet{again}."
    steps = "" if until == config.steps else f" --steps {until}"
    return f"To go on from the last checkpoint:\n  mbpo train --resume {shlex.quote(str(folder))}{steps}"


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


def _unused_folder(config: RunConfig) -> Path:
    """`runs/ENV_ID/ALGO-seedN`, with `-2`, `-3`, … while that is taken."""
    base = Path("runs") / config.env_id.rpartition(":")[2] / f"{config.algo}-seed{config.seed}"
    folder, number = base, 1
    while os.path.lexists(folder):
        number += 1
        folder = base.with_name(f"{base.name}-{number}")
    return folder
