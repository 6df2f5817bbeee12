"""How far a model's branches spread, and how far they should: real episodes followed in imagination.

    python benchmarks/forecasts.py RUN --first 13000 --last 15000 --out benchmarks/results/forecasts/ant.csv

RUN is a run folder with a replay buffer. As in fit_budget.py its transitions are replayed in the order in which they
came, and models of the kinds below are fitted to the first of them and refitted as more arrive. After each refit (the
first fit knows of no rows that came since) each follows the transitions that came next: from every few of their states,
the actions really taken, with so many branches. One line for each kind, refit and number of steps: the error, the root
of the mean square over states and numbers of the observation of what really came less the branches' mean (without what
a mean of so few adds); and the spread, that of their standard deviation; both in units of each number's standard
deviation over the transitions that were replayed. A model that knows what it cannot tell spreads as far as it errs.
"""

import os

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import argparse
import csv
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from fit_budget import VARIANTS, Refit, refits
from plainly import plainly

from mbpo.model.differentiable import as_differentiable_step
from mbpo.model.termination import never

KINDS = ("dh", "unseen", "ant", "ant-unseen")
"""Of fit_budget.py: as it is and as the preset of Ant has it, each with the noise that training finds and the other."""
BRANCHES, EVERY, SHOWN = 16, 4, (1, 2, 5, 10, 20)


def starts(rows: Refit) -> np.ndarray:
    """Every few of the coming states from which the longest branch stays within an episode."""
    coming = rows.coming
    follows = np.all(np.asarray(coming.obs[1:]) == np.asarray(coming.next_obs[:-1]), axis=-1)
    longest = SHOWN[-1]
    within = [bool(follows[i : i + longest - 1].all()) for i in range(len(follows) - longest + 2)]
    return np.flatnonzero(within)[::EVERY]


def followed(fit: Refit) -> Iterator[tuple[int, int, float, float]]:
    """(steps, start states, error, spread)."""
    scale = np.asarray(fit.spread)
    step, begun = jax.jit(as_differentiable_step(fit.state.ensemble, never)), starts(fit)
    obs = jnp.repeat(fit.coming.obs[begun], BRANCHES, axis=0)
    for t, key in enumerate(jax.random.split(jax.random.key(5), SHOWN[-1])):
        obs = step(obs, jnp.repeat(fit.coming.action[begun + t], BRANCHES, axis=0), key).next_obs
        if t + 1 in SHOWN:
            branches = np.asarray(obs).reshape(len(begun), BRANCHES, -1) / scale
            error = branches.mean(axis=1) - np.asarray(fit.coming.next_obs)[begun + t] / scale
            spread = branches.std(axis=1, ddof=1)
            variance = np.mean(spread**2)
            yield t + 1, len(begun), float(np.sqrt(np.mean(error**2) - variance / BRANCHES)), float(np.sqrt(variance))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--kinds", choices=VARIANTS, nargs="+", default=KINDS)
    parser.add_argument("--first", type=int, default=13_000, help="rows of the first fit")
    parser.add_argument("--every", type=int, default=1000, help="rows between fits")
    parser.add_argument("--last", type=int, default=15_000, help="rows of the last fit")
    parser.add_argument("--out", type=Path, required=True)
    known = parser.parse_args()
    known.out.parent.mkdir(parents=True, exist_ok=True)
    sizes = range(known.first, known.last + 1, known.every)
    with known.out.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("kind", "rows", "steps", "states", "error", "spread"))
        for kind in known.kinds:
            for fit in islice(refits(known.run, VARIANTS[kind], sizes), 1, None):
                for steps, states, error, spread in followed(fit):
                    line = (kind, fit.rows, steps, states, round(error, 4), round(spread, 4))
                    table.writerow(line)
                    file.flush()
                    print(*line, flush=True)


if __name__ == "__main__":
    plainly(main)
