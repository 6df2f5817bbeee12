"""Commit what came of runs that `seeds.py` did not train: several at once on a GPU, or brought from another machine.

    python benchmarks/collect.py runs/gpu/hopper --command "mbpo train Hopper-v4 --seed \\$seed ..." \\
        --machine "one NVIDIA H100, 13 runs at once" --cores 16 --out benchmarks/results/hopper_on_a_gpu

The folder holds a run folder for each seed, `seed-00` and on; of each, its records and its `config.json` are
enough. Runs that were stopped before their last step are collected as far as they went.
"""

import argparse
import json
import sys
from pathlib import Path

from seeds import of_other_settings, settings, write_results

from mbpo.training.run_folder import read_description


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--command", required=True, help="what was typed, with $seed for the seed")
    parser.add_argument("--machine", required=True, help="what it ran on, and what else ran there")
    parser.add_argument("--cores", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    known = parser.parse_args()
    paths = [path for path in sorted(known.folder.glob("seed-*")) if path.is_dir()]
    folders = {read_description(path).config.seed: path for path in paths}
    if not folders:
        print(f"{known.folder} holds no folder named seed-00 or the like.")
        return 1
    if other := of_other_settings(folders, known.out):
        print(f"{other} is of other settings than {paths[0]}.")
        return 1
    told = [json.loads((folder / "config.json").read_text()) for folder in paths]
    first = told[0]
    same_device = all((one["versions"], one.get("device")) == (first["versions"], first.get("device")) for one in told)
    if not same_device or any(settings(path) != settings(paths[0]) for path in paths):
        print("These runs are not all of the same settings, versions and device.")
        return 1
    about = {
        "command": known.command,
        "seeds": list(folders),
        "commit": ", ".join(dict.fromkeys(str(one.get("commit")) for one in told)),
        "versions": first["versions"],
        "device": {**(first.get("device") or {}), "machine": known.machine},
        "cores": known.cores,
        "failed_seeds": {},
    }
    for row in write_results(folders, known.out, about):
        print("  ".join(f"{name} {value}" for name, value in row.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
