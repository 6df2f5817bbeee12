"""Lengths of time as people write them: `2h30m`, `90s`, `1.5h`."""

import re

from mbpo.errors import ConfigError

SECONDS = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
_PART = r"\d+(?:\.\d+)?"
_DURATION = re.compile("".join(rf"(?:({_PART}){unit})?" for unit in SECONDS))


def read_duration(text: str, option: str) -> float:
    """Seconds.

    Raises:
        ConfigError: It is not days, hours, minutes and seconds in that order, or is nothing at all.
    """
    found = _DURATION.fullmatch(text.strip().lower())
    parts = found.groups() if found else ()
    seconds = sum(float(part) * unit for part, unit in zip(parts, SECONDS.values(), strict=False) if part)
    if not seconds:
        raise ConfigError(f"{option} is a length of time such as 2h30m, 45m or 90s (d, h, m, s), not {text!r}.")
    return seconds


def show_duration(seconds: float) -> str:
    """The two largest units: `2h30m`, `45m10s`, `3d4h`."""
    left, parts = round(seconds), []
    for unit, size in SECONDS.items():
        count, left = divmod(left, size)
        parts.append((count, unit))
    first = next((number for number, (count, _) in enumerate(parts) if count), len(parts) - 1)
    shown = [f"{count}{unit}" for count, unit in parts[first : first + 2] if count]
    return "".join(shown) or "0s"
