"""Where an environment step's time goes on Pendulum-v1 with the preset."""

from typing import Any

from worker import Measure, serve

from mbpo import MBPO
from mbpo.training.profile import Profile


def prepare(job: dict[str, Any]) -> Measure:
    def measure(calls: int) -> dict[str, Any]:
        agent, profile = MBPO("Pendulum-v1"), Profile()
        agent.learn(agent.config.mbpo.random_steps + 1)  # What is compiled is compiled by now.
        agent.learn(job["steps"], profile=profile)
        agent.close()
        return {"units": job["steps"], "seconds_by_section": profile.seconds, "calls": profile.calls}

    return measure


if __name__ == "__main__":
    serve(prepare, ("mbpo", "jax", "jaxlib", "gymnasium", "numpy"))
