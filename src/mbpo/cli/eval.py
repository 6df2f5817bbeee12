"""`mbpo eval DIR`: how good a trained policy is."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from mbpo.cli.arguments import parse


@dataclass(frozen=True)
class EvalArguments:
    """Evaluate the policy of a run folder with its mean action."""

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """A run folder."""
    episodes: int = 100
    """Episodes to average over."""
    seed: int | None = None
    """Decides the episodes' starts; default the run's seed."""
    json: bool = False
    """Print one JSON object instead of a sentence."""


def main(argv: list[str]) -> int:
    """Print mean, standard deviation and standard error."""
    arguments = parse(EvalArguments, argv, prog="mbpo eval")
    from mbpo.training.algorithms import load

    agent = load(arguments.folder)
    result = agent.evaluate(arguments.episodes, seed=arguments.seed)
    cut = f", {result.cut} of them cut after {agent.config.eval_max_steps} steps" if result.cut else ""
    if arguments.json:
        values = {
            "env_id": agent.config.env_id,
            "episodes": arguments.episodes,
            "mean_return": result.mean,
            "std_return": result.std,
            "env_step": agent.env_step,
            "cut_episodes": result.cut,
        }
        print(json.dumps(values))
    else:
        print(
            f"{agent.config.env_id} after {agent.env_step} environment steps: mean return {result.mean:.1f} "
            f"± {result.standard_error:.1f} (standard error; standard deviation {result.std:.1f}, "
            f"{arguments.episodes} episodes{cut})"
        )
    agent.close()
    return 0
