"""Pendulum with episodes of 20 steps, as `short_task:Short-v0`: many episodes, and so checkpoints, in a short run."""

import gymnasium
from gymnasium.envs.classic_control.pendulum import PendulumEnv

EPISODE_STEPS = 20
ENV_ID = "short_task:Short-v0"

gymnasium.register("Short-v0", PendulumEnv, max_episode_steps=EPISODE_STEPS)

MBPO_SETTINGS = {
    "random_steps": 30,
    "epoch_length": 25,
    "model_train_freq": 25,
    "rollout_batch_size": 64,
    "utd_ratio": 2,
    "replay_capacity": 1000,
    "sac": {"hidden_sizes": [16, 16], "batch_size": 32},
    "model": {
        "hidden_sizes": [16, 16],
        "ensemble_size": 3,
        "num_elites": 2,
        "batch_size": 32,
        "max_epochs": 2,
        "min_epoch_batches": 2,
        "max_epoch_batches": 4,
    },
}
"""Everything that MBPO does, in networks that train in no time."""
RUN_SETTINGS = {"eval_freq": 100, "eval_episodes": 1, "termination": "never", **MBPO_SETTINGS}
