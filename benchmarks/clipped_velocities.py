"""What clipped velocities cost a model: the same transitions fitted as they are, and with velocities clipped to ±10.

    python benchmarks/clipped_velocities.py RUN --velocities 6 --out benchmarks/results/clipped_velocities/hopper.csv

RUN is a run of double horizon on mbpo/HopperUnclippedObs-v4 (6 velocities) or mbpo/Walker2dUnclippedObs-v4 (9). Its
transitions are fitted and judged on the next ones as in `fit_budget.py`. Errors are of the outputs that are the same
in both cases, changes of positions and the reward: the root of the mean square over rows and outputs, in units of the
targets' spread; over all of the next rows, and over those where a velocity beyond 10 came or went.
"""

import argparse
import csv
from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from fit_budget import VARIANTS, Refit, each_obs, predicted, refits

from mbpo.types import Transition

CLIP = 10.0


def errors(found: Refit, velocities: int) -> np.ndarray:
    """`[row, position or reward]`: of the members' mean, in units of the targets' spread."""
    mean, _, y = predicted(found.state, found.coming)
    positions = found.coming.obs.shape[1] - velocities
    off = np.asarray(mean.mean(axis=0) - y)
    return np.concatenate([off[:, :positions], off[:, -1:]], axis=1)


def clipped(velocities: int) -> Callable[[Transition], Transition]:
    """`refits`' `seen` with so many entries, at the end of an observation, clipped."""
    return each_obs(lambda obs: obs.at[:, -velocities:].set(jnp.clip(obs[:, -velocities:], -CLIP, CLIP)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--velocities", type=int, required=True, help="how many entries of the observation, at its end")
    parser.add_argument("--first", type=int, default=10_000, help="rows of the first fit")
    parser.add_argument("--every", type=int, default=5000, help="rows between fits")
    parser.add_argument("--last", type=int, default=30_000, help="rows of the last fit")
    parser.add_argument("--out", type=Path, required=True)
    known = parser.parse_args()
    sizes = range(known.first, known.last + 1, known.every)

    seen = clipped(known.velocities)
    chains = (refits(known.run, VARIANTS["dh"], sizes), refits(known.run, VARIANTS["dh"], sizes, seen=seen))
    known.out.parent.mkdir(parents=True, exist_ok=True)
    with known.out.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["rows", "fast_share", "error", "error_clipped", "fast_error", "fast_error_clipped"])
        for found, hidden in zip(*chains, strict=True):
            speeds = np.abs([found.coming.obs, found.coming.next_obs])[..., -known.velocities :]
            fast = (speeds > CLIP).any(axis=(0, 2))
            line = [found.rows, round(float(fast.mean()), 4)]
            off = [errors(chain, known.velocities) for chain in (found, hidden)]
            for rows in (np.ones_like(fast), fast):
                line += [round(float(np.sqrt(np.mean(these[rows] ** 2))), 5) for these in off]
            lines.writerow(line)
            file.flush()
            print(line, flush=True)


if __name__ == "__main__":
    main()
