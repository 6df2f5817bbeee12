"""From Gymnasium's spaces to the spec that an algorithm knows, and the arrays in between.

Observations of any shape are flattened to one float32 vector, actions are handed back in the
environment's own shape and dtype; a number of a `Discrete` space travels as a vector of one number,
counted from 0. What cannot be learned in (nested, unbounded) is refused here, before anything runs.
No wrapper is added behind the user's back.
"""

import operator
from collections.abc import Iterable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from mbpo.errors import FOREIGN, ConfigError, UnsupportedEnvironment, in_short
from mbpo.types import MAX_STATES, Spec, TabularSpec


def spec_of(env: gymnasium.Env[Any, Any], algo: str = "MBPO", angles: Iterable[int] = ()) -> Spec:
    """The `Spec` of an environment with continuous observations and actions.

    Args:
        env: Its observation space must be a `Box` of any shape (images excepted), its action
            space a float `Box` with finite bounds, low below high in every dimension.
        algo: Who asks, for the errors.
        angles: Which numbers of the flattened observation are angles, counted from 0.

    Raises:
        UnsupportedEnvironment: One paragraph: which space is the trouble and what could be done.
        ConfigError: There is no such number.
    """
    name = env_name(env)
    obs_dim = _obs_dim(name, _space(env, "observation", name), algo)
    low, high = _action_bounds(name, _space(env, "action", name), algo)
    columns = tuple(sorted(set(angles)))
    if columns and not 0 <= columns[0] <= columns[-1] < obs_dim:
        raise ConfigError(
            f"angles = {list(columns)} names numbers of the observation that are angles, counted from 0, and "
            f"{name} has {obs_dim} numbers: 0 to {obs_dim - 1}."
        )
    return Spec(obs_dim=obs_dim, action_low=low, action_high=high, angles=columns)


def tabular_spec_of(env: gymnasium.Env[Any, Any], algo: str = "Dyna-Q") -> TabularSpec:
    """The `TabularSpec` of an environment whose observation and action spaces are both `Discrete`.

    Raises:
        UnsupportedEnvironment: One paragraph: which space is the trouble and what could be done.
    """
    name, sizes = env_name(env), []
    for kind in ("observation", "action"):
        space = _space(env, kind, name)
        if not isinstance(space, spaces.Discrete):
            raise UnsupportedEnvironment(
                f"{name} has the {kind} space {_show(space)}, but {algo} keeps a table with a row for each state and a "
                f"column for each action, and needs a Discrete {kind} space. {_tabular_remedy(kind)}"
            )
        if space.n > MAX_STATES:
            raise UnsupportedEnvironment(
                f"{name} has the {kind} space {_show(space)}, and a table cannot have more than {MAX_STATES} rows or "
                "columns. Merge states that are alike with a gymnasium.ObservationWrapper."
            )
        sizes.append(int(space.n))
    return TabularSpec(*sizes)


def vector_space(env: gymnasium.Env[Any, Any], reading: str) -> spaces.Box:
    """The space of observations that are one vector.

    Args:
        reading: Who reads what out of them, for the error.

    Raises:
        UnsupportedEnvironment: They are none.
    """
    space = env.observation_space
    if not isinstance(space, spaces.Box) or len(space.shape) != 1:
        raise UnsupportedEnvironment(
            f"{reading} out of an observation that is one vector, not out of {space}; put "
            "gymnasium.wrappers.FlattenObservation around the environment first."
        )
    return space


def read_obs(env: gymnasium.Env[Any, Any], obs: Any) -> np.ndarray:
    """One observation as a fresh float32 vector `[obs]`.

    Raises:
        TypeError, ValueError: It is no array of numbers, or a number outside of its `Discrete` space.
    """
    space = env.observation_space
    if not isinstance(space, spaces.Discrete):
        return flatten_obs(obs)
    number = operator.index(obs) - int(space.start)
    if not 0 <= number < space.n:
        raise ValueError(f"{obs} is not in {space}")
    return np.array([number], np.float32)


def read_obs_batch(env: gymnasium.Env[Any, Any], obs: np.ndarray) -> np.ndarray:
    """Observations `[*batch, *shape]` as rows `[rows, obs]`, float32; errors as in `read_obs`."""
    space = env.observation_space
    if isinstance(space, spaces.Discrete):
        return np.array([read_obs(env, number) for number in obs.reshape(-1)]).reshape(-1, 1)
    return obs.astype(np.float32).reshape(-1, int(np.prod(space.shape or ())))


def shape_action_batch(env: gymnasium.Env[Any, Any], actions: np.ndarray, batch: tuple[int, ...]) -> np.ndarray:
    """Actions `[rows, act]` as the environment takes them, `[*batch, *shape]`; unclipped."""
    space = env.action_space
    if isinstance(space, spaces.Discrete):
        return actions.reshape(batch).astype(np.int64) + space.start
    return actions.reshape(*batch, *(space.shape or ()))


def flatten_obs(obs: Any) -> np.ndarray:
    """One observation as a fresh float32 vector `[obs]`, in row-major order.

    Always a copy: environments may reuse the array they return. A float64 value beyond the range
    of float32 becomes infinite, which the training loop reports.
    """
    with np.errstate(over="ignore"):
        return np.array(obs, dtype=np.float32).reshape(-1)


def shape_action(env: gymnasium.Env[Any, Any], action: np.ndarray) -> np.ndarray | np.int64:
    """An action `[act]` in the shape and dtype of the environment's action space.

    Clipped to a `Box`'s bounds: 0.4 in float32 is a little more than 0.4 in float64.
    """
    space = env.action_space
    if isinstance(space, spaces.Discrete):
        return np.int64(action[0]) + space.start
    assert isinstance(space, spaces.Box), "other action spaces are refused before an environment is stepped"
    shaped: np.ndarray = np.clip(np.asarray(action).reshape(space.shape).astype(space.dtype), space.low, space.high)
    return shaped


def env_name(env: gymnasium.Env[Any, Any]) -> str:
    """The registered id of an environment, or the name of its innermost class.

    Raises:
        UnsupportedEnvironment: It fails when it is asked for what it wraps.
    """
    try:
        innermost = env.unwrapped
        return innermost.spec.id if innermost.spec is not None else type(innermost).__name__
    except FOREIGN as error:
        raise UnsupportedEnvironment(
            f"{type(env).__name__} cannot be learned in: asked for `unwrapped` and its `spec`, it raised "
            f"{in_short(error)}."
        ) from error


def _space(env: gymnasium.Env[Any, Any], kind: str, name: str) -> object:
    try:
        return getattr(env, f"{kind}_space", None)
    except FOREIGN as error:
        raise UnsupportedEnvironment(
            f"{name} does not tell its {kind} space: asked for it, it raised {in_short(error)}."
        ) from error


def _obs_dim(name: str, space: object, algo: str) -> int:
    if not isinstance(space, spaces.Box):
        raise UnsupportedEnvironment(
            f"{name} has the observation space {_show(space)}, but {algo} learns from continuous observations and "
            f"needs a Box of floats. {_obs_remedy(space)}"
        )
    if space.dtype == np.uint8 and len(space.shape) >= 2:
        raise UnsupportedEnvironment(
            f"{name} has image observations ({_show(space)}), but {algo} learns from low-dimensional continuous "
            "observations such as positions and velocities. Use a version of the task with state observations, or a "
            "gymnasium.ObservationWrapper that reduces each image to a short vector of floats."
        )
    size = int(np.prod(space.shape))
    if size == 0:
        raise UnsupportedEnvironment(
            f"{name} has an empty observation space ({_show(space)}), so there is nothing to learn from; "
            f"{algo} needs a Box with at least one dimension."
        )
    return size


def _obs_remedy(space: object) -> str:
    if space is None:
        return "Set self.observation_space, and self.action_space, where the environment is made (__init__)."
    if isinstance(space, spaces.Dict | spaces.Tuple):
        return (
            "If all its parts are continuous, wrap the environment in gymnasium.wrappers.FlattenObservation and pass "
            "the wrapped one."
        )
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
        return (
            "If the numbers count something (a position, a speed), a gymnasium.wrappers.TransformObservation that "
            "returns them as floats will do; a state that is only a label calls for a table instead."
        )
    return "A gymnasium.wrappers.TransformObservation that returns a vector of floats would make it usable."


def _action_bounds(name: str, space: object, algo: str) -> tuple[np.ndarray, np.ndarray]:
    """Bounds as float32 vectors `[act]`, checked."""
    if not isinstance(space, spaces.Box) or not np.issubdtype(space.dtype, np.floating):
        raise UnsupportedEnvironment(
            f"{name} has the action space {_show(space)}, but {algo} needs continuous actions: a Box of floats with "
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
            f"{name} has no finite action bounds in {_dimensions(unbounded)} ({_show(space)}), but {algo} scales "
            "actions to their bounds. Give the action_space of the environment finite bounds, or wrap it in "
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
    if space is None:
        return "Set self.action_space where the environment is made (__init__)."
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
        return (
            "Look for a continuous version of the task (MountainCarContinuous-v0 for MountainCar-v0, "
            "gymnasium.make('LunarLander-v3', continuous=True))."
        )
    if isinstance(space, spaces.Dict | spaces.Tuple):
        return (
            "If all its parts are continuous, gymnasium.wrappers.TransformAction can split one vector into the parts."
        )
    return "A gymnasium.wrappers.TransformAction that takes a vector of floats would make it usable."


def _tabular_remedy(kind: str) -> str:
    wrapper = {"observation": "Observation", "action": "Action"}[kind]
    return (
        f"A gymnasium.wrappers.Transform{wrapper} that sorts the {kind}s into a few numbered bins would make it usable."
    )


def _dimensions(indices: np.ndarray) -> str:
    shown = ", ".join(str(i) for i in indices[:5]) + (", …" if indices.size > 5 else "")
    return f"dimension{'s' if indices.size > 1 else ''} {shown}"


def _show(space: object) -> str:
    """A space in a few words, on one line."""
    text = " ".join(str(space).split())
    return text if len(text) <= 120 else text[:117] + "..."
