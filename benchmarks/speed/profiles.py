"""Where an environment step's time goes once random actions are over, on Pendulum-v1 and at Hopper's sizes."""

from typing import Any

from benchmarks.speed.harness import Options, Side, Worker


def tasks(quick: bool) -> dict[str, Side]:
    """What is profiled."""
    return {
        "Pendulum-v1, preset": Side("mbpo", "our_profile.py", {"steps": 50 if quick else 400}),
        "Hopper-v5, k = 1, 8, 15": Side("mbpo", "our_hopper.py", {"kind": "profile", "cycle": 25 if quick else 250}),
    }


def measure(threads: int, options: Options) -> dict[str, Any]:
    """A profiled run of each task, in a process of its own."""
    turns = {}
    for task, side in tasks(options.quick).items():
        worker = Worker(side, threads)
        try:
            turns[task] = worker.measure(1)
        finally:
            worker.close()
    summary = {
        task: {name: 1000 * value / found["units"] for name, value in found["seconds_by_section"].items()}
        for task, found in turns.items()
    }
    return {"turns": turns, "versions": worker.versions, "summary": summary}


def lines(measured: dict[str, Any]) -> list[str]:
    """For the terminal."""
    found = []
    for task, sections in measured["summary"].items():
        longest = sorted(sections.items(), key=lambda section: -section[1])
        found.append(f"{task}, ms per step: " + ", ".join(f"{name} {value:.2f}" for name, value in longest))
    return found
