"""From Gymnasium's spaces to the `Spec` that the algorithms know, and the arrays in between.

Observations of any shape are flattened to one float32 vector, actions are handed back in the
environment's own shape and dtype. What cannot be learned in (discrete, nested, unbounded) is
refused here, before anything runs. No wrapper is added behind the user's back.
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from mbpo.errors import UnsupportedEnvironment
from mbpo.types import Spec


def spec_of(env: gymnasium.Env[Any, Any]) -> Spec:
    """The `Spec` of an environment with continuous observations and actions.

    Args:
        env: Its observation space must be a `Box` of any shape (images excepted), its action
            space a float `Box` with finite bounds, low below high in every dimension.

    Raises:
        UnsupportedEnvironment: One paragraph: which space is the trouble and what could be done.
    """
    name = env_name(env)
    obs_dim = _obs_dim(name, getattr(env, "observation_space", None))
    low, high = _action_bounds(name, getattr(env, "action_space", None))
    return Spec(obs_dim=obs_dim, action_low=low, action_high=high)


def flatten_obs(obs: Any) -> np.ndarray:
    """One observation as a fresh float32 vector `[obs]`, in row-major order.

    Always a copy: environments may reuse the array they return. A float64 value beyond the range
    of float32 becomes infinite, which the training loop reports.
    """
    with np.errstate(over="ignore"):
        return np.array(obs, dtype=np.float32).reshape(-1)


def shape_action(env: gymnasium.Env[Any, Any], action: np.ndarray) -> np.ndarray:
    """An action `[act]` in the shape and dtype of the environment's action space.

    Clipped to the space's bounds: 0.4 in float32 is a little more than 0.4 in float64.
    """
    space = env.action_space
    assert isinstance(space, spaces.Box), "spec_of refuses environments without a Box action space"
    shaped: np.ndarray = np.clip(np.asarray(action).reshape(space.shape).astype(space.dtype), space.low, space.high)
    return shaped


def env_name(env: gymnasium.Env[Any, Any]) -> str:
    """The registered id of an environment, or the name of its innermost class."""
    innermost = env.unwrapped
    return innermost.spec.id if innermost.spec is not None else type(innermost).__name__


def _obs_dim(name: str, space: object) -> int:
    if not isinstance(space, spaces.Box):
        raise UnsupportedEnvironment(
            f"{name} has the observation space {_show(space)}, but MBPO learns a model of continuous observations "
            f"and needs a Box of floats. {_obs_remedy(space)}"
        )
    if space.dtype == np.uint8 and len(space.shape) >= 2:
        raise UnsupportedEnvironment(
            f"{name} has image observations ({_show(space)}), but MBPO learns a model of low-dimensional continuous "
            "observations such as positions and velocities. Use a version of the task with state observations, or a "
            "gymnasium.ObservationWrapper that reduces each image to a short vector of floats."
        )
    size = int(np.prod(space.shape))
    if size == 0:
        raise UnsupportedEnvironment(
            f"{name} has an empty observation space ({_show(space)}), so there is nothing for a model to predict; "
            "MBPO needs a Box with at least one dimension."
        )
    return size


def _obs_remedy(space: object) -> str:
    if isinstance(space, spaces.Dict | spaces.Tuple):
        return (
            "If all its parts are continuous, wrap the environment in gymnasium.wrappers.FlattenObservation and pass "
            "the wrapped one."
        )
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
        return (
            "If the numbers count something (a position, a speed), a gymnasium.wrappers.TransformObservation that "
            "returns them as floats will do; a state that is only a label calls for a tabular method instead."
        )
    return "A gymnasium.wrappers.TransformObservation that returns a vector of floats would make it usable."


def _action_bounds(name: str, space: object) -> tuple[np.ndarray, np.ndarray]:
    """Bounds as float32 vectors `[act]`, checked."""
    if not isinstance(space, spaces.Box) or not np.issubdtype(space.dtype, np.floating):
        raise UnsupportedEnvironment(
            f"{name} has the action space {_show(space)}, but MBPO needs continuous actions: a Box of floats with "
            f"finite bounds. {_action_remedy(space)}"
        )
    with np.errstate(over="ignore"):
        low = space.low.astype(np.float32).reshape(-1)
        high = space.high.astype(np.float32).reshape(-1)
        width = high - low
    if low.size == 0:
        raise UnsupportedEnvironment(f"{name} has an empty action space ({_show(space)}): there is nothing to control.")
    # A width beyond float32 counts as unbounded too: actions are scaled by it.
    unbounded = np.flatnonzero(~np.isfinite(width))
    if unbounded.size:
        raise UnsupportedEnvironment(
            f"{name} has no finite action bounds in {_dimensions(unbounded)} ({_show(space)}), but MBPO scales actions "
            "to their bounds. Give the action_space of the environment finite bounds, or wrap it in "
            "gymnasium.wrappers.TransformAction with an action_space that has them (gymnasium.wrappers.RescaleAction "
            "and ClipAction help only where the bounds underneath are finite)."
        )
    degenerate = np.flatnonzero(width <= 0)
    if degenerate.size:
        raise UnsupportedEnvironment(
            f"{name} has action bounds with low not below high in {_dimensions(degenerate)} ({_show(space)}), so "
            "nothing can be chosen there. Give the action_space a low below high in every dimension, or drop the fixed "
            "dimensions with gymnasium.wrappers.TransformAction."
        )
    return low, high


def _action_remedy(space: object) -> str:
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
        return (
            "Look for a continuous version of the task (MountainCarContinuous-v0 for MountainCar-v0, "
            "gymnasium.make('LunarLander-v3', continuous=True)), or use an algorithm for discrete actions."
        )
    if isinstance(space, spaces.Dict | spaces.Tuple):
        return (
            "If all its parts are continuous, gymnasium.wrappers.TransformAction can split one vector into the parts."
        )
    return "A gymnasium.wrappers.TransformAction that takes a vector of floats would make it usable."


def _dimensions(indices: np.ndarray) -> str:
    shown = ", ".join(str(i) for i in indices[:5]) + (", …" if indices.size > 5 else "")
    return f"dimension{'s' if indices.size > 1 else ''} {shown}"


def _show(space: object) -> str:
    """A space in a few words, on one line."""
    text = " ".join(str(space).split())
    return text if len(text) <= 120 else text[:117] + "..."
