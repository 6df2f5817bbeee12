"""What a model promises a policy and what the world pays it, by hand and against a world known exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import LINEAR_GAUSSIAN

from mbpo.trust.promise import clustered_error, find_starts, promise
from mbpo.trust.subject import Stochastic
from mbpo.trust.trajectories import Episode
from mbpo.types import ModelOutput
from mbpo.viz.promise_chart import promise_chart, promised

HORIZON = 6


def episode(length: int, *, terminated: bool, first: float = 0.0) -> Episode:
    """A counter that is paid its own number."""
    obs = first + np.arange(length + 1, dtype=np.float32)[:, None]
    return Episode(obs, np.zeros((length, 1), np.float32), obs[1:, 0], terminated)


def counter(limit: float, wage: float = 0.0):
    """The counter as a model: it ends on reaching `limit`, and pays `wage` more than there is."""

    def step(obs, action, key):
        following = obs + 1
        return ModelOutput(following, following[:, 0] + wage, following[:, 0] >= limit, jnp.zeros(len(obs)))

    return step


IDLE = Stochastic(
    log_prob=lambda obs, action: np.zeros(len(obs)),
    sample=lambda obs, key: (np.zeros((len(obs), 1), np.float32), np.zeros(len(obs))),
    gamma=0.9,
)


def measured(model, episodes, horizon=3, every=1):
    return promise(model, IDLE, episodes, jax.random.key(0), every=every, horizon=horizon, paths=2)


def test_starts_by_hand():
    found = find_starts([episode(4, terminated=True), episode(4, terminated=False, first=10)], every=2, horizon=3)
    # Of the second only the state at 0 has three steps after it.
    assert found.episode.tolist() == [0, 0, 1]
    assert found.obs[:, 0].tolist() == [0, 2, 10]
    assert found.rewards.T.tolist() == [[1, 2, 3], [3, 4, 0], [11, 12, 13]]
    assert found.alive.T.tolist() == [[True, True, True], [True, False, False], [True, True, True]]
    assert find_starts([episode(2, terminated=False)], every=1, horizon=3) is None


def test_the_true_model_promises_what_there_is():
    found = measured(counter(4), [episode(4, terminated=True), episode(4, terminated=True)])
    np.testing.assert_allclose(found.paid_model, found.paid_real)
    np.testing.assert_allclose(found.alive_model, found.alive_real)
    assert found.alive_real.tolist() == [0.75, 0.5, 0.25]  # From 0, 1, 2, 3 with an end at 4.
    assert found.paid_real.tolist() == [2.5, 4.75, 6.5]
    assert found.starts == 8


def test_one_that_never_ends_and_overpays():
    found = measured(counter(np.inf, wage=0.5), [episode(4, terminated=True), episode(4, terminated=True)])
    assert found.alive_model.tolist() == [1, 1, 1]
    # From 0, 1, 2, 3: three steps with half a point more each, and what would come after the end.
    assert found.paid_model[-1] == pytest.approx(np.mean([6, 9, 12, 15]) + 1.5)
    words = promised(found)
    assert "more than there is" in words
    assert "100% of branches live that long there, and 25% here" in words
    assert promise_chart(found).conclusion == words


def test_what_is_not_finite_has_ended():
    def broken(obs, action, key):
        following = jnp.where(obs >= 1, jnp.nan, obs + 1)
        return ModelOutput(following, following[:, 0], jnp.zeros(len(obs), bool), jnp.zeros(len(obs)))

    found = measured(broken, [episode(3, terminated=False)], every=3)
    assert found.alive_model.tolist() == [1, 0, 0]
    assert found.paid_model.tolist() == [1, 1, 1]
    assert np.isnan(found.error).all()
    assert "chance" in promised(found)


def test_an_exact_model_of_a_random_world_differs_by_chance():
    """And one that pays 0.1 more a step by that, within what the error says."""
    world, rng, episodes = LINEAR_GAUSSIAN, np.random.default_rng(0), []
    for _ in range(400):
        obs, actions, rewards = [rng.standard_normal(2)], [], []
        for _ in range(HORIZON):
            actions.append(world.K @ obs[-1] + world.action_std * rng.standard_normal(2))
            mean, paid = world.mean(obs[-1], actions[-1])
            obs.append(mean + world.state_std * rng.standard_normal(2))
            rewards.append(paid + world.reward_std * rng.standard_normal())
        columns = (np.asarray(column, np.float32) for column in (obs, actions, rewards))
        episodes.append(Episode(*columns, terminated=False))

    def act(obs, key):
        noise = world.action_std * np.asarray(jax.random.normal(key, (len(obs), 2)))
        return (obs @ world.K.T + noise).astype(np.float32), np.zeros(len(obs))

    policy = Stochastic(log_prob=IDLE.log_prob, sample=act, gamma=0.9)

    def generous(obs, action, key):
        out = world.model_step(obs, action, key)
        return out._replace(reward=out.reward + 0.1)

    for step, wage in ((world.model_step, 0.0), (generous, 0.1)):
        found = promise(step, policy, episodes, jax.random.key(1), every=HORIZON, horizon=HORIZON, paths=8)
        gap = found.paid_model - found.paid_real - wage * found.step
        assert (np.abs(gap) < 4 * found.error).all()
        assert (found.error < 0.2 * found.step).all()
        assert (found.alive_real == 1).all()


def test_the_error_of_clusters():
    values = np.array([[1.0, 2.0, 3.0, 6.0]])
    alone = clustered_error(values, np.arange(4))
    np.testing.assert_allclose(alone, values.std(axis=1, ddof=1) / 2)
    # Two of two: the sums of deviations from 3 are −3 and 3.
    np.testing.assert_allclose(clustered_error(values, np.array([0, 0, 1, 1])), [np.sqrt(2 * 18) / 4])
