"""Our MBPO at Hopper's sizes: whole cycles of refit, rollouts and steps, beside its SAC updates alone.

The rollout length grows 1, 8, 15 over three cycles, as it does over the published run. Before each
cycle the same learner's updates are timed by themselves. Or the cycles alone, for their memory or their profile.
"""

import os
import time
from typing import Any

import jax
import numpy as np
from ours import AFTER_RANDOM_STEPS, keys, with_data
from worker import Measure, peak_rss_mb, serve

from mbpo import MBPO
from mbpo.agents.config import SACConfig
from mbpo.agents.sac_agent import SACAgent, SACAgentConfig
from mbpo.training.profile import Profile

UTD, RANDOM_STEPS, WARM_UP_CYCLES = 20, 5000, 1
LENGTHS = (1, 8, 15)
PURE_CALLS = 25


def make_agent(cycle: int) -> MBPO:
    """Published sizes; epochs of one cycle, so that the schedule passes in three of them."""
    return MBPO(
        "Hopper-v5",
        eval_freq=10**9,
        eval_episodes=1,
        random_steps=RANDOM_STEPS,
        epoch_length=cycle,
        model_train_freq=cycle,
        model_retain_epochs=4,
        rollout_batch_size=100_000,
        rollout_length={"start": LENGTHS[0], "end": LENGTHS[-1], "start_epoch": 1, "end_epoch": 3},
        utd_ratio=UTD,
        sac={"hidden_sizes": [256, 256]},
        model={"hidden_sizes": [200, 200, 200, 200]},
    )


def pure_updates(agent: MBPO) -> Any:
    """A function that times some updates of the same learner on real rows; seconds per update."""
    job = {"rows": 10_000, "obs_dim": agent.spec.obs_dim, "action_dim": agent.spec.action_dim}
    config = SACAgentConfig(random_steps=1, replay_capacity=20_000, utd_ratio=UTD, sac=SACConfig())
    sac, draw = SACAgent(agent.spec, config), keys()
    state, transition = with_data(sac.init(jax.random.key(0)), job)

    def measure() -> float:
        nonlocal state
        started = time.perf_counter()
        for _ in range(PURE_CALLS):
            state, _ = sac.improve(state, transition, AFTER_RANDOM_STEPS, draw())
        jax.block_until_ready(state)
        return (time.perf_counter() - started) / (PURE_CALLS * UTD)

    measure()
    return measure


def prepare(job: dict[str, Any]) -> Measure:
    length = job["cycle"]
    if "cache" in job:
        os.environ["XDG_CACHE_HOME"] = job["cache"]
        jax.config.update("jax_compilation_cache_dir", None)

    def cycles(calls: int) -> dict[str, Any]:
        agent = make_agent(length)
        pure = pure_updates(agent)
        found: list[dict[str, float]] = []
        first = RANDOM_STEPS + WARM_UP_CYCLES * length
        mark = 0.0

        def progress(run: Any) -> None:
            nonlocal mark
            if run.env_step < first or (run.env_step - first) % length:
                return
            jax.block_until_ready(run.state)
            if run.env_step > first:
                found[-1]["seconds"] = time.perf_counter() - mark
                found[-1] |= {name: float(run.latest[name]) for name in ("rollout_length", "model_grad_steps")}
                found[-1] |= {"rollout_rows": float(run.latest["rollout_rows"])}
            found.append({"pure_seconds_per_update": pure()})
            mark = time.perf_counter()

        # A step more, since the last one of all is followed by an evaluation.
        agent.learn(first + len(LENGTHS) * length + 1, progress=progress)
        after = found.pop()["pure_seconds_per_update"]
        for cycle, following in zip(found, [*found[1:], {"pure_seconds_per_update": after}], strict=True):
            # Its updates alone cost what they did right before and right after it.
            pure_cost = np.mean([cycle["pure_seconds_per_update"], following["pure_seconds_per_update"]])
            cycle["ratio"] = cycle["seconds"] / (float(pure_cost) * UTD * length)
        return {"units": len(LENGTHS) * length, "cycles": found}

    def profiled(calls: int) -> dict[str, Any]:
        agent, profile = make_agent(length), Profile()
        agent.learn(RANDOM_STEPS + WARM_UP_CYCLES * length)
        agent.learn(len(LENGTHS) * length, profile=profile)
        return {"units": len(LENGTHS) * length, "seconds_by_section": profile.seconds, "calls": profile.calls}

    def alone(calls: int) -> dict[str, Any]:
        agent = make_agent(length)
        agent.learn(RANDOM_STEPS + (WARM_UP_CYCLES + len(LENGTHS)) * length)
        return {"units": len(LENGTHS) * length, "buffers_mb": _megabytes(agent), "peak_rss_mb": peak_rss_mb()}

    return {"cycles": cycles, "profile": profiled, "memory": alone}[job["kind"]]


def _megabytes(agent: MBPO) -> float:
    """Of the real and the imagined transitions."""
    state = agent.learned[1]
    return sum(leaf.nbytes for leaf in jax.tree.leaves((state.real.data, state.imagined.data))) / 1e6


if __name__ == "__main__":
    serve(prepare, ("mbpo", "jax", "jaxlib", "gymnasium", "mujoco", "numpy"))
