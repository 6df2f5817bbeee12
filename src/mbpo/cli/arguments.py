"""Reading a command's arguments: typed, with near matches for what was mistyped."""

from typing import TypeVar

import tyro

T = TypeVar("T")


def parse(kind: type[T], argv: list[str], *, prog: str, default: T | None = None) -> T:
    """The arguments as an object of `kind`; prints help or what is wrong and exits."""
    if default is None:
        return tyro.cli(kind, prog=prog, args=argv)
    return tyro.cli(kind, prog=prog, args=argv, default=default)
