"""Reading a command's arguments: typed, with near matches for what was mistyped."""

import ast
import json
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import tyro

from mbpo.errors import ConfigError

T = TypeVar("T")


def parse(kind: type[T], argv: list[str], *, prog: str, default: T | None = None) -> T:
    """The arguments as an object of `kind`; prints help or what is wrong and exits."""
    if default is None:
        return tyro.cli(kind, prog=prog, args=argv)
    return tyro.cli(kind, prog=prog, args=argv, default=default)


def read_pairs(pairs: Iterable[str], option: str) -> dict[str, Any]:
    """`NAME=VALUE` words as a mapping; a value is JSON, a Python literal, or else text.

    Raises:
        ConfigError: A word has no name or no value.
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not name.isidentifier() or not equals:
            raise ConfigError(f"{option} takes NAME=VALUE, as in {option} reset_noise_scale=0.1, and got {pair!r}.")
        found[name] = _value(text)
    return found


def spell_pairs(values: Mapping[str, Any]) -> tuple[str, ...]:
    """A mapping as the words that `read_pairs` reads back."""
    plain = {name: isinstance(value, str) and _value(value) == value for name, value in values.items()}
    return tuple(f"{name}={value if plain[name] else json.dumps(value)}" for name, value in values.items())


def _value(text: str) -> Any:
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, RecursionError):
            continue
    return text


def options(settings: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Settings as options of `mbpo train`, nested ones by their dotted names; `parse` reads them back."""
    spelled: list[str] = []
    for name, value in settings.items():
        leaf = name.replace("_", "-")
        if isinstance(value, Mapping):
            spelled += options(value, f"{prefix}{leaf}.")
        elif isinstance(value, bool):
            spelled.append(f"--{prefix}{'' if value else 'no-'}{leaf}")
        elif isinstance(value, list | tuple):
            spelled += [f"--{prefix}{leaf}", *map(str, value)]
        else:
            spelled += [f"--{prefix}{leaf}", str(value)]
    return spelled


def changed(settings: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that are not as in `base`, nested ones in their sections."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        before = base.get(name)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            inner = changed(value, before)
            if inner:
                found[name] = inner
        elif value != before:
            found[name] = value
    return found
