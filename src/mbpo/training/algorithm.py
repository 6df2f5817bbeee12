"""The Python face of the package: an algorithm bound to an environment.

    from mbpo import MBPO
    agent = MBPO("Pendulum-v1", seed=0)
    agent.learn(600)
    agent.evaluate(episodes=100).mean
    agent.save("runs/pendulum"); MBPO.load("runs/pendulum")

The same object is behind the command line, so both do the same things.
"""

import abc
import math
import time
from pathlib import Path
from typing import Any, ClassVar, Self

import jax
import numpy as np

from mbpo.agents.base import Agent
from mbpo.agents.settings import MAX_EPISODES
from mbpo.envs.given import resolve_reward
from mbpo.envs.tasks import resolve_termination
from mbpo.errors import ConfigError
from mbpo.training import prediction
from mbpo.training.binding import EnvLike, bind
from mbpo.training.checkpoint import Checkpoint
from mbpo.training.compilation import enable_compilation_cache
from mbpo.training.config import Algo, RunConfig, merge, place, section
from mbpo.training.device import multiply_in_float32
from mbpo.training.episodes import Episodes
from mbpo.training.evaluate import Evaluation, Evaluator
from mbpo.training.folder_lock import FolderLock
from mbpo.training.home import Home
from mbpo.training.logbook import Logbook, Record
from mbpo.training.loop import Callback, Progress, Run
from mbpo.training.memory import check_memory
from mbpo.training.profile import REST, Profile
from mbpo.training.reopen import branch_off, reopen
from mbpo.training.restore import restore_run
from mbpo.training.run_folder import Origin, check_unused, read_description, write_description
from mbpo.training.seeding import Stream, stream_key
from mbpo.training.signals import stop_on_signals
from mbpo.training.spaces import spec_for
from mbpo.training.status import Heartbeat
from mbpo.types import RewardFn, TerminationFn


class Algorithm(abc.ABC):
    """An algorithm bound to an environment, ready to train. `training.algorithms` has each.

    Attributes:
        config: Every setting of the run.
        spec: The environment's dimensions and action bounds, or its numbers of states and actions.
    """

    algo: ClassVar[Algo]
    has_model: ClassVar[bool] = True
    """Whether it imagines with a function of (obs, action), and so has to know where a task ends."""

    def __init__(
        self,
        env: EnvLike,
        *,
        seed: int | None = None,
        config: RunConfig | None = None,
        out: str | Path | None = None,
        termination_fn: TerminationFn | None = None,
        reward_fn: RewardFn | None = None,
        **settings: Any,
    ) -> None:
        """Bind the algorithm to an environment; nothing is trained yet.

        Args:
            env: A Gymnasium id (also `module:Env-v0`), an environment, or a function that makes
                one. An environment given as an instance is copied for evaluations.
            seed: The whole run is a function of it and the settings; default 0.
            config: Settings to start from; default the preset of the environment's id.
            out: Folder to write the run to (settings, metrics, checkpoints); default none.
            termination_fn: The task's rule `(obs, action, next_obs) -> terminated`, on batches of
                JAX arrays; default the known rule of a known task, learned for others.
            reward_fn: The task's reward `(obs, action, next_obs) -> reward`, on batches of JAX
                arrays, to imagine with; default is to learn it.
            **settings: Any setting by name, nested ones as dicts: `utd_ratio=10`,
                `sac={"gamma": 0.98}`, `eval_freq=500`, `env_kwargs={"reset_noise_scale": 0.1}`.

        Raises:
            UnsupportedEnvironment: The environment cannot be made or learned in.
            ConfigError: A setting is unknown or impossible, or a function given does not fit.
            RunFolderError: `out` already holds a run.
        """
        enable_compilation_cache()
        multiply_in_float32()
        self._env_by_id = isinstance(env, str)
        given = {"termination": termination_fn if self.has_model else None, "reward": reward_fn}
        named = {name: "given" for name, function in given.items() if function is not None}
        self._source, self.config = bind(env, self.algo, config, place(settings, seed, section(self.algo)) | named)
        if self.config.algo != self.algo:
            raise ConfigError(f"These are settings of a run of {self.config.algo}, not of {self.algo}.")
        self._home = Home(None if out is None else Path(out))
        if self._home.folder is not None:
            check_unused(self._home.folder)
        self._env = self._source.training_env()
        self.spec: Any = spec_for(self._env, self.algo, self.config.angles)
        check_memory(self.config, self.spec)
        self._termination_fn: TerminationFn | None = None
        if self.has_model:
            self._termination_fn = resolve_termination(self._env, termination_fn or self.config.termination)
        self._reward_fn = resolve_reward(reward_fn or self.config.reward)
        if self._reward_fn is not None and not self.has_model:
            raise ConfigError(f"{self.algo} does not imagine rewards, so a reward function has no use with it.")
        self._evaluator = self._make_evaluator(self.config.seed)
        self._predictions = 0
        agent = self._make_agent()
        self._run: Run[Any] = Run(
            agent=agent,
            state=jax.jit(type(agent).init, static_argnums=0)(agent, stream_key(self.config.seed, Stream.INIT)),
            episodes=Episodes(
                self._env, self._source.name, self.config.seed, renew=self._source.evaluation_env, **self._watching
            ),
            evaluator=self._evaluator,
            logbook=Logbook(None, keep=[]),
            seed=self.config.seed,
            eval_freq=self.config.eval_freq,
            eval_episodes=self.config.eval_episodes,
            env_retries=self.config.env_retries,
        )

    @property
    def _watching(self) -> dict[str, Any]:
        return {"timeout": self.config.env_timeout, "check_bounds": self.config.check_bounds}

    def _make_evaluator(self, seed: int) -> Evaluator:
        return Evaluator(self._source, seed, self.config.eval_max_steps, **self._watching)

    @abc.abstractmethod
    def _make_agent(self) -> Agent[Any]:
        """The agent for this environment and these settings."""

    @property
    def learns_termination(self) -> bool:
        """Whether it learns when episodes end, no rule being known or given."""
        return self.has_model and self._termination_fn is None

    @property
    def learned(self) -> tuple[Agent[Any], Any]:
        """The agent and its state, to look into; the state is taken back by the next `learn`."""
        return self._run.agent, self._run.state

    @property
    def env_step(self) -> int:
        """Real environment steps taken so far."""
        return self._run.env_step

    @property
    def owes_evaluation(self) -> bool:
        """Whether an evaluation failed; the next `learn` repeats it first, and may then be of 0 steps."""
        return self._run.unreported is not None

    @property
    def records(self) -> list[Record]:
        """Every record so far, as in `metrics.jsonl`."""
        return self._run.logbook.records

    def learn(
        self,
        steps: int,
        *,
        callback: Callback | None = None,
        progress: Progress | None = None,
        max_seconds: float = math.inf,
        profile: Profile | None = None,
    ) -> Self:
        """Train for `steps` more real environment steps.

        Args:
            callback: Sees every record (a dict with `env_step` and the newest metrics);
                returning False stops training.
            progress: Called after every environment step with the run, for a display.
            max_seconds: Wall-clock time after which training stops, saved if there is a folder; what
                is left can be learned later, here or from the folder, and comes out the same.
            profile: Told where the time goes, from now on; every section then waits for its arrays.

        Raises:
            Interrupted: Ctrl-C or SIGTERM (a `KeyboardInterrupt`); the agent is whole, and saved
                if it has a folder.
            TrainingError: The environment failed, a value is not finite, or the disk is full.
        """
        if not isinstance(steps, int) or steps < (0 if self.owes_evaluation else 1):
            raise ConfigError(f"learn() takes a number of environment steps of at least 1, and got {steps!r}.")
        deadline, until = time.monotonic() + max_seconds, self._run.env_step + steps
        with stop_on_signals() as stop:
            self._home.open(self._run, self._describe)
            if profile is not None:
                profile.watch(self._run.agent)
                self._run.profile = profile
            with Heartbeat(self._home.folder, until, self._run) as heart:
                self._run.profile.time(
                    REST,
                    self._run.train,
                    until,
                    stop=stop,
                    callback=callback,
                    progress=heart.after(progress),
                    deadline=deadline,
                )
        return self

    def evaluate(self, episodes: int = 100, *, seed: int | None = None) -> Evaluation:
        """Returns of whole episodes with the mean action, in environments of their own.

        Args:
            episodes: How many; 1 to a million.
            seed: Decides the episodes' starts; default the run's seed.
        """
        if not isinstance(episodes, int) or not 1 <= episodes <= MAX_EPISODES:
            raise ConfigError(
                f"An evaluation takes at least 1 episode and at most {MAX_EPISODES}, and got {episodes!r}."
            )
        if seed is None:
            return self._run.evaluate(episodes)
        if not isinstance(seed, int) or seed < 0:
            raise ConfigError(f"The seed of an evaluation is a whole number of at least 0, not {seed!r}.")
        evaluator = self._make_evaluator(seed)
        try:
            return self._run.evaluate(episodes, evaluator=evaluator)
        finally:
            evaluator.close()

    def predict(
        self,
        observation: np.ndarray,
        state: Any = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = True,
    ) -> tuple[np.ndarray, Any]:
        """The policy's action for one observation or a batch of them.

        The signature is stable-baselines3's, so its `evaluate_policy` takes this object.

        Args:
            observation: In the environment's own shape, or with one leading batch axis.
            state: What a planner remembers: None at first, then what the call before gave back. A
                policy remembers nothing and returns it as it is.
            episode_start: Per row, whether its episode begins here and its memory is to be new.
            deterministic: The best action known; otherwise one drawn as in exploration.

        Returns:
            The action (or batch of actions) in the environment's shape, and the new `state`.

        Raises:
            ValueError: The observation has another shape, or is no state of a `Discrete` space.
        """
        key = None
        if not deterministic:
            self._predictions += 1
            key = jax.random.fold_in(stream_key(self.config.seed, Stream.PREDICT), self._predictions)
        run = self._run
        return prediction.predict(run.agent, run.state, self._env, observation, state, episode_start, key)

    def save(self, folder: str | Path) -> None:
        """Write the agent as a run folder: settings, records, and all it has learned and seen.

        Raises:
            RunFolderError: The folder already holds a run.
            TrainingError: The disk refused, or the state is not finite.
        """
        folder = Path(folder)
        check_unused(folder)
        config = self._describe(folder)
        Logbook(folder, keep=self.records).close()
        self._home.left_open(self._run)
        self._run.save_to(folder, config=config)

    def _describe(self, folder: Path) -> str:
        return write_description(folder, self.config, self.spec, env_by_id=self._env_by_id, origin=self._home.origin)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        env: EnvLike | None = None,
        termination_fn: TerminationFn | None = None,
        reward_fn: RewardFn | None = None,
        resume: bool = False,
    ) -> Self:
        """Bring back an agent from a run folder, to evaluate, use or train on.

        Args:
            env: Needed when the run's environment was not given by id.
            resume: Also go on writing to the folder: further training continues the run. One that was killed
                before its first checkpoint begins again.

        Raises:
            RunFolderError, CheckpointError, ConfigError, UnsupportedEnvironment: with the reason.
        """
        given = {"env": env, "termination_fn": termination_fn, "reward_fn": reward_fn}
        return reopen(cls, Path(folder), resume=resume, **given)

    @classmethod
    def fork(
        cls,
        folder: str | Path,
        *,
        config: RunConfig | None = None,
        out: str | Path | None = None,
        env: EnvLike | None = None,
        termination_fn: TerminationFn | None = None,
        reward_fn: RewardFn | None = None,
        **settings: Any,
    ) -> Self:
        """A run of its own that begins where the run in `folder` stands, under other settings.

        That run is left as it is. What it has learned and seen is this one's too, and its records are.

        Args:
            config: Settings to go on with; default those of the run.
            out: Folder to write the new run to; default none.
            env: Needed when the run's environment was not given by id.
            **settings: Any setting by name, as in the constructor, but the seed, the environment's and those that
                decide how much is held out, or how large what was learned is, or what it means.

        Raises:
            RunFolderError, CheckpointError, ConfigError, UnsupportedEnvironment: with the reason.
        """
        base = read_description(Path(folder)).config if config is None else config
        changed = merge(base, place(settings, None, section(cls.algo)), where="the settings given")
        given = {"env": env, "termination_fn": termination_fn, "reward_fn": reward_fn}
        return branch_off(cls, Path(folder), changed, None if out is None else Path(out), **given)

    def take_up(self, checkpoint: Checkpoint, records: list[Record]) -> None:
        """Stand where a checkpoint does, with these records behind it.

        Raises:
            CheckpointError: It is damaged, or of another kind of run.
        """
        self._home.unfinished = restore_run(self._run, checkpoint, records)

    def go_on_in(
        self,
        folder: Path | None,
        *,
        lock: FolderLock | None = None,
        config_sha256: str | None = None,
        origin: Origin | None = None,
    ) -> None:
        """Write to this folder from now on: a run's own, or a new one's whose `origin` is given; None: to none."""
        self._home.folder, self._home.lock, self._home.origin = folder, lock, origin
        self._run.config_sha256 = config_sha256

    def close(self) -> None:
        """Close the environments and files."""
        self._run.logbook.close()
        self._home.close()
        self._evaluator.close()
        self._run.episodes.close()
