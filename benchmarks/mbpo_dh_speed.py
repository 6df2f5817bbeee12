"""What double-horizon MBPO costs at Hopper's sizes on one core, part by part, beside the bound of its arithmetic.

    taskset -c 1 python benchmarks/mbpo_dh_speed.py --out benchmarks/results/mbpo_dh_speed.json

The bound is the multiplications and additions of the matrix products alone, at the rate that one
256 × 256 product reaches on the same core. Compile times are of an empty cache.
"""

import os

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "0"

import argparse
import itertools
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from mbpo.agents.mbpo_dh import MBPODHAgent, World, starts
from mbpo.agents.mbpo_dh_config import HomoscedasticConfig, MBPODHConfig, ValueGradientConfig
from mbpo.data.replay import insert_rows
from mbpo.training.run_folder import commit, versions
from mbpo.types import Spec, Transition

OBS, ACTIONS, ROWS = 11, 3, 16_000
REPEATS = 2
FIT_BATCHES = 24
UPDATES = 20


def matrix_rate() -> float:
    """Multiplications and additions a second of a product of 256 × 256 matrices."""
    product = jax.jit(lambda a, b: a @ b)
    a = jnp.ones((256, 256))
    product(a, a).block_until_ready()
    return 2 * 256**3 / best(lambda: product(a, a), repeats=30)


def best(call, *, repeats: int = REPEATS, per: int = 1) -> float:
    """Least seconds of a call, divided by `per`."""
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - begun)
    return min(times) / per


def first(call) -> float:
    begun = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - begun


def weights(sizes: list[int]) -> int:
    return sum(a * b for a, b in itertools.pairwise(sizes))


def work(config: MBPODHConfig) -> dict[str, float]:
    """Multiplications and additions of one update, one long rollout and one batch of a fit."""
    learner, model = config.learner, config.model
    actor = 2 * weights([OBS, *learner.hidden_sizes, 2 * ACTIONS])
    critic = 2 * weights([OBS + ACTIONS, *learner.hidden_sizes, 1])
    member = 2 * weights([OBS + ACTIONS, *model.hidden_sizes, OBS + 1])
    rows, horizon = learner.batch_size, learner.horizon
    forward = (horizon + 1) * actor + horizon * member
    # Backwards: by inputs and weights of the actor, by inputs alone of model and the last critics.
    backward = (horizon + 1) * 2 * actor + horizon * member
    critics = learner.num_critics * critic * 2 + 2 * critic + learner.num_critics * critic * 3
    return {
        "update": rows * (forward + backward + critics),
        "critic_update": rows * (forward + 2 * critic + learner.num_critics * critic * 3),
        "long_rollouts": config.rollout_batch_size * config.rollout_length * (actor + member),
        "fit_batch": 3 * model.batch_size * model.ensemble_size * member,
    }


def filled(agent: MBPODHAgent):
    """A state with as many real rows as after 16,000 steps, of a smooth random world."""
    rng = np.random.default_rng(0)
    obs = rng.standard_normal((ROWS, OBS)).astype(np.float32)
    action = rng.uniform(-1, 1, (ROWS, ACTIONS)).astype(np.float32)
    mixing = rng.standard_normal((OBS + ACTIONS, OBS)).astype(np.float32)
    change = 0.3 * np.tanh(np.concatenate([obs, action], axis=1) @ mixing)
    next_obs = (obs + change + 0.01 * rng.standard_normal(obs.shape)).astype(np.float32)
    rows = Transition(obs, action, next_obs[:, 0].copy(), next_obs, np.zeros(ROWS, bool))
    state = agent.init(jax.random.key(1))
    real = insert_rows(state.real, jax.tree.map(jnp.asarray, rows), jnp.ones(ROWS, bool))
    return replace(state, real=real)


def measure(config: MBPODHConfig) -> dict[str, dict[str, float]]:
    """Seconds of each part, of its first call, and of its arithmetic alone at one flop a flop."""
    spec = Spec(OBS, -np.ones(ACTIONS, np.float32), np.ones(ACTIONS, np.float32))
    agent = MBPODHAgent(spec, config, lambda obs, action, next_obs: next_obs[..., 0] < -4, jax.random.key(0))
    state, key = filled(agent), jax.random.key(2)
    found = {}

    def part(name: str, call, per: int) -> None:
        nonlocal state

        def step():
            nonlocal state
            state = call(state)
            return state.learner, state.model, state.imagined

        compiled = first(step)
        seconds = best(step, per=per)
        found[name] = {"ms": round(1e3 * seconds, 2), "first_call_s": round(compiled, 2)}
        print(name, found[name], flush=True)

    def critics(now):
        world = World(now.model.ensemble, now.termination)
        return replace(now, learner=agent._critic_updates(now.learner, world, *starts(now), key))

    part("fit_batch", lambda now: agent._refit(now, key)[0], FIT_BATCHES)
    part("long_rollouts", lambda now: agent._imagine(now, key)[0], 1)
    part("critic_update", critics, config.critic_updates)
    part("update", lambda now: agent._update(now, UPDATES, key)[0], UPDATES)
    part("update_one_by_one", lambda now: agent._update(now, 1, key)[0], 1)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--critics", type=int, default=ValueGradientConfig().num_critics)
    parser.add_argument("--model-batch", type=int, default=HomoscedasticConfig().batch_size)
    known = parser.parse_args()
    # As many batches whatever the hold-out says: four epochs of six, and its scores with them.
    model = HomoscedasticConfig(
        batch_size=known.model_batch,
        patience=100.0,
        min_epoch_batches=6,
        max_epoch_batches=6,
        max_epochs=4,
        first_fit_factor=1,
    )
    config = MBPODHConfig(critic_updates=UPDATES, learner=ValueGradientConfig(num_critics=known.critics), model=model)
    rate, parts, arithmetic = matrix_rate(), measure(config), work(config)
    for name, part in parts.items():
        flops = arithmetic[name.removesuffix("_one_by_one")]
        part["bound_ms"] = round(1e3 * flops / rate, 2)
    result = {
        "command": " ".join(["python", *sys.argv]),
        "commit": commit(),
        "versions": versions(),
        "critics": known.critics,
        "model_batch": known.model_batch,
        "matrix_gflops": round(rate / 1e9, 1),
        "parts": parts,
    }
    known.out.parent.mkdir(parents=True, exist_ok=True)
    known.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
