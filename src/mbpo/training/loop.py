"""The one loop that drives every algorithm: model, act, step, improve; evaluate, log, checkpoint.

The agent is known by its verbs only, and the environment by `Episodes`. What a run does at step
`n` is a function of its settings and of `n`, never of when it was stopped or resumed.
"""

import contextlib
import math
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic

import jax.numpy as jnp
import numpy as np

from mbpo.agents.base import Agent, Memory, State
from mbpo.errors import EnvironmentFault, TrainingError, UnsupportedEnvironment
from mbpo.training.checkpoint import write_checkpoint
from mbpo.training.divergence import diverged
from mbpo.training.episodes import Episodes
from mbpo.training.evaluate import Evaluation, Evaluator
from mbpo.training.logbook import Logbook, Record
from mbpo.training.manifest import Manifest
from mbpo.training.profile import NO_PROFILE, NoProfile
from mbpo.training.seeding import Stream, step_keys, stream_key
from mbpo.training.serialize import nonfinite_names
from mbpo.training.signals import Interrupted, StopRequest
from mbpo.training.snapshot import snapshot
from mbpo.types import Transition

CHECKPOINT_SHARE = 0.05
"""Checkpoints may take this share of a run's time; cheap ones are written after every episode."""
MAX_STEPS_BETWEEN_CHECKPOINTS = 1000
"""Where episodes are longer than this (or never end), checkpoints are written inside them."""

Callback = Callable[[Record], bool | None]
"""Sees every record; returning False stops the run after it."""
Progress = Callable[["Run[Any]"], None]
"""Called after every environment step, for a live display."""


@dataclass
class Run(Generic[State]):
    """A run under way: the agent's state, the environment, and the counters of both."""

    agent: Agent[State]
    state: State
    episodes: Episodes
    evaluator: Evaluator
    logbook: Logbook
    seed: int
    eval_freq: int
    eval_episodes: int
    folder: Path | None = None
    env_step: int = 0
    wall_time: float = 0.0
    """Seconds spent in the loop, over all resumptions."""
    latest: dict[str, Any] = field(default_factory=dict)
    """The newest value of every metric, arrays until they are looked at."""
    checkpoint_time: float = 0.0
    checkpoint_step: int = 0
    checkpoint_records: int = 0
    saved: Manifest | None = None
    """The checkpoint in `folder`, as it was last written or read."""
    env_retries: int = 0
    """Faults of the environment in a row, no episode ending well in between, that a fresh episode answers."""
    faults_in_a_row: int = 0
    mismatch_reported: bool = False
    unreported: Record | None = None
    """A record that waits for its evaluation, which failed; the next call of `train` begins with it."""
    model_learned_at: int = -1
    """The step whose model is learned: a step that an environment's fault cut short is begun again without that."""
    config_sha256: str | None = None
    """Of the folder's `config.json`."""
    profile: NoProfile = NO_PROFILE
    """Times each section below, if asked to."""

    def train(
        self,
        until: int,
        *,
        stop: StopRequest,
        callback: Callback | None = None,
        progress: Progress | None = None,
        deadline: float = math.inf,
    ) -> None:
        """Run until `until` environment steps have been taken in all.

        Args:
            deadline: On the monotonic clock, in seconds; past it the run stops after the step
                under way, saved, with nothing about it being different from one that goes on.

        Raises:
            Interrupted: A signal asked to stop; the state is whole, and saved if there is a folder.
            TrainingError: The environment failed or a value is not finite.
        """
        run_key = stream_key(self.seed, Stream.STEP)
        started = time.monotonic() - self.wall_time
        if not self.episodes.obs.size:  # There is none yet, or the last one was dropped.
            with self._episode_lost_by_a_fault():
                self._start_episode(self.episodes.log.index)
        keep_going = self.unreported is None or self._evaluate_and_write(self.unreported, callback)
        while keep_going and self.env_step < until:
            with self._episode_lost_by_a_fault():
                over = self._step(run_key)
            self.wall_time = time.monotonic() - started
            last = self.env_step == until
            keep_going = self.profile.time("log", self._report, over, last=last, callback=callback)
            if over:
                self.faults_in_a_row = 0
                with self._episode_lost_by_a_fault():
                    self._start_episode(self.episodes.log.index + 1)
            if progress is not None:
                self.profile.time("display", progress, self)
            self._checkpoint_if_due(over)
            if stop.signal_name is not None and self.env_step < until:
                self.save()
                raise Interrupted(stop.signal_name)
            if time.monotonic() >= deadline:
                break
        self.save()

    @contextlib.contextmanager
    def _episode_lost_by_a_fault(self) -> Iterator[None]:
        """The training environment failed, not the learner: what was learned so far is good, and kept."""
        try:
            yield
        except EnvironmentFault:
            self.episodes.drop()
            self.save(anew=True)
            raise

    def _step(self, run_key: Any) -> bool:
        """One lap: learn a model if due, act, step the real environment, improve."""
        learn_key, act_key, improve_key = step_keys(run_key, self.env_step)
        timed = self.profile.time
        if self.model_learned_at != self.env_step:
            self.state, metrics = timed("model", self.agent.learn_model, self.state, self.env_step, learn_key)
            self.latest.update(metrics)
            self.model_learned_at = self.env_step
        transition, over = self._act(act_key)
        self.state, metrics = timed("improve", self.agent.improve, self.state, transition, self.env_step, improve_key)
        self.latest.update(metrics)
        self.env_step += 1
        return over

    def _act(self, key: Any) -> tuple[Transition, bool]:
        """One step of the real environment; of a fresh episode, where one fails and may be tried again."""
        timed = self.profile.time
        while True:
            action, self.state = timed("act", self.agent.act, self.state, self.episodes.obs, self.env_step, key)
            if not np.isfinite(action).all():
                raise self._diverged()
            try:
                return timed("env", self.episodes.step, action)
            except EnvironmentFault as fault:
                self._give_up_or_warn(fault)
            self._start_episode(self.episodes.log.index)

    def _start_episode(self, index: int) -> None:
        while True:
            try:
                return self.profile.time("env", self.episodes.start, index, self.env_step)
            except EnvironmentFault as fault:
                self._give_up_or_warn(fault)
            index = self.episodes.log.index

    def _give_up_or_warn(self, fault: EnvironmentFault) -> None:
        """Drop the episode that failed; raise once too many have failed in a row."""
        self.faults_in_a_row += 1
        if self.faults_in_a_row > self.env_retries:
            raise fault
        self.episodes.drop()
        self.latest["env_faults"] = self.latest.get("env_faults", 0) + 1
        warnings.warn(
            f"{fault} A fresh episode begins; what was learned is kept (fault {self.faults_in_a_row} of at most "
            f"{self.env_retries} in a row).",
            stacklevel=2,
        )

    def _report(self, over: bool, *, last: bool, callback: Callback | None) -> bool:
        """Write a record if an episode ended or an evaluation is due; False to stop."""
        evaluate = last or self.env_step % self.eval_freq == 0
        if not evaluate and not (over and self.logbook.due(self.env_step)):
            return True
        record: Record = {"env_step": self.env_step, "wall_time": round(self.wall_time, 3)}
        log = self.episodes.log
        record["episode"] = log.index
        if over:
            record["train_return"] = log.total_reward
            record["train_length"] = log.length
        record.update(self._latest_floats())
        self._warn_of_mismatch()
        if evaluate:
            return self._evaluate_and_write(record, callback, over=over)
        return self._write(record, callback)

    def _evaluate_and_write(self, record: Record, callback: Callback | None, *, over: bool = False) -> bool:
        """Add an evaluation to a record; where that fails, the record waits for it, in the checkpoint too.

        Args:
            over: Whether the episode under way has ended, so that there is nothing in it to return to.
        """
        self.unreported = dict(record)
        try:
            evaluation = self.profile.time("evaluate", self.evaluate, self.eval_episodes)
        except (EnvironmentFault, UnsupportedEnvironment):
            if over:
                self.episodes.drop()
                self.faults_in_a_row = 0
            self.save()
            raise
        record["eval_return_mean"] = evaluation.mean
        record["eval_return_std"] = evaluation.std
        record["eval_length_mean"] = float(evaluation.lengths.mean())
        record["eval_episodes"] = self.eval_episodes
        if evaluation.cut:
            record["eval_cut"] = evaluation.cut
        return self._write(record, callback)

    def _write(self, record: Record, callback: Callback | None) -> bool:
        self.logbook.write(record)
        self.unreported = None
        return callback is None or callback(dict(record)) is not False

    def _warn_of_mismatch(self) -> None:
        share = self.latest.get("termination_mismatch", 0.0)
        if not share or self.mismatch_reported:
            return
        self.mismatch_reported = True
        warnings.warn(
            f"The termination rule disagrees with the environment on {share:.1%} of the newest transitions at "
            f"environment step {self.env_step}, so imagined episodes end where real ones do not, or the other way "
            "round. Pass a rule that fits (--termination module:function, termination_fn=) or learn it "
            "(--termination learned).",
            stacklevel=2,
        )

    def evaluate(self, episodes: int, *, evaluator: Evaluator | None = None) -> Evaluation:
        """Mean-action episodes at the present step."""

        def policy(obs: np.ndarray, memory: Memory) -> tuple[np.ndarray, Memory]:
            actions, memory = self.agent.predict(self.state, jnp.asarray(obs), memory)
            return np.asarray(actions), memory

        evaluator = evaluator or self.evaluator
        for _ in range(self.env_retries):
            try:
                return evaluator.run(policy, self.agent.memory, episodes, at_step=self.env_step)
            except EnvironmentFault as fault:
                warnings.warn(f"{fault} The evaluation is repeated in fresh environments.", stacklevel=2)
        return evaluator.run(policy, self.agent.memory, episodes, at_step=self.env_step)

    def _latest_floats(self) -> dict[str, float]:
        """Fetch the metrics; a loss that is not finite ends the run."""
        self.latest = {name: float(value) for name, value in self.latest.items()}
        if not all(np.isfinite(value) for value in self.latest.values()):
            raise self._diverged()
        return self.latest

    def _checkpoint_if_due(self, over: bool) -> None:
        if self.folder is None:
            return
        due = over or self.env_step - self.checkpoint_step >= MAX_STEPS_BETWEEN_CHECKPOINTS
        if due and self.checkpoint_time <= CHECKPOINT_SHARE * self.wall_time:
            self.save()

    def save(self, *, anew: bool = False) -> None:
        """Write a checkpoint to the run's folder, if it has one, and this is not written yet.

        Args:
            anew: Whether the last one, of this very step, is to be replaced: it holds an episode that was dropped.
        """
        as_saved = self.env_step == self.checkpoint_step and self.logbook.count == self.checkpoint_records and not anew
        if self.folder is None or (self.env_step and as_saved and self.unreported is None):
            return
        started = time.monotonic()
        self.saved = self.profile.time(
            "checkpoint", self.save_to, self.folder, last=self.saved, config=self.config_sha256
        )
        self.checkpoint_time += time.monotonic() - started
        self.checkpoint_step, self.checkpoint_records = self.env_step, self.logbook.count

    def save_to(self, folder: Path, *, last: Manifest | None = None, config: str | None = None) -> Manifest:
        """Write a checkpoint to any folder.

        Args:
            last: The checkpoint that this folder holds, if this run wrote or read it.
            config: SHA-256 of the folder's `config.json`.

        Raises:
            TrainingError: The state is not finite (nothing is written), or the disk refused.
        """
        tensors, rings = snapshot(self.agent, self.state, self.episodes)
        if nonfinite_names(tensors):  # Rows are looked at when they enter a replay buffer.
            raise self._diverged()
        progress = {
            "env_step": self.env_step,
            "wall_time": self.wall_time,
            "episode": self.episodes.log.index,
            "records": self.logbook.count,
            "latest": self._latest_floats(),
            "model_learned_at": self.model_learned_at,
            **({} if self.unreported is None else {"unreported": self.unreported}),
        }
        self.logbook.sync()  # The checkpoint counts on its records.
        place, grown = folder / "checkpoint", self.agent.grown
        return write_checkpoint(place, tensors, progress, rings, grown=grown, last=last, config=config)

    def _diverged(self) -> TrainingError:
        kept = self.checkpoint_step if self.folder is not None and self.checkpoint_step > 0 else None
        return diverged(self.agent, self.state, self.latest, env_step=self.env_step, checkpoint_step=kept)
