"""Hold every termination rule of the MuJoCo tasks against the environments, on a hundred thousand transitions each.

    PYTHONPATH=tests python benchmarks/terminations.py --out benchmarks/results/terminations

Four sources: random actions; a policy that SAC trained for a while (acting half of the time as it explores, half
with its mean action); states scattered about the bounds, some very fast; and states found by bisection, whose
successors lie within a rounding of a bound (tests/edges.py). The policy is trained once for each task (once more for
the torso's frame), on version 5.

It goes on where it was interrupted. `agreement.csv` has a row for each environment and source:

- `wrong_by_rounding`: the rule says otherwise than the environment, next to a bound on what is observed;
  `farthest_wrong` is the largest distance to the bound among these, `nearest_right` the smallest among the others.
- `wrong_by_clipping`: the environment ended by something that the observation hides (a joint of Hopper beyond 100).
- `clipped`: share of next states with a speed above 10, where Hopper's and Walker2d's observations are clipped;
  `largest_speed`, in rad/s or m/s, what they would have shown.
"""

import argparse
import csv
import json
import os
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import gymnasium
import jax.numpy as jnp
import numpy as np
from edges import EDGES, OWN, Transition, bisected, scattered, step

from mbpo.envs.tasks import termination_fn_for
from mbpo.training.algorithms import SAC
from mbpo.training.presets import preset
from mbpo.training.run_folder import commit, versions
from mbpo.viz.published import task_name

CLIP = 10.0
LIMIT = 1000
POLICY = {"random_steps": 1000, "sac": {"hidden_sizes": [64, 64], "learning_rate": 1e-3, "tau": 0.01}}
"""Small and quick: the states of a half-trained policy are wanted, not its return."""
IN_TORSO_FRAME = ["mbpo/AntTorsoFrame", "mbpo/HumanoidTorsoFrame"]
"""Tasks whose policies have to be trained on what they are shown."""
SHARES = {"random": 0.25, "trained": 0.35, "scattered": 0.2, "bisected": 0.2}


def random(env: gymnasium.Env, rng: np.random.Generator) -> Iterator[Transition]:
    """Whole episodes of uniform actions."""
    return episodes(env, lambda _: rng.uniform(env.action_space.low, env.action_space.high))


def trained(env: gymnasium.Env, agent: SAC) -> Iterator[Transition]:
    """Whole episodes of a policy, in turn with its mean action and as it explores."""
    count = 0

    def act(obs: np.ndarray) -> np.ndarray:
        nonlocal count
        count += 1
        # Positions and velocities come first, and are all that the policy was trained on.
        return agent.predict(obs[: agent.spec.obs_dim], deterministic=bool(count // LIMIT % 2))[0]

    return episodes(env, act)


def episodes(env: gymnasium.Env, act: Any) -> Iterator[Transition]:
    """Transitions of whole episodes under a policy, cut after `LIMIT` steps; without end."""
    core: Any = env.unwrapped
    while True:
        env.reset()
        for _ in range(LIMIT):
            obs = core._get_obs()
            found = step(env, obs, act(obs))
            yield found
            if found.terminated:
                break


def compare(env: gymnasium.Env, source: Iterator[Transition], count: int) -> dict[str, Any]:
    """What the environment did and what the rule says of it."""
    rule = termination_fn_for(env)
    assert rule is not None
    seen = Transition(*map(np.array, zip(*islice(source, count), strict=True)))
    said = np.asarray(rule(jnp.asarray(seen.obs), jnp.asarray(seen.action), jnp.asarray(seen.next_obs)))
    wrong = said != seen.terminated
    hidden = wrong & (seen.hidden <= 0) & seen.terminated
    rounded = wrong & ~hidden
    distance = np.abs(seen.margin)
    bounded = bool(np.isfinite(distance).all())
    return {
        "transitions": count,
        "ends": int(seen.terminated.sum()),
        "wrong_by_rounding": int(rounded.sum()),
        "farthest_wrong": f"{distance[rounded].max():.2g}" if rounded.any() else "",
        "nearest_right": f"{distance[~wrong].min():.2g}" if bounded else "",
        "wrong_by_clipping": int(hidden.sum()),
        "clipped": f"{np.mean(seen.speed > CLIP):.4f}",
        "largest_speed": f"{seen.speed.max():.1f}",
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transitions", type=int, default=100_000, help="for each environment, all sources together")
    parser.add_argument("--train-steps", type=int, default=5000)
    parser.add_argument("--tasks", nargs="+", default=[*EDGES, *IN_TORSO_FRAME])
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    rows, about = held(asked.out)
    for task in asked.tasks:
        left = [env_id for env_id in ids(task) if env_id not in {row["env"] for row in rows}]
        if not left:
            continue
        agent = SAC(f"{task}-v5", seed=0, eval_freq=10**6, eval_episodes=1, **POLICY)
        agent.learn(asked.train_steps)
        score = agent.evaluate(10)
        about["policies"][task] = {"return": round(score.mean, 1), "length": float(score.lengths.mean())}
        for env_id in left:
            rows += against(env_id, agent, asked.transitions)
            about |= {"command": " ".join(["python", *sys.argv]), "commit": commit(), "versions": versions()}
            write(asked.out, rows, about)
        agent.close()
    return 0


def ids(task: str) -> list[str]:
    own = [env_id for env_id in OWN if task_name(env_id) == task and not env_id.startswith(tuple(IN_TORSO_FRAME))]
    return [f"{task}-v4", f"{task}-v5", *own]


def against(env_id: str, agent: SAC, transitions: int) -> list[dict[str, Any]]:
    """A row for each source of states."""
    env = gymnasium.make(env_id, **preset(env_id).env_kwargs)
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    sources = {
        "random": random(env, rng),
        "trained": trained(env, agent),
        "scattered": scattered(env, rng),
        "bisected": bisected(env, rng),
    }
    rows = []
    for name, source in sources.items():
        found = compare(env, source, round(SHARES[name] * transitions))
        rows.append({"env": env_id, "observations": env.observation_space.shape[0], "source": name} | found)
        print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    env.close()
    return rows


def held(out: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """What an interrupted run has left."""
    if not (out / "agreement.csv").exists():
        return [], {"cores": os.cpu_count(), "policies": {}}
    with (out / "agreement.csv").open() as file:
        return list(csv.DictReader(file)), json.loads((out / "run.json").read_text())


def write(out: Path, rows: list[dict[str, Any]], about: dict[str, Any]) -> None:
    with (out / "agreement.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    (out / "run.json").write_text(json.dumps(about, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
