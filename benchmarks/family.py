"""One figure of the family: return against real steps, drawn from the committed records.

    python benchmarks/family.py --out benchmarks/results/family.png

Left, Pendulum-v1: MBPO and its parents SAC and PETS (folders that `seeds.py` wrote). Right, the Dyna maze:
Dyna-Q with 50 imagined updates a step, and with none, which is Q-learning; return there is what has been
collected since the first step. Interquartile means over seeds with 95 % bootstrap bands.
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from mbpo.training.logbook import read_records
from mbpo.viz.comparison import AlgoCurve, read_algo_curve
from mbpo.viz.curves import COLOURS

RESULTS = Path(__file__).parent / "results"
PENDULUM = {"MBPO": "pendulum", "PETS": "pendulum_pets", "SAC": "pendulum_sac"}
MAZE = {"Dyna-Q, n = 50": "dyna_maze_50", "Q-learning (n = 0)": "dyna_maze_0"}


def seeds_of(folder: str) -> list[Path]:
    return sorted((RESULTS / folder).glob("seed-*"))


def collected(label: str, folder: str, every: int = 50) -> AlgoCurve:
    """Reward since the first step, from the records of finished episodes."""
    rows = []
    for seed in seeds_of(folder):
        records = read_records(seed)
        ends = [(r["env_step"], r["train_return"]) for r in records if "train_return" in r]
        steps, rewards = np.array(ends).T if ends else (np.zeros(0), np.zeros(0))
        grid = np.arange(0, records[-1]["env_step"] + 1, every)
        rows.append([rewards[steps <= step].sum() for step in grid])
    return AlgoCurve(label, len(rows), grid, np.array(rows), 0.0)


def draw(axes: Axes, curve: AlgoCurve, colour: str) -> None:
    axes.plot(curve.steps, curve.iqm, color=colour, linewidth=2, label=f"{curve.algo}, {curve.seeds} seeds")
    if curve.steps.size < 30:
        axes.plot(curve.steps, curve.iqm, ".", color=colour, markersize=8)
    assert curve.band is not None
    axes.fill_between(curve.steps, *curve.band, color=colour, alpha=0.2, linewidth=0)


def main(out: Path) -> None:
    figure = Figure(figsize=(11, 4), dpi=130, layout="constrained")
    left, right = figure.subplots(1, 2)
    for colour, (label, folder) in zip(COLOURS, PENDULUM.items(), strict=False):
        folders = seeds_of(folder)
        curve = read_algo_curve(label, folders, asked=len(folders))
        assert curve is not None, folder
        draw(left, curve, colour)
    left.set(title="Pendulum-v1: the evaluated policy", xscale="log", xlabel="real environment steps (log scale)")
    left.set(ylabel="return of an episode")
    left.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    left.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
    left.xaxis.set_minor_formatter(NullFormatter())
    for colour, (label, folder) in zip(COLOURS[3:], MAZE.items(), strict=False):
        draw(right, collected(label, folder), colour)
    right.set(title="Dyna maze: while learning", xlabel="real environment steps", ylabel="reward collected so far")
    right.set(xlim=(0, None), ylim=(0, None))
    for axes in (left, right):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    left.legend(frameon=False, loc="lower right", bbox_to_anchor=(1.0, 0.12))
    right.legend(frameon=False, loc="upper left")
    figure.savefig(out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the picture to write")
    main(parser.parse_args().out)
