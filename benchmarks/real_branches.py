"""Whether branches of the model end as often, and pay as much, as branches of the real simulator.

    python benchmarks/real_branches.py RUN --out benchmarks/results/real_branches/NAME.csv

RUN is a run folder of double horizon on a task of MuJoCo. Its actor, actions sampled as in training, is followed
through real episodes, and some of the states that it visits are drawn at random. From each of these, branches of
80 steps are followed with the same actor: in the simulator, set back to that state, and in models. These are the run's
own; that refitted to the run's rows once more; one fitted to the same rows from the start on, which this actor has
not learned from; and the first refit again with other noise: `unseen_noise`, and of its two errors that on held-out
rows alone. One line for each model and number of steps: the share of branches alive, really and in the model; the
correlation of the two over start states; and the mean reward of the steps taken so far.
"""

import os

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import argparse
import csv
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from plainly import plainly

from mbpo.agents.mbpo_dh import MBPODHAgent, MBPODHState, World
from mbpo.agents.value_gradient import sample_action
from mbpo.envs.make import EnvSource
from mbpo.model.ensemble import Ensemble
from mbpo.model.unseen_noise import with_unseen_noise
from mbpo.training.algorithms import load

STATES, BRANCHES, STEPS = 64, 32, 80
AFTER = (5, 10, 20, 40, 80)
VISITED = 6000
"""Real steps, at least, that the start states are drawn from."""
FIRST_SEED = 1000
"""Of the real episodes, so that they are none of training's or of an evaluation's."""

Act = Callable[[jax.Array, jax.Array], jax.Array]


class Starts(NamedTuple):
    """Where branches begin: each state as many times as it has branches."""

    obs: np.ndarray
    positions: np.ndarray
    velocities: np.ndarray
    remembered: list[Any]
    """What an environment that restores velocities has told before; None of others."""


class Branches(NamedTuple):
    """What became of them, `[step, branch]`."""

    alive: np.ndarray
    """Whether nothing had ended after the step."""
    rewards: np.ndarray
    """0 once it had."""


def visited_states(env, act: Act) -> Starts:
    """Some of the states on the actor's way."""
    body = env.unwrapped
    found, seed = [], FIRST_SEED
    while len(found) < VISITED:
        obs, _ = env.reset(seed=seed)
        over, step = False, 0
        while not over:
            found.append((obs.astype(np.float32), body.data.qpos.copy(), body.data.qvel.copy(), remembered(body)))
            key = jax.random.fold_in(jax.random.key(seed), step)
            obs, _, terminated, truncated, _ = env.step(np.asarray(act(jnp.asarray(found[-1][0][None]), key))[0])
            over, step = terminated or truncated, step + 1
        seed += 1
    drawn = np.random.default_rng(0).choice(len(found), STATES, replace=False)
    arrays = (np.repeat(np.stack([found[i][part] for i in drawn]), BRANCHES, axis=0) for part in range(3))
    return Starts(*arrays, [found[i][3] for i in drawn for _ in range(BRANCHES)])


def remembered(body) -> Any:
    """What an environment that tells velocities needs of the step before; None of others."""
    return getattr(body, "_before", None)


def set_back(body, positions: np.ndarray, velocities: np.ndarray, before: Any) -> None:
    """To a state, and to what the environment had seen on its way there."""
    body.set_state(positions, velocities)
    if before is not None:
        body._before = before


def real_branches(env, act: Act, starts: Starts) -> Branches:
    """In the simulator, set to each branch's state before each of its steps."""
    body = env.unwrapped
    env.reset(seed=0)
    obs, positions, velocities, before = (part.copy() for part in starts)
    living = np.ones(len(obs), bool)
    alive, rewards = np.zeros((STEPS, len(obs)), bool), np.zeros((STEPS, len(obs)))
    for step in range(STEPS):
        actions = np.asarray(act(jnp.asarray(obs), jax.random.fold_in(jax.random.key(2), step)))
        for i in np.flatnonzero(living):
            set_back(body, positions[i], velocities[i], before[i])
            obs[i], rewards[step, i], terminated, _, _ = body.step(actions[i])
            positions[i], velocities[i], living[i] = body.data.qpos, body.data.qvel, not terminated
            before[i] = remembered(body)
        alive[step] = living
    return Branches(alive, rewards)


def model_branches(agent: MBPODHAgent, world: World, act: Act, starts: Starts) -> Branches:
    """In the model."""
    step = agent.model_step(world)

    def one(carry, key):
        obs, living = carry
        act_key, step_key = jax.random.split(key)
        out = step(obs, act(obs, act_key), step_key)
        survives = living & ~out.terminated
        return (out.next_obs, survives), (survives, jnp.where(living, out.reward, 0.0))

    begin = (jnp.asarray(starts.obs), jnp.ones(len(starts.obs), bool))
    _, (alive, rewards) = jax.jit(lambda: jax.lax.scan(one, begin, jax.random.split(jax.random.key(1), STEPS)))()
    return Branches(np.asarray(alive), np.asarray(rewards))


def models(agent: MBPODHAgent, state: MBPODHState) -> Iterator[tuple[str, World]]:
    """The run's own, and others of the same rows."""
    yield "its own", World(state.model.ensemble, state.termination)
    fresh = agent.init(jax.random.key(5)).model
    noisy = replace(agent.config, model=replace(agent.config.model, unseen_noise=True))
    other = MBPODHAgent(agent.spec, noisy, agent.termination_fn, jax.random.key(0), agent.reward_fn)
    other.split = agent.split
    for name, fitter, begin in (
        ("refitted", agent, state.model),
        ("fitted afresh", agent, fresh),
        ("refitted, unseen noise", other, state.model),
    ):
        owned = jax.tree.map(jnp.copy, (begin, state.termination))  # A fit takes over the buffers that it is given.
        ensemble, termination, _ = fitter._fit(*owned, state.real, agent.split, jax.random.key(11))
        yield name, World(ensemble.ensemble, termination)
    yield "refitted, noise of held-out rows", World(held_out_noise(agent, state), state.termination)


def held_out_noise(agent: MBPODHAgent, state: MBPODHState) -> Ensemble:
    """The run's model refitted as above, with the error on held-out rows as its noise."""
    before, termination = jax.tree.map(jnp.copy, (state.model, state.termination))
    fitted, _, _ = agent._fit(before, termination, state.real, agent.split, jax.random.key(11))
    rows = min(agent.config.model.max_holdout, agent.split.holdout_slots.shape[0])
    return with_unseen_noise(state.model, fitted, state.real, agent.split, newest=0, max_holdout=rows)[0].ensemble


def compared(real: Branches, model: Branches) -> Iterator[tuple[float, ...]]:
    """One line for each number of steps."""
    for after in AFTER:
        shares = [branches.alive[after - 1].reshape(STATES, BRANCHES).mean(axis=1) for branches in (real, model)]
        with np.errstate(invalid="ignore"):  # nan where no branch has ended yet.
            together = np.corrcoef(*shares)[0, 1]
        taken = [len(b.alive[0]) + b.alive[: after - 1].sum() for b in (real, model)]
        pay = [b.rewards[:after].sum() / count for b, count in zip((real, model), taken, strict=True)]
        yield (after, *(round(float(x), 3) for x in (*(s.mean() for s in shares), together, *pay)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    known = parser.parse_args()
    algorithm = load(known.run)
    agent, state = algorithm.learned
    actor, eyes = state.learner.params.actor, agent.eyes(state.model.ensemble.inputs)
    act = jax.jit(lambda obs, key: sample_action(actor, obs, key, eyes)[0])
    env = EnvSource.of(algorithm.config.env_id, algorithm.config.env_kwargs).evaluation_env()
    starts = visited_states(env, act)
    real = real_branches(env, act, starts)
    env.close()
    known.out.parent.mkdir(parents=True, exist_ok=True)
    with known.out.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("model", "after", "alive_real", "alive_model", "correlation", "reward_real", "reward_model"))
        for name, world in models(agent, state):
            table.writerows((name, *line) for line in compared(real, model_branches(agent, world, act, starts)))
            file.flush()


if __name__ == "__main__":
    plainly(main)
