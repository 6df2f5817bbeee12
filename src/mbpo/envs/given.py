"""Functions that a user gives by name, `module:function`: when a task ends, what it pays."""

import importlib
from collections.abc import Callable
from typing import Any

from mbpo.errors import FOREIGN, ConfigError, did_you_mean, in_short
from mbpo.types import RewardFn

REWARD_SIGNATURE = "(obs, action, next_obs) -> reward"


def resolve_reward(choice: str | RewardFn) -> RewardFn | None:
    """The reward function that `choice` stands for; None for the learned one.

    Args:
        choice: `"learned"`; `"module:function"`, imported; or a function, which is taken as it is.

    Raises:
        ConfigError: It cannot be read or imported, or was an object that only its maker has
            (`"given"`).
    """
    if choice == "learned":
        return None
    if choice == "given":
        raise ConfigError(not_kept("reward"))
    return import_function(choice, "reward", REWARD_SIGNATURE, ("learned",)) if isinstance(choice, str) else choice


def not_kept(what: str) -> str:
    """What to do where the setting `reward` or `termination` says that a function was given as an object."""
    return (
        f"The {what} 'given' stands for a function that was given as an object, which settings and run folders cannot "
        f"hold: give it again, as {what}_fn=..., in load(..., {what}_fn=...) for a run that was made with it. A "
        "function named as module:function is found by itself."
    )


def import_function(choice: str, what: str, signature: str, words: tuple[str, ...]) -> Callable[..., Any]:
    """The function that `module:function` names.

    Args:
        what: What it is for, for the errors.
        signature: How it is called, for the errors.
        words: Values that `choice` could have had instead of naming a function.

    Raises:
        ConfigError: It cannot be read or imported, or is no function.
    """
    module_name, _, attribute = choice.partition(":")
    if not module_name or not attribute:
        raise ConfigError(
            f"The {what} {choice!r} is none of {', '.join(words)} and module:function.{did_you_mean(choice, words)}"
        )
    try:
        module = importlib.import_module(module_name)
    except FOREIGN as error:
        raise ConfigError(
            f"The {what} {choice!r} names the module {module_name!r}, and importing it failed with "
            f"{in_short(error)}. Check the name, and that the module is installed or in a folder listed in "
            "PYTHONPATH."
        ) from error
    try:
        function: Callable[..., Any] = getattr(module, attribute)
    except AttributeError as error:
        raise ConfigError(
            f"The module {module_name!r} has no {attribute!r}, which the {what} {choice!r} names."
            f"{did_you_mean(attribute, (known for known in vars(module) if not known.startswith('_')))}"
        ) from error
    if not callable(function):
        raise ConfigError(f"The {what} {choice!r} is a {type(function).__name__}, not a function {signature}.")
    return function
