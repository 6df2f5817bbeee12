"""How much of the actor's gradient is signal: the gradients of many batches, at one moment of a run.

    python benchmarks/actor_noise.py RUN --out benchmarks/results/actor_noise/walker2d-0.csv

RUN is a run folder of double horizon. Actor, critics and model stay as they are where the run stopped; so many batches
of start states are drawn from those of its last long rollouts, with imagined steps of their own. One line for each
horizon and limit on a row (`--learner.row-limit`; empty for none):

- signal: the square of the length of the mean gradient by the actor's parameters, less what a mean of so few adds;
- noise: the sum over parameters of the variance between batches;
- cosine: between the mean gradient and that without a limit, from pairs of different batches. Chance can make it a
  little more than 1;
- one_batch: between the gradient of one batch and the mean without a limit of all others, the mean over batches. That
  mean has noise left in it, the same for all limits: the cosines with the true one are larger;
- steepest: without a limit, the share that the steepest twentieth of the rows has in the sum over rows of the squares
  of their gradients' lengths, each row alone.
"""

import os

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import argparse
import csv
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from plainly import plainly

from mbpo.agents.mbpo_dh import MBPODHAgent, MBPODHState, World, sources_of
from mbpo.agents.value_gradient import actor_loss
from mbpo.data.replay import draw_slots
from mbpo.training.algorithms import load

HORIZONS, LIMITS = (1, 3, 5), (None, 4.0, 2.0, 1.0, 0.5)
STEEPEST = 0.05
SINGLE_ROWS = 512

Gradient = Callable[[jax.Array, jax.Array], jax.Array]
"""Of the loss on start states, with draws from a key, by all of the actor's parameters in a row."""


def gradient(agent: MBPODHAgent, state: MBPODHState, horizon: int, limit: float | None) -> Gradient:
    """At the run's actor, critics, bounds and temperature, through its model."""
    world, learner, config = World(state.model.ensemble, state.termination), state.learner, agent.config.learner
    step, eyes, alpha = agent.model_step(world), agent.eyes(world.ensemble.inputs), jnp.exp(learner.params.log_alpha)

    def loss(actor, obs, key):
        return actor_loss(
            actor,
            learner.params.critics,
            learner.bounds,
            alpha,
            step,
            obs,
            key,
            horizon=horizon,
            gamma=config.gamma,
            eyes=eyes,
            judge_ends=config.judge_ends,
            row_limit=limit,
        )[0]

    return lambda obs, key: ravel_pytree(jax.grad(loss)(learner.params.actor, obs, key))[0]


def batches(agent: MBPODHAgent, state: MBPODHState, found: Gradient, count: int) -> np.ndarray:
    """The gradients of so many batches, [count, parameter]; the same batches for every `found`."""
    rows, size, _ = sources_of(state)

    @jax.jit
    def one(key):
        start_key, draws = jax.random.split(key)
        return found(rows[draw_slots(start_key, (agent.config.learner.batch_size,), size)], draws)

    return np.stack([np.asarray(one(key), np.float64) for key in jax.random.split(jax.random.key(7), count)])


def steepest(state: MBPODHState, found: Gradient) -> float:
    """The steepest rows' share of all squares."""
    rows, size, _ = sources_of(state)
    start_key, draws = jax.random.split(jax.random.key(8))
    obs = rows[draw_slots(start_key, (SINGLE_ROWS,), size)]
    squares = jax.jit(lambda one: jnp.sum(found(one[0][None], one[1]) ** 2))
    sizes = np.sort([float(squares(one)) for one in zip(obs, jax.random.split(draws, SINGLE_ROWS), strict=True)])
    return float(sizes[-round(STEEPEST * SINGLE_ROWS) :].sum() / sizes.sum())


def signal_and_noise(gradients: np.ndarray) -> tuple[float, float]:
    mean, noise = gradients.mean(axis=0), float(gradients.var(axis=0, ddof=1).sum())
    return float(mean @ mean) - noise / len(gradients), noise


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    """Between the means of two, without the pairs that share a batch."""
    count = len(one)
    together = float(one.sum(axis=0) @ other.sum(axis=0)) - float((one * other).sum())
    lengths = max(signal_and_noise(one)[0], 0.0) * max(signal_and_noise(other)[0], 0.0)
    return together / (count * (count - 1)) / float(np.sqrt(lengths)) if lengths else float("nan")


def one_batch(some: np.ndarray, plain: np.ndarray) -> float:
    """Mean cosine of a batch's gradient with the mean of the other batches' gradients without a limit."""
    others = plain.sum(axis=0) - plain
    return float(np.mean(np.sum(some * others, axis=1) / np.linalg.norm(some, axis=1) / np.linalg.norm(others, axis=1)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--batches", type=int, default=100)
    parser.add_argument("--out", type=Path, required=True)
    known = parser.parse_args()
    algorithm = load(known.run)
    agent, state = algorithm.learned
    if not isinstance(agent, MBPODHAgent):
        parser.error(f"{known.run} is a run of {algorithm.config.algo}; this is about mbpo-dh.")
    known.out.parent.mkdir(parents=True, exist_ok=True)
    with known.out.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("env_step", "horizon", "limit", "signal", "noise", "cosine", "one_batch", "steepest"))
        for horizon in HORIZONS:
            plain = np.empty(0)
            for limit in LIMITS:
                found = gradient(agent, state, horizon, limit)
                gradients = batches(agent, state, found, known.batches)
                plain = gradients if limit is None else plain
                signal, noise = signal_and_noise(gradients)
                near = 1.0 if limit is None else cosine(gradients, plain)
                tail = round(steepest(state, found), 3) if limit is None else ""
                numbers = (round(number, 4) for number in (signal, noise, near, one_batch(gradients, plain)))
                table.writerow((algorithm.env_step, horizon, "" if limit is None else limit, *numbers, tail))
                file.flush()


if __name__ == "__main__":
    plainly(main)
