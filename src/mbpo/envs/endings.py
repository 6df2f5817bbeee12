"""When the known tasks end: their termination rules as pure functions of transitions.

Each function restates, on batches of jax arrays, what the environment's own source and the
"Episode End" section of its Gymnasium page say. Time limits are no part of it. Observations are
float32 here and mostly float64 there: only a value within one part in 10⁷ of a bound can fall on
its other side (benchmarks/terminations.py). Which rule is right for which
environment is decided in `envs.tasks`.

Left out: InvertedDoublePendulum, which ends by the height of a site that MuJoCo last updated one
physics step before the observation, so the observation does not determine it.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

Obs = Float[Array, "*batch obs"]
Action = Float[Array, "*batch act"]
Terminated = Bool[Array, "*batch"]


def never_terminates(obs: Obs, action: Action, next_obs: Obs) -> Terminated:
    """No transition ends the task: Pendulum, HalfCheetah, Swimmer, Reacher, Pusher."""
    return jnp.zeros(next_obs.shape[:-1], dtype=bool)


def mountain_car_ends(obs: Obs, action: Action, next_obs: Obs) -> Terminated:
    """MountainCarContinuous-v0: at the goal, position ≥ 0.45, and velocity ≥ 0 (its default)."""
    position, velocity = next_obs[..., 0], next_obs[..., 1]
    return (position >= 0.45) & (velocity >= 0.0)


def inverted_pendulum_ends(obs: Obs, action: Action, next_obs: Obs) -> Terminated:
    """InvertedPendulum-v4, -v5: a value is not finite, or |pole angle| > 0.2 rad."""
    return ~jnp.isfinite(next_obs).all(axis=-1) | (jnp.abs(next_obs[..., 1]) > 0.2)


def hopper_ends(obs: Obs, action: Action, next_obs: Obs) -> Terminated:
    """Hopper-v4, -v5: unhealthy, where healthy is z > 0.7, |angle| < 0.2 rad, |state[2:]| < 100.

    `state[2:]` is all but x and z, hence `next_obs[1:]`. Velocities are clipped to ±10 in the
    observation (but for `mbpo/HopperUnclippedObs-v4`), so the rare end by a speed beyond 100 cannot
    be seen (nor in `mbpo/HopperRestoredObs-v4` and -v5, which show less than 100). NaN is unhealthy.
    """
    height, angle, rest = next_obs[..., 0], next_obs[..., 1], next_obs[..., 1:]
    healthy = (height > 0.7) & (jnp.abs(angle) < 0.2) & (jnp.abs(rest) < 100.0).all(axis=-1)
    return ~(healthy & (height < jnp.inf))


def walker_ends(obs: Obs, action: Action, next_obs: Obs) -> Terminated:
    """Walker2d-v4, -v5: unhealthy, where healthy is 0.8 < z < 2 and |angle| < 1 rad."""
    height, angle = next_obs[..., 0], next_obs[..., 1]
    return ~((height > 0.8) & (height < 2.0) & (jnp.abs(angle) < 1.0))


def ant_ends(obs: Obs, action: Action, next_obs: Obs) -> Terminated:
    """Ant-v4, -v5: unhealthy, where healthy is 0.2 ≤ z ≤ 1 and every value finite."""
    height = next_obs[..., 0]
    return ~((height >= 0.2) & (height <= 1.0) & jnp.isfinite(next_obs).all(axis=-1))


def humanoid_ends(obs: Obs, action: Action, next_obs: Obs) -> Terminated:
    """Humanoid-v4, -v5: unhealthy, where healthy is 1 < z < 2."""
    height = next_obs[..., 0]
    return ~((height > 1.0) & (height < 2.0))
