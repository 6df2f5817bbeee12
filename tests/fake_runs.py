"""Runs that were never trained, and a runner that only pretends, for tests of comparisons."""

import json
from collections.abc import Sequence
from pathlib import Path

from mbpo.training.manifest import FORMAT
from mbpo.training.runner import Event, Job, OnEvent, Outcome, Runner
from mbpo.training.signals import Interrupted

EVAL_FREQ = 10


def write_run(folder: Path, returns: dict[int, float], *, wall_time: float = 1.0, checkpoint: bool = True) -> Path:
    """A run folder with evaluations `{env_step: return}`, as far as a comparison looks into it."""
    folder.mkdir(parents=True, exist_ok=True)
    records = [{"env_step": 1, "train_return": -9.0, "wall_time": 0.0}]  # An episode's end: no evaluation.
    records += [{"env_step": s, "eval_return_mean": v, "wall_time": wall_time} for s, v in returns.items()]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    if checkpoint:
        step = max(returns, default=0)
        progress = {"env_step": step}
        manifest = {"format": FORMAT, "version": 1, "file": f"state-{step}.safetensors", "sha256": ""}
        (folder / "checkpoint").mkdir(exist_ok=True)
        (folder / "checkpoint" / "manifest.json").write_text(json.dumps(manifest | {"progress": progress}))
    return folder


def option(job: Job, name: str) -> str:
    """What a job's command says after an option."""
    return job.command[job.command.index(name) + 1]


class FakeRunner(Runner):
    """Finishes every run at once, with returns `seed - step`; some fail, or someone presses Ctrl-C."""

    def __init__(self, *, failing: Sequence[str] = (), stop_at: str = "") -> None:
        self.jobs: list[Job] = []
        self._failing, self._stop_at = failing, stop_at

    def run(self, jobs: Sequence[Job], on_event: OnEvent) -> dict[str, Outcome]:
        self.jobs = list(jobs)
        outcomes = {}
        for job in jobs:
            on_event(Event("started", job))
            if job.name == self._stop_at:
                on_event(Event("stopping", job))
                on_event(Event("ended", job, Outcome(130, "stopped", 2.0, stopped=True)))
                raise Interrupted("SIGINT")
            on_event(Event("running", job))
            outcome = Outcome(0, "", 3.0)
            if job.name in self._failing:
                outcome = Outcome(1, "The simulator hung up.", 3.0)
            else:
                self._finish(job)
            outcomes[job.name] = outcome
            on_event(Event("ended", job, outcome))
        return outcomes

    def _finish(self, job: Job) -> None:
        folder = Path(option(job, "--resume" if "--resume" in job.command else "--out"))
        steps, seed = int(option(job, "--steps")), int(folder.name.removeprefix("seed-"))
        evaluated = sorted({*range(EVAL_FREQ, steps + 1, EVAL_FREQ), steps})
        write_run(folder, {step: float(seed - step) for step in evaluated})
