"""What the world's frame costs a model: the same transitions of Ant fitted as they are, and in the torso's frame.

    python benchmarks/torso_frame.py RUN --out benchmarks/results/torso_frame.csv

RUN is a run of double horizon on Ant-v4 that has kept its replay buffer. Its transitions are fitted, refitted and
judged on the next ones as in `fit_budget.py`, with the fit of Ant's preset (and the noise of training). Errors are a
member's, over what comes next: of the torso's linear velocity after a step in m/s and of its angular velocity in rad/s
(the root of the mean square of their lengths, which no frame changes) and of the reward. Beside them how much these
velocities changed in that step, in the frame of the line.
"""

import argparse
import csv
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from fit_budget import VARIANTS, Refit, each_obs, predicted, refits
from jax import Array

from mbpo.envs.torso_frame import in_torso_frame

QUATERNION, ANT_VELOCITY = 1, 13
"""Where they begin in what Ant-v4 shows."""
FRAMES = {"world": ANT_VELOCITY, "torso": ANT_VELOCITY + 2}
"""Where the linear velocity begins; the angular one follows."""
COLUMNS = ("frame", "rows", "velocity_error", "angular_error", "reward_error", "velocity_change", "angular_change")


def in_torso_frames(obs: Array) -> Array:
    """`[row, obs]`, each as the torso has it."""
    return jnp.asarray(np.stack([in_torso_frame(row, QUATERNION, ANT_VELOCITY) for row in np.asarray(obs, np.float64)]))


def length(vectors: np.ndarray) -> float:
    """The root of the mean square of the lengths of `[..., 3]`."""
    return float(np.sqrt(np.mean(np.sum(np.square(vectors), axis=-1))))


def line(frame: str, found: Refit) -> dict[str, object]:
    first = FRAMES[frame]
    mean, _, y = predicted(found.state, found.coming)
    off = np.asarray((mean - y) * found.state.ensemble.targets.std)
    changed = np.asarray(found.coming.next_obs - found.coming.obs)
    errors = {
        "velocity_error": length(off[..., first : first + 3]),
        "angular_error": length(off[..., first + 3 : first + 6]),
        "reward_error": float(np.sqrt(np.mean(off[..., -1] ** 2))),
        "velocity_change": length(changed[:, first : first + 3]),
        "angular_change": length(changed[:, first + 3 : first + 6]),
    }
    return {"frame": frame, "rows": found.rows} | {name: round(value, 4) for name, value in errors.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--first", type=int, default=10_000, help="rows of the first fit")
    parser.add_argument("--every", type=int, default=2000, help="rows between fits")
    parser.add_argument("--last", type=int, default=12_000, help="rows of the last fit")
    parser.add_argument("--out", type=Path, required=True)
    known = parser.parse_args()
    sizes = range(known.first, known.last + 1, known.every)
    known.out.parent.mkdir(parents=True, exist_ok=True)
    with known.out.open("w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        for frame, seen in {"world": jnp.asarray, "torso": in_torso_frames}.items():
            for found in refits(known.run, VARIANTS["ant"], sizes, seen=each_obs(seen)):
                table.writerow(row := line(frame, found))
                file.flush()
                print(row, flush=True)


if __name__ == "__main__":
    main()
