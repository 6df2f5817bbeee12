"""Whole MBPO on Pendulum-v1 to 1000 steps, against mbrl-lib's: from the start of the process to the end.

Both with our preset's settings, evaluated on 5 episodes every 200 steps, one new process for every
run. Ours finds its compiled code in the cache; what filling it costs is in `start`.
"""

import time
from typing import Any

from benchmarks.speed.harness import Options, Side, Worker, WorkerFailed, rates, spread
from mbpo.training.presets import preset

REPEATS = 2


def job(seed: int, steps: int) -> dict[str, Any]:
    """The preset's settings under the names that both sides are told."""
    known = preset("Pendulum-v1").mbpo
    return {
        "seed": seed,
        "steps": steps,
        "eval_episodes": 5,
        "random_steps": known.random_steps,
        "epoch_length": known.epoch_length,
        "model_train_freq": known.model_train_freq,
        "branches": known.rollout_batch_size,
        "rollout_length": known.rollout_length.end,
        "real_ratio": known.real_ratio,
        "utd_ratio": known.utd_ratio,
        "gamma": known.sac.gamma,
        "tau": known.sac.tau,
        "sac_lr": known.sac.learning_rate,
        "sac_width": known.sac.hidden_sizes[0],
        "sac_batch_size": known.sac.batch_size,
        "members": known.model.ensemble_size,
        "elites": known.model.num_elites,
        "model_sizes": list(known.model.hidden_sizes),
        "model_lr": known.model.learning_rate,
        "model_batch_size": known.model.batch_size,
        "holdout_ratio": known.model.holdout_ratio,
        "max_epochs": known.model.max_epochs,
        "patience": known.model.patience,
    }


def sides(seed: int, steps: int) -> tuple[Side, ...]:
    told = job(seed, steps)
    return Side("mbpo", "our_pendulum.py", told), Side("mbrl-lib", "mbrl_pendulum.py", told, peer="mbrl")


def measure(threads: int, options: Options) -> dict[str, Any]:
    """Runs of both sides in turns, each a process of its own."""
    steps = 250 if options.quick else 1000
    turns: dict[str, list[dict[str, Any]]] = {}
    failures: dict[str, str] = {}
    run_once(sides(0, 250)[0], threads, options)  # Fills the cache.
    for repeat in range(1 if options.quick else REPEATS):
        for side in sides(repeat, steps):
            if (side.peer is None or options.peers) and side.name not in failures:
                try:
                    found = run_once(side, threads, options)
                    turns.setdefault(side.name, []).append(found)
                except WorkerFailed as failure:
                    failures[side.name] = str(failure)
    seconds = {name: spread([turn["seconds"] for turn in found]) for name, found in turns.items()}
    summary: dict[str, Any] = {"steps": steps, "seconds": seconds, "failures": failures}
    summary["best_return"] = {name: [turn["best_return"] for turn in found] for name, found in turns.items()}
    if "mbrl-lib" in turns:
        pairs = zip(rates(turns["mbpo"]), rates(turns["mbrl-lib"]), strict=True)
        summary["ours_against_it"] = spread([ours / theirs for ours, theirs in pairs])
    return {"turns": turns, "settings": job(0, steps), "summary": summary}


def run_once(side: Side, threads: int, options: Options) -> dict[str, Any]:
    """Seconds from the start of the process to the end of training."""
    started = time.perf_counter()
    worker = Worker(side, threads, options.pip_options)
    try:
        found = worker.measure(1)
        return {**found, "seconds": time.perf_counter() - started, "versions": worker.versions}
    finally:
        worker.close()


def lines(measured: dict[str, Any]) -> list[str]:
    """For the terminal."""
    summary = measured["summary"]
    found = [
        f"{name:18} {seconds['median']:8.1f} s to {summary['steps']} steps ({seconds['low']:.1f} to "
        f"{seconds['high']:.1f}), best return {max(summary['best_return'][name]):.0f}"
        for name, seconds in summary["seconds"].items()
    ]
    if "ours_against_it" in summary:
        found.append("ours {median:.2f}x ({low:.2f} to {high:.2f})".format(**summary["ours_against_it"]))
    return found + [f"{name:18} could not run: {why}" for name, why in summary["failures"].items()]
