"""Hold the return bounds against worlds where every term is known exactly.

    PYTHONPATH=tests python benchmarks/theory.py --worlds 20000 --out benchmarks/results/theory

For each random world and several k: the true return η, the imagined ones, the errors, and each bound's
penalty. A bound is violated if |η − imagined| exceeds its penalty; its ratio is the share of the penalty
that was really lost. `bounds.csv` has, for each bound, worlds tried, violations, and the largest and the
median ratio. `made.csv` has the ratios in worlds made for it: slippery ones, which nearly reach the bounds,
and one that the data policy does not see, where "4.3 with ε_m", theorem 4.3 with the error measured on the
data in place of ε_m′, as is often done, is violated.
"""

import argparse
import csv
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
from tabular_worlds import (
    World,
    branched_return,
    data_error,
    imagined_return,
    on_policy_error,
    policy_shift,
    random_world,
    slippery_world,
    true_return,
    unseen_world,
)

from mbpo.theory import (
    branched_penalty,
    full_rollout_penalty,
    on_policy_branched_penalty,
    sharp_branched_penalty,
)
from mbpo.training.run_folder import commit, versions

LENGTHS = (0, 1, 2, 5, 20, 100)
ROUNDING = 1e-7
MADE = {
    "the model errs (1e-4)": slippery_world(1e-4, 0.0, 0.99),
    "the policy shifts (1e-4)": slippery_world(0.0, 1e-4, 0.99),
    "both (1e-4)": slippery_world(1e-4, 1e-4, 0.99),
    "both (1e-2)": slippery_world(1e-2, 1e-2, 0.9),
    "unseen by the data policy (shift 0.01)": unseen_world(0.01, 0.9),
}


def penalties(world: World) -> dict[tuple[str, int], tuple[float, float]]:
    """(bound, k) -> (what was really lost, either way; what the bound allows)."""
    gamma, r_max, shift = world.gamma, world.r_max, policy_shift(world)
    error, own_error, eta = data_error(world), on_policy_error(world), true_return(world)
    found = {
        ("4.1", -1): (abs(imagined_return(world) - eta), full_rollout_penalty(gamma, r_max, error, shift)),
    }
    for k in LENGTHS:
        lost = abs(branched_return(world, k) - eta)
        found["4.2", k] = (lost, branched_penalty(gamma, r_max, error, shift, k))
        found["4.3", k] = (lost, on_policy_branched_penalty(gamma, r_max, own_error, shift, k))
        if k:
            found["sharp", k] = (lost, sharp_branched_penalty(gamma, r_max, own_error, shift, k))
        found["4.3 with ε_m", k] = (lost, on_policy_branched_penalty(gamma, r_max, error, shift, k))
    return {name: (float(lost), float(allowed)) for name, (lost, allowed) in found.items()}


def main(worlds: int, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    ratios: dict[tuple[str, int], list[float]] = defaultdict(list)
    for seed in range(worlds):
        for name, (lost, allowed) in penalties(random_world(np.random.default_rng(seed))).items():
            # A difference within rounding is none.
            ratios[name].append(0.0 if lost <= ROUNDING else lost / max(allowed, ROUNDING))
    with (out / "bounds.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["bound", "k", "worlds", "violations", "largest_ratio", "median_ratio"])
        for (bound, k), values in sorted(ratios.items()):
            largest, median = max(values), np.median(values)
            violations = sum(value > 1 + 1e-6 for value in values)
            writer.writerow([bound, "" if k < 0 else k, len(values), violations, f"{largest:.4g}", f"{median:.4g}"])
    with (out / "made.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["world", "gamma", "bound", "k", "lost", "allowed"])
        for label, world in MADE.items():
            for (bound, k), (lost, allowed) in sorted(penalties(world).items()):
                writer.writerow([label, world.gamma, bound, "" if k < 0 else k, f"{lost:.6g}", f"{allowed:.6g}"])
    command = f"PYTHONPATH=tests python benchmarks/theory.py --worlds {worlds} --out {out}"
    about = {"command": command, "commit": commit(), "versions": versions()}
    (out / "run.json").write_text(json.dumps(about, indent=2) + "\n")
    print((out / "bounds.csv").read_text(), (out / "made.csv").read_text(), sep="\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=20_000)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    main(arguments.worlds, arguments.out)
