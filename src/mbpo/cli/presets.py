"""`mbpo presets [NAME]`: the settings of known tasks, each a file to read and to copy."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

import tyro

from mbpo.cli.arguments import parse
from mbpo.errors import ConfigError, did_you_mean
from mbpo.training.config import RunConfig
from mbpo.training.presets import Preset, presets, presets_for


@dataclass(frozen=True)
class PresetsArguments:
    """List the presets, or print one: mbpo presets hopper > mine.toml; mbpo train MyTask-v0 --preset mine.toml."""

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="[NAME]")] = ""
    """A preset's name, or an environment's; default is a table of all."""


def main(argv: list[str]) -> int:
    """Print the table, or a file as it is."""
    name = parse(PresetsArguments, argv, prog="mbpo presets").name
    if not name:
        print("\n".join(table(presets().values())))
        return 0
    found = {name: presets()[name]} if name in presets() else presets_for(name)
    if not found:
        raise ConfigError(
            f"There is no preset '{name}'.{did_you_mean(name, presets())} There are: {', '.join(presets())}."
        )
    print("\n".join(preset.text for preset in found.values()), end="")
    return 0


def table(found: Iterable[Preset]) -> list[str]:
    """Lines: name, algorithm, environments, steps, and the preset's first comment."""
    rows = [("name", "algorithm", "environments", "steps", "what")]
    for preset in found:
        steps = preset.values.get("steps", RunConfig.steps)
        rows.append((preset.name, preset.algo, ", ".join(preset.envs), f"{steps:,}", preset.title))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
