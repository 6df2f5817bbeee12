"""mbrl-lib's whole MBPO on Pendulum-v1, with the settings of our preset as far as it has them.

It has no lower bound on the gradient steps of an epoch, so its epochs on little data are shorter
than ours. Logging is off.
"""

import tempfile
from typing import Any

import gymnasium
import mbrl.algorithms.mbpo
import numpy as np
import torch
from omegaconf import OmegaConf
from worker import Measure, serve


def never(act: torch.Tensor, next_obs: torch.Tensor) -> torch.Tensor:
    """No episode ends."""
    return torch.zeros((len(next_obs), 1), dtype=torch.bool)


def box(low: Any, high: Any, shape: Any) -> gymnasium.spaces.Box:
    """An action space from a configuration's lists, which Gymnasium no longer takes as they are."""
    return gymnasium.spaces.Box(np.array(list(low), np.float32), np.array(list(high), np.float32), tuple(shape))


def settings(job: dict[str, Any]) -> dict[str, Any]:
    """Its configuration, which its own files would give it."""
    sac = {"gamma": job["gamma"], "tau": job["tau"], "lr": job["sac_lr"], "hidden_size": job["sac_width"]}
    sac |= {"alpha": 1.0, "policy": "Gaussian", "target_update_interval": 1, "device": "cpu"}
    sac |= {"automatic_entropy_tuning": True, "target_entropy": -1.0}
    box = {"_target_": "mbrl_pendulum.box", "low": "???", "high": "???", "shape": "???"}
    agent = {"_target_": "mbrl.third_party.pytorch_sac_pranz24.sac.SAC", "num_inputs": "???"}
    agent |= {"action_space": box, "args": sac}
    algorithm = {
        "normalize": True,
        "normalize_double_precision": False,
        "target_is_delta": True,
        "learned_rewards": True,
        "freq_train_model": job["model_train_freq"],
        "real_data_ratio": job["real_ratio"],
        "sac_samples_action": True,
        "initial_exploration_steps": job["random_steps"],
        "random_initial_explore": True,
        "num_eval_episodes": job["eval_episodes"],
        "dataset_size": job["steps"],
        "agent": agent,
    }
    model = {
        "_target_": "mbrl.models.GaussianMLP",
        "_recursive_": False,  # Hydra 1.0, which it was written for, left nested targets alone.
        "device": "cpu",
        "num_layers": len(job["model_sizes"]),
        "in_size": "???",
        "out_size": "???",
        "ensemble_size": job["members"],
        "hid_size": job["model_sizes"][0],
        "deterministic": False,
        "propagation_method": "random_model",
        "learn_logvar_bounds": True,
        "activation_fn_cfg": {"_target_": "torch.nn.SiLU"},
    }
    length = job["rollout_length"]
    overrides = {
        "num_steps": job["steps"] - job["random_steps"],
        "epoch_length": job["epoch_length"],
        "num_elites": job["elites"],
        "patience": job["patience"],
        "num_epochs_train_model": job["max_epochs"],
        "model_lr": job["model_lr"],
        "model_wd": 1e-4,
        "model_batch_size": job["model_batch_size"],
        "validation_ratio": job["holdout_ratio"],
        "freq_train_model": job["model_train_freq"],
        "effective_model_rollouts_per_step": job["branches"] // job["model_train_freq"],
        "rollout_schedule": [1, 2, length, length],
        "num_sac_updates_per_step": job["utd_ratio"],
        "sac_updates_every_steps": 1,
        "num_epochs_to_retain_sac_buffer": 1,
        "sac_batch_size": job["sac_batch_size"],
    }
    general = {"seed": job["seed"], "device": "cpu", "log_frequency_agent": 1000, "save_video": False}
    return {**general, "algorithm": algorithm, "dynamics_model": model, "overrides": overrides}


def prepare(job: dict[str, Any]) -> Measure:
    torch.set_num_threads(job["threads"])
    torch.manual_seed(job["seed"])
    np.random.seed(job["seed"])

    def measure(calls: int) -> dict[str, Any]:
        env, test_env = gymnasium.make("Pendulum-v1"), gymnasium.make("Pendulum-v1")
        env.action_space.seed(job["seed"])
        with tempfile.TemporaryDirectory() as scratch:
            configuration = OmegaConf.create(settings(job))
            best = mbrl.algorithms.mbpo.train(env, test_env, never, configuration, silent=True, work_dir=scratch)
        return {"units": job["steps"], "best_return": float(best)}

    return measure


if __name__ == "__main__":
    serve(prepare, ("mbrl", "torch", "gymnasium", "numpy"))
