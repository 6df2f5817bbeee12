"""How much of its time an ant stands, and how much it lies on its back.

    python benchmarks/upright.py runs/benchmarks/ant_v4_all_rows/seed-00 runs/... --out benchmarks/results/upright.csv

Each RUN is a run on Ant-v4 or mbpo/AntTorsoFrame-v4 that has kept its replay buffer. One line for each 5000 of its
real steps: the share with the torso within 37° of upright (the cosine of its tilt above 0.8), the share within 37° of
lying on the back, how many ended their episode by Ant's rule, how many of these
above 1 m, and the mean reward.
"""

import argparse
from pathlib import Path

import numpy as np
from plainly import plainly
from turned_over import uprightness, write_lines

from mbpo.training.algorithms import load

BLOCK = 5000
HIGHEST = 1.0
"""In m; above it an episode ends, by Ant's rule, as below 0.2."""
UP = 3
"""In the torso's frame, after the height: the third number of the world's z axis, the cosine of the tilt."""


def lines(run: Path) -> list[dict[str, object]]:
    source = load(run)
    real = source.learned[1].real
    size = int(real.size)
    obs = np.asarray(real.data.obs[:size])
    tilt = obs[:, UP] if "TorsoFrame" in source.config.env_id else uprightness(obs)
    height = np.asarray(real.data.next_obs[:size, 0])
    ended, reward = np.asarray(real.data.terminated[:size]), np.asarray(real.data.reward[:size])
    return [
        {
            "run": run.parent.name,
            "seed": run.name,
            "from_step": first,
            "steps": len(tilt[first : first + BLOCK]),
            "upright": round(float((tilt[first : first + BLOCK] > 0.8).mean()), 3),
            "on_its_back": round(float((tilt[first : first + BLOCK] < -0.8).mean()), 3),
            "ended": int(ended[first : first + BLOCK].sum()),
            "ended_high": int((ended & (height > HIGHEST))[first : first + BLOCK].sum()),
            "reward": round(float(reward[first : first + BLOCK].mean()), 3),
        }
        for first in range(0, size, BLOCK)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    known = parser.parse_args()
    write_lines([line for run in known.runs for line in lines(run)], known.out)


if __name__ == "__main__":
    plainly(main)
