"""How near velocities told from positions come to the true ones (`mbpo/Walker2dRestoredObs-v4`).

    python benchmarks/told_velocities.py RUN --out benchmarks/results/told_velocities.csv

RUN is a run of double horizon on that task. Its actor walks on, actions sampled as in training. Of each velocity that
is beyond what Walker2d shows: how far off is what one is shown, what the mean velocity of the last step says, and what
the trapezoidal rule does (`mbpo.envs.restored_velocities`)? One line for each way, in rad/s.
"""

import argparse
import csv
from pathlib import Path
from typing import NamedTuple

import gymnasium
import numpy as np

from mbpo.envs.mujoco_observations import CLIPPED_TO
from mbpo.envs.restored_velocities import restored
from mbpo.training.algorithms import MBPODH

ENV = "mbpo/Walker2dRestoredObs-v4"


class Step(NamedTuple):
    """Of the simulator: positions and velocities, without those of x, before and after."""

    positions: np.ndarray
    velocities: np.ndarray
    next_positions: np.ndarray
    next_velocities: np.ndarray
    begins: bool
    """The first of an episode."""


def walked(run: Path, steps: int) -> tuple[list[Step], float]:
    """Steps of the run's actor, and how long each is, in seconds."""
    agent = MBPODH.load(run)
    env = gymnasium.make(ENV)
    data = env.unwrapped.data  # type: ignore[attr-defined]
    found: list[Step] = []
    obs, _ = env.reset(seed=0)
    begins = True
    for _ in range(steps):
        before = data.qpos[1:].copy(), data.qvel[1:].copy()
        obs, _, terminated, truncated, _ = env.step(agent.predict(obs, deterministic=False)[0])
        found.append(Step(*before, data.qpos[1:].copy(), data.qvel[1:].copy(), begins))
        begins = terminated or truncated
        if begins:
            obs, _ = env.reset()
    return found, env.unwrapped.dt  # type: ignore[attr-defined]


def off(steps: list[Step], seconds: float) -> dict[str, np.ndarray]:
    """How far each way is off, one number for each velocity that was beyond the limit."""
    found: dict[str, list[np.ndarray]] = {"shown": [], "mean velocity": [], "trapezoidal rule": []}
    told = np.empty(0)
    for step in steps:
        shown = np.clip(step.next_velocities, -CLIPPED_TO, CLIPPED_TO)
        before = np.clip(step.velocities, -CLIPPED_TO, CLIPPED_TO) if step.begins else told
        moved = step.next_positions - step.positions
        told = restored(shown, moved, before, seconds, CLIPPED_TO)
        mean = restored(shown, moved, moved / seconds, seconds, CLIPPED_TO)
        hidden = np.abs(step.next_velocities) > CLIPPED_TO
        for way, seen in zip(found, (shown, mean, told), strict=True):
            found[way].append((seen - step.next_velocities)[hidden])
    return {way: np.concatenate(parts) for way, parts in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--out", type=Path, required=True)
    known = parser.parse_args()
    steps, seconds = walked(known.run, known.steps)
    with known.out.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["way", "hidden_share", "root_mean_square", "mean_absolute", "median_absolute"])
        for way, errors in off(steps, seconds).items():
            share = len(errors) / (len(steps) * len(steps[0].velocities))
            sizes = np.sqrt(np.mean(errors**2)), np.mean(np.abs(errors)), np.median(np.abs(errors))
            lines.writerow([way, *(round(float(number), 4) for number in (share, *sizes))])


if __name__ == "__main__":
    main()
