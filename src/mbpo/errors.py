"""Errors meant for the person at the keyboard.

Each message is one paragraph: what is wrong, where, and what to do next. The command line
prints it without a traceback and exits with status 2 (1 for `TrainingError`, where the input
was fine and the run was not).
"""

import difflib
from collections.abc import Iterable


class MBPOError(Exception):
    """Base of every error this package raises on purpose."""

    exit_code = 2


class UnsupportedEnvironment(MBPOError):
    """The environment cannot be made, or its spaces are not ones this package can learn in."""


class ConfigError(MBPOError):
    """A setting is unknown, has the wrong type, or contradicts another."""


class RunFolderError(MBPOError):
    """A run folder is missing, already in use, or holds something else."""


class CheckpointError(MBPOError):
    """A checkpoint is corrupt, foreign, or does not fit the run that wants it."""


class CheckpointMisfit(CheckpointError):
    """A whole checkpoint, of something of another shape."""


class TrainingError(MBPOError):
    """Training cannot go on: a value is not finite, the environment failed, or the disk is full."""

    exit_code = 1


class EnvironmentFault(TrainingError):
    """The environment failed while it was being stepped; what was learned until then is good."""


FOREIGN = (Exception, SystemExit, GeneratorExit)
"""What code of a user's may raise, caught where it is called. An environment that calls `sys.exit` has failed like any
other, and must not end the process as if all were well; KeyboardInterrupt is the user's own, and passes."""


def did_you_mean(word: str, known: Iterable[str], *, most: int = 3) -> str:
    """`" Did you mean 'a' or 'b'?"` for the known words nearest to `word`, or an empty string."""
    near = difflib.get_close_matches(word, sorted(set(known)), n=most, cutoff=0.6)
    return f" Did you mean {' or '.join(repr(n) for n in near)}?" if near else ""


def in_short(error: BaseException) -> str:
    """The type of an error and the first line of what it says."""
    # Gymnasium raises the error again with its own text around it; the cause says it best.
    cause = error.__cause__ if type(error.__cause__) is type(error) else None
    try:
        lines = str(cause or error).strip().splitlines()
    except Exception:  # It has no words for itself.
        lines = []
    text = lines[0].strip().rstrip(".") if lines else ""
    if len(text) > 300:
        text = text[:297] + "..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
