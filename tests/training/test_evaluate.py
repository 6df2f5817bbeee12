"""Evaluation: whole episodes, exactly as many as asked for, whatever runs side by side."""

import signal
import threading
import time

import gymnasium
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_tasks import Script, one_paragraph

from mbpo.envs.make import EnvSource
from mbpo.errors import EnvironmentFault
from mbpo.training import evaluate
from mbpo.training.evaluate import Evaluation, Evaluator
from mbpo.training.seeding import Stream, episode_seed


class RandomLength(Script):
    """Lasts 1 to 6 steps, decided by the reset seed; made as often as `made` says."""

    made = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).made += 1

    def reset(self, *, seed=None, options=None):
        obs, info = super().reset(seed=seed)
        self.length = int(self.np_random.integers(1, 7))
        return obs, info


def still(obs: np.ndarray, memory):
    return np.zeros((len(obs), 1), np.float32), memory


def nothing(batch: int) -> tuple[()]:
    return ()


def run(env, episodes: int, *, policy=still, seed: int = 3, at_step: int = 100) -> Evaluation:
    evaluator = Evaluator(EnvSource.of(env), seed, 1000)
    result = evaluator.run(policy, nothing, episodes, at_step=at_step)
    evaluator.close()
    return result


def test_figures_by_hand():
    result = Evaluation(np.array([1.0, 2.0, 6.0]), np.array([3, 3, 3]))
    assert result.mean == 3.0
    assert result.std == pytest.approx(7**0.5)  # (4 + 1 + 9) / (3 − 1)
    assert result.standard_error == pytest.approx((7 / 3) ** 0.5)


def test_one_episode_has_no_spread():
    result = Evaluation(np.array([5.0]), np.array([3]))
    assert (result.mean, result.std, result.standard_error) == (5.0, 0.0, 0.0)


@pytest.mark.parametrize("episodes", [1, 2, 7, 41])
def test_exactly_as_many_episodes_as_asked_for(episodes):
    result = run(RandomLength, episodes)
    assert result.returns.shape == result.lengths.shape == (episodes,)
    expected = []
    for index in range(episodes):
        env = RandomLength()
        env.reset(seed=episode_seed(3, Stream.EVALUATION_EPISODE, 100, index))
        expected.append(env.length)
    np.testing.assert_array_equal(result.lengths, expected)
    # Rewards are 1, 2, …, length: nothing is lost and nothing counted twice.
    np.testing.assert_array_equal(result.returns, result.lengths * (result.lengths + 1) / 2)


@pytest.mark.parametrize("width", [1, 3, 20])
def test_returns_do_not_depend_on_how_many_run_side_by_side(monkeypatch, width):
    def brake(obs: np.ndarray, memory):
        return -2 * np.sign(obs[:, 2:3]), memory

    def policy(obs: np.ndarray, memory):
        assert len(obs) <= width
        return brake(obs, memory)

    def make():
        return gymnasium.make("Pendulum-v1", max_episode_steps=15)

    alone = np.array([run(make, 1, policy=brake).returns[0]])
    monkeypatch.setattr(evaluate, "MAX_PARALLEL", width)
    returns = run(make, 9, policy=policy).returns
    assert len(set(returns)) == 9
    monkeypatch.setattr(evaluate, "MAX_PARALLEL", 9)
    np.testing.assert_array_equal(returns, run(make, 9, policy=brake).returns)
    np.testing.assert_array_equal(returns[:1], alone)


def test_no_more_environments_than_needed():
    for episodes, most in ((3, 3), (50, evaluate.MAX_PARALLEL)):
        RandomLength.made = 0
        run(lambda: RandomLength(), episodes)
        assert RandomLength.made == most + 1  # One is made to learn the name.


def test_environments_are_kept_between_evaluations():
    RandomLength.made = 0
    evaluator = Evaluator(EnvSource.of(lambda: RandomLength()), 0, 1000)
    first, second = (evaluator.run(still, nothing, 5, at_step=step).returns for step in (0, 0))
    np.testing.assert_array_equal(first, second)
    assert RandomLength.made == 6


def test_starts_depend_on_the_seed_and_on_the_step():
    lengths = [run(RandomLength, 30, seed=s, at_step=t).lengths.tolist() for s, t in ((0, 0), (1, 0), (0, 1), (0, 0))]
    assert lengths[0] == lengths[3]
    assert lengths[0] != lengths[1]
    assert lengths[0] != lengths[2]


@pytest.mark.parametrize(("fault", "words"), [("raises", "motor overheated"), ("reward nan", "nan"), ("obs shape", "")])
def test_fault(fault, words):
    with pytest.raises(EnvironmentFault) as caught:
        run(lambda: Script(fault=fault), 3)
    message = one_paragraph(str(caught.value))
    assert "Script" in message
    assert "evaluation" in message
    assert words in message


def test_an_evaluation_after_a_fault_starts_afresh():
    env = Script(fault="raises")
    evaluator = Evaluator(EnvSource.of(lambda: env), 0, 1000)
    with pytest.raises(EnvironmentFault):
        evaluator.run(still, nothing, 1, at_step=0)
    env.fault = ""
    assert evaluator.run(still, nothing, 1, at_step=0).returns.tolist() == [15.0]


def test_an_evaluation_after_an_interruption_starts_afresh():
    class Interrupting(Script):
        made = closed = 0

        def __init__(self):
            super().__init__()
            Interrupting.made += 1

        def step(self, action):
            if Interrupting.made == 2:  # The first is asked for its spaces only.
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
                time.sleep(0.3)
                return None
            return super().step(action)

        def close(self):
            Interrupting.closed += 1

    evaluator = Evaluator(EnvSource.of(lambda: Interrupting()), 0, 1000, timeout=30)
    with pytest.raises(KeyboardInterrupt):
        evaluator.run(still, nothing, 1, at_step=0)
    before = Interrupting.made
    assert evaluator.run(still, nothing, 1, at_step=0).returns.tolist() == [15.0]
    assert Interrupting.made == before + 1
    assert Interrupting.closed  # Once its call had come back, though nobody waited for that.


def test_what_a_policy_remembers_begins_anew_with_every_episode():
    # It counts its steps; what it is given at an episode's first step must be 0 again.
    counts = []

    def counting(obs: np.ndarray, memory):
        counts.append(np.asarray(memory).copy())
        return np.zeros((len(obs), 1), np.float32), memory + 1

    evaluator = Evaluator(EnvSource.of(lambda: RandomLength()), 3, 1000)
    result = evaluator.run(counting, lambda batch: jnp.zeros(batch, jnp.int32), 40, at_step=100)
    assert (np.stack(counts) == 0).sum() == 40
    assert result.lengths.sum() > 2 * 40


def test_episodes_that_do_not_end_are_cut():
    evaluator = Evaluator(EnvSource.of(lambda: Script(length=8)), 0, 5)
    result = evaluator.run(still, nothing, 3, at_step=0)
    assert result.lengths.tolist() == [5, 5, 5]
    assert result.returns.tolist() == [15.0] * 3
    assert result.cut == 3
    # An episode that ends by itself at the last step allowed was not cut.
    evaluator = Evaluator(EnvSource.of(lambda: Script(length=5)), 0, 5)
    assert evaluator.run(still, nothing, 3, at_step=0).cut == 0


def test_a_world_that_changes_is_evaluated_as_it_is_at_that_step():
    ages = []

    class Ageing(Script):
        def set_env_step(self, env_step: int) -> None:
            ages.append(env_step)

    run(lambda: Ageing(), 3, at_step=70)
    assert ages == [70, 70, 70]
