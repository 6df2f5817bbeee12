"""Lengths of time, read and shown."""

import pytest

from mbpo.cli.duration import read_duration, show_duration
from mbpo.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2h30m", 9000), ("90s", 90), ("1.5h", 5400), ("1d2h3m4s", 93784), ("45M", 2700), (" 10m ", 600), ("0.5s", 0.5)],
)
def test_what_people_write(text, seconds):
    assert read_duration(text, "--max-time") == seconds


@pytest.mark.parametrize("text", ["", "90", "1h 30m", "30m1h", "2 hours", "-5m", "h", "0s", "1e3s", "nan"])
def test_what_is_no_length_of_time(text):
    with pytest.raises(ConfigError, match="--max-time is a length of time"):
        read_duration(text, "--max-time")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.4, "0s"),
        (59.6, "1m"),
        (61, "1m1s"),
        (7200, "2h"),
        (9000, "2h30m"),
        (9059, "2h30m"),
        (90000, "1d1h"),
    ],
)
def test_what_is_shown(seconds, text):
    assert show_duration(seconds) == text
