"""What planning a fixed number of steps ahead costs on Pendulum-v1, however well it is done.

    PYTHONPATH=tests python benchmarks/pendulum_horizon.py --out benchmarks/results/pendulum_horizon.csv

For each horizon and tail (PETS's `tail_steps`: the last reward counts as if earned for so many steps
more) the dynamic programme in `tests/oracles.py` finds the best plan from every state of the exact
dynamics; its first action is executed and the next plan made, as a planner does. Regret is what an
episode of 200 steps loses so against the optimum of the whole episode, over random resets.
"""

import argparse
import csv
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from oracles import (
    EPISODE_STEPS,
    MAX_SPEED,
    MAX_TORQUE,
    _best_action,
    pendulum_dynamics,
    pendulum_optimum_from,
    wrap_angle,
)

HORIZONS = (10, 12, 14, 16, 18, 20, 22, 25, 30, 35, 40, 50)
TAILS = (0, 10, 20, 40)
GRID = 401
STARTS = 500
TORQUES = jnp.linspace(-MAX_TORQUE, MAX_TORQUE, 41)


@jax.jit
def one_step_more(values: jax.Array, theta: jax.Array, speed: jax.Array) -> jax.Array:
    """Values `[grid, grid]` of plans that are one step longer."""
    return _best_action(values, theta, speed, TORQUES, 1.0)[0]


@jax.jit
def live(values: jax.Array, theta: jax.Array, speed: jax.Array) -> jax.Array:
    """Returns `[starts]` of episodes in which each action is the best before what `values` say."""

    def step(state, _):  # type: ignore[no-untyped-def]
        _, torque = _best_action(values, *state, TORQUES, 1.0)
        next_theta, next_speed, reward = pendulum_dynamics(*state, torque)
        return (wrap_angle(next_theta), next_speed), reward

    return jax.lax.scan(step, (theta, speed), length=EPISODE_STEPS)[1].sum(axis=0)


def main(out: Path) -> None:
    rng = np.random.default_rng(0)
    theta = jnp.asarray(rng.uniform(-math.pi, math.pi, STARTS), jnp.float32)
    speed = jnp.asarray(rng.uniform(-1, 1, STARTS), jnp.float32)
    optimum = pendulum_optimum_from(theta, speed)
    axes = jnp.linspace(-math.pi, math.pi, GRID), jnp.linspace(-MAX_SPEED, MAX_SPEED, GRID)
    mesh = jnp.meshgrid(*axes, indexing="ij")
    idle = pendulum_dynamics(*mesh, 0.0)[2]
    rows = []
    for tail in TAILS:
        # The last reward of a plan is that of the state before its last action.
        values = (1 + tail) * idle
        for horizon in range(2, max(HORIZONS) + 1):
            # Here `values` are those of plans of horizon − 1 steps, which the first action precedes.
            if horizon in HORIZONS:
                regret = optimum - np.asarray(live(values, theta, speed))
                rows.append([tail, horizon, *(round(float(x), 2) for x in (regret.mean(), regret.max()))])
                print(*rows[-1], flush=True)
            values = one_step_more(values, *mesh)
    with out.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["tail_steps", "horizon", "mean_regret", "worst_regret"])
        writer.writerows(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    main(parser.parse_args().out)
