"""`mbpo doctor DIR`: what a run folder holds, whether it is whole, and repairs."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from mbpo.cli.arguments import parse


@dataclass(frozen=True)
class DoctorArguments:
    """Say what a run folder holds and verify it; exit status 0 if it is whole, 1 if not."""

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """A run folder."""
    repair: bool = False
    """Repair what can be repaired: a half-written last record, leftover files, a damaged checkpoint (by the one
    before it)."""
    json: bool = False
    """Print one JSON object instead of sentences."""


def main(argv: list[str]) -> int:
    """Print what was found, and what was done about it."""
    arguments = parse(DoctorArguments, argv, prog="mbpo doctor")
    from mbpo.training.doctor import examine, repair

    repaired = repair(arguments.folder) if arguments.repair else []
    diagnosis = examine(arguments.folder)
    healthy = not diagnosis.problems
    if arguments.json:
        problems = [
            {"problem": problem.sentence, "repairable": problem.repair is not None} for problem in diagnosis.problems
        ]
        print(json.dumps({"healthy": healthy, "holds": diagnosis.holds, "problems": problems, "repaired": repaired}))
        return 0 if healthy else 1
    width = max(map(len, diagnosis.holds), default=0)
    for name, value in diagnosis.holds.items():
        shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        print(f"{name.replace('_', ' '):<{width}}  {shown}")
    for sentence in repaired:
        print(f"repaired: {sentence}")
    for problem in diagnosis.problems:
        print(f"problem: {problem.sentence}")
    if healthy:
        print("The folder is whole.")
    elif any(problem.repair is not None for problem in diagnosis.problems):
        print(f"To repair it: mbpo doctor {arguments.folder} --repair")
    return 0 if healthy else 1
