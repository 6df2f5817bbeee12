"""`mbpo compare ENV_ID --algos …`: several algorithms on one task, many seeds, one figure."""

import argparse
import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from mbpo.cli.arguments import changed, options, parse
from mbpo.cli.comparison_display import open_display
from mbpo.errors import ConfigError, did_you_mean
from mbpo.training.comparison import Comparison, Entry, check_trainable, extend, locked
from mbpo.training.config import ALGOS, RunConfig, merge, section, to_dict
from mbpo.training.presets import preset
from mbpo.training.runner import LocalRunner, Runner
from mbpo.training.signals import Interrupted

PROG = "mbpo compare"
FIGURE, SUMMARY = "curves.png", "summary.csv"


@dataclass(frozen=True, kw_only=True)
class CompareArguments:
    """Train several algorithms on one task with many seeds, and draw their curves together.

    One seed is one process on one core. The same command goes on where it was interrupted; more
    --steps, --seeds or --algos extend what is there. A setting of one algorithm has its name before
    it (--mbpo.random-steps 200); after --algos, --help lists them.
    """

    env_id: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="ENV_ID")]
    """Gymnasium id, or `module:Env-v0` for an environment that importing `module` registers."""
    algos: tuple[str, ...]
    """The algorithms, for example: --algos mbpo sac pets."""
    seeds: int = 5
    """How many seeds, from 0."""
    steps: int | None = None
    """Real environment steps of every run; default each algorithm's own for this environment."""
    eval_freq: int | None = None
    """Environment steps between evaluations; default each algorithm's own for this environment."""
    eval_episodes: int | None = None
    """Episodes per evaluation; default each algorithm's own for this environment."""
    termination: str | None = None
    """When imagined episodes end: auto (by the known rule of a known task, learned for others), learned, never, or
    module:function with (obs, action, next_obs) -> terminated on batches."""
    angles: tuple[int, ...] | None = None
    """Numbers of the observation, counted from 0, that are angles in radians: networks see their cosines and sines.
    None for those of a known task (HalfCheetah's pitch), nothing after --angles for none at all."""
    out: Path | None = None
    """Folder for the comparison; default runs/compare/ENV_ID."""
    jobs: int | None = None
    """How many runs at a time; default one for each core."""


def main(argv: list[str]) -> int:
    """Train what is left to train, draw and tabulate what is finished; the exit status."""
    # Several processes on one GPU, this one included, must not each take most of its memory.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    arguments, entries = _read(argv)
    folder = arguments.out or Path("runs") / "compare" / arguments.env_id.rpartition(":")[2]
    extend(folder, entries)  # Quick to refuse; asked again below, when the folder is ours.
    if arguments.jobs is not None and arguments.jobs < 1:
        raise ConfigError(f"--jobs is how many runs go on at a time, at least 1, not {arguments.jobs}.")
    check_trainable(entries)
    with locked(folder) as lock:
        comparison = extend(folder, entries)
        comparison.write()
        return compare(comparison, entries, LocalRunner(arguments.jobs, keep_open=lock))


def compare(comparison: Comparison, asked: Mapping[str, Entry], runner: Runner) -> int:
    """Bring the comparison to what is asked, and report; the exit status.

    Args:
        comparison: What `asked` is part of.
    """
    jobs = comparison.jobs(asked, {algo: _options(entry.config) for algo, entry in asked.items()})
    total = sum(entry.seeds for entry in asked.values())
    names = ", ".join(f"{algo} ({entry.seeds} seeds, {entry.config.steps} steps)" for algo, entry in asked.items())
    env_id = next(iter(asked.values())).config.env_id
    print(f"{env_id}: {names}; {total - len(jobs)} of {total} runs are finished; writing to {comparison.folder}")
    failed: list[str] = []
    try:
        if jobs:
            with open_display(comparison, jobs, total) as show:
                outcomes = runner.run(list(jobs.values()), show)
            failed = [job.name for job in jobs.values() if job.name not in outcomes or not outcomes[job.name].ok]
    except Interrupted as stop:
        report(comparison)
        print(f"\nStopped by {stop}. To go on, give the same command again.")
        return 130
    report(comparison)
    if failed:
        print(f"{len(failed)} of {total} runs failed: {', '.join(failed)}. The same command tries them again.")
    return 1 if failed else 0


def report(comparison: Comparison) -> None:
    """Write figure and summary from the seeds that are finished, and print the table."""
    from mbpo.viz.comparison import final_table, plot_comparison, read_algo_curve, write_summary

    found = {
        algo: read_algo_curve(algo, comparison.finished(algo), asked=entry.seeds)
        for algo, entry in comparison.entries.items()
    }
    curves = [curve for curve in found.values() if curve is not None]
    if not curves:
        print("No seed has finished yet, so there is no figure.")
        return
    env_id = next(iter(comparison.entries.values())).config.env_id
    print(f"figure   {plot_comparison(curves, env_id, comparison.folder / FIGURE)}")
    print(f"summary  {write_summary(curves, comparison.folder / SUMMARY)}")
    print("\n".join(["", *final_table(found)]))


def _read(argv: list[str]) -> tuple[CompareArguments, dict[str, Entry]]:
    """The arguments, and every setting of each algorithm asked for, validated."""
    algos = _algos(argv)
    # The environment's presets are the defaults, so where it does not come first, read twice.
    guess = argv[0] if argv and not argv[0].startswith("-") else ""
    arguments = parse(_arguments(guess, algos), argv, prog=PROG)
    env_id = arguments.env_id
    if env_id != guess:
        arguments = parse(_arguments(env_id, algos), argv, prog=PROG)
    if not algos:
        raise ConfigError(f"Name at least one algorithm after --algos. There are: {', '.join(ALGOS)}.")
    if arguments.seeds < 1:
        raise ConfigError(f"A comparison takes at least 1 seed, and --seeds is {arguments.seeds}.")
    names = ("steps", "eval_freq", "eval_episodes", "termination", "angles")
    given = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    entries = {}
    for algo in algos:
        settings = to_dict(getattr(arguments, section(algo)))
        config = merge(preset(env_id, algo), {**given, section(algo): settings}, where="the command line")
        entries[algo] = Entry(config, arguments.seeds)
    return arguments, entries


def _algos(argv: list[str]) -> list[str]:
    """The algorithms asked for; only their settings are options."""
    reader = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    reader.add_argument("--algos", nargs="*", default=[])
    algos: list[str] = list(dict.fromkeys(reader.parse_known_args(argv)[0].algos))
    for algo in algos:
        preset("", algo)  # Says so if there is no such algorithm.
    for argument in argv:
        name = argument.removeprefix("--").partition(".")[0].replace("_", "-")
        if not argument.startswith("--") or "." not in argument.partition("=")[0] or name in algos:
            continue
        option = argument.partition("=")[0]
        if name in ALGOS:
            raise ConfigError(f"{option} is a setting of {name}, which is not among --algos {' '.join(algos)}.")
        raise ConfigError(
            f"{option} is no setting of an algorithm that is compared.{did_you_mean(name, algos)} A setting has the "
            f"algorithm's name before it: --{algos[0] if algos else 'mbpo'}.random-steps 200."
        )
    return algos


def _arguments(env_id: str, algos: Sequence[str]) -> type[CompareArguments]:
    """`CompareArguments` with a section of settings for each algorithm, by default the preset's."""
    sections: list[Any] = []
    for algo in algos:
        chosen = preset(env_id, algo).chosen
        sections.append((section(algo), type(chosen), field(default=chosen)))
    made = dataclasses.make_dataclass(
        "CompareArguments",
        sections,
        bases=(CompareArguments,),
        namespace={"__doc__": CompareArguments.__doc__},
        frozen=True,
        kw_only=True,
    )
    return made


def _options(config: RunConfig) -> list[str]:
    """What `mbpo train` is given to run with these settings, besides environment, algorithm, seed and steps."""
    run = {name: getattr(config, name) for name in ("eval_freq", "eval_episodes", "termination")}
    default = preset(config.env_id, config.algo)
    if config.angles != default.angles:
        run["angles"] = config.angles
    return [*options(run), *options(changed(to_dict(config.chosen), to_dict(default.chosen)))]
