"""Making environments: one to train in and as many as needed to evaluate in.

An environment is given as a registered id, an instance, or a function that makes one. Whatever
goes wrong while making it becomes one paragraph that says what to do. Gymnasium's own warnings
(an outdated version, say) pass through untouched.
"""

import copy
import importlib
import inspect
import re
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, TypeAlias

import gymnasium
from gymnasium.envs import registration
from gymnasium.utils import EzPickle

from mbpo.envs.mazes import register_mazes
from mbpo.envs.spec import env_name
from mbpo.errors import FOREIGN, UnsupportedEnvironment, did_you_mean, in_short

AnyEnv: TypeAlias = gymnasium.Env[Any, Any]

register_mazes()
SEEN_OTHERWISE = {
    "mbpo/HumanoidTruncatedObs-v4": "HumanoidTruncatedObs",
    "mbpo/HopperUnclippedObs-v4": "HopperUnclippedObs",
    "mbpo/Walker2dUnclippedObs-v4": "Walker2dUnclippedObs",
    "mbpo/HopperRestoredObs-v4": "HopperRestoredObs",
    "mbpo/HopperRestoredObs-v5": "HopperRestoredObsV5",
    "mbpo/Walker2dRestoredObs-v4": "Walker2dRestoredObs",
    "mbpo/Walker2dRestoredObs-v5": "Walker2dRestoredObsV5",
    "mbpo/AntTorsoFrame-v4": "AntTorsoFrame",
    "mbpo/AntTorsoFrame-v5": "AntTorsoFrameV5",
    "mbpo/HumanoidTorsoFrame-v4": "HumanoidTorsoFrame",
    "mbpo/HumanoidTorsoFrame-v5": "HumanoidTorsoFrameV5",
}
"""MuJoCo tasks of our own, by id: classes of `mujoco_observations`."""
for env_id, maker in SEEN_OTHERWISE.items():
    if env_id not in registration.registry:
        gymnasium.register(env_id, f"mbpo.envs.mujoco_observations:{maker}", max_episode_steps=1000)

MUJOCO_MODULES = ("mujoco", "imageio", "glfw", "packaging")
"""What Gymnasium's MuJoCo tasks import; all of them come with our `mujoco` extra."""


@dataclass(frozen=True, eq=False)
class EnvSource:
    """Where environments come from. Make one with `EnvSource.of`."""

    name: str
    """The registered id (without the `module:` before it), or the class's name."""
    training_env: Callable[[], AnyEnv]
    """`() -> env`: the environment to train in; if an instance was given, that instance."""
    evaluation_env: Callable[[], AnyEnv]
    """`() -> env`: a fresh environment of the same kind, sharing nothing with the training one."""

    @classmethod
    def of(cls, env: str | AnyEnv | Callable[[], AnyEnv], env_kwargs: Mapping[str, Any] | None = None) -> "EnvSource":
        """The source of environments that `env` stands for.

        Args:
            env: A registered id as Gymnasium spells it (`"Hopper-v4"`, or `"module:Env-v0"` to
                import the module that registers it first), an environment, or a function
                without arguments (a class will do) that makes a fresh one at every call. An
                instance is copied right away, so that evaluation starts from it as it was
                given. (MuJoCo tasks are made again from their arguments instead: if you changed
                one since it was made, pass a function.) A function is tried once, to learn the
                environment's name.
            env_kwargs: Arguments of a registered environment; of the others, their maker decides.

        Raises:
            UnsupportedEnvironment: The id is unknown, its module cannot be imported, the
                function fails or makes something else, or `env` is none of the three.
        """
        if isinstance(env, str):
            env_id = _registered_id(env)
            make = partial(_make_id, env_id, dict(env_kwargs or {}))
            return cls(env_id, make, make)
        if isinstance(env, gymnasium.Env):
            name = env_name(env)
            return cls(name, lambda: env, _copier(env, name))
        if callable(env):
            tried = _call(env)
            name = env_name(tried)
            try:
                tried.close()
            except FOREIGN as error:
                warnings.warn(f"{name}, made once to learn its name, failed to close: {in_short(error)}.", stacklevel=2)
            return cls(name, lambda: _call(env), lambda: _call(env))
        raise UnsupportedEnvironment(
            f"An environment must be given as a registered id such as 'Pendulum-v1', as a gymnasium.Env, or as a "
            f"function that makes one, not as something of type {_type_name(env)}{_hint_for(env)}."
        )


def set_env_step(env: AnyEnv, env_step: int) -> None:
    """Tell an environment that changes as training goes on how far it has come.

    Such an environment has a method `set_env_step(env_step)`, as our mazes have; others need nothing.
    It is called before every reset, so that a resumed run meets the same world, and an evaluation the
    world of its moment.
    """
    method = getattr(env.unwrapped, "set_env_step", None)
    if method is not None:
        method(env_step)


def _make_id(env_id: str, kwargs: dict[str, Any]) -> AnyEnv:
    try:
        return gymnasium.make(env_id, **kwargs)
    except FOREIGN as error:
        unknown = _unknown_arguments(env_id, kwargs) if kwargs else ""
        raise UnsupportedEnvironment(unknown or _why_not_made(env_id, error)) from error


def _unknown_arguments(env_id: str, kwargs: dict[str, Any]) -> str:
    """What is wrong with the arguments given, where it is their names; empty if it is not."""
    maker = registration.registry[env_id].entry_point
    try:
        known = _arguments(registration.load_env_creator(maker) if isinstance(maker, str) else maker)
    except Exception:  # Its module cannot be imported, say, which is told elsewhere.
        return ""
    wrong = [name for name in kwargs if name not in known]
    if not wrong:
        return ""
    return (
        f"{env_id} could not be made with {', '.join(f'{name}={kwargs[name]!r}' for name in wrong)} (env_kwargs)."
        f"{did_you_mean(wrong[0], known)} Its arguments are: {', '.join(known)}."
    )


def _arguments(maker: Any) -> list[str]:
    """What a function or a class takes by name; a class that passes on what it gets takes what its parents name."""
    for kind in inspect.getmro(maker) if inspect.isclass(maker) else (maker,):
        found = inspect.signature(kind).parameters.values()
        known = [it.name for it in found if it.kind not in (it.VAR_POSITIONAL, it.VAR_KEYWORD)]
        if known:
            return known
    return []


def _call(make: Callable[[], AnyEnv]) -> AnyEnv:
    bare = make.func if isinstance(make, partial) else make
    shown = getattr(bare, "__qualname__", None) or repr(bare)
    try:
        env = make()
    except FOREIGN as error:
        raise UnsupportedEnvironment(
            f"The function {shown} that should make the environment failed with {in_short(error)}. It is called "
            "without arguments; bind what it needs with functools.partial or a lambda, or give it as --env-kwargs."
        ) from error
    if not isinstance(env, gymnasium.Env):
        raise UnsupportedEnvironment(
            f"The function {shown} should make a gymnasium.Env, but it returned something of type {_type_name(env)}"
            f"{_hint_for(env)}."
        )
    return env


def _copier(env: AnyEnv, name: str) -> Callable[[], AnyEnv]:
    """Fresh environments like an instance as it is now: deep copies, or new ones from its spec.

    The spec goes first for an `EzPickle`, which is "copied" by making it again from arguments it
    recorded itself: InvertedPendulum-v5 and InvertedDoublePendulum-v5 record them incompletely,
    so that their copies have other settings.
    """
    makers: list[Callable[[], AnyEnv]] = []
    no_copy = []
    try:
        pristine = copy.deepcopy(env)
        makers.append(lambda: copy.deepcopy(pristine))
    except FOREIGN as error:
        no_copy = [f"copying it failed with {in_short(error)}"]
    spec = env.spec
    if spec is not None:
        makers.append(lambda: gymnasium.make(spec))
    if isinstance(env.unwrapped, EzPickle):
        makers.reverse()

    def fresh() -> AnyEnv:
        reasons = list(no_copy)
        for make in makers:
            try:
                return make()
            except FOREIGN as error:
                reasons.append(f"making it anew failed with {in_short(error)}")
        raise UnsupportedEnvironment(
            f"Evaluation needs an environment of its own, and the instance of {name} cannot be duplicated: "
            f"{'; '.join(reasons)}. Pass a function that makes one (`lambda: MyEnv(...)`) instead of an instance."
        )

    return fresh


def _registered_id(text: str) -> str:
    """The registry's id for `[module:]id`, once its module is imported.

    An id without a version is refused even where Gymnasium would take the latest: tasks change
    between versions, and a run should say which one it learned.
    """
    module, env_id = text.split(":", 1) if ":" in text else ("", text)
    if not env_id or ":" in env_id:
        raise UnsupportedEnvironment(
            f"{text!r} is not an environment id; write one as 'Pendulum-v1', or as 'module:Env-v0' to import the "
            "module that registers it first."
        )
    if module:
        try:
            importlib.import_module(module)
        except FOREIGN as error:
            raise UnsupportedEnvironment(
                f"The environment {text!r} asks to import {module!r} first, and that failed with {in_short(error)}. "
                "Check the name, and that the module is installed or in a folder listed in PYTHONPATH."
            ) from error
    if env_id not in registration.registry:
        raise UnsupportedEnvironment(_why_unknown(env_id, module))
    return env_id


def _why_unknown(env_id: str, module: str) -> str:
    # Gymnasium keeps ids of environments that moved elsewhere, with a maker that only complains.
    known = [
        spec
        for spec in registration.registry.values()
        if not getattr(spec.entry_point, "__name__", "").startswith("_raise")
    ]
    base = re.sub(r"-v\d+$", "", env_id)
    versions = sorted((spec.version or 0, spec.id) for spec in known if re.sub(r"-v\d+$", "", spec.id) == base)
    if versions:
        trouble = "lacks a version, and tasks differ between versions" if base == env_id else "has an unknown version"
        return f"The environment id {env_id!r} {trouble}. Known: {', '.join(known_id for _, known_id in versions)}."
    guess = did_you_mean(env_id, (spec.id for spec in known))
    if module:
        if callable(getattr(sys.modules[module], env_id, None)):
            guess = f" It has {env_id}, which becomes one by {how_to_register(module, env_id)}."
        return f"The module {module!r} was imported, but registers no environment {env_id!r} with Gymnasium.{guess}"
    return (
        f"Gymnasium knows no environment {env_id!r}.{guess} If a package registers it, name the package too: "
        f"'package:{env_id}'."
    )


def how_to_register(module: str, maker: str, kwargs: Mapping[str, Any] = MappingProxyType({})) -> str:
    """What makes a class or function of a module an environment with an id."""
    env_id, given = f"{maker}-v0", f", kwargs={dict(kwargs)}" if kwargs else ""
    return (
        f"gymnasium.register({env_id!r}, entry_point='{module}:{maker}', max_episode_steps=...{given}) in that module, "
        f"and is then named as {module}:{env_id}"
    )


def _why_not_made(env_id: str, error: BaseException) -> str:
    spec = registration.registry.get(env_id)
    entry_point = spec.entry_point if spec is not None and isinstance(spec.entry_point, str) else ""
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    not_installed = isinstance(error, gymnasium.error.DependencyNotInstalled)
    if "mujoco" in entry_point and (not_installed or missing in MUJOCO_MODULES):
        return f"{env_id} needs MuJoCo, which is not fully installed here. Install it with: pip install 'mbpo[mujoco]'"
    if not_installed:
        extra = re.search(r"gymnasium\[([\w-]+)\]", str(error))
        if extra is None and (part := re.match(r"gymnasium\.envs\.(box2d|classic_control|toy_text)\b", entry_point)):
            extra = part
        if extra is not None:
            return (
                f"{env_id} needs packages that are not installed here. Install them with: "
                f"pip install 'gymnasium[{extra.group(1).replace('_', '-')}]'"
            )
    lacks = type(error) is TypeError and "__init__() missing" in str(error)
    give = " Give it as --env-kwargs NAME=VALUE (env_kwargs={...} in Python)." if lacks else ""
    return f"The environment {env_id} could not be made: {in_short(error)}.{give}"


def _type_name(thing: object) -> str:
    return f"{type(thing).__module__}.{type(thing).__qualname__}".removeprefix("builtins.")


def _hint_for(thing: object) -> str:
    if isinstance(thing, gymnasium.vector.VectorEnv):
        return ", which steps several at once; pass a single environment"
    if hasattr(thing, "step") and hasattr(thing, "reset"):
        return "; one written for the old gym or another interface needs an adapter that is a gymnasium.Env"
    return ""
