"""How settings are declared: frozen dataclasses whose every value is checked.

An unknown name, a wrong type or an impossible value raises `ConfigError` with a sentence, from
Python, from the command line and from a file alike. Types are strict: an integer may stand for
a float, but a float never for an integer, nor text for a number.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import Annotated, Any, TypeVar, dataclass_transform

import pydantic.dataclasses
from annotated_types import Ge, Gt, Le, MinLen
from pydantic import ConfigDict, ValidationError

from mbpo.errors import ConfigError, did_you_mean

MAX_SECONDS = 1e6
"""A time limit: longer than any step takes, and no longer than every system can wait for."""
MAX_EPISODES = 1_000_000
MAX_COUNT = 10**9
"""More than is ever counted, and what arrays of 32-bit integers hold."""
PositiveInt = Annotated[int, Ge(1), Le(MAX_COUNT)]
NonNegativeInt = Annotated[int, Ge(0), Le(MAX_COUNT)]
Epochs = Annotated[int, Ge(1), Le(1_000_000)]
"""Of one fit; its epochs, batches and patience are 32-bit integers, with `TimesLonger` too."""
TimesLonger = Annotated[int, Ge(1), Le(1000)]
PositiveFloat = Annotated[float, Gt(0)]
Seconds = Annotated[float, Gt(0), Le(MAX_SECONDS)]
NonNegativeFloat = Annotated[float, Ge(0)]
Episodes = Annotated[int, Ge(1), Le(MAX_EPISODES)]
"""Of one evaluation; the returns of all are held in memory."""
Share = Annotated[float, Ge(0), Le(1)]
"""A fraction of a whole, 0 to 1."""
Sizes = Annotated[tuple[PositiveInt, ...], MinLen(1)]
"""Widths of hidden layers."""

C = TypeVar("C", bound=type)


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
def settings(cls: C) -> C:
    """Make a class of annotated fields a frozen, validated dataclass."""
    strict = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    made: Any = pydantic.dataclasses.dataclass(frozen=True, config=strict)(cls)
    validate: Callable[..., None] = made.__init__

    @functools.wraps(validate)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            validate(self, *args, **kwargs)
        except ValidationError as error:
            where = f"the {cls.__name__.removesuffix('Config')} settings"
            raise ConfigError(explain(error, where=where, known=setting_names(made))) from error

    made.__init__ = init
    return made


def explain(error: ValidationError, *, where: str, known: Iterable[str]) -> str:
    """One sentence for each thing wrong, with the names that were probably meant.

    Args:
        where: What was being read, for example a file.
        known: Names of all settings.
    """
    sentences = []
    for problem in error.errors():
        path = ".".join(str(part) for part in problem["loc"])
        if problem["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
            hint = did_you_mean(str(problem["loc"][-1]), known)
            sentences.append(f"Unknown setting '{path}' in {where}.{hint}")
        else:
            sentences.append(f"Setting '{path}' in {where}: {problem['msg']}, but got {_shown(problem['input'])}.")
    return " ".join(sentences)


def setting_names(config: type) -> set[str]:
    """The name of every setting of a class, nested ones included."""
    names = set()
    for entry in dataclasses.fields(config):
        names.add(entry.name)
        if isinstance(entry.type, type) and dataclasses.is_dataclass(entry.type):
            names |= setting_names(entry.type)
    return names


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else text[:197] + "..."
