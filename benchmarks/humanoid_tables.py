"""The tables of double horizon on Humanoid and of what it costs on a GPU, from the committed results."""

import json
from statistics import fmean

from mujoco_tables import one_seed
from read_results import RESULTS, evaluations, learning_curve

TORSO = "humanoid_v4_torso_frame"
LATER = range(25_000, 50_001, 2500)
AT_ONCE = {
    "three seeds taking turns, 1300 steps": "three-turns",
    "three seeds through MPS, 1300 steps": "three-mps",
    "five seeds through MPS, 50,000 steps": "five-mps",
}
"""What profiles were written beside what."""
SECTIONS = {
    "act": ("act",),
    "environment": ("env",),
    "fits": ("fit", "model"),
    "updates": ("improve", "rollout"),
    "checkpoints": ("checkpoint",),
    "the rest": ("log", "display", "other"),
}


def seeds() -> str:
    """Every seed in the torso's frame, once some stand."""
    lines = [f"| seed | {' | '.join(map(str, LATER))} |", "|---" * (len(LATER) + 1) + "|"]
    lines += [f"| {seed} | {' | '.join(evaluations(TORSO, seed, LATER))} |" for seed in range(5)]
    return "\n".join(lines)


def gpu() -> str:
    """Milliseconds an environment step of each of several seeds on one GPU, evaluation and compilation left out."""
    lines = [f"| | {' | '.join(SECTIONS)} | in all | s to compile |", "|---" * (len(SECTIONS) + 3) + "|"]
    for name, files in AT_ONCE.items():
        profiles = [json.loads(path.read_text()) for path in sorted((RESULTS / "gpu").glob(f"{files}-*.json"))]
        cells = []
        for parts in SECTIONS.values():
            seconds = [sum(profile["sections"][part]["seconds"] for part in parts) for profile in profiles]
            cells.append(1000 * fmean(map(lambda s, p: s / p["to_env_step"], seconds, profiles)))
        compiling = sorted(profile["sections"]["compile"]["seconds"] for profile in profiles)
        shown = " | ".join(f"{ms:.2f}" for ms in (*cells, sum(cells)))
        lines.append(f"| {name} | {shown} | {compiling[0]:.0f} to {compiling[-1]:.0f} |")
    return "\n".join(lines)


TABLES = {
    "humanoid": lambda: learning_curve(TORSO, (10_000, 20_000, 30_000, 35_000, 40_000, 45_000, 50_000)),
    "humanoid_seeds": seeds,
    "humanoid_world": lambda: one_seed({"return": "humanoid_v4_mbpo_dh"}, 0, range(5000, 20_001, 2500)),
    "gpu": gpu,
}
