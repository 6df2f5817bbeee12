"""What it brings a model to have clipped velocities told from positions (`mbpo/Walker2dRestoredObs-v4`).

    python benchmarks/restored_velocities.py RUN --out benchmarks/results/clipped_velocities/walker2d.csv

RUN is a run of double horizon on Walker2d-v4 or mbpo/Walker2dUnclippedObs-v4 that has kept its replay buffer. Its
transitions are fitted and judged on the next ones as in `fit_budget.py`, seen in two ways or three: as they are (where
the run saw more than ±10), clipped, and restored from clipped ones. Errors are as in `clipped_velocities.py`, of
changes of positions and the reward, which are the same in all; over all of the next rows, and over those where a
velocity of 10 or more came or went.
"""

import argparse
import csv
from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from clipped_velocities import CLIP, clipped, errors
from fit_budget import VARIANTS, refits

from mbpo.envs.restored_velocities import restored
from mbpo.training.run_folder import read_description
from mbpo.types import Transition

VELOCITIES = 9
"""Of Walker2d: of x, which is not shown, and of the 8 positions that are."""
SECONDS = 0.008
"""A step of Walker2d."""


def told_from_positions(data: Transition) -> Transition:
    """As the environment would have shown them, step by step; what begins an episode is shown clipped."""
    data = clipped(VELOCITIES)(data)
    obs, next_obs = np.array(data.obs), np.array(data.next_obs)
    count = VELOCITIES - 1
    goes_on = np.append(False, (obs[1:] == next_obs[:-1]).all(axis=1))
    for row in range(len(obs)):
        if goes_on[row]:
            obs[row] = next_obs[row - 1]
        moved, before = next_obs[row, :count] - obs[row, :count], obs[row, -count:]
        next_obs[row, -count:] = restored(next_obs[row, -count:], moved, before, SECONDS, CLIP)
    return data._replace(obs=jnp.asarray(obs), next_obs=jnp.asarray(next_obs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--first", type=int, default=10_000, help="rows of the first fit")
    parser.add_argument("--every", type=int, default=5000, help="rows between fits")
    parser.add_argument("--last", type=int, default=20_000, help="rows of the last fit")
    parser.add_argument("--out", type=Path, required=True)
    known = parser.parse_args()
    sizes = range(known.first, known.last + 1, known.every)
    ways: dict[str, Callable[[Transition], Transition]] = {
        "clipped": clipped(VELOCITIES),
        "restored": told_from_positions,
    }
    if "Unclipped" in read_description(known.run).config.env_id:
        ways = {"as they are": lambda data: data} | ways
    known.out.parent.mkdir(parents=True, exist_ok=True)
    with known.out.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["seen", "rows", "fast_share", "error", "fast_error"])
        fast: dict[int, np.ndarray] = {}
        for way, seen in ways.items():
            for found in refits(known.run, VARIANTS["dh"], sizes, seen=seen):
                speeds = np.abs([found.coming.obs, found.coming.next_obs])[..., -VELOCITIES:]
                rows = fast.setdefault(found.rows, (speeds >= CLIP).any(axis=(0, 2)))
                off = errors(found, VELOCITIES)
                both = [round(float(np.sqrt(np.mean(off[these] ** 2))), 5) for these in (np.ones_like(rows), rows)]
                line = [way, found.rows, round(float(rows.mean()), 4), *both]
                lines.writerow(line)
                file.flush()
                print(line, flush=True)


if __name__ == "__main__":
    main()
