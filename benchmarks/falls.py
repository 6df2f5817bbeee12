"""How often the half cheetah falls over while it learns, what it does then, and what a model makes of it.

    python benchmarks/falls.py RUN --out benchmarks/results/falls/updates_at_refit-00.csv
    python benchmarks/falls.py RUN --fits --out benchmarks/results/falls/fits.csv

RUN is a run on HalfCheetah. The first command writes a line for each episode of 1000 steps: its return, the largest
pitch in turns, and how many steps it spent, with what reward in all, upright (cosine of the pitch above ½) as it
started, upright with a turn or more behind it, and overturned (below −½). The second fits the run's transitions as in
`fit_budget.py`, with the pitch as a number and as an angle (`--angles 1`), and judges the models on the next 1000 rows
of each kind. Errors are the mean over rows of the root of the mean square over outputs, in units of the targets'
spread; empty where there are fewer than ten rows.
"""

import argparse
import csv
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from fit_budget import VARIANTS, Refit, predicted, refits
from plainly import plainly

from mbpo.training.algorithms import load

PITCH, EPISODE = 1, 1000


def episodes(run: Path) -> list[dict[str, object]]:
    """A line for each whole episode in the replay buffer."""
    _, learned = load(run).learned
    count = int(learned.real.size) // EPISODE
    pitch, reward = (
        np.asarray(column[: count * EPISODE]).reshape(count, EPISODE)
        for column in (learned.real.data.obs[:, PITCH], learned.real.data.reward)
    )
    lines = []
    for i in range(count):
        turns = float(np.abs(pitch[i]).max() / (2 * np.pi))
        line: dict[str, object] = {"episode": i, "return": round(float(reward[i].sum()), 1), "turns": round(turns, 2)}
        for kind, chosen in kinds(pitch[i]).items():
            line |= {f"{kind}_steps": int(chosen.sum()), f"{kind}_reward": round(float(reward[i][chosen].sum()), 1)}
        lines.append(line)
    return lines


def kinds(pitch: np.ndarray) -> dict[str, np.ndarray]:
    """Which rows are of which kind; those in between are of none."""
    upright, first = np.cos(pitch) > 0.5, np.abs(pitch) < np.pi
    return {"upright": upright & first, "turned": upright & ~first, "overturned": np.cos(pitch) < -0.5}


def errors(found: Refit) -> dict[str, float | str]:
    """On the next rows of each kind, and on all."""
    mean, _, y = predicted(found.state, found.coming)
    error = np.asarray(jnp.sqrt(jnp.mean((mean.mean(axis=0) - y) ** 2, axis=-1)))
    pitch = np.asarray(found.coming.obs[:, PITCH])
    chosen = kinds(pitch) | {"all": np.ones_like(pitch, bool)}
    return {kind: round(float(error[rows].mean()), 4) if rows.sum() >= 10 else "" for kind, rows in chosen.items()}


def fits(run: Path, sizes: range) -> list[dict[str, object]]:
    """A line for each fit, both ways."""
    lines = []
    for seen, angles in (("number", ()), ("angle", (PITCH,))):
        for found in refits(run, VARIANTS["dh"], sizes, angles=angles):
            held_out = round(float(found.metrics["model_holdout_error"]), 4)
            lines.append({"pitch": seen, "rows": found.rows, "holdout_error": held_out, **errors(found)})
            print(lines[-1], flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--fits", action="store_true", help="fit models instead of listing episodes")
    parser.add_argument("--first", type=int, default=44_000, help="rows of the first fit")
    parser.add_argument("--last", type=int, default=49_000, help="rows of the last fit")
    parser.add_argument("--out", type=Path, required=True)
    known = parser.parse_args()
    lines = fits(known.run, range(known.first, known.last + 1, EPISODE)) if known.fits else episodes(known.run)
    known.out.parent.mkdir(parents=True, exist_ok=True)
    with known.out.open("w", newline="") as file:
        table = csv.DictWriter(file, lines[0])
        table.writeheader()
        table.writerows(lines)


if __name__ == "__main__":
    plainly(main)
