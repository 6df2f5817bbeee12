"""What becomes of an ant that lies on its back: in its model, and in the world.

    python benchmarks/turned_over.py runs/benchmarks/ant_v4_mbpo_dh/seed-00 \
        --out benchmarks/results/turned_over/mbpo_dh.csv
    python benchmarks/turned_over.py RUN --anew weight_decay=0.2 batch_size=256 --out ...

RUN is a run of double horizon on Ant-v4. From its newest real states of each kind, upright and on the back, the
policy that it ended with is followed through its model, through one that is fitted anew, from other weights, to
the same rows with the same settings, and through MuJoCo, set to the same states. The second tells what the first
owes to the data and what to the policy having learned in it. One line for each kind and number of steps: how
upright the torso is on average (the cosine of its tilt: 1 upright, −1 on the back), the share of ants with their
feet down (cosine above 0), and the mean reward of that step, imagined in both models and real, among those that
had not ended before it (a share of all that is given, too). Besides: the share of the run's own steps that were of
that kind, and the critics' mean Q at the start states. With `--anew` the new model has other settings than the
run's own, and draws its own hold-out. One fitted anew knows of no rows that came since (`unseen_noise`).
"""

import os

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import argparse
import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from plainly import plainly

from mbpo.agents.mbpo_dh import MBPODHAgent, MBPODHState, World
from mbpo.agents.value_gradient import q_values
from mbpo.agents.world_model import init_model, refit, split_rows
from mbpo.model.fit import FitState
from mbpo.training.algorithms import load

POSITIONS = 13
"""Numbers of the observation that are positions (without x and y); the others are velocities."""
QUATERNION = slice(1, 5)
NEWEST, ANTS, STEPS, SHOWN = 12_000, 128, 50, (1, 5, 10, 20, 30, 50)


def uprightness(obs: np.ndarray) -> np.ndarray:
    """Cosine of the torso's tilt, from a quaternion of any length."""
    w, x, y, z = np.moveaxis(obs[..., QUATERNION], -1, 0)
    return (w**2 - x**2 - y**2 + z**2) / (w**2 + x**2 + y**2 + z**2)


def imagined(
    agent: MBPODHAgent, state: MBPODHState, model: FitState, obs: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """(next observations, rewards) of each step in a model, of the ants that had not ended before it."""
    step = agent.model_step(World(model.ensemble, state.termination))
    follow = jax.jit(lambda obs, action, key: step(obs, action, key))
    alive, found = np.ones(len(obs), bool), []
    for key in jax.random.split(jax.random.key(1), STEPS):
        act_key, model_key = jax.random.split(key)
        out = follow(jnp.asarray(obs), agent.sample(state, jnp.asarray(obs), act_key), model_key)
        obs = np.asarray(out.next_obs)
        found.append((obs[alive], np.asarray(out.reward)[alive]))
        alive &= ~np.asarray(out.terminated)
    return found


def fitted_anew(agent: MBPODHAgent, state: MBPODHState, changes: dict[str, Any]) -> FitState:
    """A model that begins with other weights; the data are the run's own, and what is not changed of the settings."""
    init_key, fit_key, split_key = jax.random.split(jax.random.key(3), 3)
    config = replace(agent.config.model, **changes)
    split = split_rows(config, state.real.capacity, split_key) if changes else agent.split
    fit = jax.jit(lambda model: refit(model, state.real, split, fit_key, config)[0])
    return fit(init_model(agent.spec, config, init_key))


def real(agent: MBPODHAgent, state: MBPODHState, env: Any, obs: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """The same in MuJoCo, each ant in turn."""
    found: list[list[tuple[np.ndarray, float]]] = [[] for _ in range(STEPS)]
    for ant, start in enumerate(obs.astype(float)):
        # Where an ant is on the plane changes nothing.
        env.set_state(np.concatenate([np.zeros(2), start[:POSITIONS]]), start[POSITIONS:])
        keys = jax.random.split(jax.random.fold_in(jax.random.key(2), ant), STEPS)
        now = start
        for t in range(STEPS):
            action = agent.sample(state, jnp.asarray(now[None], jnp.float32), keys[t])
            now, reward, ended, _, _ = env.step(np.asarray(action, float)[0])
            found[t].append((now, float(reward)))
            if ended:
                break
    return [tuple(map(np.asarray, zip(*at, strict=True))) for at in found]  # pyright: ignore[reportReturnType]


def lines(run: Path, changes: dict[str, Any]) -> list[dict[str, object]]:
    """A line for each kind of start state and number of steps."""
    source = load(run)
    agent, state = source.learned
    env: Any = gymnasium.make(source.config.env_id, **source.config.env_kwargs).unwrapped
    env.reset(seed=0)
    every = np.asarray(state.real.data.obs[: int(state.real.size)])
    tilt, found = uprightness(every), []
    anew = fitted_anew(agent, state, changes)
    for kind, chosen in {"upright": tilt > 0.8, "on its back": tilt < -0.8}.items():
        newest = np.flatnonzero(chosen)
        newest = newest[newest >= len(every) - NEWEST]
        obs = every[np.random.default_rng(0).choice(newest, ANTS, replace=False)]
        action = agent.sample(state, jnp.asarray(obs), jax.random.key(0))
        q = q_values(
            state.learner.params.critics,
            state.learner.bounds,
            jnp.asarray(obs),
            action,
            agent.eyes(state.model.ensemble.inputs),
        )
        paths = {
            "imagined": imagined(agent, state, state.model, obs),
            "anew": imagined(agent, state, anew, obs),
            "real": real(agent, state, env, obs),
        }
        for steps in SHOWN:
            line = {"run": run.parent.name, "kind": kind, "share": round(float(chosen[5000:].mean()), 3)}
            line |= {"q": round(float(q.mean()), 1), "steps": steps}
            for name, path in paths.items():
                upright = uprightness(path[steps - 1][0])
                line[f"{name}_going_on"] = round(len(upright) / ANTS, 3)
                line[f"{name}_tilt"] = round(float(upright.mean()), 3)
                line[f"{name}_feet_down"] = round(float((upright > 0).mean()), 3)
                line[f"{name}_reward"] = round(float(path[steps - 1][1].mean()), 3)
            found.append(line)
            print(line, flush=True)
    return found


def write_lines(found: list[dict[str, object]], out: Path) -> None:
    """One CSV, the names of the first line as its header."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w", newline="") as file:
        table = csv.DictWriter(file, found[0])
        table.writeheader()
        table.writerows(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--anew", nargs="*", default=[], metavar="NAME=VALUE", help="of the model's settings")
    parser.add_argument("--out", type=Path, required=True)
    known = parser.parse_args()
    pairs = (setting.split("=", 1) for setting in known.anew)
    found = lines(known.run, {name: json.loads(value) for name, value in pairs})
    write_lines(found, known.out)


if __name__ == "__main__":
    plainly(main)
