"""Write the tables in README.md and docs/ from the committed raw results.

    python benchmarks/tables.py           # rewrite what lies between the markers
    python benchmarks/tables.py --check   # only say whether they are what the results say

A page marks the place of table NAME with `<!-- table: NAME -->` and `<!-- end -->`.
"""

import csv
import json
import re
import sys
from pathlib import Path

import numpy as np
from ant_tables import TABLES as ANT
from average_tables import TABLES as AVERAGE
from falling_tables import TABLES as FALLING
from faults import tables as fault_tables
from humanoid_tables import TABLES as HUMANOID
from mujoco_tables import TABLES as MUJOCO
from mujoco_tables import variants
from published_tables import TABLES as PUBLISHED
from read_results import RESULTS, learning_curve, rows
from reproduced_table import reproduced
from speed.tables import TABLES as SPEED
from walker2d_tables import TABLES as WALKER2D

from mbpo.training.logbook import read_records
from mbpo.viz.statistics import bootstrap_band, interquartile_mean

ROOT = Path(__file__).parent.parent
ALGORITHMS = ("mbpo", "mbpo_dh", "sac", "pets", "dyna_q")
PAGES = (
    "README.md",
    *(f"docs/{name}.md" for name in ("reliability", "speed", "theory")),
    *(
        f"docs/algorithms/{name}.md"
        for name in (*ALGORITHMS, *(f"mbpo_dh_{part}" for part in ("ant", "falls", "humanoid", "parts", "walker2d")))
    ),
    "docs/how-to/gpu.md",
    "benchmarks/README.md",
)
MEMBERS_LEARN_FROM = {"a bootstrap": "pendulum", "every row that is not held out": "pendulum_all_rows"}
"""MBPO on Pendulum, by what the members of its ensemble learn from."""


def regret(folder: str, steps: tuple[int, ...]) -> str:
    """Distance to the optimum from the same starts."""
    lines = ["| real steps | optimum from the same starts | median regret | worst regret |", "|---|---|---|---|"]
    for row in rows(RESULTS / folder / "regret.csv"):
        if row["env_step"] in steps:
            cells = (row["env_step"], row["mean_optimum"], row["median_regret"], row["worst_regret"])
            lines.append("| {:.0f} | {:.1f} | {:.1f} | {:.1f} |".format(*cells))
    return "\n".join(lines)


def optimum() -> str:
    """What a dynamic programme scores, by discount."""
    text = (RESULTS / "pendulum_optimum.txt").read_text()
    found = re.findall(r"gamma ([\d.]+): (\S+) ± (\S+)", text)
    lines = ["| optimal for γ | undiscounted return |", "|---|---|"]
    return "\n".join(lines + [f"| {float(gamma):g} | {mean} ± {error} |" for gamma, mean, error in found])


def wall_clock() -> str:
    """Seconds and memory of whole commands."""
    runs = json.loads((RESULTS / "wall_clock.json").read_text())["runs"]
    lines = ["| compilation cache | seconds to 600 steps | peak memory, MB |", "|---|---|---|"]
    for kind in ("cold", "warm"):
        chosen = [run for run in runs if run["kind"] == kind]
        seconds, memory = (sorted(run[name] for run in chosen) for name in ("seconds", "peak_rss_mb"))
        lines.append(f"| {kind} | {seconds[0]:.0f}–{seconds[-1]:.0f} ({len(seconds)} runs) | {memory[-1]:.0f} |")
    return "\n".join(lines)


def tabular() -> str:
    """What was aimed at and found on the book's examples."""
    with (RESULTS / "tabular" / "summary.csv").open() as file:
        found = [f"| {row['what']} | {row['target']} | {row['found']} |" for row in csv.DictReader(file)]
    return "\n".join(["| what | aim | found |", "|---|---|---|", *found])


def tabular_speed() -> str:
    """Imagined updates a second."""
    lines = ["| states × actions | n | imagined updates a second |", "|---|---|---|"]
    for row in rows(RESULTS / "tabular_speed.csv"):
        numbers = [int(value) for value in row.values()]
        lines.append("| {:,} × {} | {:,} | {:,} |".format(*numbers))
    return "\n".join(lines)


def bounds() -> str:
    """Each return bound on random worlds."""
    lines = ["| bound | k | worlds | violations | largest ratio | median ratio |", "|---|---|---|---|---|---|"]
    with (RESULTS / "theory" / "bounds.csv").open() as file:
        for row in csv.DictReader(file):
            lines.append("| {bound} | {k} | {worlds} | {violations} | {largest_ratio} | {median_ratio} |".format(**row))
    return "\n".join(lines)


def made_worlds() -> str:
    """The return bounds in worlds made to reach them, or to break a wrong one."""
    lines = ["| world | γ | bound | k | lost | allowed | ratio |", "|---|---|---|---|---|---|---|"]
    with (RESULTS / "theory" / "made.csv").open() as file:
        for row in csv.DictReader(file):
            wrong_one = row["bound"] == "4.3 with ε_m"
            if wrong_one != row["world"].startswith("unseen") or row["k"] not in ("", "1", "5", "20", "100"):
                continue
            lost, allowed = float(row["lost"]), float(row["allowed"])
            cells = (row["world"], row["gamma"], row["bound"], row["k"], f"{lost:.3g}", f"{allowed:.3g}")
            lines.append(f"| {' | '.join(cells)} | {lost / allowed:.2f} |")
    return "\n".join(lines)


def stochastic_worlds() -> str:
    """Slope and use of branched rollouts against a world's randomness."""
    lines = ["| world | randomness | n | ε_m′ at no shift | slope | best k | gain | k* | picked |", "|---" * 9 + "|"]
    row_format = "| {world} | {randomness} | {steps} | {error} | {slope} ± {slope_standard_error} | {best_k} | {gain} "
    with (RESULTS / "stochastic_worlds" / "worlds.csv").open() as file:
        for row in csv.DictReader(file):
            if row["steps"] != "1000":
                lines.append((row_format + "| {k_star} | {chosen} |").format(**row))
    return "\n".join(lines)


def against_sb3() -> str:
    """SAC here and stable-baselines3's: return and speed at equal settings."""
    found = json.loads((RESULTS / "sac_against_sb3" / "summary.json").read_text())
    score = {name: "{iqm:.1f} [{low:.1f}, {high:.1f}]".format(**band) for name, band in found["return"].items()}
    lines = [
        "| | here | stable-baselines3 | here against it |",
        "|---|---|---|---|",
        f"| return at 5000 steps | {score['mbpo']} | {score['sb3']} | {score['difference']} |",
    ]
    for size in ("64", "256"):
        row = found[f"updates_per_cpu_second_{size}"]
        ratio = "{ratio:.2f}x ({ratio_low:.2f} to {ratio_high:.2f})".format(**row)
        lines.append(f"| updates per second of the CPU, {size} wide | {row['mbpo']:.0f} | {row['sb3']:.0f} | {ratio} |")
    return "\n".join(lines)


def horizon() -> str:
    """What the best plans of a length lose, by length and tail."""
    found = rows(RESULTS / "pendulum_horizon.csv")
    tails = sorted({row["tail_steps"] for row in found})
    lines = ["| horizon | " + " | ".join(f"tail {tail:.0f}" for tail in tails) + " |", "|---" * (len(tails) + 1) + "|"]
    for steps in sorted({row["horizon"] for row in found}):
        cells = [f"{row['mean_regret']:.1f}" for row in found if row["horizon"] == steps]
        lines.append(f"| {steps:.0f} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def planning_speed() -> str:
    """PETS's decisions per second."""
    about = json.loads((RESULTS / "planning_speed.json").read_text())
    lines = [f"| settings | decisions/s on {about['cores']} cores, median (slowest to fastest round) |", "|---|---|"]
    for found in about["decisions_per_second"]:
        lines.append("| {settings} | {median:.0f} ({slowest:.0f} to {fastest:.0f}) |".format(**found))
    return "\n".join(lines)


def gates() -> str:
    """Return by gate: interquartile mean over seeds with its bootstrap band, and the rows imagined."""
    steps = (200, 400, 600)
    head = "| gate | seeds | " + " | ".join(f"return at {step}" for step in steps) + " | rows imagined in all |"
    lines = [head, "|---" * (len(steps) + 3) + "|"]
    for folder in sorted((RESULTS / "gates").glob("pendulum_*")):
        runs = [read_records(run) for run in sorted(folder.glob("seed-*"))]
        cells = [folder.name.removeprefix("pendulum_"), str(len(runs))]
        for step in steps:
            found = [next(r["eval_return_mean"] for r in run if r["env_step"] == step) for run in runs]
            cells.append(_with_band(np.array(found)))
        refits = json.loads((folder / "seed-00" / "config.json").read_text())["config"]["mbpo"]["model_train_freq"]
        # Records are written at evaluations and at ends of episodes; each stands for the refits since the last.
        rows_of = [np.interp(np.arange(200, 600, refits), *_rows_imagined(run)).sum() for run in runs]
        cells.append(f"{np.mean(rows_of) / 1e6:.1f} million")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def gates_steps() -> str:
    """Real steps and gradient steps until InvertedPendulum is balanced for good, by gate, and those saved."""
    level, settings = 950, {"schedule": "schedule, as in the preset"}
    found = {}
    for folder in sorted((RESULTS / "gates").glob("inverted_pendulum_*")):
        runs = [read_records(run) for run in sorted(folder.glob("seed-*"))]
        mbpo = json.loads((folder / "seed-00" / "config.json").read_text())["config"]["mbpo"]
        steps = np.array([_steps_to(run, level) for run in runs], float)
        updates = np.array([_updates(run, step, mbpo) for run, step in zip(runs, steps, strict=True)])
        found[folder.name.removeprefix("inverted_pendulum_")] = steps, updates
    lines = [
        f"| gate | seeds | real steps to {level} | worst seed | real steps saved | gradient steps saved |",
        "|---" * 6 + "|",
    ]
    base_steps, base_updates = found["schedule"]
    for gate, (steps, updates) in found.items():
        shared = slice(0, steps.size)  # Seeds are paired: the same seed begins with the same episodes.
        saved = base_steps[shared] - steps, base_updates[shared] - updates
        cells = [
            settings.get(gate, gate.replace("_", ", updates ")),
            str(steps.size),
            _with_band(steps),
            f"{steps.max():.0f}",
        ]
        cells += ["" if gate == "schedule" else _with_band(values) for values in saved]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _with_band(values: np.ndarray) -> str:
    low, high = bootstrap_band(values)
    return f"{interquartile_mean(values):.0f} [{low:.0f}, {high:.0f}]"


def _steps_to(run: list[dict], level: float) -> int:
    """The first evaluation from which on the return stays at `level`; past the end, if it never does."""
    evaluations = [(r["env_step"], r["eval_return_mean"]) for r in run if "eval_return_mean" in r]
    last_below = max((i for i, (_, mean) in enumerate(evaluations) if mean < level), default=-1)
    steps = [step for step, _ in evaluations]
    return steps[last_below + 1] if last_below + 1 < len(steps) else 2 * steps[-1] - steps[-2]


def _updates(run: list[dict], until: float, mbpo: dict) -> float:
    """Gradient steps before environment step `until`; where they follow the rollouts, from the recorded ones."""
    taken = np.arange(mbpo["random_steps"], until)
    if not mbpo["utd_follows_rollouts"]:
        return float(taken.size * mbpo["utd_ratio"])
    recorded = [(r["env_step"], r["grad_steps"]) for r in run if "grad_steps" in r]
    return float(np.interp(taken, *np.transpose(recorded)).sum())


def _rows_imagined(run: list[dict]) -> tuple[list[float], list[float]]:
    found = [(r["env_step"], r["rollout_rows"]) for r in run if "rollout_rows" in r]
    return [step for step, _ in found], [count for _, count in found]


TABLES = {
    "pendulum": lambda: learning_curve("pendulum", (300, 400, 500, 600, 800, 1000)),
    "inverted_pendulum": lambda: learning_curve("inverted_pendulum", (500, 1000, 2000, 3000)),
    "pendulum_rows": lambda: variants(MEMBERS_LEARN_FROM, range(300, 601, 100)),
    "pendulum_pets": lambda: learning_curve("pendulum_pets", (500, 1000)),
    "pendulum_sac": lambda: learning_curve("pendulum_sac", (1000, 2000, 3000, 4000, 5000)),
    "tabular": tabular,
    "tabular_speed": tabular_speed,
    "bounds": bounds,
    "made_worlds": made_worlds,
    "stochastic_worlds": stochastic_worlds,
    "regret": lambda: regret("pendulum", (400, 600, 800, 1000)),
    "sac_regret": lambda: regret("pendulum_sac", (3000, 4000, 5000)),
    "against_sb3": against_sb3,
    "regret_pets": lambda: regret("pendulum_pets", (500, 1000)),
    "horizon": horizon,
    "planning_speed": planning_speed,
    "gates": gates,
    "gates_steps": gates_steps,
    "optimum": optimum,
    "wall_clock": wall_clock,
    "reproduced": reproduced,
    **SPEED,
    **MUJOCO,
    **ANT,
    **AVERAGE,
    **HUMANOID,
    **PUBLISHED,
    **WALKER2D,
    **FALLING,
    "faults": fault_tables.faults,
    "soak": fault_tables.soak,
    "peer_faults": fault_tables.peers,
}


def fill(text: str) -> str:
    """The page with every marked table written anew."""
    return re.sub(
        r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)",
        lambda found: f"{found[1]}\n{TABLES[found[2]]()}\n\n{found[3]}",
        text,
        flags=re.DOTALL,
    )


def main() -> int:
    stale = [page for page in PAGES if fill((ROOT / page).read_text()) != (ROOT / page).read_text()]
    if "--check" in sys.argv:
        print(f"stale: {', '.join(stale)}; run python benchmarks/tables.py" if stale else "tables are up to date")
        return int(bool(stale))
    for page in stale:
        (ROOT / page).write_text(fill((ROOT / page).read_text()))
    print(f"rewritten: {', '.join(stale) or 'nothing'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
