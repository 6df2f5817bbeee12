"""`mbpo curves RUN…`: our runs over published learning curves, as a picture and a page."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from mbpo.cli.arguments import parse


@dataclass(frozen=True)
class CurvesArguments:
    """Draw runs over published curves, and tell how many real steps each takes to a level.

    Runs with the same settings but for the seed become one curve: the interquartile mean with its 95 % bootstrap
    band. Published curves are means over seeds, with a standard deviation.
    """

    folders: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN [RUN ...]")]
    """Run folders, of one task or several, finished or under way; a folder that holds runs stands for all of them."""
    reference: Path | None = None
    """Published curves as CSV (method, env, step, mean, std, n_seeds, source); default those that come along."""
    methods: tuple[str, ...] | None = None
    """Which of them: --methods MBPO "SAC (erl_lib)", or all; default this family's, or all of --reference."""
    levels: tuple[float, ...] = ()
    """Returns to tell the steps to; default shares of the highest curve."""
    out: Path = Path("curves")
    """Where the files go: OUT.html, and OUT.png for one task or OUT-TASK.png for several."""


def main(argv: list[str]) -> int:
    """Write page and pictures, and print the tables."""
    arguments = parse(CurvesArguments, argv, prog="mbpo curves")
    from mbpo.errors import RunFolderError
    from mbpo.training.survey import runs_in
    from mbpo.viz.curves_report import write_curves
    from mbpo.viz.over_published import TaskCurves, aligned, conclusion, levels_table, read_tasks, returns_table
    from mbpo.viz.published import SHOWN, chosen, read_published

    folders = runs_in(arguments.folders)
    if not folders:
        raise RunFolderError("Name at least one run folder: mbpo curves runs/… [--out FILE]")
    published = read_published(arguments.reference)
    methods = arguments.methods or (SHOWN if arguments.reference is None else ("all",))
    tasks = [
        TaskCurves(env_id, ours, chosen(published, env_id, methods)) for env_id, ours in read_tasks(folders).items()
    ]
    files = write_curves(tasks, arguments.levels, arguments.out)
    for task in tasks:
        print(f"{task.env_id}: {conclusion(task)}")
        print("\n".join([*aligned(levels_table(task, arguments.levels)), ""]))
        print("\n".join([*aligned(returns_table(task)), ""]))
    print(f"page     {files[0]}  ({', '.join(file.name for file in files[1:])})")
    return 0
