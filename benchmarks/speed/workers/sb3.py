"""SAC of stable-baselines3, or of sbx, which has the same interface in JAX."""

import importlib
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3.common.logger import Logger
from worker import Measure, serve, transitions


class Shape(gymnasium.Env):
    """An environment that has a shape and is never stepped: the data come from elsewhere."""

    def __init__(self, obs_dim: int, action_dim: int) -> None:
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (obs_dim,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (action_dim,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return np.zeros(self.observation_space.shape, np.float32), {}


def prepare(job: dict[str, Any]) -> Measure:
    torch.set_num_threads(job["threads"])
    model = importlib.import_module(job["package"]).SAC(
        "MlpPolicy",
        Shape(job["obs_dim"], job["action_dim"]),
        seed=0,
        device="cpu",
        buffer_size=job["capacity"],
        batch_size=job["batch_size"],
        learning_rate=3e-4,
        policy_kwargs={"net_arch": job["hidden_sizes"]},
    )
    model.set_logger(Logger(None, []))
    rows = transitions(job["rows"], job["obs_dim"], job["action_dim"])

    def store(i: int) -> None:
        done = np.zeros(1)
        row = {name: values[i : i + 1] for name, values in rows.items()}
        model.replay_buffer.add(row["obs"], row["next_obs"], row["action"], row["reward"], done, [{}])

    for i in range(job["rows"]):
        store(i)

    def measure(calls: int) -> dict[str, Any]:
        for _ in range(calls):
            store(0)
            model.train(job["updates_per_call"], job["batch_size"])
        return {"units": calls * job["updates_per_call"]}

    return measure


if __name__ == "__main__":
    serve(prepare, ("stable-baselines3", "sbx-rl", "torch", "jax", "jaxlib", "numpy"))
