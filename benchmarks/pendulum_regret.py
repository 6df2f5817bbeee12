"""How far each seed is from the optimum of the very episodes it was evaluated on.

    PYTHONPATH=tests python benchmarks/pendulum_regret.py benchmarks/results/pendulum

The mean return of 100 evaluation episodes depends on where they start (its standard error is 9),
and the exact dynamics tell how much: regret is the return minus that of the dynamic programme in
`tests/oracles.py` from the same starts. Writes `regret.csv` into the folder.
"""

import csv
import json
import statistics
import sys
from pathlib import Path

import gymnasium
import numpy as np
from oracles import pendulum_optimum_from

from mbpo.training.logbook import read_records
from mbpo.training.seeding import Stream, episode_seed


def starts(seed: int, env_step: int, episodes: int) -> np.ndarray:
    """(θ, θ̇) at the beginning of each evaluation episode, `[episodes, 2]`."""
    env = gymnasium.make("Pendulum-v1").unwrapped
    states = []
    for episode in range(episodes):
        env.reset(seed=episode_seed(seed, Stream.EVALUATION_EPISODE, env_step, episode))
        states.append(np.array(env.state))  # type: ignore[attr-defined]
    return np.stack(states)


def main(folder: Path) -> None:
    evaluations = []
    for run in sorted(folder.glob("seed-*")):
        seed = json.loads((run / "config.json").read_text())["config"]["seed"]
        for record in read_records(run):
            if "eval_return_mean" in record:
                evaluations.append((seed, record["env_step"], record["eval_return_mean"], record["eval_episodes"]))
    states = [starts(seed, env_step, episodes) for seed, env_step, _, episodes in evaluations]
    optimum = pendulum_optimum_from(*np.concatenate(states).T)
    means = [part.mean() for part in np.split(optimum, np.cumsum([len(s) for s in states])[:-1])]
    regrets: dict[int, list[float]] = {}
    optima: dict[int, list[float]] = {}
    for (_, env_step, found, _), best in zip(evaluations, means, strict=True):
        regrets.setdefault(env_step, []).append(float(best - found))
        optima.setdefault(env_step, []).append(float(best))
    with (folder / "regret.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["env_step", "seeds", "mean_optimum", "median_regret", "mean_regret", "worst_regret"])
        for env_step, values in sorted(regrets.items()):
            summary = (optima[env_step], statistics.fmean), (values, statistics.median), (values, statistics.fmean)
            numbers = [round(average(of), 2) for of, average in summary]
            writer.writerow([env_step, len(values), *numbers, round(max(values), 2)])
    print((folder / "regret.csv").read_text(), end="")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
