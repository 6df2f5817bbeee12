"""`mbpo check-env ENV_ID`: an environment against what training will assume."""

import json
from dataclasses import asdict, dataclass
from typing import Annotated

import tyro

from mbpo.cli.arguments import parse, read_pairs, spell_pairs


@dataclass(frozen=True)
class CheckEnvArguments:
    """Take random steps in an environment and explain what was found; exit status 0 if nothing is wrong, 1 if so."""

    env: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="ENV_ID|MODULE:CLASS")]
    """Gymnasium id, `module:Env-v0`, or a class or function of a module that makes an environment."""
    env_kwargs: tuple[str, ...] = ()
    """Its arguments, as NAME=VALUE; those that training has by default (`mbpo presets`) stay unless they are named."""
    steps: int = 1000
    """Random steps to take."""
    seed: int = 0
    """Decides the episodes' starts and the actions."""
    termination: str = "auto"
    """The rule to hold against real transitions, as `mbpo train` takes it."""
    timeout: float | None = 60.0
    """Seconds that making it, a reset, a step or closing it may take; None for any time."""
    json: bool = False
    """Print one JSON object instead of sentences."""


def main(argv: list[str]) -> int:
    """Print a sentence for each finding."""
    arguments = parse(CheckEnvArguments, argv, prog="mbpo check-env")
    from mbpo.agents.settings import MAX_SECONDS
    from mbpo.envs.make import how_to_register
    from mbpo.errors import ConfigError
    from mbpo.training.device import multiply_in_float32
    from mbpo.training.env_check import check_env, source_of
    from mbpo.training.presets import preset

    if arguments.steps < 1 or arguments.seed < 0:
        raise ConfigError("--steps is a number of at least 1, and --seed one of at least 0.")
    if arguments.timeout is not None and not 0 < arguments.timeout <= MAX_SECONDS:
        raise ConfigError(
            f"--timeout is a number of seconds above 0 and up to {MAX_SECONDS:.0f}, or None for any time, not "
            f"{arguments.timeout:g}."
        )
    kwargs = {**preset(arguments.env).env_kwargs, **read_pairs(arguments.env_kwargs, "--env-kwargs")}
    multiply_in_float32()  # Where JAX has no device, that is said here.
    source = source_of(arguments.env, arguments.timeout, kwargs)
    findings = check_env(
        source,
        steps=arguments.steps,
        seed=arguments.seed,
        termination=arguments.termination,
        timeout=arguments.timeout,
    )
    wrong = any(finding.level == "error" for finding in findings)
    if arguments.json:
        print(
            json.dumps(
                {"env": source.name, "env_kwargs": kwargs, "ok": not wrong, "findings": [asdict(f) for f in findings]}
            )
        )
    else:
        for finding in findings:
            print(f"{finding.level:<8} {finding.subject:<13} {finding.sentence}")
        shown = f" ({' '.join(spell_pairs(kwargs))})" if kwargs else ""
        print(f"{source.name}{shown} {'is not fit to train in yet.' if wrong else 'is fit to train in.'}")
        module, _, maker = arguments.env.partition(":")
        if maker.isidentifier() and not wrong:
            print(f"For `mbpo train` it needs an id: it gets one by {how_to_register(module, maker, kwargs)}.")
    return 1 if wrong else 0
