"""Branches of the simulator: set back to a state on the way, it goes on as it did; and how they are counted."""

import sys
from pathlib import Path

import jax
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))

import real_branches as benchmark
from posture import ends
from published_tables import swings

from mbpo.envs.make import EnvSource

KEY = jax.random.key(0)


@pytest.fixture(scope="module", params=["Walker2d-v4", "mbpo/Walker2dRestoredObs-v4"])
def env(request):
    pytest.importorskip("mujoco")
    made = EnvSource.of(request.param, {}).evaluation_env()
    yield made
    made.close()


def swinging(obs, key):
    """Actions that bring velocities beyond 10 within some steps, a function of the observation alone."""
    return np.sin(np.arange(1, 7) * 7 * np.asarray(obs)[:, :1] + np.asarray(obs)[:, 5:6]).astype(np.float32)


def test_a_branch_goes_on_as_the_episode_did(env):
    body = env.unwrapped
    obs, _ = env.reset(seed=3)
    way = []
    for _ in range(14):
        at = (obs.astype(np.float32), body.data.qpos.copy(), body.data.qvel.copy(), benchmark.remembered(body))
        obs, reward, terminated, _, _ = env.step(swinging(obs[None].astype(np.float32), KEY)[0])
        way.append((at, obs.copy(), reward, terminated))
        if terminated:
            break
    assert max(np.abs(after[8:]).max() for _, after, _, _ in way) >= 10
    env.reset(seed=4)
    # Backwards, so that none of them finds the simulator where it needs it.
    for at, after, reward, terminated in reversed(way):
        benchmark.set_back(body, *at[1:])
        found = body.step(swinging(at[0][None], KEY)[0])
        np.testing.assert_allclose(found[0], after, rtol=1e-3, atol=1e-3)
        assert found[1] == pytest.approx(reward, abs=1e-3) and found[2] == terminated


def test_branches_die_once_and_are_paid_until_then(env, monkeypatch):
    monkeypatch.setattr(benchmark, "STATES", 2)
    monkeypatch.setattr(benchmark, "BRANCHES", 3)
    monkeypatch.setattr(benchmark, "STEPS", 40)
    monkeypatch.setattr(benchmark, "VISITED", 30)
    starts = benchmark.visited_states(env, swinging)
    assert starts.obs.shape == (6, 17) and len(starts.remembered) == 6
    np.testing.assert_array_equal(starts.obs[:3], np.tile(starts.obs[0], (3, 1)))
    found = benchmark.real_branches(env, swinging, starts)
    assert not found.alive[-1].any() and found.alive[0].any()
    assert np.all(np.diff(found.alive.astype(int), axis=0) <= 0)
    dead_before = ~np.vstack([np.ones((1, 6), bool), found.alive[:-1]])
    assert np.all(found.rewards[dead_before] == 0) and np.all(found.rewards[~dead_before] != 0)


def test_shares_and_rewards_a_step_by_hand(monkeypatch):
    monkeypatch.setattr(benchmark, "STATES", 2)
    monkeypatch.setattr(benchmark, "BRANCHES", 2)
    monkeypatch.setattr(benchmark, "AFTER", (1, 3))
    alive = np.array([[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0]], bool)
    real = benchmark.Branches(alive, np.array([[2.0] * 4, [2.0] * 4, [2.0, 2.0, 2.0, 0.0]]))
    model = benchmark.Branches(np.ones((3, 4), bool), np.ones((3, 4)))
    (one, *first), (three, *last) = benchmark.compared(real, model)
    assert (one, three) == (1, 3)
    assert first[:2] == [1.0, 1.0] and np.isnan(first[2]) and first[3:] == [2.0, 1.0]
    # Four branches take 4 + 4 + 3 steps, of which each is paid 2.
    assert last[:2] == [0.5, 1.0] and last[3:] == [2.0, 1.0]


def test_an_end_counts_once_however_many_limits_it_is_beyond():
    height = np.array([0.7, 1.2, 1.2, 2.1, 0.7])
    angle = np.array([0.0, -1.1, 1.2, 0.0, -1.5])
    assert ends(height, angle) == (2, 1, 1, 1)


def test_swings_by_hand():
    # Below half of the best before: 40 of 100, and 90 of 200; not 60 of 100, nor 100 of 200.
    assert swings([100.0, 40.0, 60.0, 200.0, 100.0, 90.0]) == (2, 5)
    assert swings([100.0]) == (0, 0)
