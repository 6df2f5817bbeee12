"""What is said before falls: episodes that end by one, and what is asked of model and critics."""

import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_tasks import SHORT

from mbpo import MBPODH
from mbpo.envs.make import EnvSource

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))

import before_falls as benchmark

KEY = jax.random.key(0)


def test_episodes_are_those_that_end_by_a_fall():
    pytest.importorskip("mujoco")
    config = SimpleNamespace(env_id="Hopper-v4", env_kwargs={})

    def act(obs, key):
        return np.full((1, 3), 0.4, np.float32)

    found = list(benchmark.falls(SimpleNamespace(config=config), act, 2))
    assert [len(episode.obs) == len(episode.actions) == len(episode.rewards) > 5 for episode in found] == [True, True]
    assert not np.array_equal(found[0].obs[0], found[1].obs[0])
    env = EnvSource.of("Hopper-v4", {}).evaluation_env()
    obs, _ = env.reset(seed=benchmark.FIRST_SEED)
    for seen, action, paid in zip(*found[0], strict=True):
        np.testing.assert_array_equal(seen, obs.astype(np.float32))
        obs, reward, terminated, _, _ = env.step(action)
        assert np.float32(reward) == paid
    assert terminated
    env.close()


def test_branches_die_for_good_and_values_are_the_critics_mean():
    agent = MBPODH(
        SHORT,
        random_steps=10,
        replay_capacity=50,
        termination="never",
        rollout_batch_size=4,
        rollout_length=2,
        learner={"hidden_sizes": [8], "num_critics": 2, "horizon": 2, "batch_size": 4},
        model={"hidden_sizes": [8], "ensemble_size": 2},
    )
    learned, state = agent.learned
    act, alive, value = benchmark.judges(learned, state)
    obs = jnp.ones((1, agent.spec.obs_dim))
    shares = np.asarray(alive(obs, KEY))
    assert shares.shape == (benchmark.BEFORE[0] + benchmark.BEYOND,)
    np.testing.assert_array_equal(shares, 1)  # No rule ends them.
    action = act(obs, KEY)
    assert np.all(np.abs(action) <= agent.spec.action_high)
    assert np.isfinite(value(obs, action))
    agent.close()
    learned.termination_fn = lambda obs, action, next_obs: next_obs[:, 0] > 1
    mortal = np.asarray(benchmark.judges(learned, state)[1](obs, jax.random.key(1)))
    assert np.all(np.diff(mortal) <= 0)
    assert mortal[-1] < mortal[0] < 1
