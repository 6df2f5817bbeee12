"""Do branched rollouts help less in stochastic discrete worlds? Exactly, on small ones.

    PYTHONPATH=tests python benchmarks/stochastic_worlds.py --seeds 100 --out benchmarks/results/stochastic_worlds

Worlds: random MDPs whose steps are deterministic with chance 1 − ρ and random otherwise, and FrozenLake
(8x8) with slips of growing chance. A data policy (half optimal, half uniform) takes n steps, and a table with
a weak prior is the model. The policy moves from the data policy towards others; all is computed exactly:

- `error`: ε_m′ at no shift, and `slope`: dε_m′/dε_π by least squares over shifts up to a half, towards
  random policies;
- `best_k`: the k ≤ 50 at which |η − η_branch| is smallest in the mean over policies shifted by a quarter, and
  `gain`: how much smaller it is there than at k = 0, as a share;
- `k_star`: k of theorem 4.3 for that shift and the error measured there;
- `chosen`: of these policies the one with the largest η_branch at each k is picked; its return above their mean,
  as a share of what the best of them has above it (1: the best is picked; 0: as good as picking blindly, which is
  all that k = 0 can do), at the k where that is largest (`choosing_k`), in the mean over seeds.

`worlds.csv` has the mean over seeds for each world and n, `raw.csv` each seed, and `worlds.png` the curves.
"""

import argparse
import csv
import json
from pathlib import Path
from typing import NamedTuple

import gymnasium
import numpy as np
from matplotlib.figure import Figure
from tabular_worlds import World, chain, on_policy_error, policy_shift

from mbpo.theory import branch_length
from mbpo.training.run_folder import commit, versions

GAMMA, MAX_LENGTH, PRIOR, EPISODE = 0.95, 50, 0.01, 50
RANDOMNESS = (0.0, 0.1, 0.25, 0.5, 1.0)
SLIPS = (0.0, 0.1, 0.25, 0.5, 0.667)
"""Chance that FrozenLake goes to one side of where it was told; 2/3 is the slippery lake."""
DATA = (200, 1000, 5000)
SHIFTS = np.linspace(0, 0.5, 6)
POLICIES = 50


class Task(NamedTuple):
    p: np.ndarray
    r: np.ndarray
    start: np.ndarray


def random_task(randomness: float, rng: np.random.Generator, states: int = 20, actions: int = 4) -> Task:
    certain = np.eye(states)[rng.integers(states, size=(states, actions))]
    noise = rng.dirichlet(np.ones(states), (states, actions))
    reward = np.where(rng.uniform(size=(states, actions)) < 0.15, 1.0, 0.0)
    return Task((1 - randomness) * certain + randomness * noise, reward, rng.dirichlet(np.ones(states)))


def frozen_lake(slip: float) -> Task:
    """Holes and the goal lead back to the start, so that data never stop; the goal pays 1."""
    env = gymnasium.make("FrozenLake-v1", map_name="8x8", is_slippery=False).unwrapped
    states, actions = env.observation_space.n, env.action_space.n  # type: ignore[attr-defined]
    certain, reward = np.zeros((states, actions, states)), np.zeros((states, actions))
    for s in range(states):
        for a in range(actions):
            ((_, following, paid, over),) = env.P[s][a]  # type: ignore[attr-defined]
            certain[s, a, 0 if over else following], reward[s, a] = 1.0, paid
    aside = [0.5 * (certain[:, (a - 1) % 4] + certain[:, (a + 1) % 4]) for a in range(actions)]
    paid_aside = [0.5 * (reward[:, (a - 1) % 4] + reward[:, (a + 1) % 4]) for a in range(actions)]
    p = (1 - slip) * certain + slip * np.stack(aside, axis=1)
    return Task(p, (1 - slip) * reward + slip * np.stack(paid_aside, axis=1), np.eye(states)[0])


def optimal_policy(task: Task) -> np.ndarray:
    value = np.zeros(len(task.start))
    for _ in range(500):
        value = (task.r + GAMMA * task.p @ value).max(axis=1)
    return np.eye(task.r.shape[1])[(task.r + GAMMA * task.p @ value).argmax(axis=1)]


def counted_model(task: Task, policy: np.ndarray, steps: int, rng: np.random.Generator) -> np.ndarray:
    """What a table says after so many steps; pairs never tried lead anywhere."""
    counts = np.full(task.p.shape, PRIOR)
    states, actions = task.r.shape
    cumulative_policy, cumulative_p = policy.cumsum(axis=1), task.p.cumsum(axis=2)
    s = 0
    for t, (a_draw, s_draw) in enumerate(rng.uniform(size=(steps, 2))):
        if t % EPISODE == 0:
            s = rng.choice(states, p=task.start)
        a = min(int(np.searchsorted(cumulative_policy[s], a_draw)), actions - 1)
        following = min(int(np.searchsorted(cumulative_p[s, a], s_draw)), states - 1)
        counts[s, a, following] += 1
        s = following
    return counts / counts.sum(axis=2, keepdims=True)


def returns(world: World) -> tuple[float, np.ndarray]:
    """η, and η_branch for k = 0 … MAX_LENGTH, as infinite sums."""
    identity, reward = np.eye(len(world.start)), (world.policy * world.r).sum(axis=1)
    eta = world.start @ np.linalg.solve(identity - GAMMA * chain(world.p, world.policy), reward)
    visited = np.linalg.solve((identity - GAMMA * chain(world.p, world.data_policy)).T, world.start)
    step, early, late, paid = chain(world.model, world.policy), world.start, visited, 0.0
    branched = [visited @ (world.data_policy * world.r).sum(axis=1)]
    for k in range(1, MAX_LENGTH + 1):
        paid += GAMMA ** (k - 1) * (early @ reward)
        early, late = early @ step, late @ step
        branched.append(paid + GAMMA**k * (late @ reward))
    return float(eta), np.array(branched)


def measure(task: Task, steps: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """All that one seed says of one world and one amount of data."""
    states, actions = task.r.shape
    uniform = np.full((states, actions), 1 / actions)
    data_policy = 0.5 * optimal_policy(task) + 0.5 * uniform
    model = counted_model(task, data_policy, steps, rng)
    others = rng.dirichlet(np.full(actions, 0.3), (POLICIES, states))

    def world(policy: np.ndarray) -> World:
        return World(task.p, task.r, task.start, model, data_policy, policy, GAMMA)

    points = []
    for other in others[:5]:
        moved = [world((1 - shift) * data_policy + shift * other) for shift in SHIFTS]
        points += [(policy_shift(w), on_policy_error(w)) for w in moved]
    slope = float(np.polyfit(*np.array(points).T, 1)[0])
    quarter = [world(0.75 * data_policy + 0.25 * other) for other in others]
    found = [returns(w) for w in quarter]
    eta, branched = np.array([f[0] for f in found]), np.stack([f[1] for f in found])
    at_quarter = [(on_policy_error(w), policy_shift(w)) for w in quarter[:5]]
    picked = eta[branched.argmax(axis=0)] - eta.mean()
    picked[0] = 0.0  # Without rollouts, all have the return of the data: any may be picked.
    return {
        "error": np.array(on_policy_error(world(data_policy))),
        "slope": np.array(slope),
        "k_star": np.mean([min(branch_length(GAMMA, *pair), MAX_LENGTH) for pair in at_quarter]),
        "off_by": np.abs(branched - eta[:, None]).mean(axis=0),
        "picked": picked / (eta.max() - eta.mean()),
    }


def summarise(kind: str, level: float, steps: int, seeds: list[dict[str, np.ndarray]]) -> dict[str, float | str]:
    off_by = np.mean([s["off_by"] for s in seeds], axis=0)
    picked = np.mean([s["picked"] for s in seeds], axis=0)
    return {
        "world": kind,
        "randomness": level,
        "steps": steps,
        "seeds": len(seeds),
        "error": round(float(np.mean([s["error"] for s in seeds])), 4),
        "slope": round(float(np.mean([s["slope"] for s in seeds])), 4),
        "slope_standard_error": round(float(np.std([s["slope"] for s in seeds], ddof=1) / len(seeds) ** 0.5), 4),
        "best_k": int(off_by.argmin()),
        "gain": round(1 - float(off_by.min() / off_by[0]), 3),
        "k_star": round(float(np.mean([s["k_star"] for s in seeds])), 1),
        "choosing_k": int(picked.argmax()),
        "chosen": round(float(picked.max()), 3),
        "chosen_at_1": round(float(picked[1]), 3),
    }


def draw(rows: list[dict], curves: dict[tuple[str, float, int], np.ndarray], out: Path) -> None:
    figure = Figure(figsize=(10, 6.4), dpi=110, layout="constrained")
    for line, kind in zip(figure.subplots(2, 3), ("random MDP", "FrozenLake"), strict=True):
        for steps in DATA:
            chosen = [row for row in rows if row["world"] == kind and row["steps"] == steps]
            level, slope = [row["randomness"] for row in chosen], [row["slope"] for row in chosen]
            line[0].errorbar(
                level, slope, [row["slope_standard_error"] for row in chosen], marker=".", label=f"n = {steps}"
            )
            line[1].plot(level, [row["gain"] for row in chosen], marker=".", label=f"n = {steps}")
        for (of, level, steps), off_by in curves.items():
            if of == kind and steps == DATA[-1]:
                line[2].plot(off_by / off_by[0], label=f"{level:g}")
        line[0].set(title=kind, xlabel="randomness", ylabel="slope dε_m′/dε_π")
        line[1].set(xlabel="randomness", ylabel="share of the error removed\nby the best k", ylim=(0, 1))
        line[2].set(
            xlabel="k", ylabel="|η − η_branch|, in units of k = 0", title=f"n = {DATA[-1]}, by randomness", yscale="log"
        )
        for axes in line:
            axes.legend(frameon=False, fontsize=8)
            axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(out / "worlds.png")


def main(seeds: int, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    rows, raw, curves = [], [], {}
    for kind, levels in (("random MDP", RANDOMNESS), ("FrozenLake", SLIPS)):
        for level in levels:
            for steps in DATA:
                found = []
                for seed in range(seeds):
                    rng = np.random.default_rng(seed)
                    task = random_task(level, rng) if kind == "random MDP" else frozen_lake(level)
                    found.append(measure(task, steps, rng))
                    numbers = {name: float(found[-1][name]) for name in ("error", "slope", "k_star")}
                    raw.append({"world": kind, "randomness": level, "steps": steps, "seed": seed, **numbers})
                rows.append(summarise(kind, level, steps, found))
                curves[kind, level, steps] = np.mean([f["off_by"] for f in found], axis=0)
                print(rows[-1], flush=True)
    for name, table in (("worlds", rows), ("raw", raw)):
        with (out / f"{name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, table[0].keys())
            writer.writeheader()
            writer.writerows(table)
    draw(rows, curves, out)
    command = f"PYTHONPATH=tests python benchmarks/stochastic_worlds.py --seeds {seeds} --out {out}"
    about = {"command": command, "commit": commit(), "versions": versions()}
    (out / "run.json").write_text(json.dumps(about, indent=2) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    main(arguments.seeds, arguments.out)
