"""What critics and model say in the last steps before a policy falls.

    python benchmarks/before_falls.py RUN --out benchmarks/results/before_falls/NAME.csv

RUN is a run folder of double horizon. Its actor, actions sampled as in training, is followed through real episodes.
Of each that ends by a fall, some states before the end are looked at again, with the policy left as it is: what the
critics' mean says of the action taken; how many of so many branches of the model, in which the policy acts, are alive
when the real episode ended, and 40 steps after; and what the rest of the episode really paid, discounted. Soft values
have the entropy in them, the real rest has not. One line for each fall and number of steps before it, with the
first two numbers of the observation: height and angle of Walker2d and Hopper.
"""

import os

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import argparse
import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from plainly import plainly

from mbpo.agents.mbpo_dh import MBPODHAgent, MBPODHState, World
from mbpo.agents.value_gradient import q_values, sample_action
from mbpo.envs.make import EnvSource
from mbpo.training.algorithms import load

BEFORE = (60, 40, 30, 20, 15, 10, 5, 2)
BRANCHES, BEYOND = 256, 40
FIRST_SEED = 1000
"""Of the real episodes, so that they are none of training's or of an evaluation's."""


class Episode(NamedTuple):
    obs: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray


Judge = Callable[[jax.Array, jax.Array], jax.Array]
"""Of states, and a key or actions."""


def falls(algorithm, act, count: int) -> Iterator[Episode]:
    """So many episodes that ended by a fall."""
    env = EnvSource.of(algorithm.config.env_id, algorithm.config.env_kwargs).evaluation_env()
    seed, found = FIRST_SEED, 0
    while found < count:
        obs, _ = env.reset(seed=seed)
        seen, terminated, truncated = [], False, False
        while not (terminated or truncated):
            key = jax.random.fold_in(jax.random.key(seed), len(seen))
            action = np.asarray(act(jnp.asarray(obs[None], jnp.float32), key))[0]
            before = obs
            obs, reward, terminated, truncated, _ = env.step(action)
            seen.append((before, action, reward))
        seed += 1
        if terminated:
            found += 1
            yield Episode(*(np.asarray(part, np.float32) for part in zip(*seen, strict=True)))
    env.close()


def judges(agent: MBPODHAgent, state: MBPODHState) -> tuple[Judge, Judge, Judge]:
    """How the policy acts; which branches are alive after each step; what the critics say."""
    world, params, bounds = World(state.model.ensemble, state.termination), state.learner.params, state.learner.bounds
    step, eyes = agent.model_step(world), agent.eyes(world.ensemble.inputs)

    def act(obs, key):
        return sample_action(params.actor, obs, key, eyes)[0]

    def alive(obs, key):
        def one(carry, key):
            obs, living = carry
            act_key, step_key = jax.random.split(key)
            out = step(obs, act(obs, act_key), step_key)
            living &= ~out.terminated
            return (out.next_obs, living), living.mean()

        start = (jnp.repeat(obs, BRANCHES, axis=0), jnp.ones(BRANCHES, bool))
        return jax.lax.scan(one, start, jax.random.split(key, BEFORE[0] + BEYOND))[1]

    def value(obs, action):
        return q_values(params.critics, bounds, obs, action, eyes).mean()

    return jax.jit(act), jax.jit(alive), jax.jit(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--falls", type=int, default=10)
    parser.add_argument("--out", type=Path, required=True)
    known = parser.parse_args()
    algorithm = load(known.run)
    agent, state = algorithm.learned
    act, alive, value = judges(agent, state)
    gamma = agent.config.learner.gamma
    known.out.parent.mkdir(parents=True, exist_ok=True)
    with known.out.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(
            ("length", "before", "value", "alive_at_the_end", "alive_beyond", "real_rest", "height", "angle")
        )
        for number, episode in enumerate(falls(algorithm, act, known.falls)):
            length = len(episode.rewards)
            for before in (steps for steps in BEFORE if steps <= length):
                i = length - before
                obs, action = jnp.asarray(episode.obs[i : i + 1]), jnp.asarray(episode.actions[i : i + 1])
                share = np.asarray(alive(obs, jax.random.fold_in(jax.random.key(number), before)))
                rest = float(gamma ** np.arange(before) @ episode.rewards[i:])
                numbers = (float(value(obs, action)), share[before - 1], share[before + BEYOND - 1], rest)
                table.writerow((length, before, *(round(float(x), 3) for x in (*numbers, *episode.obs[i, :2]))))
            file.flush()


if __name__ == "__main__":
    plainly(main)
