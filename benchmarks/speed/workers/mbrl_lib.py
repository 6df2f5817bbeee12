"""mbrl-lib 0.2.0: its ensemble's training, its `ModelEnv` rollouts and its CEM.

Everything in single precision, as ours is, which is faster than its default of normalising in
double precision. Normaliser, iterators and buffers are those that its own training loops use.
"""

from typing import Any

import gymnasium
import mbrl.models
import mbrl.planning
import mbrl.third_party.pytorch_sac_pranz24 as pranz24
import mbrl.util
import numpy as np
import torch
from mbrl.util.common import get_basic_buffer_iterators
from omegaconf import OmegaConf
from worker import Measure, serve, transitions


class Shape(gymnasium.Env):
    """An environment that has a shape and is never stepped: the data come from elsewhere."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (job["obs_dim"],), np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (job["action_dim"],), np.float32)


def never(act: torch.Tensor, next_obs: torch.Tensor) -> torch.Tensor:
    """No episode ends."""
    return torch.zeros((len(next_obs), 1), dtype=torch.bool)


def buffer_of(job: dict[str, Any], capacity: int) -> mbrl.util.ReplayBuffer:
    return mbrl.util.ReplayBuffer(capacity, (job["obs_dim"],), (job["action_dim"],), rng=np.random.default_rng(0))


def filled(job: dict[str, Any]) -> mbrl.util.ReplayBuffer:
    """The job's rows."""
    rows, buffer = transitions(job["rows"], job["obs_dim"], job["action_dim"]), buffer_of(job, job["capacity"])
    ends = np.zeros(job["rows"], bool)
    buffer.add_batch(rows["obs"], rows["action"], rows["next_obs"], rows["reward"], ends, ends)
    return buffer


def model_of(job: dict[str, Any], propagation: str) -> mbrl.models.OneDTransitionRewardModel:
    sizes = job["model_sizes"]
    network = mbrl.models.GaussianMLP(
        job["obs_dim"] + job["action_dim"],
        job["obs_dim"] + 1,
        "cpu",
        num_layers=len(sizes),
        ensemble_size=job["members"],
        hid_size=sizes[0],
        propagation_method=propagation,
        activation_fn_cfg={"_target_": "torch.nn.SiLU"},
    )
    return mbrl.models.OneDTransitionRewardModel(
        network, target_is_delta=True, normalize=True, learned_rewards=True, num_elites=job["elites"]
    )


def fitting(job: dict[str, Any], model: Any, buffer: mbrl.util.ReplayBuffer) -> Measure:
    """What `train_model_and_save_model_and_data` does, but for saving to disk."""
    trainer = mbrl.models.ModelTrainer(model, optim_lr=1e-3, weight_decay=1e-5)

    def measure(calls: int) -> dict[str, Any]:
        steps = 0
        for _ in range(calls):
            train, validate = get_basic_buffer_iterators(
                buffer, job["batch_size"], job["holdout_ratio"], ensemble_size=job["members"]
            )
            model.update_normalizer(buffer.get_all())
            losses, _ = trainer.train(train, validate, num_epochs=job["epochs"], patience=job["epochs"], silent=True)
            steps += len(losses) * len(train)
        return {"units": steps}

    return measure


def fit(job: dict[str, Any]) -> Measure:
    return fitting(job, model_of(job, "random_model"), filled(job))


def rollouts(job: dict[str, Any]) -> Measure:
    buffer, model, shape = filled(job), model_of(job, "random_model"), Shape(job)
    fitting(job, model, buffer)(1)
    world = mbrl.models.ModelEnv(shape, model, never, None, generator=torch.Generator())
    settings = {"gamma": 0.99, "tau": 0.005, "alpha": 0.2, "policy": "Gaussian", "lr": 3e-4, "device": "cpu"}
    settings |= {"target_update_interval": 1, "automatic_entropy_tuning": True, "target_entropy": -job["action_dim"]}
    settings |= {"hidden_size": job["hidden_sizes"][0]}
    sac = pranz24.SAC(job["obs_dim"], shape.action_space, OmegaConf.create(settings))
    from mbrl.algorithms.mbpo import SACAgent, rollout_model_and_populate_sac_buffer

    imagined, agent = buffer_of(job, job["branches"] * job["length"]), SACAgent(sac)

    def measure(calls: int) -> dict[str, Any]:
        for _ in range(calls):
            rollout_model_and_populate_sac_buffer(world, buffer, agent, imagined, True, job["length"], job["branches"])
        return {"units": calls * job["branches"] * job["length"]}

    return measure


def planning(job: dict[str, Any]) -> Measure:
    buffer, model, shape = filled(job), model_of(job, "fixed_model"), Shape(job)
    fitting(job, model, buffer)(1)
    world = mbrl.models.ModelEnv(shape, model, never, None, generator=torch.Generator())
    optimizer = {
        "_target_": "mbrl.planning.CEMOptimizer",
        "num_iterations": job["iterations"],
        "elite_ratio": job["cem_elites"] / job["population"],
        "population_size": job["population"],
        "alpha": 0.1,
        "device": "cpu",
        "lower_bound": "???",
        "upper_bound": "???",
        "return_mean_elites": True,
        "clipped_normal": False,
    }
    low, high = (bound.tolist() for bound in (shape.action_space.low, shape.action_space.high))
    agent = mbrl.planning.TrajectoryOptimizerAgent(OmegaConf.create(optimizer), low, high, job["horizon"])
    agent.set_trajectory_eval_fn(
        lambda obs, actions: world.evaluate_action_sequences(actions, initial_state=obs, num_particles=job["particles"])
    )
    obs = transitions(1, job["obs_dim"], job["action_dim"])["obs"][0]

    def measure(calls: int) -> dict[str, Any]:
        for _ in range(calls):
            action = agent.act(obs)
        assert np.isfinite(action).all()
        return {"units": calls}

    return measure


WORKLOADS = {"fit": fit, "rollouts": rollouts, "planning": planning}


def prepare(job: dict[str, Any]) -> Measure:
    torch.set_num_threads(job["threads"])
    torch.manual_seed(0)
    np.random.seed(0)
    return WORKLOADS[job["workload"]](job)


if __name__ == "__main__":
    serve(prepare, ("mbrl", "torch", "numpy"))
