"""What a setting would change from here on: a run goes on under other settings, and its folder is left as it is.

    python benchmarks/gone_on_with.py runs/benchmarks/walker2d_v4_restored/seed-00 --until 40000 \
        --set mbpo_dh.model.end_margin=0.3 --out benchmarks/results/end_margin/restored-00-0.3.csv

RUN is a run folder with a checkpoint. One line for each episode that ends and each evaluation of the mean action, with
the real step, the mean return and, of an evaluation, its standard deviation over episodes, and the (mean) length.
"""

import argparse
import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from plainly import plainly

from mbpo.training.algorithms import ALGORITHMS
from mbpo.training.config import merge
from mbpo.training.run_folder import read_description


def changed(settings: list[str]) -> dict[str, Any]:
    """`a.b=1` as {"a": {"b": 1}}, each value as JSON."""
    found: dict[str, Any] = {}
    for setting in settings:
        path, value = setting.split("=", 1)
        *sections, name = path.split(".")
        inner = found
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[name] = json.loads(value)
    return found


def lines(records: list[dict[str, Any]], begun: int) -> Iterator[tuple[Any, ...]]:
    """Of what came after the first `begun` steps."""
    for record in (record for record in records if record["env_step"] > begun):
        step = record["env_step"]
        if "train_return" in record:
            yield step, "episode", round(record["train_return"], 1), "", record["train_length"]
        if "eval_return_mean" in record:
            yield (
                step,
                "evaluation",
                *(round(record[f"eval_{name}"], 1) for name in ("return_mean", "return_std", "length_mean")),
            )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--until", type=int, required=True, help="real steps in all")
    parser.add_argument("--every", type=int, default=1000, help="steps between evaluations")
    parser.add_argument("--set", dest="settings", nargs="*", default=[], metavar="SETTING=JSON")
    parser.add_argument("--out", type=Path, required=True)
    known = parser.parse_args()
    try:
        settings = {"eval_freq": known.every, **changed(known.settings)}
    except ValueError:
        parser.error(f"--set wants SETTING=JSON, as in mbpo_dh.model.end_margin=0.3, not {' '.join(known.settings)}")
    config = merge(read_description(known.run).config, settings, where="--set")
    algorithm = ALGORITHMS[config.algo].fork(known.run, config=config)
    begun = algorithm.env_step
    algorithm.learn(known.until - begun)
    algorithm.close()
    known.out.parent.mkdir(parents=True, exist_ok=True)
    with known.out.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("env_step", "kind", "return_mean", "return_std", "length_mean"))
        table.writerows(lines(algorithm.records, begun))
    return 0


if __name__ == "__main__":
    plainly(main)
