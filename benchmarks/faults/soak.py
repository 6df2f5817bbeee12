"""A million steps of a trivial environment: memory, time and disk over the run.

    python benchmarks/faults/soak.py --out benchmarks/results/faults/soak.csv

A point that its action pushes, in episodes of 50 steps; SAC that acts at random and never updates, so that
what is measured is everything else: the loop, the environment's watch, the replay buffer, records, checkpoints,
evaluations. A line for every 10 000 steps: processor time (of all threads, so that a busy machine does not
count), resident memory, open files, what lies in the folder, and what the last checkpoint wrote.
"""

import argparse
import csv
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from mbpo import SAC
from mbpo.training import checkpoint

EVERY = 10_000
COLUMNS = (
    "env_step",
    "cpu_us_per_step",
    "resident_mb",
    "open_files",
    "folder_mb",
    "records",
    "checkpoint_files",
    "checkpoint_kb",
)


class Point(gymnasium.Env[Any, Any]):
    """A point on a line that is pushed, and is best off in the middle."""

    observation_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.at, self.clock = float(self.np_random.uniform(-1, 1)), 0
        return np.float32([self.at]), {}

    def step(self, action: Any) -> Any:
        self.at, self.clock = min(max(self.at + 0.1 * float(action[0]), -1.0), 1.0), self.clock + 1
        return np.float32([self.at]), -abs(self.at), False, self.clock >= 50, {}


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as base, arguments.out.open("w", newline="") as file:
        folder = Path(base) / "run"
        agent = SAC(
            Point,
            seed=0,
            out=folder,
            random_steps=arguments.steps,
            replay_capacity=arguments.steps,
            eval_freq=50_000,
            eval_episodes=5,
            sac={"hidden_sizes": [8], "batch_size": 8},
        )
        written, put = [0], checkpoint.put

        def counted(path: Path, payload: bytes) -> None:
            if path.name.startswith("state-"):  # The first file of a checkpoint.
                written[0] = 0
            written[0] += len(payload)
            put(path, payload)

        checkpoint.put = counted
        rows = csv.DictWriter(file, COLUMNS)
        rows.writeheader()
        last = time.process_time()

        def look(run: Any) -> None:
            nonlocal last
            if run.env_step % EVERY:
                return
            now = time.process_time()
            files = [path for path in folder.rglob("*") if path.is_file()]
            rows.writerow(
                {
                    "env_step": run.env_step,
                    "cpu_us_per_step": round((now - last) / EVERY * 1e6, 1),
                    "resident_mb": round(resident_mb(), 1),
                    "open_files": len(list(Path("/proc/self/fd").iterdir())),
                    "folder_mb": round(sum(path.stat().st_size for path in files) / 2**20, 2),
                    "records": run.logbook.count,
                    "checkpoint_files": sum(path.parent.name == "checkpoint" for path in files),
                    "checkpoint_kb": round(written[0] / 1024, 1),
                }
            )
            file.flush()
            last = time.process_time()

        agent.learn(arguments.steps, progress=look)
        agent.close()


if __name__ == "__main__":
    main()
