"""`mbpo trust DIR`: how far the model of a run can be trusted."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from mbpo.cli.arguments import parse


@dataclass(frozen=True)
class TrustArguments:
    """Measure the model of a run, finished or running: its error, calibration, and what theorem 4.3 says of k."""

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """A run folder; its last checkpoint is read."""
    out: Path | None = None
    """Where report.html, trust.json and the figures go; default DIR/trust."""
    episodes: int = 10
    """Trajectories to record with the run's policy."""
    seed: int | None = None
    """Decides the trajectories' starts and every draw; default the run's seed."""


def main(argv: list[str]) -> int:
    """Print the answers, and write the report."""
    arguments = parse(TrustArguments, argv, prog="mbpo trust")
    from mbpo.errors import RunFolderError
    from mbpo.training.plain_files import exists, is_folder
    from mbpo.training.run_folder import check_no_links
    from mbpo.trust.measure import measure
    from mbpo.viz.trust_report import headlines, write_report

    out = arguments.out or arguments.folder / "trust"
    if arguments.out is None:
        check_no_links(arguments.folder)
    if exists(out) and not is_folder(out):  # Said before a minute is spent.
        raise RunFolderError(f"{out} is a file; --out must name a folder for the report.")
    trust = measure(arguments.folder, episodes=arguments.episodes, seed=arguments.seed)
    files = write_report(trust, out)
    print(f"{trust.algo} on {trust.env_id} at environment step {trust.env_step}, {trust.real_rows} real rows")
    for line in headlines(trust):
        print(f"- {line}")
    print(f"report   {files[0]}  ({', '.join(file.name for file in files[1:])})")
    return 0
