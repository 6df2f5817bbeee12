"""Making environments: fresh where they must be, and one paragraph where they cannot be made."""

import copy
import functools
import importlib
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.envs import registration

from mbpo.envs.make import EnvSource
from mbpo.errors import UnsupportedEnvironment


class Counter(gymnasium.Env):
    """Counts the steps of its whole life, episodes regardless."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self) -> None:
        self.steps = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.float32([self.steps]), {}

    def step(self, action):
        self.steps += 1
        return np.float32([self.steps]), 0.0, False, False, {}


class Uncopyable(Counter):
    def __deepcopy__(self, memo):
        raise TypeError("cannot pickle 'Connection' object")


class Failing(Counter):
    def __init__(self) -> None:
        raise RuntimeError("no licence\nsecond line\nthird line")


@pytest.fixture
def register():
    """`gymnasium.register`, undone at the end."""
    before = dict(registration.registry)
    yield gymnasium.register
    registration.registry.clear()
    registration.registry.update(before)


def complaint(make) -> str:
    with pytest.raises(UnsupportedEnvironment) as caught:
        make()
    message = str(caught.value)
    assert "\n" not in message
    assert "Traceback" not in message
    assert len(message) < 600
    return message


def test_id():
    source = EnvSource.of("Pendulum-v1")
    assert source.name == "Pendulum-v1"
    envs = [source.training_env(), source.evaluation_env(), source.evaluation_env()]
    assert len({id(env.unwrapped) for env in envs}) == 3
    assert all(env.spec.id == "Pendulum-v1" for env in envs)


def test_instance_is_trained_in_itself_and_evaluated_in_pristine_copies():
    env = Counter()
    env.steps = 7
    source = EnvSource.of(env)
    assert source.name == "Counter"
    assert source.training_env() is env
    env.reset(seed=0)
    env.step(np.zeros(1))
    first, second = source.evaluation_env(), source.evaluation_env()
    assert first.steps == second.steps == 7
    first.reset(seed=0)
    first.step(np.zeros(1))
    assert (env.steps, first.steps, second.steps, source.evaluation_env().steps) == (8, 8, 7, 7)


def test_instance_keeps_its_wrappers_and_settings():
    env = gymnasium.wrappers.RescaleAction(gymnasium.make("Pendulum-v1", g=3.0), -1.0, 1.0)
    made = EnvSource.of(env).evaluation_env()
    assert isinstance(made, gymnasium.wrappers.RescaleAction)
    assert made.unwrapped.g == 3.0
    assert made.unwrapped is not env.unwrapped


def test_instance_of_mujoco_keeps_its_settings():
    # A deep copy of this one loses reset_noise_scale, see `_copier`.
    pytest.importorskip("mujoco")
    env = gymnasium.make("InvertedPendulum-v5", reset_noise_scale=0.0)
    made = EnvSource.of(env).evaluation_env()
    assert made.unwrapped is not env.unwrapped
    np.testing.assert_array_equal(made.reset(seed=0)[0], 0)
    env.reset(seed=0)
    env.step(np.ones(1, np.float32))
    np.testing.assert_array_equal(made.unwrapped.data.qpos, 0)


def test_uncopyable_instance_is_made_anew_from_its_spec(register):
    register("Uncopyable-v0", Uncopyable)
    env = gymnasium.make("Uncopyable-v0", max_episode_steps=5)
    made = EnvSource.of(env).evaluation_env()
    assert made.unwrapped is not env.unwrapped
    assert isinstance(made.unwrapped, Uncopyable)
    assert made.spec.max_episode_steps == 5


def test_uncopyable_instance_without_a_spec():
    source = EnvSource.of(Uncopyable())
    message = complaint(source.evaluation_env)
    for words in [
        "instance of Uncopyable cannot be duplicated",
        "cannot pickle 'Connection' object",
        "Pass a function",
    ]:
        assert words in message


def test_uncopyable_instance_whose_spec_fails(register):
    class OnlyOnce(Uncopyable):
        made = 0

        def __init__(self) -> None:
            type(self).made += 1
            if type(self).made > 1:
                raise OSError("port in use")
            super().__init__()

    register("OnlyOnce-v0", OnlyOnce)
    message = complaint(EnvSource.of(gymnasium.make("OnlyOnce-v0")).evaluation_env)
    for words in ["cannot pickle", "OSError: port in use", "Pass a function"]:
        assert words in message


@pytest.mark.parametrize(
    "make",
    [Counter, lambda: Counter(), functools.partial(gymnasium.wrappers.ClipAction, Counter())],
    ids=["class", "lambda", "partial"],
)
def test_function(make):
    source = EnvSource.of(make)
    assert source.name == "Counter"
    assert source.training_env() is not source.evaluation_env()


def test_function_names_what_it_makes():
    assert EnvSource.of(lambda: gymnasium.make("Pendulum-v1")).name == "Pendulum-v1"


def test_function_that_fails():
    message = complaint(lambda: EnvSource.of(Failing))
    assert "Failing" in message
    assert "RuntimeError: no licence" in message
    assert "second line" not in message


def test_function_that_needs_arguments():
    message = complaint(lambda: EnvSource.of(lambda size: Counter()))
    assert "missing 1 required positional argument: 'size'" in message
    assert "functools.partial" in message


def test_function_that_makes_something_else():
    assert "returned something of type int" in complaint(lambda: EnvSource.of(lambda: 3))


def test_things_that_are_no_environment():
    assert "int" in complaint(lambda: EnvSource.of(3))

    class OldGym:
        def reset(self): ...
        def step(self, action): ...

    assert "adapter" in complaint(lambda: EnvSource.of(OldGym()))
    vector = gymnasium.vector.SyncVectorEnv([Counter])
    assert "single environment" in complaint(lambda: EnvSource.of(vector))


@pytest.mark.parametrize(
    ("env_id", "words"),
    [
        ("Pendulm-v1", ["'Pendulum-v1'", "Did you mean"]),
        ("pendulum-v1", ["'Pendulum-v1'", "Did you mean"]),
        ("Pendulum-v0", ["unknown version", "Known: Pendulum-v1."]),
        ("Pendulum-v7", ["unknown version", "Known: Pendulum-v1."]),
        ("Pendulum", ["lacks a version", "Pendulum-v1"]),
        ("Hopper", ["lacks a version", "Known: Hopper-v4, Hopper-v5."]),
        ("Hopper-v1", ["unknown version", "Known: Hopper-v4, Hopper-v5."]),
        ("nowhere/Thing-v0", ["knows no environment", "'package:nowhere/Thing-v0'"]),
        ("not an id!", ["knows no environment"]),
        ("", ["is not an environment id"]),
        ("module:", ["is not an environment id"]),
        ("a:b:Thing-v0", ["is not an environment id"]),
    ],
)
def test_unknown_id(env_id, words):
    message = complaint(lambda: EnvSource.of(env_id))
    for word in [*words, env_id]:
        assert word in message


def test_version_that_moved_elsewhere():
    with pytest.warns(DeprecationWarning):
        message = complaint(lambda: EnvSource.of("Hopper-v3").training_env())
    assert "gymnasium-robotics" in message
    assert "creator for" not in message  # what Gymnasium's make adds to every error


def test_old_version_warns_as_gymnasium_does(register):
    register("Counter-v0", Counter)
    register("Counter-v1", Counter)
    with pytest.warns(DeprecationWarning, match="out of date"):
        EnvSource.of("Counter-v0").training_env()


def write_module(tmp_path, monkeypatch, name: str, text: str) -> None:
    (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, name, raising=False)
    importlib.invalidate_caches()


REGISTERS = """
import gymnasium
gymnasium.register("Mine-v0", "gymnasium.envs.classic_control.pendulum:PendulumEnv", max_episode_steps=9)
"""


def test_module_is_imported_first(register, tmp_path, monkeypatch):
    write_module(tmp_path, monkeypatch, "registers_mine", REGISTERS)
    source = EnvSource.of("registers_mine:Mine-v0")
    assert source.name == "Mine-v0"
    assert source.training_env().spec.max_episode_steps == 9
    message = complaint(lambda: EnvSource.of("registers_mine:Mein-v0"))
    assert "registers no environment 'Mein-v0'" in message
    assert "Mine-v0" in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import no_such_dependency_of_it", "ModuleNotFoundError: No module named 'no_such_dependency_of_it'"),
        ("def broken(:", "SyntaxError"),
        ("raise RuntimeError('first\\nsecond')", "RuntimeError: first."),
    ],
)
def test_module_that_fails(register, tmp_path, monkeypatch, text, words):
    write_module(tmp_path, monkeypatch, "fails_to_import", text)
    message = complaint(lambda: EnvSource.of("fails_to_import:Mine-v0"))
    assert words in message


def test_module_that_is_missing():
    message = complaint(lambda: EnvSource.of("no_such_module_at_all:Mine-v0"))
    assert "No module named 'no_such_module_at_all'" in message
    assert "PYTHONPATH" in message


@pytest.mark.parametrize("missing", ["mujoco", "imageio"])
def test_mujoco_missing(missing, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("gymnasium.envs.mujoco")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    message = complaint(lambda: EnvSource.of("Hopper-v5").training_env())
    assert (
        message
        == "Hopper-v5 needs MuJoCo, which is not fully installed here. Install it with: pip install 'mbpo[mujoco]'"
    )


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        ('run `pip install "gymnasium[classic_control]"`', "classic-control"),
        ('run `pip install "gymnasium[box2d]"`', "box2d"),
    ],
)
def test_other_extra_missing(register, words, extra):
    class Needy(Counter):
        def __init__(self) -> None:
            raise gymnasium.error.DependencyNotInstalled(f"pygame is not installed, {words}")

    register("WithoutExtra-v0", Needy)
    message = complaint(lambda: EnvSource.of("WithoutExtra-v0").training_env())
    assert message.endswith(f"pip install 'gymnasium[{extra}]'")


def test_box2d_missing(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("gymnasium.envs.box2d")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "Box2D", None)
    message = complaint(lambda: EnvSource.of("BipedalWalker-v3").training_env())
    assert message.endswith("pip install 'gymnasium[box2d]'")


def test_constructor_that_fails(register):
    register("Failing-v0", Failing)
    message = complaint(lambda: EnvSource.of("Failing-v0").training_env())
    assert message == "The environment Failing-v0 could not be made: RuntimeError: no licence."


def test_interrupts_are_not_swallowed():
    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        EnvSource.of(interrupted)


def test_sources_are_frozen():
    source = EnvSource.of(Counter)
    with pytest.raises(AttributeError):
        source.name = "other"
    assert copy.copy(source).name == source.name
