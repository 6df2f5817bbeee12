"""What the authors of double horizon measured of its variants: their files, seed by seed, as one table.

    git clone https://github.com/4kubo/erl_lib      # read at its commit 024b0b5
    python benchmarks/published_variants.py erl_lib --out benchmarks/results/published

`variants.csv` has the columns that `mbpo curves --reference` reads: mean and standard deviation over seeds of each
variant, up to 120,000 real steps. `seeds.csv` has the evaluations of the method itself, seed by seed.
"""

import argparse
import csv
import statistics
from pathlib import Path

TASKS = ("Hopper", "HalfCheetah", "Walker2d", "Ant", "Humanoid")
ITSELF = "main/gym/esvg"
VARIANTS = {
    ITSELF: "DHMBPO",
    "ablation/no_ln": "DHMBPO no LayerNorm",
    "ablation/no_drop": "DHMBPO no dropout",
    "ablation/ReLU": "DHMBPO ReLU",
    "t_roll_len/1": "DHMBPO H=1",
    "t_roll_len/3": "DHMBPO H=3",
    "t_roll_len/7": "DHMBPO H=7",
    "t_roll_len/9": "DHMBPO H=9",
    "ablation/no-roll": "DHMBPO no long rollouts",
    "roll/no-t-roll": "DHMBPO no gradient rollouts utd 10",
    "d_roll_len/10": "DHMBPO long rollouts 10",
    "d_roll_len/40": "DHMBPO long rollouts 40",
    "utd/2": "DHMBPO utd 2",
    "utd/4": "DHMBPO utd 4",
    "utd/8": "DHMBPO utd 8",
}
LAST = 120_000
"""Real steps."""
SOURCE = "4kubo/erl_lib:results"

Returns = dict[int, dict[int, float]]
"""By real step and seed."""


def read(path: Path) -> Returns:
    """The returns of one file."""
    found: Returns = {}
    with path.open() as file:
        for row in csv.DictReader(file):
            found.setdefault(int(float(row["step"])), {})[int(float(row["seed"]))] = float(row["reward"])
    return {step: seeds for step, seeds in sorted(found.items()) if 0 < step <= LAST}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clone", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    known = parser.parse_args()
    known.out.mkdir(parents=True, exist_ok=True)
    found = {
        (folder, task): read(known.clone / "results" / folder / f"{task}.csv") for folder in VARIANTS for task in TASKS
    }
    with (known.out / "variants.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("method", "env", "step", "mean", "std", "n_seeds", "source"))
        for (folder, task), steps in found.items():
            for step, seeds in steps.items():
                numbers = (round(statistics.fmean(seeds.values())), round(statistics.stdev(seeds.values())), len(seeds))
                table.writerow((VARIANTS[folder], task, step, *numbers, f"{SOURCE}/{folder}"))
    with (known.out / "seeds.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("env", "seed", "step", "return"))
        for task in TASKS:
            for step, seeds in found[ITSELF, task].items():
                table.writerows((task, seed, step, round(paid, 1)) for seed, paid in sorted(seeds.items()))


if __name__ == "__main__":
    main()
