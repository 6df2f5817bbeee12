"""Runs of the one loop with an agent that learns nothing and writes everything down."""

from tiny_tasks import Script, SpyAgent

from mbpo.envs.make import EnvSource
from mbpo.training.episodes import Episodes
from mbpo.training.evaluate import Evaluator
from mbpo.training.logbook import Logbook
from mbpo.training.loop import Run
from mbpo.training.seeding import Stream, stream_key
from mbpo.training.signals import StopRequest


def make_run(
    env=None, *, agent=None, eval_freq=1000, eval_episodes=2, seed=5, folder=None, env_retries=0, **watching
) -> Run:
    """A run of `SpyAgent`; `watching` is how its environments are watched."""
    source = EnvSource.of(Script() if env is None else env)
    agent = agent or SpyAgent()
    return Run(
        agent=agent,
        state=agent.init(stream_key(seed, Stream.INIT)),
        episodes=Episodes(source.training_env(), source.name, seed, renew=source.evaluation_env, **watching),
        evaluator=Evaluator(source, seed, 1000, **watching),
        logbook=Logbook(None, keep=[]),
        seed=seed,
        eval_freq=eval_freq,
        eval_episodes=eval_episodes,
        folder=folder,
        env_retries=env_retries,
    )


def train(run: Run, until: int, **kwargs) -> Run:
    """Train to `until` steps in all."""
    run.train(until, stop=kwargs.pop("stop", StopRequest()), **kwargs)
    return run
