"""How fast everything is, beside its peers: `make bench`, or `make bench ARGS="sac rollouts --quick"`.

    python -m benchmarks.speed                     # every workload, from the repository's root
    python -m benchmarks.speed sac --threads 1     # those whose names begin so, on one thread
    python -m benchmarks.speed --no-peers          # our side and the machine's peak only

Each workload's result is saved as it is finished, so `--resume` goes on where a run was
interrupted. Peers live in virtual environments of their own under runs/peers/, made on first use;
`--pip-option` is handed to their pip, for instance to name an index of CPU builds of PyTorch.
"""

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.speed import hopper, model, pendulum, profiles, rows, sac, side_by_side, start
from benchmarks.speed.harness import Options, WorkerFailed, Workload, summarise, take_turns
from mbpo.training.run_folder import commit, versions

ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "speed"
QUICK = ROOT / "runs" / "speed-quick"
DISTURBED = 0.03
"""From here on a measurement says that the machine had other work."""
COMPARISONS = {**sac.WORKLOADS, **model.WORKLOADS}
RUNS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "pendulum": (pendulum, (1, 2)),
    "hopper": (hopper, (1, 2)),
    "rows": (rows, (1,)),
    "start": (start, (2,)),
    "profiles": (profiles, (2,)),
    "side_by_side": (side_by_side, (1,)),
}
"""Modules with a `measure` of their own, and the numbers of threads unless one is asked for."""
WORKLOADS = (*COMPARISONS, *RUNS)


def about(command: str) -> dict[str, Any]:
    """What a result depends on, besides the code that it measures."""
    return {
        "command": command,
        "commit": commit(),
        "versions": versions(),
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "cores": os.cpu_count(),
        "processor": processor(),
    }


def processor() -> str:
    """The processor's model name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def compare(name: str, workload: Workload, options: Options, folder: Path, command: str, resume: bool) -> None:
    """Measure a workload on each number of threads, and save after each."""
    path = folder / f"{name}.json"
    saved = json.loads(path.read_text()) if path.exists() else {"threads": {}}
    for threads in (count for count in workload.threads if count in options.threads):
        found = saved["threads"].get(str(threads))
        if resume and found is not None and found["about"]["commit"] == commit():
            continue
        measured = take_turns(workload, threads, options)
        summary = summarise(workload, measured)
        saved["threads"][str(threads)] = {"about": about(command), **measured, "summary": summary}
        saved |= {"title": workload.title, "unit": workload.unit, "formula": workload.formula}
        saved["flops_per_unit"] = workload.flops_per_unit
        write(path, saved)
        show(workload, threads, summary)


def measure_run(name: str, options: Options, folder: Path, command: str, resume: bool) -> None:
    """As `compare`, for a workload that measures in its own way."""
    module, wanted = RUNS[name]
    path = folder / f"{name}.json"
    saved = json.loads(path.read_text()) if path.exists() else {"threads": {}}
    for threads in wanted if len(options.threads) > 1 else options.threads:
        found = saved["threads"].get(str(threads))
        if resume and found is not None and found["about"]["commit"] == commit():
            continue
        print(f"{module.__doc__.splitlines()[0]} {threads} thread(s)", flush=True)
        try:
            measured = module.measure(threads, options)
        except WorkerFailed as failure:
            print(f"  could not run: {failure}", flush=True)
            continue
        saved["threads"][str(threads)] = {"about": about(command), **measured}
        write(path, saved)
        print("\n".join(f"  {line}" for line in module.lines(measured)), flush=True)


def show(workload: Workload, threads: int, summary: dict[str, Any]) -> None:
    """A line for each side."""
    peak = summary["peak_gflops"]
    line = f"{workload.title}, {threads} thread(s); peak {peak['median']:.1f} GFLOP/s"
    if summary["others_share"] > DISTURBED:
        line += f"; DISTURBED: other processes took {100 * summary['others_share']:.0f} % of these cores"
    print(line, flush=True)
    for name, found in summary["sides"].items():
        if "failure" in found:
            print(f"  {name:18} could not run: {found['failure']}")
            continue
        rate, used = found["rate"], found["fraction_of_peak"]
        line = f"  {name:18} {rate['median']:12.4g} {workload.unit} ({rate['low']:.4g} to {rate['high']:.4g})"
        line += f"  {100 * used['median']:5.1f} % of peak  {found['peak_rss_mb']:6.0f} MB"
        if "ours_against_it" in found:
            ratio = found["ours_against_it"]
            line += f"  ours {ratio['median']:.2f}x ({ratio['low']:.2f} to {ratio['high']:.2f})"
        print(line, flush=True)


def write(path: Path, values: dict[str, Any]) -> None:
    """All of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(values, indent=1) + "\n")
    part.replace(path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", help=f"names or beginnings of names of: {', '.join(WORKLOADS)}")
    parser.add_argument("--quick", action="store_true", help="two short turns each, saved under runs/")
    parser.add_argument("--resume", action="store_true", help="leave out what was measured at this commit")
    parser.add_argument("--no-peers", action="store_true", help="our side only, saved under runs/")
    parser.add_argument("--threads", type=int, choices=(1, 2), help="only on so many")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--turn-seconds", type=float, default=2.0)
    parser.add_argument("--pip-option", action="append", default=[])
    known = parser.parse_args()
    chosen = [name for name in WORKLOADS if not known.workloads or name.startswith(tuple(known.workloads))]
    if not chosen:
        parser.error(f"no workload begins with {' or '.join(known.workloads)}; there are: {', '.join(WORKLOADS)}")
    options = Options(
        repeats=2 if known.quick else known.repeats,
        turn_seconds=0.3 if known.quick else known.turn_seconds,
        threads=(known.threads,) if known.threads else (1, 2),
        peers=not known.no_peers,
        quick=known.quick,
        pip_options=tuple(known.pip_option),
    )
    folder = QUICK if known.quick or known.no_peers else RESULTS
    command = " ".join(["python -m benchmarks.speed", *sys.argv[1:]])
    for name in chosen:
        if name in COMPARISONS:
            compare(name, COMPARISONS[name](), options, folder, command, known.resume)
        else:
            measure_run(name, options, folder, command, known.resume)
    return 0


if __name__ == "__main__":
    sys.exit(main())
