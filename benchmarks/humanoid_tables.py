"""The tables of double horizon on Humanoid and of what it costs on a GPU, from the committed results."""

import json
from statistics import fmean

from mujoco_tables import one_seed
from read_results import RESULTS, by_seed, learning_curve

TORSO = "humanoid_v4_torso_frame"
AT_ONCE = {
    "three seeds without MPS, 1300 steps": "three-turns",
    "three seeds with MPS, 1300 steps": "three-mps",
    "five seeds with MPS, 50,000 steps": "five-mps",
}
"""Rows of the table, and how the names of their profiles begin."""
SECTIONS = {
    "act": ("act",),
    "environment": ("env",),
    "fits": ("fit", "model"),
    "updates": ("improve", "rollout"),
    "checkpoints": ("checkpoint",),
    "the rest": ("log", "display", "other"),
}


def gpu() -> str:
    """Milliseconds an environment step of each of several seeds on one GPU, evaluation and compilation left out."""
    lines = [f"| | {' | '.join(SECTIONS)} | in all | s to compile |", "|---" * (len(SECTIONS) + 3) + "|"]
    for name, prefix in AT_ONCE.items():
        profiles = [json.loads(path.read_text()) for path in sorted((RESULTS / "gpu").glob(f"{prefix}-*.json"))]
        cells = []
        for parts in SECTIONS.values():
            seconds = [sum(it["sections"][part]["seconds"] for part in parts) / it["to_env_step"] for it in profiles]
            cells.append(1000 * fmean(seconds))
        compiling = sorted(it["sections"]["compile"]["seconds"] for it in profiles)
        took = " to ".join(dict.fromkeys(f"{some:.0f}" for some in (compiling[0], compiling[-1])))
        shown = " | ".join(f"{ms:.2f}" for ms in (*cells, sum(cells)))
        lines.append(f"| {name} | {shown} | {took} |")
    return "\n".join(lines)


TABLES = {
    "humanoid": lambda: learning_curve(TORSO, (10_000, 20_000, 30_000, 35_000, 40_000, 45_000, 50_000)),
    "humanoid_seeds": lambda: by_seed(TORSO, range(5), range(25_000, 50_001, 2500)),
    "humanoid_world": lambda: one_seed({"return": "humanoid_v4_mbpo_dh"}, 0, range(5000, 20_001, 2500)),
    "gpu": gpu,
}
