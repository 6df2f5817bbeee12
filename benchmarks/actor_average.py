"""What an average of the actor would be worth: a finished run of double horizon goes on, and is evaluated both ways.

    python benchmarks/actor_average.py runs/benchmarks/ant_v4_torso_frame/seed-00 --steps 2500 --every 500 \
        --out benchmarks/results/actor_average/ant-00.csv

Training is the run's own and writes nothing to its folder. From the first update on, averages of the actor
with several rates (`learner.actor_average_rate`) are kept beside it; every so many steps the actor's mean
action and each average's are evaluated from the same starts, in episodes of their own.
"""

import argparse
import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from plainly import plainly

from mbpo.agents.mbpo_dh import MBPODHAgent, MBPODHState
from mbpo.agents.value_updates import ActorAverage
from mbpo.nn.normed_mlp import NormedMLP
from mbpo.training.algorithm import Algorithm
from mbpo.training.algorithms import load

RATES = (0.01, 0.003, 0.001, 0.0003)


class Averages:
    """The actor's average at each rate, renewed after every block of updates."""

    def __init__(self, actor: NormedMLP) -> None:
        self.at = {rate: jax.tree.map(lambda leaf: leaf.copy(), actor) for rate in RATES}
        update = MBPODHAgent._update

        def updated(agent: MBPODHAgent, state: MBPODHState, count: int, key: Any) -> tuple[MBPODHState, Any]:
            state, metrics = update(agent, state, count, key)
            for rate, average in self.at.items():
                # Of a block only the last actor is seen; it stands for all of them.
                share = 1 - (1 - rate) ** count
                self.at[rate] = jax.tree.map(lambda a, b, s=share: a + s * (b - a), average, state.learner.params.actor)
            return state, metrics

        MBPODHAgent._update = updated  # type: ignore[method-assign]


def evaluations(algorithm: Algorithm, averages: Averages, episodes: int) -> list[tuple[float, Any]]:
    """Of the actor (rate 1) and of each average, from the same starts."""
    run = algorithm._run
    trained = run.state
    found = []
    for rate, average in {1.0: None, **averages.at}.items():
        kept = average and ActorAverage(average, jnp.zeros((), jnp.int32))
        run.state = replace(trained, learner=replace(trained.learner, average=kept))
        found.append((rate, algorithm.evaluate(episodes)))
    run.state = trained
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, required=True, help="real steps to go on for")
    parser.add_argument("--every", type=int, required=True, help="steps between evaluations")
    parser.add_argument("--episodes", type=int, default=10)
    parser.add_argument("--out", type=Path, required=True)
    known = parser.parse_args()
    algorithm = load(known.run)
    averages = Averages(algorithm._run.state.learner.params.actor)
    known.out.parent.mkdir(parents=True, exist_ok=True)
    with known.out.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["env_step", "rate", "return_mean", "return_std", "length_mean"])
        for _ in range(0, known.steps, known.every):
            algorithm.learn(known.every)
            for rate, found in evaluations(algorithm, averages, known.episodes):
                row = [algorithm.env_step, rate, found.mean, found.std, found.lengths.mean()]
                table.writerow([*row[:2], *(round(float(number), 1) for number in row[2:])])
                print(*row, flush=True)
            file.flush()
    return 0


if __name__ == "__main__":
    plainly(main)
