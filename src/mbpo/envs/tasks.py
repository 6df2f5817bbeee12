"""Which termination rule a task has, which of its numbers are angles, and what to do where neither is known.

A rule is looked up only for the task it was written for, set up as it is registered. Anything
else is an error that says what to pass, never a silent "never terminates" and never the rule of
another task. A user's function is traced on a batch before anything runs, so that a wrong shape
is reported here and not from inside a compiled rollout.
"""

import math
from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from typing import Any

import gymnasium
import jax
import numpy as np
from gymnasium import spaces, wrappers

from mbpo.envs import endings
from mbpo.envs.given import import_function, not_kept
from mbpo.envs.spec import spec_of
from mbpo.errors import FOREIGN, ConfigError, in_short
from mbpo.types import TerminationFn

SIGNATURE = "(obs, action, next_obs) -> terminated"


@dataclass(frozen=True)
class Task:
    """A termination rule, angles, and the conditions under which they are the environment's own."""

    ends: TerminationFn
    obs_dims: tuple[int, ...]
    """Sizes of observation in which the rule's entries are where the function looks for them."""
    rule: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the environment that change its rule, at the values the function assumes."""
    harmless: Set[str] = frozenset()
    """Arguments that change neither the rule nor where the observation holds what it needs."""
    angles: tuple[int, ...] = ()
    """Numbers of the observation that are angles and wind up, where that was measured to matter."""


# fmt: off
HARMLESS = frozenset((
    "camera_id", "camera_name", "contact_cost_range", "contact_cost_weight", "contact_force_range", "ctrl_cost_weight",
    "default_camera_config", "forward_reward_weight", "frame_skip", "healthy_reward", "height",
    "include_cfrc_ext_in_observation", "include_cinert_in_observation", "include_cvel_in_observation",
    "include_qfrc_actuator_in_observation", "max_geom", "render_mode", "reset_noise_scale", "reward_control_weight",
    "reward_dist_weight", "reward_near_weight", "use_contact_forces", "visual_options", "width",
))
# fmt: on
"""Of MuJoCo tasks. The observation's optional parts come last, after all that a rule reads."""


def _mujoco(ends: TerminationFn, *obs_dims: int, **rule: Any) -> Task:
    return Task(ends, obs_dims, rule, HARMLESS)


def _walking(ends: TerminationFn, *obs_dims: int, **rule: Any) -> Task:
    always = {"terminate_when_unhealthy": True, "exclude_current_positions_from_observation": True}
    return Task(ends, obs_dims, always | rule, HARMLESS)


_HOPPER = _walking(
    endings.hopper_ends,
    11,
    healthy_state_range=(-100.0, 100.0),
    healthy_z_range=(0.7, math.inf),
    healthy_angle_range=(-0.2, 0.2),
)
_WALKER = _walking(endings.walker_ends, 17, healthy_z_range=(0.8, 2.0), healthy_angle_range=(-1.0, 1.0))
_MOVES_ON = {"exclude_current_positions_from_observation": True}
_HALF_CHEETAH = replace(_mujoco(endings.never_terminates, 17, **_MOVES_ON), angles=(1,))
"""Its pitch goes on counting when it rolls over (docs/algorithms/mbpo_dh.md, "Results")."""
TASKS: Mapping[str, Task] = {
    "Pendulum-v1": Task(endings.never_terminates, (3,), {}, frozenset({"render_mode", "g"})),
    "MountainCarContinuous-v0": Task(endings.mountain_car_ends, (2,), {"goal_velocity": 0}, frozenset({"render_mode"})),
    "InvertedPendulum-v4": _mujoco(endings.inverted_pendulum_ends, 4),
    "InvertedPendulum-v5": _mujoco(endings.inverted_pendulum_ends, 4),
    "Hopper-v4": _HOPPER,
    "Hopper-v5": _HOPPER,
    "mbpo/HopperUnclippedObs-v4": _HOPPER,
    "mbpo/HopperRestoredObs-v4": _HOPPER,
    "mbpo/HopperRestoredObs-v5": _HOPPER,
    "Walker2d-v4": _WALKER,
    "Walker2d-v5": _WALKER,
    "mbpo/Walker2dUnclippedObs-v4": _WALKER,
    "mbpo/Walker2dRestoredObs-v4": _WALKER,
    "mbpo/Walker2dRestoredObs-v5": _WALKER,
    "Ant-v4": _walking(endings.ant_ends, 27, 111, healthy_z_range=(0.2, 1.0)),
    "Ant-v5": _walking(endings.ant_ends, 27, 105, healthy_z_range=(0.2, 1.0)),
    "mbpo/AntTorsoFrame-v4": _walking(endings.ant_ends, 29, 113, healthy_z_range=(0.2, 1.0)),
    "mbpo/AntTorsoFrame-v5": _walking(endings.ant_ends, 29, 107, healthy_z_range=(0.2, 1.0)),
    "Humanoid-v4": _walking(endings.humanoid_ends, 376, healthy_z_range=(1.0, 2.0)),
    "mbpo/HumanoidTruncatedObs-v4": _walking(endings.humanoid_ends, 45, healthy_z_range=(1.0, 2.0)),
    "Humanoid-v5": _walking(endings.humanoid_ends, 45, 348, healthy_z_range=(1.0, 2.0)),
    "mbpo/HumanoidTorsoFrame-v4": _walking(endings.humanoid_ends, 47, healthy_z_range=(1.0, 2.0)),
    "mbpo/HumanoidTorsoFrame-v5": _walking(endings.humanoid_ends, 47, 350, healthy_z_range=(1.0, 2.0)),
    "HalfCheetah-v4": _HALF_CHEETAH,
    "HalfCheetah-v5": _HALF_CHEETAH,
    "Swimmer-v4": _mujoco(endings.never_terminates, 8, **_MOVES_ON),
    "Swimmer-v5": _mujoco(endings.never_terminates, 8, **_MOVES_ON),
    "Reacher-v4": _mujoco(endings.never_terminates, 11),
    "Reacher-v5": _mujoco(endings.never_terminates, 10),
    "Pusher-v4": _mujoco(endings.never_terminates, 23),
    "Pusher-v5": _mujoco(endings.never_terminates, 23),
}
"""What is known by registered id, version included."""


OWN = ("gymnasium.envs.", "mbpo.envs.")
"""Where the environments come from that `TASKS` speaks of, whatever else is registered under such an id."""


def termination_fn_for(env: gymnasium.Env[Any, Any]) -> TerminationFn | None:
    """The task's own termination rule, or None where it is not known for certain."""
    task = _known(env)
    return None if task is None else task.ends


def angles_of(env: gymnasium.Env[Any, Any]) -> tuple[int, ...]:
    """Which numbers of the observation are angles that wind up; none where that is not known for certain."""
    task = _known(env)
    return () if task is None else task.angles


def _known(env: gymnasium.Env[Any, Any]) -> Task | None:
    """What is known of the task for certain.

    That means: the environment is Gymnasium's own, or ours, under an id listed in `TASKS`, every argument
    that bears on the rule has the value the rule assumes, no argument is foreign, the
    observation has the size expected, and no wrapper changes observations or endings.
    """
    innermost = env.unwrapped
    spec = innermost.spec
    task = TASKS.get(spec.id) if spec is not None else None
    if spec is None or task is None or not type(innermost).__module__.startswith(OWN):
        return None
    for name, value in spec.kwargs.items():
        if name in task.rule:
            if not _equal(value, task.rule[name]):
                return None
        elif name not in task.harmless:
            return None
    space = env.observation_space
    if not isinstance(space, spaces.Box) or not np.issubdtype(space.dtype, np.floating):
        return None
    if len(space.shape) != 1 or space.shape[0] not in task.obs_dims:
        return None
    while isinstance(env, gymnasium.Wrapper):
        if not _transparent(env):
            return None
        env = env.env
    return task


_TRANSPARENT = (
    wrappers.PassiveEnvChecker,
    wrappers.OrderEnforcing,
    wrappers.TimeLimit,
    wrappers.RecordEpisodeStatistics,
    wrappers.RecordVideo,
    wrappers.RenderCollection,
    wrappers.HumanRendering,
    wrappers.NormalizeReward,
    wrappers.FlattenObservation,
    wrappers.DtypeObservation,
)


def _transparent(wrapper: gymnasium.Wrapper[Any, Any, Any, Any]) -> bool:
    """Whether a wrapper leaves observations and endings alone (exact types: a subclass may not)."""
    kind = type(wrapper)
    acts_only = kind.step is gymnasium.ActionWrapper.step and kind.reset is gymnasium.Wrapper.reset
    rewards_only = kind.step is gymnasium.RewardWrapper.step and kind.reset is gymnasium.Wrapper.reset
    return kind in _TRANSPARENT or acts_only or rewards_only


def _equal(value: object, assumed: object) -> bool:
    if isinstance(assumed, tuple):
        return isinstance(value, list | tuple) and tuple(value) == assumed
    return value == assumed


def resolve_termination(
    env: gymnasium.Env[Any, Any], choice: str | TerminationFn | None = None
) -> TerminationFn | None:
    """The termination function that `choice` stands for in this environment; None: learn it.

    Args:
        env: The training environment, wrappers and all.
        choice: None or `"auto"`: the task's own rule if it is known for certain, and learned from
            data if it is not. `"learned"`: learned in any case. `"never"`: the task never ends on its
            own (time limits do not count). `"module:function"`: imported.
            A function: itself. It takes `(obs, action, next_obs)`, float32 arrays
            `[batch, obs]`, `[batch, act]`, `[batch, obs]`, in jax operations only, and returns a
            bool array `[batch]`.

    Raises:
        ConfigError: The choice cannot be read or imported, or was an object that only its maker has
            (`"given"`); or the function cannot be traced, or returns something else than a bool array
            `[batch]`.
        UnsupportedEnvironment: See `spec_of`.
    """
    if choice is None or choice == "auto":
        return termination_fn_for(env)
    if choice == "learned":
        return None
    if choice == "never":
        return endings.never_terminates
    if choice == "given":
        raise ConfigError(not_kept("termination"))
    if isinstance(choice, str):
        shown, function = repr(choice), import_function(choice, "termination", SIGNATURE, ("auto", "learned", "never"))
    else:
        shown, function = getattr(choice, "__qualname__", None) or repr(choice), choice
    _check(function, shown, env)
    return function


def _check(function: TerminationFn, shown: str, env: gymnasium.Env[Any, Any]) -> None:
    """Trace the function on shapes alone: no values, so a Python `if` on one is found too."""
    spec = spec_of(env)
    batch = spec.obs_dim + spec.action_dim + 1  # a size that no axis could be mistaken for
    obs = np.zeros((batch, spec.obs_dim), np.float32)
    action = np.zeros((batch, spec.action_dim), np.float32)
    try:
        result = jax.eval_shape(function, obs, action, obs)
    except FOREIGN as error:
        raise ConfigError(
            f"The termination function {shown} failed on a batch of transitions with {in_short(error)}. It must be "
            f"a function {SIGNATURE} that uses jax operations (jnp, & and |, no Python `if` on values) on arrays "
            "[batch, obs], [batch, act] and [batch, obs]."
        ) from error
    shape, dtype = getattr(result, "shape", None), getattr(result, "dtype", None)
    if shape != (batch,) or dtype != np.bool_:
        got = f"{dtype}{list(shape)}" if shape is not None else f"a {type(result).__name__}"
        raise ConfigError(
            f"The termination function {shown} must return one bool per transition, bool[{batch}] for a batch of "
            f"{batch}, but it returned {got}. Index the last axis (next_obs[..., 0]) and compare."
        )
