"""Small worlds in which every term of the return bounds is a sum, not a sample.

`p[s, a, s']` is a world (or a model of one), `r[s, a]` its reward, `pi[s, a]` a policy. Sums over
time stop at a horizon where γ^t is far below what doubles resolve of the result.
"""

from typing import NamedTuple

import numpy as np


class World(NamedTuple):
    """A world, a model of it, and the policy that gathered the data for that model."""

    p: np.ndarray
    r: np.ndarray
    start: np.ndarray
    model: np.ndarray
    data_policy: np.ndarray
    policy: np.ndarray
    gamma: float

    @property
    def horizon(self) -> int:
        """Steps after which the discount is below 1e-9."""
        return int(np.ceil(np.log(1e-9) / np.log(self.gamma)))

    @property
    def r_max(self) -> float:
        return float(np.abs(self.r).max())


def random_world(rng: np.random.Generator) -> World:
    """Of any size, randomness, discount, model error and policy shift; sparse ones more often than not."""
    states, actions = rng.integers(2, 9), rng.integers(2, 5)
    concentration = 10 ** rng.uniform(-2, 0.5)

    def dynamics() -> np.ndarray:
        return rng.dirichlet(np.full(states, concentration), (states, actions))

    def policy() -> np.ndarray:
        return rng.dirichlet(np.full(actions, 10 ** rng.uniform(-1, 0.5)), states)

    p, data_policy = dynamics(), policy()
    wrong, shifted = 10 ** rng.uniform(-4, 0), 10 ** rng.uniform(-4, 0)
    return World(
        p=p,
        r=rng.uniform(-1, 1, (states, actions)) if rng.uniform() < 0.5 else rng.choice([-1.0, 1.0], (states, actions)),
        start=rng.dirichlet(np.full(states, concentration)),
        model=(1 - wrong) * p + wrong * dynamics(),
        data_policy=data_policy,
        policy=(1 - shifted) * data_policy + shifted * policy(),
        gamma=float(rng.choice([0.5, 0.8, 0.9, 0.95, 0.99])),
    )


def slippery_world(error: float, shift: float, gamma: float) -> World:
    """Where the bounds are nearly reached: a good state (+1) that leads to a trap (−1).

    Action 0 stays, action 1 falls into the trap. The data policy and the model always stay; the policy
    takes action 1 with chance `shift`, and staying really fails with chance `error`.
    """
    stay, fall = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    p = np.stack([np.stack([(1 - error) * stay + error * fall, fall]), np.stack([fall, fall])])
    model = np.stack([np.stack([stay, stay]), np.stack([fall, fall])])
    return World(
        p=p,
        r=np.array([[1.0, 1.0], [-1.0, -1.0]]),
        start=stay,
        model=model,
        data_policy=np.array([[1.0, 0.0], [1.0, 0.0]]),
        policy=np.array([[1 - shift, shift], [1.0, 0.0]]),
        gamma=gamma,
    )


def unseen_world(shift: float, gamma: float) -> World:
    """Where the data say nothing of what the policy does: ε_m is 0, and the model wrong all the same.

    Action 0 stays in the good state, action 1 falls into the trap; the data policy never takes it, and
    the model believes that it stays.
    """
    known = slippery_world(0.0, shift, gamma)
    model = known.p.copy()
    model[0, 1] = known.p[0, 0]
    return known._replace(model=model)


def chain(p: np.ndarray, policy: np.ndarray) -> np.ndarray:
    """Transition matrix between states, `[s, s']`."""
    return np.einsum("sa,sax->sx", policy, p)


def visits(start: np.ndarray, matrix: np.ndarray, steps: int) -> np.ndarray:
    """State distributions at times 0 … steps − 1, `[steps, s]`."""
    rows = [start]
    for _ in range(steps - 1):
        rows.append(rows[-1] @ matrix)
    return np.stack(rows)


def discounted(states: np.ndarray, policy: np.ndarray, r: np.ndarray, gamma: float) -> float:
    """Σ_t γ^t E r for state distributions `[t, s]`."""
    return float((gamma ** np.arange(len(states))) @ (states @ (policy * r).sum(axis=1)))


def true_return(world: World) -> float:
    """η[π]"""
    matrix = chain(world.p, world.policy)
    return discounted(visits(world.start, matrix, world.horizon), world.policy, world.r, world.gamma)


def imagined_return(world: World) -> float:
    """η̂[π]"""
    matrix = chain(world.model, world.policy)
    return discounted(visits(world.start, matrix, world.horizon), world.policy, world.r, world.gamma)


def branch_states(world: World, k: int) -> np.ndarray:
    """At each time t: t − k steps of π_D in the world, then min(t, k) steps of π in the model; `[t, s]`."""
    states = visits(world.start, chain(world.p, world.data_policy), world.horizon)
    matrix = chain(world.model, world.policy)
    branched = states[: max(world.horizon - k, 0)] @ np.linalg.matrix_power(matrix, k)
    return np.concatenate([visits(world.start, matrix, world.horizon)[:k], branched])


def branched_return(world: World, k: int) -> float:
    """η_branch; for k = 0 the action is the data policy's too."""
    policy = world.policy if k else world.data_policy
    return discounted(branch_states(world, k), policy, world.r, world.gamma)


def total_variation(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return 0.5 * np.abs(one - other).sum(axis=-1)


def model_error(world: World, states_policy: np.ndarray, actions_policy: np.ndarray) -> float:
    """max_t E TV(p, p_θ) over the states of one policy and the actions of one: ε_m, ε_m′."""
    error = total_variation(world.p, world.model)
    states = visits(world.start, chain(world.p, states_policy), world.horizon)
    return float((states @ (actions_policy * error).sum(axis=1)).max())


def data_error(world: World) -> float:
    """ε_m"""
    return model_error(world, world.data_policy, world.data_policy)


def on_policy_error(world: World) -> float:
    """ε_m′"""
    return model_error(world, world.policy, world.policy)


def policy_shift(world: World) -> float:
    """ε_π"""
    return float(total_variation(world.policy, world.data_policy).max())
