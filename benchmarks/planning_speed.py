"""Decisions per second of PETS: one episode planned for as it is lived, one decision after the other.

    python benchmarks/planning_speed.py --out benchmarks/results/planning_speed.json

Measured on Pendulum-v1 for the preset and for the defaults of every planner, with all cores. What a
model has learned does not change what planning with it costs, so none is trained. Each number is
the median of several rounds, compilation excluded.
"""

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path

import gymnasium

from mbpo import PETS
from mbpo.training.config import from_dict
from mbpo.training.run_folder import commit, versions

ENV = "Pendulum-v1"


def rates(agent: PETS, decisions: int, rounds: int) -> list[float]:
    """Decisions per second of each round, environment steps included."""
    env = gymnasium.make(ENV)
    obs, _ = env.reset(seed=0)
    plan, found = None, []
    for counted in [False] + [True] * rounds:
        started = time.perf_counter()
        for _ in range(decisions):
            action, plan = agent.predict(obs, state=plan)
            obs, *_ = env.step(action)
        if counted:
            found.append(decisions / (time.perf_counter() - started))
        obs, _ = env.reset()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--decisions", type=int, default=100, help="in one round; an episode has 200 at most")
    parser.add_argument("--rounds", type=int, default=5)
    known = parser.parse_args()
    agents = {"preset": PETS(ENV)}
    for planner in ("cem", "icem", "mppi"):
        settings = {"env_id": ENV, "algo": "pets", "pets": {"planner": planner}}
        agents[f"defaults, {planner}"] = PETS(ENV, config=from_dict(settings, where="this script"))
    results = []
    for name, agent in agents.items():
        found = rates(agent, known.decisions, known.rounds)
        summary = {"settings": name, "median": statistics.median(found), "slowest": min(found), "fastest": max(found)}
        results.append({key: value if isinstance(value, str) else round(value, 1) for key, value in summary.items()})
        print(results[-1], flush=True)
    about = {
        "command": " ".join(["python", *sys.argv]),
        "commit": commit(),
        "versions": versions(),
        "cores": os.cpu_count(),
        "decisions_per_round": known.decisions,
        "rounds": known.rounds,
        "decisions_per_second": results,
    }
    known.out.parent.mkdir(parents=True, exist_ok=True)
    known.out.write_text(json.dumps(about, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
