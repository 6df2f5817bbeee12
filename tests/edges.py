"""MuJoCo tasks at the edge of their termination rules: real transitions as near to a bound as floats allow.

An edge is one coordinate of the pose that decides. A state on either side of it is found whose next step ends, or
does not; halving the distance between the two again and again leads to states whose successors lie within one
rounding of the bound. Every step taken on the way is a real transition of the environment.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import gymnasium
import numpy as np

from mbpo.envs.spec import flatten_obs
from mbpo.envs.tasks import TASKS
from mbpo.viz.published import task_name

BISECTIONS = 48
"""Halvings: from a tenth to below the resolution of float64 around 1."""
OWN = [env_id for env_id in TASKS if env_id.startswith("mbpo/")]
"""MuJoCo tasks with other observations than Gymnasium's."""
UNCLIPPED = [env_id for env_id in OWN if "Unclipped" in env_id]
HOPPER_SPEED = 100.0
FASTEST = {"Hopper": 2.0}
"""Powers of ten of the scattered speeds; 1 for the others, which MuJoCo can no longer simulate much faster."""


class Edge(NamedTuple):
    """One coordinate of `qpos`, with a value that is well and one that ends the episode."""

    index: int
    well: float
    ends: float


EDGES: dict[str, list[Edge]] = {
    "InvertedPendulum": [Edge(1, 0.1, 0.3), Edge(1, -0.1, -0.3)],
    "Hopper": [Edge(1, 1.1, 0.55), Edge(2, 0.1, 0.3), Edge(2, -0.1, -0.3), Edge(5, 99.0, 101.0)],
    "Walker2d": [Edge(1, 1.2, 0.6), Edge(1, 1.8, 2.2), Edge(2, 0.8, 1.2), Edge(2, -0.8, -1.2)],
    "Ant": [Edge(2, 0.5, 0.05), Edge(2, 0.9, 1.1)],
    "Humanoid": [Edge(2, 1.3, 0.8), Edge(2, 1.8, 2.2)],
    "HalfCheetah": [Edge(1, 0.0, -0.5), Edge(2, 0.0, 3.0)],
}
"""HalfCheetah's are none: a body in the ground, and one on its head."""

Margins = Callable[[np.ndarray, np.ndarray], tuple[list[float], list[float]]]
"""`(qpos, qvel)` to what must be positive (or 0, where the rule has ≤): as far as observed, and what is not."""
MARGINS: dict[str, Margins] = {
    "InvertedPendulum": lambda q, v: ([0.2 - abs(q[1])], []),
    "Hopper": lambda q, v: (
        [q[1] - 0.7, 0.2 - abs(q[2]), *(100 - abs(q[2:]))],
        [HOPPER_SPEED - abs(v).max()],  # Gymnasium clips observed velocities to ±10.
    ),
    "Walker2d": lambda q, v: ([q[1] - 0.8, 2 - q[1], 1 - abs(q[2])], []),
    "Ant": lambda q, v: ([q[2] - 0.2, 1 - q[2]], []),
    "Humanoid": lambda q, v: ([q[2] - 1, 2 - q[2]], []),
    "HalfCheetah": lambda q, v: ([], []),
}


class Transition(NamedTuple):
    """A real transition as the learner sees it, and what only the simulator knows."""

    obs: np.ndarray
    action: np.ndarray
    next_obs: np.ndarray
    terminated: bool
    margin: float
    """Distance of the next state to the nearest bound on what is observed, in float64; positive is well."""
    hidden: float
    """The same of what is clipped in the observation; infinite where nothing is."""
    speed: float
    """Largest |qvel| of the next state."""


def task_of(env: gymnasium.Env[Any, Any]) -> str:
    """`Hopper` for Hopper-v4, `Humanoid` for mbpo/HumanoidTruncatedObs-v4."""
    assert env.spec is not None
    return task_name(env.spec.id)


def step(env: gymnasium.Env[Any, Any], obs: np.ndarray, action: np.ndarray) -> Transition:
    """One step of the environment; time limits do not count."""
    core: Any = env.unwrapped
    next_obs, _, terminated, _, _ = core.step(action)
    qpos, qvel = core.data.qpos.copy(), core.data.qvel.copy()
    seen, hidden = MARGINS[task_of(env)](qpos, qvel)
    if core.spec.id in UNCLIPPED:
        seen, hidden = [*seen, *hidden], []
    return Transition(
        flatten_obs(obs),
        np.asarray(action, np.float32),
        flatten_obs(next_obs),
        bool(terminated),
        float(min(seen, default=np.inf)),
        float(min(hidden, default=np.inf)),
        float(np.abs(qvel).max()),
    )


def scattered(env: gymnasium.Env[Any, Any], rng: np.random.Generator) -> Iterator[Transition]:
    """One transition at a time from poses on both sides of an edge, some of them very fast; without end."""
    core: Any = env.unwrapped
    edges = EDGES[task_of(env)]
    while True:
        edge = edges[rng.integers(len(edges))]
        qpos = core.init_qpos + 0.05 * rng.normal(size=core.model.nq)
        qpos[edge.index] = edge.well + rng.uniform() * (edge.ends - edge.well)
        qvel = rng.normal(size=core.model.nv) * 10 ** rng.uniform(-2, FASTEST.get(task_of(env), 1.0))
        core.set_state(qpos, qvel)
        yield step(env, core._get_obs(), rng.uniform(env.action_space.low, env.action_space.high))


def bisected(env: gymnasium.Env[Any, Any], rng: np.random.Generator) -> Iterator[Transition]:
    """Transitions that approach an edge from both sides, from ever new poses; without end."""
    core: Any = env.unwrapped
    edges = EDGES[task_of(env)]
    while True:
        edge = edges[rng.integers(len(edges))]
        pose = core.init_qpos + 0.02 * rng.normal(size=core.model.nq)
        qvel = rng.normal(size=core.model.nv) * 10 ** rng.uniform(-3, 0)
        action = rng.uniform(env.action_space.low, env.action_space.high)

        def at(value: float, edge=edge, pose=pose, qvel=qvel, action=action) -> Transition:
            qpos = pose.copy()
            qpos[edge.index] = value
            core.set_state(qpos, qvel)
            return step(env, core._get_obs(), action)

        low, high = edge.well, edge.ends
        one, other = at(low), at(high)
        yield one
        yield other
        if one.terminated == other.terminated:
            continue
        for _ in range(BISECTIONS):
            middle = 0.5 * (low + high)
            if middle in (low, high):
                break
            found = at(middle)
            yield found
            low, high = (low, middle) if found.terminated != one.terminated else (middle, high)
