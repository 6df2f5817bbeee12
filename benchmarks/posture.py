"""How near to the end a run walks: heights and angles of its body in real steps, and how it fell.

    python benchmarks/posture.py runs/benchmarks/walker2d_v4_mbpo_dh/seed-0? --out benchmarks/results/posture/v4.csv

Each RUN is a run folder of Walker2d with a replay buffer; an episode ends where the height leaves (0.8, 2) or the
torso's angle (-1, 1). One line for each run and block of real steps: of all of its steps, the 5 % quantile, median and
95 % quantile of height and angle (negative: leaning backward); and how many of its episodes ended low, high, backward,
and forward, first come first counted. The buffer has to hold the whole run.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
from plainly import plainly

from mbpo.training.algorithms import load

FIRST = 10_000
QUANTILES = (0.05, 0.5, 0.95)
ENDS = ("low", "high", "backward", "forward")


def ends(height: np.ndarray, angle: np.ndarray) -> tuple[int, ...]:
    """How many are beyond each limit, each counted once."""
    beyond = np.stack([height <= 0.8, height >= 2.0, angle <= -1.0, angle >= 1.0])
    first = beyond & (np.cumsum(beyond, axis=0) == 1)
    return tuple(int(count) for count in first.sum(axis=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--block", type=int, default=5000, help="real steps of a line")
    parser.add_argument("--out", type=Path, required=True)
    known = parser.parse_args()
    known.out.parent.mkdir(parents=True, exist_ok=True)
    with known.out.open("w", newline="") as file:
        table = csv.writer(file)
        spread = [f"{name}_{round(100 * q)}" for name in ("height", "angle") for q in QUANTILES]
        table.writerow(("env_id", "seed", "from_step", "to_step", *spread, *(f"ended_{end}" for end in ENDS)))
        for run in known.runs:
            algorithm = load(run)
            real = algorithm.learned[1].real
            size = int(real.size)
            after, ended = np.asarray(real.data.next_obs[:size]), np.asarray(real.data.terminated[:size], bool)
            for begin in range(FIRST, size, known.block):
                rows = slice(begin, min(begin + known.block, size))
                height, angle, over = after[rows, 0], after[rows, 1], ended[rows]
                numbers = [round(float(np.quantile(x, q)), 3) for x in (height, angle) for q in QUANTILES]
                config = algorithm.config
                fallen = ends(height[over], angle[over])
                table.writerow((config.env_id, config.seed, begin, rows.stop, *numbers, *fallen))
            algorithm.close()


if __name__ == "__main__":
    plainly(main)
