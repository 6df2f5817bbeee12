"""Reading a command's arguments: typed, with near matches for what was mistyped."""

from collections.abc import Mapping
from typing import Any, TypeVar

import tyro

T = TypeVar("T")


def parse(kind: type[T], argv: list[str], *, prog: str, default: T | None = None) -> T:
    """The arguments as an object of `kind`; prints help or what is wrong and exits."""
    if default is None:
        return tyro.cli(kind, prog=prog, args=argv)
    return tyro.cli(kind, prog=prog, args=argv, default=default)


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
