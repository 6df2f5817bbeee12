"""Imagined updates a second of `DynaQAgent`, one environment step after the other, as a run takes them.

    python benchmarks/tabular_speed.py --out benchmarks/results/tabular_speed.csv

The table is filled from random steps first. For each size of table and each n, `improve` is called
`STEPS` times, `REPEATS` times over, and the fastest is kept, since other work on the machine only ever
slows it. If a draw took longer in a larger table, updates a second would fall with the table's size.
"""

import argparse
import csv
import time
from pathlib import Path

import jax
import numpy as np

from mbpo.agents.dyna_q import DynaQAgent, DynaQConfig
from mbpo.types import TabularSpec, Transition

ACTIONS = 4
STEPS, REPEATS = 20, 5


def transition(rng: np.random.Generator, states: int) -> Transition:
    state, action, next_state = rng.integers(states), rng.integers(ACTIONS), rng.integers(states)
    number = [np.float32([value]) for value in (state, action, next_state)]
    return Transition(number[0], number[1], np.float32(rng.normal()), number[2], np.bool_(rng.uniform() < 0.01))


def updates_per_second(states: int, planning_steps: int) -> float:
    agent = DynaQAgent(TabularSpec(states, ACTIONS), DynaQConfig(planning_steps=planning_steps))
    filler = DynaQAgent(agent.spec, DynaQConfig(planning_steps=0))
    rng, key, state = np.random.default_rng(0), jax.random.key(0), filler.init(jax.random.key(0))
    for step in range(2000):
        state, _ = filler.improve(state, transition(rng, states), step, key)
    state, _ = agent.improve(state, transition(rng, states), 0, key)  # Compiles.
    rows, best = [transition(rng, states) for _ in range(STEPS)], np.inf
    for _ in range(REPEATS):
        begun = time.perf_counter()
        for step, row in enumerate(rows):
            state, _ = agent.improve(state, row, step, jax.random.fold_in(key, step))
        jax.block_until_ready(state)
        best = min(best, time.perf_counter() - begun)
    return STEPS * planning_steps / best


def main(out: Path) -> None:
    with out.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["states", "actions", "planning_steps", "updates_per_second"])
        for states in (54, 500, 10_000):
            for planning_steps in (50, 1000, 10_000):
                rate = updates_per_second(states, planning_steps)
                writer.writerow([states, ACTIONS, planning_steps, round(rate)])
                print(f"{states} states, n = {planning_steps}: {rate:,.0f} updates a second", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the table to write")
    main(parser.parse_args().out)
