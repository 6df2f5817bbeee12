"""stable-baselines3's SAC in every situation, with what it offers for it."""

import base64
import io
import json
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import cloudpickle
import torch
from situations import STEPS, Trap, finite, halve, make, serve, told, with_full_disk
from stable_baselines3 import SAC
from stable_baselines3.common.callbacks import CheckpointCallback
from stable_baselines3.common.env_checker import check_env

SETTINGS: dict[str, Any] = {
    "learning_starts": 20,
    "buffer_size": 1000,
    "batch_size": 32,
    "policy_kwargs": {"net_arch": [16, 16]},
    "device": "cpu",
    "seed": 0,
}


def agent(fault: str = "") -> SAC:
    return SAC("MlpPolicy", make(fault), **SETTINGS)


def weights(model: SAC) -> list[Any]:
    return [tensor.detach().numpy() for tensor in model.policy.state_dict().values()]


def checkpoints(folder: Path) -> CheckpointCallback:
    return CheckpointCallback(20, str(folder), save_replay_buffer=True)


def fault(name: str, folder: Path) -> str:
    model = agent(name)
    what = told(lambda: model.learn(STEPS, callback=checkpoints(folder)))
    kept = sorted(int(path.stem.split("_")[-2]) for path in folder.glob("rl_model_*_steps.zip"))
    return f"{what}; {finite(weights(model))}; last file of step {kept[-1] if kept else 0}"


def resume(folder: Path) -> str:
    whole = agent().learn(STEPS)
    first = agent().learn(60)
    first.save(folder / "model")
    first.save_replay_buffer(folder / "buffer")
    second = SAC.load(folder / "model", env=make(), device="cpu")
    second.load_replay_buffer(folder / "buffer")
    second.learn(STEPS - 60, reset_num_timesteps=False)
    same = all((a == b).all() for a, b in zip(weights(whole), weights(second), strict=True))
    return f"continues; weights {'the same' if same else 'differ'} from the uninterrupted run's"


def full_disk(folder: Path) -> str:
    model = agent().learn(40)
    path = folder / "model.zip"
    model.save(path)
    what = with_full_disk(lambda: model.save(path), path.stat().st_size // 2)
    return f"{what}; the file from before: {told(lambda: SAC.load(path))}"


def truncated(folder: Path) -> str:
    agent().learn(40).save(folder / "model.zip")
    halve(folder / "model.zip")
    return told(lambda: SAC.load(folder / "model.zip"))


def code(folder: Path) -> str:
    agent().learn(40).save(folder / "model.zip")
    with zipfile.ZipFile(folder / "model.zip") as file:
        parts = {name: file.read(name) for name in file.namelist()}
    data = json.loads(parts["data"])
    trap = base64.b64encode(cloudpickle.dumps(Trap(folder / "ran"))).decode()
    data["tensorboard_log"] = {":type:": "x", ":serialized:": trap}
    parts["data"] = json.dumps(data).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, part in parts.items():
            file.writestr(name, part)
    (folder / "model.zip").write_bytes(buffer.getvalue())
    what = told(lambda: SAC.load(folder / "model.zip"))
    return f"{what}; code from the file {'ran' if (folder / 'ran').exists() else 'did not run'}"


def two_writers(folder: Path) -> str:
    one, other = agent(), agent()
    one.learn(40, callback=checkpoints(folder))
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    what = told(lambda: other.learn(40, callback=checkpoints(folder)))
    replaced = sum(path.stat().st_mtime_ns != before[path.name] for path in folder.iterdir() if path.name in before)
    return f"{what}; {replaced} of {len(before)} files of the first written over by the second"


def check(folder: Path) -> str:
    env = make("observation of another shape")
    env.unwrapped.steps = 69
    return told(lambda: check_env(env))


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
