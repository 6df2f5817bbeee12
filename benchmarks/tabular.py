"""Dyna-Q, Dyna-Q+ and prioritized sweeping on the examples of Sutton & Barto (2018), chapter 8.

    python benchmarks/tabular.py --out benchmarks/results/tabular

Writes a CSV for each experiment, `summary.csv` with what was aimed at beside what was found, and
`mazes.png`, after figures 8.2, 8.4 and 8.5 of the book. The environments are deterministic, so
their transitions are read off the Gymnasium objects into arrays, and a whole run (environment,
`DynaQAgent`'s own functions and all) is one compiled loop; seeds run one after the other.
"""

import argparse
import csv
import json
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from matplotlib.figure import Figure

from mbpo.agents.dyna_q import DynaQAgent, DynaQConfig
from mbpo.envs.mazes import BLOCKING, DYNA, SHORTCUT, Layout, successors
from mbpo.training.run_folder import commit, versions
from mbpo.types import TabularSpec, Transition

LONGEST_GREEDY = 100
"""Steps after which a greedy walk counts as lost."""


class World(NamedTuple):
    """A deterministic environment as arrays; the first axis is before and after its change."""

    next_state: Array
    """`[2, state, act]`"""
    reward: Array
    terminated: Array
    start: int
    change_step: int


class Run(NamedTuple):
    """What one run recorded."""

    lengths: Array
    """Steps of each episode, `[episodes]`; the last may be unfinished, those not begun have 0."""
    rewards: Array
    """Cumulative reward after each step, `[steps]`."""
    updates_to_optimal: Array
    """Updates of Q until the greedy way had the optimal length, which ends the run; or -1."""
    greedy_length: Array
    """Of the last policy."""
    greedy_return: Array


def world_of_maze(layout: Layout) -> World:
    nexts = np.stack([successors(layout.walls), successors(layout.later_walls or layout.walls)])
    arrived = nexts == "".join(layout.walls).index("G")
    start = "".join(layout.walls).index("S")
    change = layout.change_step if layout.later_walls else 2**30
    return World(jnp.asarray(nexts, jnp.int32), jnp.asarray(arrived, jnp.float32), jnp.asarray(arrived), start, change)


def world_of_toy_text(env_id: str) -> World:
    """From the transition table `P[state][action] = [(probability, next, reward, terminated)]`."""
    env = gymnasium.make(env_id).unwrapped
    table = [[env.P[s][a] for a in sorted(env.P[s])] for s in sorted(env.P)]  # type: ignore[attr-defined]
    assert all(len(outcomes) == 1 for row in table for outcomes in row), f"{env_id} is not deterministic"
    nexts, rewards, ends = (np.array([[o[0][i] for o in row] for row in table]) for i in (1, 2, 3))
    start = int(np.argmax(env.initial_state_distrib))  # type: ignore[attr-defined]
    twice = [jnp.asarray(np.stack([x, x])) for x in (nexts.astype(np.int32), rewards.astype(np.float32), ends)]
    return World(*twice, start, 2**30)


def greedy_walk(q: Array, world: World, phase: int | Array) -> tuple[Array, Array]:
    """Length and return of the greedy policy from the start; at most `LONGEST_GREEDY` steps."""

    def going(carry: tuple[Array, ...]) -> Array:
        _, length, _, ended = carry
        return (length < LONGEST_GREEDY) & ~ended

    def step(carry: tuple[Array, ...]) -> tuple[Array, ...]:
        s, length, total, _ = carry
        at = (phase, s, jnp.argmax(q[s]))
        return world.next_state[at], length + 1, total + world.reward[at], world.terminated[at]

    first = (jnp.int32(world.start), jnp.int32(0), jnp.float32(0), jnp.asarray(False))
    _, length, total, ended = jax.lax.while_loop(going, step, first)
    return jnp.where(ended, length, LONGEST_GREEDY), total


@partial(jax.jit, static_argnames=("agent", "steps", "episodes", "optimal"))
def run(agent: DynaQAgent, world: World, seed: Array, *, steps: int, episodes: int, optimal: int = 0) -> Run:
    """One run until `steps` steps or `episodes` finished episodes.

    Args:
        optimal: The length of the greedy way to watch for, after every step; 0: do not watch, -1 as the answer.
    """
    key = jax.random.key(seed)
    real_updates = 0 if agent.config.prioritized else 1

    def going(carry: tuple) -> Array:
        return (carry[2] < steps) & (carry[3] < episodes) & (carry[6] < 0)

    def step(carry: tuple) -> tuple:
        state, s, t, episode, lengths, rewards, found = carry
        act_key, improve_key = jax.random.split(jax.random.fold_in(key, t))
        obs = jnp.full((1,), s, jnp.float32)
        action = agent.sample(state, obs[None], act_key)[0]
        at = ((t >= world.change_step).astype(jnp.int32), s, action[0].astype(jnp.int32))
        next_s, reward, terminated = world.next_state[at], world.reward[at], world.terminated[at]
        transition = Transition(obs, action, reward, jnp.full((1,), next_s, jnp.float32), terminated)
        state, _ = agent.improve(state, transition, t, improve_key)
        if optimal:
            updates = state.planning_updates + (t + 1) * real_updates
            arrived = greedy_walk(state.q, world, at[0])[0] == optimal
            found = jnp.where((found < 0) & arrived, updates, found)
        return (
            state,
            jnp.where(terminated, world.start, next_s),
            t + 1,
            episode + terminated,
            lengths.at[episode].add(1),
            rewards.at[t].set(jnp.where(t > 0, rewards[t - 1], 0.0) + reward),
            found,
        )

    start = jnp.asarray(world.start, jnp.int32)
    first = (agent.init(key), start, jnp.int32(0), jnp.int32(0), jnp.zeros(episodes, jnp.int32), jnp.zeros(steps))
    state, _, t, _, lengths, rewards, found = jax.lax.while_loop(going, step, (*first, jnp.int32(-1)))
    length, total = greedy_walk(state.q, world, (t >= world.change_step).astype(jnp.int32))
    return Run(lengths, rewards, found, length, total)


def runs(world: World, seeds: int, *, steps: int, episodes: int, optimal: int = 0, **settings) -> Run:
    """The runs of several seeds, stacked along a first axis."""
    agent = DynaQAgent(TabularSpec(*world.next_state.shape[1:]), DynaQConfig(**settings))
    done = [run(agent, world, seed, steps=steps, episodes=episodes, optimal=optimal) for seed in range(seeds)]
    return jax.tree.map(lambda *x: np.stack([np.asarray(one) for one in x]), *done)


def write(path: Path, header: Iterable[str], rows: Iterable[Iterable]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def cliff(out: Path) -> list[tuple]:
    settings = {"planning_steps": 20, "alpha": 0.5, "gamma": 1.0}
    result = runs(world_of_toy_text("CliffWalking-v1"), 20, steps=20_000, episodes=60, **settings)
    finished = (result.lengths > 0).sum(axis=1)
    rows = zip(range(20), finished, result.greedy_return, result.greedy_length, strict=True)
    write(out / "cliff.csv", ["seed", "episodes", "greedy_return", "greedy_length"], rows)
    found = int((result.greedy_return == -13).sum())
    return [("CliffWalking-v1, n = 20: seeds with greedy return -13 after 60 episodes", "20 of 20", f"{found} of 20")]


def dyna_maze(out: Path) -> tuple[dict[int, np.ndarray], list[tuple]]:
    """Figure 8.2."""
    lengths = {}
    for n in (0, 5, 50):
        result = runs(world_of_maze(DYNA), 30, steps=100_000, episodes=50, planning_steps=n)
        lengths[n] = result.lengths
    rows = [
        (n, episode + 1, seed, steps)
        for n, table in lengths.items()
        for seed, row in enumerate(table)
        for episode, steps in enumerate(row)
    ]
    write(out / "dyna_maze.csv", ["planning_steps", "episode", "seed", "steps"], rows)
    third = {n: float(np.median(table[:, 2])) for n, table in lengths.items()}
    return lengths, [
        ("Dyna maze, n = 50: median steps of episode 3", "at most 16.8", third[50]),
        ("Dyna maze, n = 5: median steps of episode 3", "", third[5]),
        ("Dyna maze, n = 0: median steps of episode 3", "", third[0]),
        ("Dyna maze, n = 0: median steps of episode 25", "", float(np.median(lengths[0][:, 24]))),
    ]


def changing(out: Path, name: str, layout: Layout, **settings) -> tuple[dict[str, np.ndarray], list[tuple]]:
    """Figures 8.4 and 8.5: cumulative reward, Dyna-Q against Dyna-Q+; 20 seeds."""
    kappa, steps = settings.pop("kappa"), settings.pop("steps")
    curves: dict[str, np.ndarray] = {}
    summary: list[tuple] = []
    for label, bonus in (("Dyna-Q", 0.0), ("Dyna-Q+", kappa)):
        world = world_of_maze(layout)
        result = runs(world, 20, steps=steps, episodes=steps, exploration_bonus=bonus, **settings)
        curves[label] = result.rewards
        gained = result.rewards[:, -1] - result.rewards[:, layout.change_step - 1]
        late = result.rewards[:, -1] - result.rewards[:, -501]
        summary.append((f"{name} maze, {label}: mean reward after the change", "", round(float(gained.mean()), 2)))
        summary.append((f"{name} maze, {label}: median reward of the last 500 steps", "", float(np.median(late))))
        aim = "all" if bonus else ""
        summary.append((f"{name} maze, {label}: seeds (of 20) with reward then", aim, int((late > 0).sum())))
    every = np.arange(49, steps, 50)
    rows = [
        (label, seed, step + 1, int(row[step]))
        for label, table in curves.items()
        for seed, row in enumerate(table)
        for step in every
    ]
    write(out / f"{name}_maze.csv", ["agent", "seed", "step", "cumulative_reward"], rows)
    return curves, summary


def sweeping(out: Path) -> list[tuple]:
    """Example 8.4: updates until the greedy way has 14 steps, n = 5, α = 0.5."""
    counts = {}
    for label, prioritized in (("Dyna-Q", False), ("prioritized sweeping", True)):
        settings = {"planning_steps": 5, "alpha": 0.5, "prioritized": prioritized}
        result = runs(world_of_maze(DYNA), 20, steps=20_000, episodes=20_000, optimal=14, **settings)
        # A run that did not get there counts as worse than any other.
        counts[label] = np.where(result.updates_to_optimal < 0, np.inf, result.updates_to_optimal)
    rows = [(label, seed, count) for label, row in counts.items() for seed, count in enumerate(row)]
    write(out / "sweeping.csv", ["agent", "seed", "updates_until_optimal"], rows)
    medians = {label: float(np.median(row)) for label, row in counts.items()}
    return [
        *((f"Dyna maze, {label}: median updates until optimal", "", value) for label, value in medians.items()),
        ("ratio of the two", "at least 5", round(medians["Dyna-Q"] / medians["prioritized sweeping"], 2)),
        *(
            (f"Dyna maze, {label}: runs (of 20) not optimal after 20000 steps", "", int(np.isinf(row).sum()))
            for label, row in counts.items()
        ),
    ]


def draw(out: Path, lengths: dict[int, np.ndarray], mazes: dict[str, tuple[dict[str, np.ndarray], Layout]]) -> None:
    figure = Figure(figsize=(12, 3.8), dpi=120, layout="constrained")
    left, *others = figure.subplots(1, 3)
    for n, table in lengths.items():
        left.plot(np.arange(2, table.shape[1] + 1), table.mean(axis=0)[1:], label=f"n = {n}")
    left.axhline(14, color="0.7", linewidth=0.8)
    left.set(title="Dyna maze, mean of 30 seeds", xlabel="episode", ylabel="steps per episode", ylim=(0, 800))
    for axes, (name, (curves, layout)) in zip(others, mazes.items(), strict=True):
        for label, rewards in curves.items():
            steps, mean, std = np.arange(1, rewards.shape[1] + 1), rewards.mean(axis=0), rewards.std(axis=0)
            (line,) = axes.plot(steps, mean, label=label)
            axes.fill_between(steps, mean - std, mean + std, color=line.get_color(), alpha=0.2, linewidth=0)
        axes.axvline(layout.change_step, color="0.7", linewidth=0.8)
        title = f"{name} maze, mean ± std of 20 seeds"
        axes.set(title=title, xlabel="environment steps", ylabel="cumulative reward", ylim=(0, None))
    for axes in (left, *others):
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(out / "mazes.png")


def main(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    begun = time.perf_counter()
    summary = cliff(out)
    print(summary, f"{time.perf_counter() - begun:.0f} s", flush=True)
    lengths, rows = dyna_maze(out)
    summary += rows
    print(rows, f"{time.perf_counter() - begun:.0f} s", flush=True)
    summary += sweeping(out)
    blocking, rows = changing(out, "blocking", BLOCKING, kappa=1e-3, steps=3000, planning_steps=10, alpha=0.5)
    summary += rows
    shortcut, rows = changing(out, "shortcut", SHORTCUT, kappa=1e-3, steps=6000, planning_steps=50, alpha=0.5)
    summary += rows
    draw(out, lengths, {"blocking": (blocking, BLOCKING), "shortcut": (shortcut, SHORTCUT)})
    write(out / "summary.csv", ["what", "target", "found"], summary)
    command = f"python benchmarks/tabular.py --out {out}"
    (out / "run.json").write_text(
        json.dumps({"command": command, "commit": commit(), "versions": versions()}, indent=2) + "\n"
    )
    print((out / "summary.csv").read_text(), f"{time.perf_counter() - begun:.0f} s in all")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the tables and the figure")
    main(parser.parse_args().out)
