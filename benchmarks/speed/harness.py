"""Sides that take turns: each a process of its own on the same cores, told over a pipe when to measure.

A B C, C B A, A B C, …: what else the machine does hits all sides alike, so each repeat gives one
ratio of neighbours in time, and the spread of these ratios says how far to trust their median.
Each repeat also measures the machine's best matrix multiplication on the same cores.
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.peers.environment import PeerMissing, peer_python

HERE = Path(__file__).resolve().parent
WORKERS = HERE / "workers"
REST = 0.2
"""Seconds between turns, for the threads of the last one to fall asleep."""


class WorkerFailed(Exception):
    """A side could not start or did not answer; the text says why, in its own words."""


@dataclass(frozen=True)
class Side:
    """One side of a comparison."""

    name: str
    """As in the tables."""
    script: str
    """In `workers/`."""
    job: dict[str, Any]
    peer: str | None = None
    """Whose virtual environment it runs in; None: this one."""
    note: str = ""
    """What a reader has to know about how it is run."""
    platform: str = "cpu"
    """Where JAX computes: "cpu" or "gpu"."""


@dataclass(frozen=True)
class Workload:
    """Work that several sides do at the same sizes. The first side is ours."""

    title: str
    unit: str
    sides: tuple[Side, ...]
    flops_per_unit: int
    formula: str
    threads: tuple[int, ...] = (1, 2)


@dataclass(frozen=True)
class Options:
    """How long to measure."""

    repeats: int = 7
    turn_seconds: float = 2.0
    threads: tuple[int, ...] = (1, 2)
    peers: bool = True
    quick: bool = False
    pip_options: tuple[str, ...] = ()


GEMM = Side("peak", "gemm.py", {})


def cores(threads: int) -> list[int]:
    """The cores to run on, as many as threads; empty where processes cannot be pinned."""
    if not hasattr(os, "sched_getaffinity"):
        return []
    return sorted(os.sched_getaffinity(0))[-threads:]


@contextlib.contextmanager
def pinned(to: list[int]) -> Iterator[None]:
    """Processes started inside run on these cores; on any, where none are named."""
    before = os.sched_getaffinity(0) if to else set()
    if to:
        os.sched_setaffinity(0, to)
    try:
        yield
    finally:
        if to:
            os.sched_setaffinity(0, before)


def environment(threads: int, platform: str = "cpu") -> dict[str, str]:
    """The variables of a side's process: so many threads, on the CPU unless a GPU is asked for."""
    counts = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    variables = {**os.environ, **dict.fromkeys(counts, str(threads))}
    if platform == "cpu":
        return {**variables, "CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}
    return {**variables, "JAX_PLATFORMS": "cuda"}


class Worker:
    """A side's process."""

    def __init__(self, side: Side, threads: int, pip_options: tuple[str, ...] = ()) -> None:
        try:
            python = Path(sys.executable) if side.peer is None else peer_python(side.peer, list(pip_options))
        except PeerMissing as error:
            raise WorkerFailed(str(error)) from error
        self.side = side
        self._errors = tempfile.TemporaryFile("w+")
        with pinned(cores(threads)):
            self._process = subprocess.Popen(
                [str(python), str(WORKERS / side.script), json.dumps({**side.job, "threads": threads})],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                env=environment(threads, side.platform),
            )
        try:
            self.versions: dict[str, str] = self._answer()["versions"]
        except WorkerFailed:
            self.close()
            raise

    def measure(self, calls: int) -> dict[str, Any]:
        """Let it work; what it says about it."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"calls": calls}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise WorkerFailed(self._why()) from error
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise WorkerFailed(self._why())
        return json.loads(line)

    def _why(self) -> str:
        """The last line that it said on standard error, most often an exception."""
        status = self._process.wait()
        self._errors.seek(0)
        said = [line.strip() for line in self._errors.read().splitlines() if line.strip()]
        return said[-1] if said else f"ended with status {status}"

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait()
        self._errors.close()


def take_turns(workload: Workload, threads: int, options: Options) -> dict[str, Any]:
    """Measure all sides that start; `{"sides": {name: …}, "turns": {name: [turn, …]}}`."""
    workers: dict[str, Worker] = {}
    described: dict[str, dict[str, Any]] = {}
    turns: dict[str, list[dict[str, Any]]] = {}
    calls: dict[str, int] = {}
    wanted = (GEMM, *(side for side in workload.sides if side.peer is None or options.peers))
    try:
        for side in wanted:
            described[side.name] = {"note": side.note, "job": side.job}
            try:
                worker = Worker(side, threads, options.pip_options)
                workers[side.name] = worker
                worker.measure(1)  # Compiles, and fills caches.
                calls[side.name] = _calls_in(worker, options.turn_seconds)
                described[side.name]["versions"] = worker.versions
                turns[side.name] = []
            except WorkerFailed as failure:
                described[side.name]["failure"] = str(failure)
        running = [name for name in workers if name in turns]
        for repeat in range(options.repeats):
            for name in running[:: -1 if repeat % 2 else 1]:
                time.sleep(REST)
                found = turn(workers[name], calls[name], cores(threads))
                turns[name].append(found)
                if found["seconds"] > 3 * options.turn_seconds:  # Something is in its way.
                    calls[name] = max(1, calls[name] // 2)
    finally:
        for worker in workers.values():
            worker.close()
    return {"threads": threads, "cores": cores(threads), "sides": described, "turns": turns}


def turn(worker: Worker, calls: int, used: list[int]) -> dict[str, Any]:
    """One measurement, with the share of the cores that other processes took meanwhile."""
    busy, started = busy_seconds(used), time.perf_counter()
    found = worker.measure(calls)
    available = (time.perf_counter() - started) * max(len(used), 1)
    others = busy_seconds(used) - busy - found["cpu_seconds"]
    return {**found, "others_share": round(max(0.0, others / available), 3)}


def busy_seconds(used: list[int]) -> float:
    """Seconds that these cores have not been idle, since the machine started; 0 where nobody counts."""
    try:
        lines = Path("/proc/stat").read_text().splitlines()
    except OSError:
        return 0.0
    names = {f"cpu{core}" for core in used}
    ticks = 0
    for line in lines:
        name, *counts = line.split()
        if name in names:
            numbers = [int(count) for count in counts[:8]]
            ticks += sum(numbers) - numbers[3] - numbers[4]  # Less idle and waiting for input or output.
    return ticks / os.sysconf("SC_CLK_TCK")


def _calls_in(worker: Worker, seconds: float) -> int:
    """How many calls take about so long; a matrix multiplication's turn has its own length."""
    if worker.side is GEMM:
        return 1
    return max(1, round(seconds / worker.measure(1)["seconds"]))


def spread(values: list[float]) -> dict[str, float]:
    """Median, smallest and largest."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def rates(turns: list[dict[str, Any]]) -> list[float]:
    """Units per second of each turn."""
    return [turn["units"] / turn["seconds"] for turn in turns]


def summarise(workload: Workload, measured: dict[str, Any]) -> dict[str, Any]:
    """Throughput, ratio to every peer, fraction of peak and memory, each with its spread."""
    turns, ours = measured["turns"], workload.sides[0].name
    of = {name: rates(found) for name, found in turns.items()}
    summary: dict[str, Any] = {}
    for side in workload.sides:
        if side.name not in of:
            if side.name in measured["sides"]:
                summary[side.name] = {"failure": measured["sides"][side.name]["failure"]}
            continue
        found: dict[str, Any] = {"rate": spread(of[side.name])}
        peak = of[GEMM.name]
        used = [rate * workload.flops_per_unit / most for rate, most in zip(of[side.name], peak, strict=True)]
        found["fraction_of_peak"] = spread(used)
        found["peak_rss_mb"] = max(turn["peak_rss_mb"] for turn in turns[side.name])
        if side.name != ours:
            pairs = zip(of[ours], of[side.name], strict=True)
            found["ours_against_it"] = spread([mine / theirs for mine, theirs in pairs])
        summary[side.name] = found
    disturbed = statistics.fmean(entry["others_share"] for found in turns.values() for entry in found)
    return {"peak_gflops": spread([rate / 1e9 for rate in of[GEMM.name]]), "others_share": disturbed, "sides": summary}
