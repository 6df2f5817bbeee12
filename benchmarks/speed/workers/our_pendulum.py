"""Our whole MBPO on Pendulum-v1, with the preset."""

import tempfile
from pathlib import Path
from typing import Any

from worker import Measure, serve

from mbpo import MBPO


def prepare(job: dict[str, Any]) -> Measure:
    def measure(calls: int) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as scratch:
            agent = MBPO(
                "Pendulum-v1",
                seed=job["seed"],
                out=Path(scratch) / "run",
                eval_freq=job["epoch_length"],
                eval_episodes=job["eval_episodes"],
            )
            agent.learn(job["steps"])
            returns = [record["eval_return_mean"] for record in agent.records if "eval_return_mean" in record]
            agent.close()
        return {"units": job["steps"], "best_return": max(returns)}

    return measure


if __name__ == "__main__":
    serve(prepare, ("mbpo", "jax", "jaxlib", "gymnasium", "numpy"))
