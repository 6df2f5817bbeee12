"""SAC here against stable-baselines3's at equal settings: return after 5000 steps, and updates per second.

    python benchmarks/sac_against_sb3.py --core 1

Peer and ours take turns, each run a process of its own on one core with one thread, and both are
judged on the same 100 episodes (the mean action from the same reset seeds). The peer lives in a
virtual environment of its own under `runs/`, made on first use; `--pip-option` is handed to its
pip, for instance to name an index of CPU builds of PyTorch. A run that is finished is not run
again, so the command goes on where it was interrupted. Writes `runs.csv`, `summary.json` and each
run's own record into `--out`.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from peers.environment import peer_python

from mbpo.training.run_folder import commit
from mbpo.training.seeding import Stream, episode_seed

HERE = Path(__file__).resolve().parent
OUT = HERE / "results" / "sac_against_sb3"
SIDES = ("mbpo", "sb3")
ENV_ID, STEPS, EPISODES = "Pendulum-v1", 5000, 100
SPEED_STEPS, SPEED_REPEATS = 1500, 3

SETTINGS: dict[str, Any] = {
    "hidden_sizes": [64, 64],
    "learning_rate": 1e-3,
    "batch_size": 256,
    "gamma": 0.98,
    "tau": 0.01,
    "target_entropy": -1.0,
    "replay_capacity": 100_000,
    "random_steps": 200,
}
"""Of both. Also alike, and fixed in the two scripts: one gradient step per environment step, a
temperature learned from 1, ReLU, Adam, uniform random actions drawn anew at every step."""
WIDE = {**SETTINGS, "hidden_sizes": [256, 256]}
"""The default size of stable-baselines3, for speed only."""


def jobs(seeds: int) -> dict[str, dict[str, Any]]:
    """Every run by name, in the order they are to be run in but for the side."""
    found = {}
    for seed in range(seeds):
        judged = [episode_seed(seed, Stream.EVALUATION_EPISODE, STEPS, episode) for episode in range(EPISODES)]
        found[f"learning-{seed:02d}"] = job(seed, STEPS, SETTINGS, judged)
    for repeat in range(SPEED_REPEATS):
        found[f"speed-256-{repeat:02d}"] = job(repeat, SPEED_STEPS, WIDE, [repeat])
    return found


def job(seed: int, steps: int, settings: dict[str, Any], evaluation_seeds: list[int]) -> dict[str, Any]:
    """What a side is told. The clock runs from a hundred updates on, to before the last step's bookkeeping."""
    return {
        "env_id": ENV_ID,
        "seed": seed,
        "steps": steps,
        "settings": settings,
        "evaluation_seeds": evaluation_seeds,
        "clock_from": settings["random_steps"] + 100,
        "clock_to": steps - 1,
    }


def run(side: str, python: Path, work: dict[str, Any], out: Path, core: int) -> None:
    """One run as a process of its own, on one core with one thread."""
    environment = {
        **os.environ,
        **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
        "CUDA_VISIBLE_DEVICES": "",
        "JAX_PLATFORMS": "cpu",
    }
    pin = (lambda: os.sched_setaffinity(0, {core})) if hasattr(os, "sched_setaffinity") else None
    with tempfile.TemporaryDirectory() as scratch:
        told = Path(scratch) / "job.json"
        told.write_text(json.dumps(work))
        command = [str(python), str(HERE / "peers" / f"{side}_sac.py"), str(told), str(out)]
        subprocess.run(command, check=True, env=environment, preexec_fn=pin, stdout=subprocess.DEVNULL)


def interquartile_mean(values: np.ndarray) -> np.ndarray:
    """The mean of the middle half, over the last axis (Agarwal et al. 2021, arXiv:2108.13264)."""
    cut = values.shape[-1] // 4
    return np.sort(values, axis=-1)[..., cut : values.shape[-1] - cut].mean(axis=-1)


def bootstrap(scores: dict[str, np.ndarray], draws: int = 10_000) -> dict[str, Any]:
    """Interquartile means with 95 % bands over seeds; of the difference too.

    The two sides share each seed's episodes, so seeds are drawn in pairs.
    """
    seeds = len(scores[SIDES[0]])
    picked = np.random.default_rng(0).integers(seeds, size=(draws, seeds))
    of = {side: (interquartile_mean(scores[side]), interquartile_mean(scores[side][picked])) for side in SIDES}
    of["difference"] = (of["mbpo"][0] - of["sb3"][0], of["mbpo"][1] - of["sb3"][1])
    return {
        name: {
            "iqm": round(float(point), 2),
            "low": round(float(np.quantile(drawn, 0.025)), 2),
            "high": round(float(np.quantile(drawn, 0.975)), 2),
        }
        for name, (point, drawn) in of.items()
    }


RATES = ("updates_per_second", "updates_per_cpu_second")


def write_runs(path: Path, names: list[str], raw: dict[str, Any]) -> None:
    """A row for each run; only runs that learn have a return."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["run", "side", "seed", "return_mean", *RATES, "seconds_in_all"])
        for name in names:
            for side in SIDES:
                result = raw[f"{side}-{name}"]
                score = round(statistics.fmean(result["returns"]), 2) if name.startswith("learning") else ""
                numbers = (round(result[key], 1) for key in (*RATES, "seconds_in_all"))
                writer.writerow([name, side, result["job"]["seed"], score, *numbers])


def speeds(names: list[str], raw: dict[str, Any], rate: str) -> dict[str, float]:
    """Medians over runs, and the median and range of the ratio of runs that took turns."""
    of = {side: [raw[f"{side}-{name}"][rate] for name in names] for side in SIDES}
    ratios = [ours / theirs for ours, theirs in zip(of["mbpo"], of["sb3"], strict=True)]
    medians = {side: round(statistics.median(of[side]), 1) for side in SIDES}
    spread = {"ratio": statistics.median(ratios), "ratio_low": min(ratios), "ratio_high": max(ratios)}
    return {**medians, **{name: round(value, 2) for name, value in spread.items()}}


def summarise(out: Path, command: str) -> dict[str, Any]:
    """`runs.csv` and `summary.json` from the runs that both sides have finished."""
    raw = {path.stem: json.loads(path.read_text()) for path in sorted((out / "raw").glob("*.json"))}
    names = sorted({name.partition("-")[2] for name in raw})
    names = [name for name in names if all(f"{side}-{name}" in raw for side in SIDES)]
    write_runs(out / "runs.csv", names, raw)
    learning = [name for name in names if name.startswith("learning")]
    summary: dict[str, Any] = {
        "command": command,
        "commit": commit(),
        "versions": {side: raw[f"{side}-{learning[0]}"]["versions"] for side in SIDES},
        "settings": SETTINGS,
        "seeds": len(learning),
        "return": bootstrap(
            {
                side: np.array([statistics.fmean(raw[f"{side}-{name}"]["returns"]) for name in learning])
                for side in SIDES
            }
        ),
    }
    for size, kind in (("64", "learning"), ("256", "speed")):
        chosen = [name for name in names if name.startswith(kind)]
        if chosen:
            summary.update({f"{rate}_{size}": speeds(chosen, raw, rate) for rate in RATES})
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    return summary


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, help="how many, from 0")
    parser.add_argument("--core", type=int, default=0, help="the core that every run is pinned to")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--pip-option", action="append", default=[], help="handed to the peer's pip")
    known = parser.parse_args()
    pythons = {"mbpo": Path(sys.executable), "sb3": peer_python("sb3", known.pip_option)}
    (known.out / "raw").mkdir(parents=True, exist_ok=True)
    for turn, (name, work) in enumerate(jobs(known.seeds).items()):
        for side in SIDES[:: 1 if turn % 2 else -1]:
            result = known.out / "raw" / f"{side}-{name}.json"
            if not result.exists():
                run(side, pythons[side], work, result, known.core)
                found = json.loads(result.read_text())
                print(f"{name} {side}: {found['updates_per_second']:.0f} updates/s", flush=True)
    print(json.dumps(summarise(known.out, " ".join(["python", *sys.argv])), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
