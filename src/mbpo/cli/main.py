"""`mbpo COMMAND …`: finds the command, and turns errors into one readable paragraph."""

import importlib
import os
import re
import sys
import warnings
from collections.abc import Sequence

from mbpo.errors import MBPOError, did_you_mean

COMMANDS = {
    "train": "train an agent, or go on with a run",
    "eval": "measure how good a trained policy is",
    "presets": "list the settings of known tasks, or print one to copy",
    "runs": "show which runs are under way, where each stands, and when it should end",
    "plot": "draw learning curves of one run or several",
    "curves": "draw runs over published learning curves",
    "compare": "train several algorithms on one task with many seeds, and draw them together",
    "trust": "measure how far a run's model can be trusted",
    "check-env": "hold an environment against what training will assume",
    "doctor": "say what a run folder holds, verify it, and repair it",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status (0 well, 1 the run failed, 2 the input was wrong)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        status = _run(arguments[0], arguments[1:]) if arguments else _run("--help", [])
        sys.stdout.flush()  # Here, where a reader that went away is expected.
        return status if arguments else 2
    except MBPOError as error:
        print(f"mbpo: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("mbpo: stopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output went away (`mbpo … | head`): not our error, and no traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(name: str, arguments: list[str]) -> int:
    if name in ("-h", "--help"):
        print(_help())
        return 0
    if name == "--version":
        import mbpo

        print(mbpo.__version__)
        return 0
    if name not in COMMANDS:
        raise MBPOError(
            f"There is no command '{name}'.{did_you_mean(name, COMMANDS)} The commands are {', '.join(COMMANDS)}; "
            "`mbpo COMMAND --help` explains each."
        )
    # As `python -m` does it, so that `module:Env-v0` finds modules in the current folder.
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    warnings.formatwarning = lambda message, *rest, **more: f"mbpo: {_plain(message)}\n"
    # Imported when needed, so that help and wrong input answer at once.
    return importlib.import_module(f"mbpo.cli.{name.replace('-', '_')}").main(arguments)


def _plain(message: object) -> str:
    """Without the colours of others' warnings, where they would not be seen as such."""
    return str(message) if sys.stderr.isatty() else re.sub(r"\x1b\[[0-9;]*m", "", str(message))


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  mbpo {name:<{width}}   {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        ["Model-based policy optimization that knows when to trust its model.", "", *lines, "", "  mbpo COMMAND --help"]
    )


if __name__ == "__main__":
    sys.exit(main())
