"""Whether committed records come out again, with this code and on this machine.

    python benchmarks/reproduce.py benchmarks/results/gates/* --out benchmarks/results/reproduced.csv

Of each folder of results one seed is trained again, with the settings that its `config.json` holds, to its first
evaluation after the model's first refit (or `--until`). Everything that was recorded up to there is compared bit for
bit, but for times and for what is not logged any more. Each folder is a line of the table, with the first number that
differs, if one does. Numbers differ where random numbers are drawn otherwise since, and may differ on other processors
and with other versions.
"""

import os

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import argparse
import csv
from pathlib import Path
from typing import Any, NamedTuple

from plainly import plainly

from mbpo.errors import MBPOError, RunFolderError
from mbpo.training.algorithms import ALGORITHMS
from mbpo.training.config import RunConfig
from mbpo.training.logbook import Record, read_records
from mbpo.training.run_folder import commit, read_description

COLUMNS = ("results", "seed", "until", "numbers", "same_until", "differs_first", "was", "is", "commit")


class Difference(NamedTuple):
    """The first number that did not come out."""

    env_step: int
    name: str
    was: Any
    now: Any


def first_evaluation(records: list[Record], config: RunConfig) -> int:
    """The step of the first evaluation after something was learned, or of the last record where there is none."""
    begun = getattr(config.chosen, "random_steps", 0)
    evaluated = (it["env_step"] for it in records if it["env_step"] > begun and "eval_return_mean" in it)
    return next(evaluated, records[-1]["env_step"])


def compare(before: list[Record], now: list[Record]) -> tuple[int, Difference | None]:
    """How many numbers of `before` were compared, and the first that is not the same in `now`."""
    by_step = {record["env_step"]: record for record in now}
    count = 0
    for record in before:
        step = record["env_step"]
        if step not in by_step:
            return count, Difference(step, "no record", None, None)
        for name in sorted(record.keys() & by_step[step].keys() - {"wall_time", "env_step"}):
            count += 1
            if by_step[step][name] != record[name]:
                return count, Difference(step, name, record[name], by_step[step][name])
    return count, None


def again(folder: Path, until: int | None) -> dict[str, Any]:
    """What became of the run in `folder`.

    Raises:
        RunFolderError: It cannot be repeated from its beginning, or nothing was recorded until then.
    """
    description, records = read_description(folder), read_records(folder)
    if description.origin is not None:
        raise RunFolderError(
            f"{folder} began where another run stands ({description.origin.run}), not at the beginning."
        )
    config = description.config
    until = min(until or first_evaluation(records, config), records[-1]["env_step"])
    before = [record for record in records if record["env_step"] <= until]
    if not before:
        raise RunFolderError(f"{folder} has no record up to step {until}.")
    agent = ALGORITHMS[config.algo](config.env_id, config=config)
    agent.learn(until)
    agent.close()
    count, found = compare(before, agent.records)
    steps = [record["env_step"] for record in before if found is None or record["env_step"] < found.env_step]
    differs = {} if found is None else {"differs_first": found.name, "was": found.was, "is": found.now}
    return {"until": until, "numbers": count, "same_until": max(steps, default=0), **differs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="+")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--until", type=int)
    parser.add_argument("--out", type=Path)
    known = parser.parse_args()
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    if known.out is not None and known.out.exists():
        with known.out.open(newline="") as file:
            rows = {(row["results"], int(row["seed"])): dict(row) for row in csv.DictReader(file)}
    for results in known.results:
        try:
            row = {
                "results": str(results),
                "seed": known.seed,
                **again(results / f"seed-{known.seed:02d}", known.until),
            }
        except MBPOError as error:
            print(f"{results}: {error}", flush=True)
            continue
        rows[str(results), known.seed] = row | {"commit": commit()}
        told = f"differs after {row['same_until']}, in {row['differs_first']}" if "differs_first" in row else "the same"
        print(f"{results}: {told}, until step {row['until']} ({row['numbers']} numbers)", flush=True)
        if known.out is not None:
            with known.out.open("w", newline="") as file:
                table = csv.DictWriter(file, COLUMNS)
                table.writeheader()
                table.writerows(rows[place] for place in sorted(rows))


if __name__ == "__main__":
    plainly(main)
