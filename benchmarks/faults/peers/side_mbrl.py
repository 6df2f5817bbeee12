"""mbrl-lib's MBPO in every situation, with what it offers for it."""

import inspect
import pickle
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import mbrl
import mbrl.algorithms.mbpo as mbpo
import numpy as np
import omegaconf
import torch
from mbrl.env.termination_fns import no_termination
from mbrl.util.common import create_one_dim_tr_model, create_replay_buffer
from situations import STEPS, Trap, finite, halve, make, serve, told, with_full_disk


def box(low: Any, high: Any, shape: Any, **_: Any) -> Any:
    """An action space from lists, as settings files hold them."""
    return gymnasium.spaces.Box(np.float32(list(low)), np.float32(list(high)), tuple(shape), np.float32)


def settings() -> Any:
    """The package's own settings of MBPO, in small networks."""
    conf = Path(mbrl.__file__).parent / "examples" / "conf"
    load = omegaconf.OmegaConf.load
    cfg = omegaconf.OmegaConf.create({"seed": 0, "device": "cpu", "log_frequency_agent": 1000, "save_video": False})
    cfg.algorithm = load(conf / "algorithm" / "mbpo.yaml")
    cfg.dynamics_model = load(conf / "dynamics_model" / "gaussian_mlp_ensemble.yaml")
    cfg.overrides = load(conf / "overrides" / "mbpo_inv_pendulum.yaml")
    cfg.algorithm.initial_exploration_steps = 40
    cfg.algorithm.random_initial_explore = True
    cfg.algorithm.agent.action_space["_target_"] = "side_mbrl.box"  # The package names a class that is not there
    cfg.dynamics_model["_recursive_"] = False  # Hydra of today makes nested objects first, which 0.2.0 does not expect.
    cfg.dynamics_model.update(num_layers=2, hid_size=16, ensemble_size=3)
    cfg.overrides.update(
        num_steps=STEPS,
        epoch_length=20,
        num_elites=2,
        freq_train_model=20,
        effective_model_rollouts_per_step=10,
        num_sac_updates_per_step=2,
        sac_hidden_size=16,
        sac_batch_size=32,
        model_batch_size=16,
    )
    cfg.overrides.num_epochs_train_model = 3
    return cfg


AGENTS: list[Any] = []


def train(folder: Path, fault: str = "") -> None:
    make_agent = mbpo.SACAgent

    def remember(agent: Any) -> Any:
        AGENTS.append(agent)
        return make_agent(agent)

    mbpo.SACAgent = remember
    try:
        mbpo.train(make(fault), make(), no_termination, settings(), silent=True, work_dir=str(folder))
    finally:
        mbpo.SACAgent = make_agent


def fault(name: str, folder: Path) -> str:
    what = told(lambda: train(folder, name))
    weights = [tensor.detach().numpy() for agent in AGENTS for tensor in agent.policy.state_dict().values()]
    return f"{what}; {finite(weights)}; on disk: {names(folder) or 'nothing'}"


def names(folder: Path) -> str:
    return ", ".join(sorted(path.name for path in folder.iterdir()))


def resume(folder: Path) -> str:
    train(folder)
    parameters = ", ".join(inspect.signature(mbpo.train).parameters)
    return f"train({parameters}) takes nothing to go on from; on disk: {names(folder)}"


def buffers(folder: Path) -> Any:
    train(folder)
    env = make()
    return create_replay_buffer(settings(), env.observation_space.shape, env.action_space.shape)


def full_disk(folder: Path) -> str:
    buffer = buffers(folder)
    buffer.load(str(folder))
    path = folder / "replay_buffer.npz"
    what = with_full_disk(lambda: buffer.save(str(folder)), path.stat().st_size // 2)
    return f"{what}; the file from before: {told(lambda: buffer.load(str(folder)))}"


def truncated(folder: Path) -> str:
    buffer = buffers(folder)
    halve(folder / "replay_buffer.npz")
    return told(lambda: buffer.load(str(folder)))


def code(folder: Path) -> str:
    train(folder)
    (folder / "env_stats.pickle").write_bytes(pickle.dumps(Trap(folder / "ran")))
    env = make()
    model = create_one_dim_tr_model(settings(), env.observation_space.shape, env.action_space.shape)
    whole = told(lambda: model.load(str(folder)))
    stats = told(lambda: model.input_normalizer.load(str(folder)))
    ran = "ran" if (folder / "ran").exists() else "did not run"
    return f"model.load: {whole}; its normalizer's load: {stats}; code from the file {ran}"


def two_writers(folder: Path) -> str:
    train(folder)
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    what = told(lambda: train(folder))
    replaced = sum(path.stat().st_mtime_ns != before[path.name] for path in folder.iterdir() if path.name in before)
    return f"{what}; {replaced} of {len(before)} files of the first written over by the second"


def check(folder: Path) -> str:
    names = [path.stem for path in Path(mbrl.__file__).parent.rglob("*check*.py")]
    return f"no check is offered (modules with 'check' in their names: {len(names)})"


SITUATIONS = {
    **{
        name: partial(fault, name)
        for name in (
            "step raises",
            "step hangs",
            "nan observation",
            "nan reward",
            "observation of another shape",
            "observation out of its space",
        )
    },
    "resume": resume,
    "full disk": full_disk,
    "truncated file": truncated,
    "code in a file": code,
    "two writers": two_writers,
    "check before training": check,
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    serve(SITUATIONS)
