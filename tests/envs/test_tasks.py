"""Termination rules against the environments themselves, and what happens where none is known."""

import math
import sys
from functools import partial

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from edges import OWN
from gymnasium import spaces, wrappers

from mbpo.envs import endings
from mbpo.envs.spec import flatten_obs
from mbpo.envs.tasks import TASKS, resolve_termination, termination_fn_for
from mbpo.errors import ConfigError, UnsupportedEnvironment
from mbpo.viz.published import task_name

INF = math.inf


def make(env_id: str, **kwargs) -> gymnasium.Env:
    if env_id not in ("Pendulum-v1", "MountainCarContinuous-v0"):
        pytest.importorskip("mujoco")
    return gymnasium.make(env_id, **kwargs)


# --- rules against the environments -----------------------------------------------------------


def scatter_mountain_car(env, rng):
    env.state = np.array([rng.uniform(0.3, 0.6), rng.uniform(-0.07, 0.07)], np.float32)


def scatter_qpos(env, rng, low, high, speed=1.0):
    """Positions within bounds for the first coordinates, the initial pose for the others."""
    qpos = env.init_qpos.copy()
    qpos[: len(low)] = rng.uniform(low, high)
    env.set_state(qpos, rng.normal(size=env.model.nv) * speed)


SCATTER = {
    "MountainCarContinuous-v0": scatter_mountain_car,
    "InvertedPendulum": partial(scatter_qpos, low=[-0.5, -0.4], high=[0.5, 0.4]),
    "Hopper": partial(scatter_qpos, low=[-5, 0.5, -0.4], high=[5, 1.5, 0.4]),
    "Walker2d": partial(scatter_qpos, low=[-5, 0.6, -1.6], high=[5, 2.2, 1.6]),
    "Ant": partial(scatter_qpos, low=[-5, -5, 0.0], high=[5, 5, 1.3]),
    "Humanoid": partial(scatter_qpos, low=[-5, -5, 0.7], high=[5, 5, 2.3]),
}
SCATTER |= {own.rpartition("-")[0]: SCATTER[task_name(own)] for own in OWN}
"""For the tasks that can end: puts the environment near to and on both sides of its boundary."""

NEVER_ENDING = ("Pendulum", "HalfCheetah", "Swimmer", "Reacher", "Pusher")
OBTAINABLE = [env_id for env_id in TASKS if env_id != "Pusher-v4"]  # Pusher-v4 wants MuJoCo 2


def transitions(env, scatter, steps):
    """Real transitions under random actions, of which most start from scattered states."""
    rng = np.random.default_rng(0)
    env.action_space.seed(0)
    obs, _ = env.reset(seed=0)
    rows = []
    for step in range(steps):
        if scatter is not None and step % 3:
            scatter(env.unwrapped, rng)
        action = env.action_space.sample()
        next_obs, _, terminated, truncated, _ = env.step(action)
        rows.append((flatten_obs(obs), action, flatten_obs(next_obs), terminated))
        obs = next_obs
        if truncated or (terminated and step % 3 == 0):
            obs, _ = env.reset()
    return tuple(np.stack(column) for column in zip(*rows, strict=True))


@pytest.mark.parametrize("env_id", OBTAINABLE)
def test_rule_agrees_with_the_environment(env_id):
    env = make(env_id)
    base = env_id.rpartition("-")[0]
    scatter = SCATTER.get(env_id, SCATTER.get(base))
    obs, action, next_obs, terminated = transitions(env, scatter, 1000 if "Humanoid" in env_id else 3000)
    predicted = resolve_termination(env, None)(jnp.asarray(obs), jnp.asarray(action), jnp.asarray(next_obs))
    assert predicted.dtype == jnp.bool_
    np.testing.assert_array_equal(predicted, terminated)
    if base in NEVER_ENDING:
        assert not terminated.any()
    else:
        assert 0.1 < terminated.mean() < 0.9  # both sides of the boundary were really seen


@pytest.mark.parametrize("env_id", ["Hopper-v4", "Hopper-v5"])
def test_hopper_ends_by_its_joints(env_id):
    # The branch of the rule that the height and the angle do not cover.
    env = make(env_id)
    rule = termination_fn_for(env)
    env.reset(seed=0)
    qpos = env.unwrapped.init_qpos.copy()
    for turn, ends in ((90.0, False), (-110.0, True), (110.0, True)):
        qpos[5] = turn
        env.unwrapped.set_state(qpos, 0 * env.unwrapped.init_qvel)
        obs = env.unwrapped._get_obs()
        assert bool(env.unwrapped.is_healthy) is not ends
        assert bool(rule(obs, np.zeros(3), jnp.asarray(flatten_obs(obs)))) is ends


def test_each_registered_size_is_one_that_the_environment_has():
    humanoid = {f"include_{part}_in_observation": False for part in ("cinert", "cvel", "qfrc_actuator", "cfrc_ext")}
    sizes = {
        "Ant-v4": [{}, {"use_contact_forces": True}],
        "Ant-v5": [{}, {"include_cfrc_ext_in_observation": False}],
        "Humanoid-v5": [{}, humanoid],
        "mbpo/AntTorsoFrame-v4": [{}, {"use_contact_forces": True}],
        "mbpo/AntTorsoFrame-v5": [{}, {"include_cfrc_ext_in_observation": False}],
        "mbpo/HumanoidTorsoFrame-v4": [{}],
        "mbpo/HumanoidTorsoFrame-v5": [{}, humanoid],
    }
    for env_id, settings in sizes.items():
        found = {make(env_id, **setting).observation_space.shape[0] for setting in settings}
        assert found == set(TASKS[env_id].obs_dims)


# --- rules by hand ----------------------------------------------------------------------------


def ends(rule, *next_obs) -> list[bool]:
    rows = jnp.asarray(next_obs, jnp.float32)
    return np.asarray(rule(rows, rows, rows)).tolist()


def test_pendulum_never_ends():
    # Regression: a time limit stored as an ending is fatal here (Pardo et al. 2018).
    assert ends(endings.never_terminates, [1, 0, 0], [-1, 0, 8]) == [False, False]


def test_mountain_car_by_hand():
    rule = endings.mountain_car_ends
    assert ends(rule, [0.45, 0], [0.45, -0.01], [0.449, 0.07], [0.6, 0.07]) == [True, False, False, True]


def test_inverted_pendulum_by_hand():
    rows = [0, 0.2, 0, 0], [0, -0.2001, 0, 0], [9, 0, 9, 9], [0, 0, math.nan, 0], [INF, 0, 0, 0]
    assert ends(endings.inverted_pendulum_ends, *rows) == [False, True, False, True, True]


def hopper_row(z=1.25, angle=0.0, rest=0.0) -> list[float]:
    return [z, angle, rest] + [0.0] * 8


def test_hopper_by_hand():
    rows = [hopper_row(), hopper_row(z=0.7), hopper_row(angle=0.2), hopper_row(angle=-0.21), hopper_row(z=INF)]
    assert ends(endings.hopper_ends, *rows) == [False, True, True, True, True]


def test_hopper_state_bound_is_on_the_absolute_value():
    # Regression: `abs(obs[1:] < 100)` instead of `abs(obs[1:]) < 100` lets −100 and below live.
    rows = [hopper_row(rest=-150.0), hopper_row(rest=150.0), hopper_row(rest=-99.0), hopper_row(rest=99.0)]
    assert ends(endings.hopper_ends, *rows) == [True, True, False, False]


def test_walker_ant_humanoid_by_hand():
    walker = [0.8, 0, 0], [0.81, 0, 0], [1.99, 0.99, 0], [2.0, 0, 0], [1.2, -1.0, 0], [1.2, 0, 500]
    assert ends(endings.walker_ends, *walker) == [True, False, False, True, True, False]
    ant = [0.2, 0], [0.19, 0], [1.0, 0], [1.01, 0], [0.5, INF]
    assert ends(endings.ant_ends, *ant) == [False, True, False, True, True]
    humanoid = [1.0, 0], [1.01, 0], [1.99, 0], [2.0, 0]
    assert ends(endings.humanoid_ends, *humanoid) == [True, False, False, True]


@pytest.mark.parametrize("env_id", [env_id for env_id in TASKS if not env_id.startswith((*NEVER_ENDING, "Mountain"))])
def test_nan_ends_every_mujoco_task_that_can_end(env_id):
    task = TASKS[env_id]
    assert ends(task.ends, [math.nan] * task.obs_dims[0]) == [True]


@pytest.mark.parametrize("env_id", TASKS)
@pytest.mark.parametrize("batch", [(), (4,), (2, 3)])
def test_rules_take_any_batch_and_compile(env_id, batch):
    task = TASKS[env_id]
    obs = jnp.zeros((*batch, task.obs_dims[0]))
    result = jax.jit(task.ends)(obs, obs, obs)
    assert (result.shape, result.dtype) == (batch, jnp.bool_)


# --- which rule, and when none (regression: a rule is never guessed) ---------------------------


def test_only_known_tasks_have_a_rule():
    for env_id in ["CartPole-v1", "Acrobot-v1", "MountainCar-v0"]:
        assert termination_fn_for(gymnasium.make(env_id)) is None
    pytest.importorskip("mujoco")
    assert termination_fn_for(gymnasium.make("InvertedDoublePendulum-v5")) is None


@pytest.mark.parametrize(
    ("env_id", "kwargs", "known"),
    [
        ("Pendulum-v1", {"g": 5.0}, True),
        ("MountainCarContinuous-v0", {"goal_velocity": 0.0}, True),
        ("MountainCarContinuous-v0", {"goal_velocity": 0.01}, False),
        ("Hopper-v4", {"terminate_when_unhealthy": True, "healthy_angle_range": [-0.2, 0.2]}, True),
        ("Hopper-v4", {"ctrl_cost_weight": 0.0, "reset_noise_scale": 0.1}, True),
        ("Hopper-v4", {"terminate_when_unhealthy": False}, False),
        ("Hopper-v4", {"healthy_angle_range": (-1.0, 1.0)}, False),
        ("Hopper-v4", {"healthy_z_range": (0.5, INF)}, False),
        ("Hopper-v5", {"healthy_state_range": (-50.0, 50.0)}, False),
        ("Hopper-v5", {"exclude_current_positions_from_observation": False}, False),
        ("Walker2d-v5", {"xml_file": "walker2d.xml"}, False),
        ("Ant-v5", {"include_cfrc_ext_in_observation": False}, True),
        ("Ant-v5", {"main_body": 2}, False),
        ("Humanoid-v5", {"include_cvel_in_observation": False}, False),
        ("HalfCheetah-v5", {"frame_skip": 2}, True),
        ("HalfCheetah-v5", {"exclude_current_positions_from_observation": False}, False),
    ],
)
def test_arguments_that_change_the_rule(env_id, kwargs, known):
    assert (termination_fn_for(make(env_id, **kwargs)) is not None) is known


@pytest.mark.parametrize(
    "wrap",
    [
        partial(wrappers.TimeLimit, max_episode_steps=10),
        wrappers.ClipAction,
        partial(wrappers.RescaleAction, min_action=-1.0, max_action=1.0),
        wrappers.RecordEpisodeStatistics,
        wrappers.NormalizeReward,
        partial(wrappers.TransformReward, func=lambda reward: reward / 10),
        wrappers.FlattenObservation,
        partial(wrappers.DtypeObservation, dtype=np.float32),
    ],
)
def test_wrappers_that_leave_the_rule_alone(wrap):
    assert termination_fn_for(wrap(gymnasium.make("MountainCarContinuous-v0"))) is endings.mountain_car_ends


class EndsSooner(gymnasium.Wrapper):
    def step(self, action):
        obs, reward, _, truncated, info = self.env.step(action)
        return obs, reward, True, truncated, info


class EndsSoonerByAction(gymnasium.ActionWrapper):
    def action(self, action):
        return action

    step = EndsSooner.step


@pytest.mark.parametrize(
    "wrap",
    [
        wrappers.NormalizeObservation,  # the same shape, but other numbers
        partial(wrappers.FrameStackObservation, stack_size=2),
        wrappers.TimeAwareObservation,
        partial(wrappers.DtypeObservation, dtype=np.int32),
        EndsSooner,
        EndsSoonerByAction,
    ],
)
def test_wrappers_that_may_change_the_rule(wrap):
    assert termination_fn_for(wrap(gymnasium.make("MountainCarContinuous-v0"))) is None


class Impostor(gymnasium.Env):
    """A task of the user's own, under a well-known name."""

    observation_space = spaces.Box(-1, 1, (3,), np.float32)
    action_space = spaces.Box(-1, 1, (1,), np.float32)


def test_another_task_under_a_known_name():
    env = Impostor()
    env.spec = gymnasium.spec("Pendulum-v1")
    assert termination_fn_for(env) is None


# --- what the user may choose -----------------------------------------------------------------


def complaint(env, choice) -> str:
    with pytest.raises(ConfigError) as caught:
        resolve_termination(env, choice)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 800
    return message


@pytest.mark.parametrize("choice", [None, "auto"])
def test_without_a_rule_it_is_to_be_learned(choice):
    assert resolve_termination(Impostor(), choice) is None
    changed = gymnasium.make("MountainCarContinuous-v0", goal_velocity=0.01)
    assert resolve_termination(changed, choice) is None
    assert resolve_termination(gymnasium.make("MountainCarContinuous-v0"), choice) is endings.mountain_car_ends


def test_a_known_rule_may_be_learned_all_the_same():
    assert resolve_termination(gymnasium.make("Pendulum-v1"), "learned") is None


def test_never_and_a_function():
    assert resolve_termination(Impostor(), "never") is endings.never_terminates
    rule = lambda obs, action, next_obs: next_obs[..., 0] > 1  # noqa: E731
    assert resolve_termination(Impostor(), rule) is rule


def test_choice_outranks_the_registry():
    env = gymnasium.make("MountainCarContinuous-v0")
    assert resolve_termination(env, "never") is endings.never_terminates


@pytest.fixture
def rules(tmp_path, monkeypatch):
    """The name of an importable module of termination functions."""
    text = """
import jax.numpy as jnp

LIMIT = 1.0

def fallen(obs, action, next_obs):
    return next_obs[..., 0] > LIMIT
"""
    (tmp_path / "own_rules.py").write_text(text)
    (tmp_path / "broken_rules.py").write_text("import no_such_dependency_of_it\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "own_rules"
    for name in ("own_rules", "broken_rules"):
        sys.modules.pop(name, None)


def test_module_and_function(rules):
    rule = resolve_termination(Impostor(), f"{rules}:fallen")
    assert rule.__name__ == "fallen"


def test_our_own_rules_can_be_named():
    env = wrappers.TimeAwareObservation(gymnasium.make("MountainCarContinuous-v0"))
    rule = resolve_termination(env, "mbpo.envs.endings:mountain_car_ends")
    assert rule is endings.mountain_car_ends


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ("own_rules:falen", ["has no 'falen'", "Did you mean 'fallen'?"]),
        ("own_rules:LIMIT", ["is a float, not a function"]),
        ("broken_rules:fallen", ["No module named 'no_such_dependency_of_it'"]),
        ("no_such_rules:fallen", ["No module named 'no_such_rules'", "PYTHONPATH"]),
        ("nevr", ["none of auto, learned, never and module:function", "Did you mean 'never'?"]),
        ("", ["none of auto, learned, never and module:function"]),
        ("own_rules:", ["none of auto, learned, never and module:function"]),
        (":fallen", ["none of auto, learned, never and module:function"]),
    ],
)
def test_names_that_cannot_be_resolved(rules, choice, words):
    message = complaint(Impostor(), choice)
    for word in words:
        assert word in message


def python_if(obs, action, next_obs):
    return jnp.ones(len(obs), bool) if next_obs[0, 0] > 1 else jnp.zeros(len(obs), bool)


def in_numpy(obs, action, next_obs):
    return np.abs(np.asarray(next_obs))[:, 0] > 1


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (lambda obs, action, next_obs: next_obs > 1, ["bool[5]", "bool[5, 3]"]),
        (lambda obs, action, next_obs: next_obs[0] > 1, ["bool[5]", "bool[3]"]),
        (lambda obs, action, next_obs: next_obs[:, :1] > 1, ["bool[5, 1]"]),
        (lambda obs, action, next_obs: (next_obs > 1).any(), ["bool[]"]),
        (lambda obs, action, next_obs: next_obs[..., 0], ["float32[5]"]),
        (lambda obs, action, next_obs: None, ["NoneType"]),
        (lambda obs, action: obs[..., 0] > 1, ["TypeError", "(obs, action, next_obs)"]),
        (lambda obs, action, next_obs: next_obs[..., 7, 7, 7] > 1, ["failed on a batch"]),
        (python_if, ["python_if", "no Python `if`"]),
        (in_numpy, ["in_numpy", "jax operations"]),
    ],
)
def test_functions_that_do_not_fit(rule, words):
    message = complaint(Impostor(), rule)
    for word in words:
        assert word in message


def test_a_function_is_checked_against_flattened_observations():
    env = Impostor()
    env.observation_space = spaces.Box(-1, 1, (2, 4), np.float32)
    assert resolve_termination(env, lambda obs, action, next_obs: next_obs[:, 7] > 0)


def test_unlearnable_spaces_are_said_before_the_function_is_tried():
    env = Impostor()
    env.action_space = spaces.Discrete(3)
    with pytest.raises(UnsupportedEnvironment):
        resolve_termination(env, lambda obs, action, next_obs: next_obs[:, 0] > 0)
