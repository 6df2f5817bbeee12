"""Bringing a run back from its checkpoint: the agent's state, the counters, the open episode."""

import itertools
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from mbpo.errors import CheckpointError, EnvironmentFault
from mbpo.training.checkpoint import Checkpoint
from mbpo.training.logbook import METRICS_FILE, Logbook, Record, is_record
from mbpo.training.loop import Run
from mbpo.training.run_folder import CONFIG_FILE, RunDescription
from mbpo.training.serialize import from_tensors
from mbpo.training.snapshot import EPISODE_ACTIONS, EPISODE_OBS
from mbpo.types import Spec, TabularSpec


class UnfinishedEpisode(NamedTuple):
    """The episode that was under way: which one, what was done in it, and where that led."""

    episode: int
    actions: np.ndarray
    obs: np.ndarray


def restore_run(run: Run[Any], checkpoint: Checkpoint, records: list[Record]) -> UnfinishedEpisode:
    """Put a run where its checkpoint stands; the episode that was under way is given back.

    Args:
        records: All that the run's folder holds; those after the checkpoint are dropped.

    Raises:
        CheckpointError: The checkpoint is damaged or is not one of such a run.
    """
    state = _Without(checkpoint, EPISODE_ACTIONS, EPISODE_OBS)
    run.state = from_tensors(jax.eval_shape(run.agent.init, jax.random.key(0)), state)
    return restore_progress(run, checkpoint, records)


def restore_progress(run: Run[Any], checkpoint: Checkpoint, records: list[Record]) -> UnfinishedEpisode:
    """The counters and the open episode, as in `restore_run`."""
    progress = checkpoint.progress
    try:
        run.env_step = run.checkpoint_step = _counter(progress, "env_step")
        run.wall_time = float(progress["wall_time"])
        run.latest = {str(name): float(value) for name, value in progress["latest"].items()}
        counted = _counter(progress, "records")
        # Counted and by step: one lost in the middle is not made up for by one that will be repeated.
        kept = [record for record in records if record["env_step"] <= run.env_step][:counted]
        run.logbook, run.checkpoint_records = Logbook(None, keep=kept), counted
        run.model_learned_at = progress.get("model_learned_at", -1)
        if type(run.model_learned_at) is not int:
            raise ValueError(f"model_learned_at is {run.model_learned_at!r}")
        run.unreported = progress.get("unreported")
        if run.unreported is not None and not is_record(run.unreported):
            raise ValueError(f"unreported is {run.unreported!r}")
        run.saved = checkpoint.manifest
        shapes = checkpoint.shape(EPISODE_ACTIONS), checkpoint.shape(EPISODE_OBS)
        if len(shapes[0]) != 2 or shapes[0][1] != run.agent.spec.action_dim or len(shapes[1]) != 1:
            raise ValueError(f"{EPISODE_ACTIONS} is {shapes[0]} and {EPISODE_OBS} {shapes[1]}")
        actions, obs = checkpoint.read(EPISODE_ACTIONS), checkpoint.read(EPISODE_OBS)
        unfinished = UnfinishedEpisode(_counter(progress, "episode"), actions, obs)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise CheckpointError(f"The progress in {checkpoint.folder} is damaged: {error!r}.") from error
    if len(kept) < counted:
        warnings.warn(
            f"{METRICS_FILE} holds {len(kept)} records, and the checkpoint counts on {counted}: the missing ones "
            "are lost. Nothing else depends on them.",
            stacklevel=2,
        )
    return unfinished


def resume_episode(run: Run[Any], unfinished: UnfinishedEpisode) -> None:
    """Return to the middle of an episode; where that is impossible, say so and leave it to the loop to begin the next.

    Raises:
        EnvironmentFault: The environment failed once more often than the run's `env_retries`.
    """
    episodes = run.episodes
    if not unfinished.actions.size:
        return episodes.await_start(unfinished.episode)
    for fault_number in itertools.count(1):
        try:
            if episodes.repeat(*unfinished, run.env_step):
                return None
            break
        except EnvironmentFault as fault:
            if fault_number > run.env_retries:
                raise
            warnings.warn(
                f"{fault} The episode that was under way is returned to once more (fault {fault_number} of at most "
                f"{run.env_retries} in a row).",
                stacklevel=2,
            )
    warnings.warn(
        f"Episode {unfinished.episode} was under way when the run stopped, and repeating its {len(unfinished.actions)} "
        "actions after a reset with its seed led somewhere else: the environment is not a function of its seed. What "
        "the episode taught is kept, and the next one begins; the run is not bit for bit the uninterrupted one.",
        stacklevel=2,
    )
    episodes.await_start(unfinished.episode + 1)
    return None


def check_same_spec(found: Spec | TabularSpec, saved: Spec | TabularSpec, folder: Path) -> None:
    """Refuse to go on with an environment of other dimensions, angles, action bounds or numbers of states."""
    if _in_words(found) != _in_words(saved):
        raise CheckpointError(
            f"The run in {folder} was trained with {_in_words(saved)}; this environment has {_in_words(found)}."
        )


def _in_words(spec: Spec | TabularSpec) -> str:
    if isinstance(spec, TabularSpec):
        return f"{spec.num_states} states and {spec.num_actions} actions"
    low, high = spec.action_low.tolist(), spec.action_high.tolist()
    angles = f", of which {list(spec.angles)} are angles," if spec.angles else ""
    return f"{spec.obs_dim} observation numbers{angles} and actions between {low} and {high}"


def check_same_config(checkpoint: Checkpoint, description: RunDescription, folder: Path, *, resume: bool) -> None:
    """Refuse to go on with other settings than the checkpoint was written with; warn of them otherwise."""
    if checkpoint.manifest.config in (None, description.sha256):
        return
    sentence = (
        f"{folder / CONFIG_FILE} is not the file that the checkpoint was written with: a setting, the seed perhaps, "
        "was changed since, or the file is damaged."
    )
    if resume:
        raise CheckpointError(
            f"{sentence} Going on would not be the same run. Bring the file back, or train into a new folder; a number "
            "of steps is given on the command line (--steps)."
        )
    warnings.warn(f"{sentence} The policy may not be what the run learned.", stacklevel=3)


class _Without:
    """A checkpoint without the arrays that are not the agent's."""

    def __init__(self, checkpoint: Checkpoint, *names: str) -> None:
        self._checkpoint, self._names = checkpoint, names
        self.shape, self.read = checkpoint.shape, checkpoint.read

    def keys(self) -> list[str]:
        return [name for name in self._checkpoint.keys() if name not in self._names]


def _counter(progress: dict[str, Any], name: str) -> int:
    value = progress[name]
    if type(value) is not int or not 0 <= value < 2**31:
        raise ValueError(f"{name} is {value!r}")
    return value
