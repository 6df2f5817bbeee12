"""Small tasks, small settings and a small agent for tests of the loop and the command line.

Importing this module registers its tasks with Gymnasium, so that `tiny_tasks:Short-v0` works from
a command line with this folder on `PYTHONPATH`. `Short` is Pendulum with episodes of 20 steps:
long enough to be interrupted in the middle, short enough that a run of 80 steps has four.
"""

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces
from gymnasium.envs.classic_control.pendulum import PendulumEnv

from mbpo.agents.base import Agent
from mbpo.types import Spec

EPISODE_STEPS = 20
SHORT = "tiny_tasks:Short-v0"

MBPO_SETTINGS: dict[str, Any] = {
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
"""Everything MBPO does, in networks that compile and train as fast as any."""

RUN_SETTINGS: dict[str, Any] = {
    "eval_freq": 25,
    "eval_episodes": 2,
    "termination": "never",
    **MBPO_SETTINGS,
}
"""Keyword arguments of `MBPO`."""


def flags(settings: dict[str, Any] = RUN_SETTINGS, prefix: str = "") -> list[str]:
    """Settings as the command line spells them."""
    arguments = []
    for name, value in settings.items():
        option = prefix + name.replace("_", "-")
        if isinstance(value, dict):
            arguments += flags(value, option + ".")
        else:
            arguments += [f"--{option}", *map(str, value if isinstance(value, list) else [value])]
    return arguments


class Unbounded(PendulumEnv):
    """Actions without bounds."""

    def __init__(self) -> None:
        super().__init__()
        self.action_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)


class DictObs(PendulumEnv):
    """Observations that are a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.observation_space = spaces.Dict({"position": self.observation_space})


class Needy(PendulumEnv):
    """Fails at a step, counted over the whole life of the process, named in the environment."""

    steps = 0

    def step(self, action):
        type(self).steps += 1
        if type(self).steps == int(os.environ.get("FAIL_AT_STEP", "0")):
            raise ConnectionError("the simulator hung up")
        return super().step(action)


for name, kind in {"Short": PendulumEnv, "Unbounded": Unbounded, "DictObs": DictObs, "Needy": Needy}.items():
    gymnasium.register(f"{name}-v0", kind, max_episode_steps=EPISODE_STEPS)


class Script(gymnasium.Env):
    """Observes `[episode's first number, step]`, is rewarded with the step, and ends as it is told.

    A fault happens in the training environment only when set after the environment was handed
    over, since evaluations run in copies made at that moment.
    """

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, length: int = 5, ending: str = "truncated", fault: str = "", fault_step: int = 2) -> None:
        self.length, self.ending, self.fault, self.fault_step = length, ending, fault, fault_step
        self.resets: list[int] = []
        self.clock = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.resets.append(seed)
        self.clock, self.start = 0, self.np_random.uniform()
        if self.fault == "reset raises":
            raise RuntimeError("out of licences")
        if self.fault == "reset nan":
            return np.float32([np.nan, 0]), {}
        if self.fault == "reset shape":
            return np.zeros(5, np.float32), {}
        return np.float32([self.start, 0]), {}

    def step(self, action):
        assert action.shape == (1,)
        self.clock += 1
        obs, reward, over = np.float32([self.start, self.clock]), float(self.clock), self.clock >= self.length
        if self.fault and self.clock == self.fault_step:
            match self.fault:
                case "raises":
                    raise RuntimeError("motor overheated")
                case "obs nan":
                    obs[1] = np.nan
                case "obs inf":
                    obs[0] = -np.inf
                case "obs shape":
                    obs = np.zeros(3, np.float32)
                case "obs text":
                    obs = {"position": 0.0}
                case "reward nan":
                    reward = np.nan
                case "reward inf":
                    reward = np.inf
                case "reward none":
                    reward = None
        return obs, reward, over and self.ending == "terminated", over and self.ending == "truncated", {}


class SpyState(NamedTuple):
    improved: jax.Array
    """How many transitions were learned from."""
    weight: jax.Array


class SpyAgent(Agent[SpyState]):
    """Answers the verbs and writes down each call, with what it was handed."""

    steadier = "a smaller weight"

    def __init__(self, obs_dim: int = 2) -> None:
        self.spec = Spec(obs_dim, np.float32([-1.0]), np.float32([1.0]))
        self.calls: list[tuple[str, int, Any]] = []
        self.metrics: dict[str, float] = {}
        self.action = 0.5

    def init(self, key) -> SpyState:
        return SpyState(jnp.zeros((), jnp.int32), jax.random.normal(key, (3,)))

    def learn_model(self, state, env_step, key):
        self.calls.append(("learn_model", env_step, None))
        return state, {}

    def act(self, state, obs, env_step, key):
        self.calls.append(("act", env_step, obs.copy()))
        return np.float32([self.action]), state

    def improve(self, state, transition, env_step, key):
        self.calls.append(("improve", env_step, transition))
        # The draw makes the state depend on the key of every step so far.
        weight = state.weight + jax.random.normal(key, (3,)) * transition.reward
        return SpyState(state.improved + 1, weight), dict(self.metrics)

    def memory(self, batch):
        return ()

    def predict(self, state, obs, memory):
        return np.full((len(obs), 1), 0.25, np.float32), memory

    def sample(self, state, obs, key):
        return jax.random.uniform(key, (len(obs), 1))


def same_weights(one: Any, other: Any) -> bool:
    """Whether two states agree in structure, shapes, dtypes and every bit."""
    if jax.tree.structure(one) != jax.tree.structure(other):
        return False
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(a.dtype == b.dtype and np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in pairs)


def without_time(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Records less the only number that may differ between equal runs."""
    return [{name: value for name, value in record.items() if name != "wall_time"} for record in records]


def read_lines(folder: Path) -> list[dict[str, Any]]:
    """`metrics.jsonl` as it lies on the disk, by a reader of our own."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def final_file(folder: Path) -> bytes:
    """The bytes of the checkpoint that a run folder points to, all of its files."""
    checkpoint = folder / "checkpoint"
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    names = [manifest["file"], *(chunk["file"] for ring in manifest["rings"].values() for chunk in ring)]
    return b"".join((checkpoint / name).read_bytes() for name in names)


def one_paragraph(message: str) -> str:
    """The message, if it is one paragraph that a person can read."""
    text = message.strip()
    assert text
    assert "\n" not in text
    assert "Traceback" not in text
    assert len(text) < 900
    return text
