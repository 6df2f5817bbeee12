"""One run of stable-baselines3's SAC: `python sb3_sac.py JOB.json RESULT.json`, in its own environment."""

from typing import Any

import torch
from episodes import Clock, returns, serve
from stable_baselines3 import SAC
from stable_baselines3.common.callbacks import BaseCallback


class Tick(BaseCallback):
    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def _on_step(self) -> bool:
        self.clock.tick(self.num_timesteps)
        return True


def work(job: dict[str, Any]) -> dict[str, Any]:
    torch.set_num_threads(1)
    settings = job["settings"]
    model = SAC(
        "MlpPolicy",
        job["env_id"],
        seed=job["seed"],
        device="cpu",
        learning_rate=settings["learning_rate"],
        buffer_size=settings["replay_capacity"],
        learning_starts=settings["random_steps"],
        batch_size=settings["batch_size"],
        tau=settings["tau"],
        gamma=settings["gamma"],
        train_freq=1,
        gradient_steps=1,
        ent_coef="auto",
        target_entropy=settings["target_entropy"],
        policy_kwargs={"net_arch": settings["hidden_sizes"]},
    )
    clock = Clock(job["clock_from"], job["clock_to"])
    model.learn(job["steps"], callback=Tick(clock))
    scores = returns(job["env_id"], job["evaluation_seeds"], lambda obs: model.predict(obs, deterministic=True)[0])
    return {**clock.report(), "returns": scores}


if __name__ == "__main__":
    serve(work, ("stable-baselines3", "torch", "gymnasium", "numpy"))
