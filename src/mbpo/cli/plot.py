"""`mbpo plot DIR...`: learning curves as a picture."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from mbpo.cli.arguments import parse


@dataclass(frozen=True)
class PlotArguments:
    """Draw learning curves; several runs of one algorithm as mean and spread."""

    folders: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="DIR [DIR ...]")]
    """Run folders of one task; a folder that holds runs stands for all of them."""
    out: Path = Path("curves.png")
    """The picture to write; its suffix decides the format (png, svg, pdf)."""


def main(argv: list[str]) -> int:
    """Write the picture and print where it lies."""
    arguments = parse(PlotArguments, argv, prog="mbpo plot")
    from mbpo.errors import RunFolderError
    from mbpo.training.survey import runs_in
    from mbpo.viz.curves import plot_curves

    if not arguments.folders:
        raise RunFolderError("Name at least one run folder: mbpo plot runs/… [--out FILE.png]")
    print(plot_curves(runs_in(arguments.folders), arguments.out))
    return 0
