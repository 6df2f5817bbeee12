"""A velocity beyond what is shown is told from how far its position moved; nothing else changes."""

import dataclasses

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from tiny_tasks import one_paragraph

from mbpo.envs.endings import hopper_ends
from mbpo.envs.restored_velocities import RestoredVelocities, restored
from mbpo.errors import UnsupportedEnvironment
from mbpo.training.presets import preset

STEP, LIMIT = 0.5, 10.0


@pytest.mark.parametrize(
    ("shown", "moved", "before", "seen"),
    [
        (3.0, 40.0, 0.0, 3.0),  # Below the limit a velocity is as shown, however far it moved.
        (10.0, 8.0, 12.0, 20.0),  # 16 in the mean, from 12 on.
        (-10.0, -8.0, -12.0, -20.0),
        (10.0, 8.0, 16.0, 16.0),
        (10.0, 8.0, 30.0, 10.0),  # It slows down: no less than is shown.
        (10.0, -8.0, -20.0, 10.0),  # It has turned round.
        (-10.0, 0.0, 15.0, -15.0),
        (10.0, 60.0, 10.0, 100.0),
    ],
)
def test_what_is_seen(shown, moved, before, seen):
    found = restored(np.array([shown]), np.array([moved]), np.array([before]), STEP, LIMIT, largest=100.0)
    assert found.tolist() == [seen]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_limit_is_met_in_numbers_of_any_size(dtype):
    mean = np.array([1.0, -1.0, 1.0], dtype)
    seen = restored(np.array([0.7, -0.7, 0.6], dtype), mean, mean, 1.0, 0.7)
    np.testing.assert_allclose(seen, [1.0, -1.0, 0.6], rtol=1e-6)
    assert seen.dtype == dtype


velocities = st.lists(st.floats(-40, 40), min_size=4, max_size=4).map(np.array)


@given(velocities, velocities, velocities)
def test_it_is_never_less_than_shown_nor_of_another_sign(velocity, moved, before):
    shown = np.clip(velocity, -LIMIT, LIMIT)
    seen = restored(shown, moved, before, STEP, LIMIT, largest=50.0)
    assert (np.clip(seen, -LIMIT, LIMIT) == shown).all()
    assert (abs(seen) <= 50).all()


@given(velocities, velocities)
def test_a_velocity_that_changes_evenly_is_seen_as_it_is(before, after):
    seen = restored(np.clip(after, -LIMIT, LIMIT), (before + after) / 2 * STEP, before, STEP, LIMIT)
    np.testing.assert_allclose(seen, after, rtol=1e-12, atol=1e-12)


class _Slides(gymnasium.Env):
    """A number that nobody counts, two positions, another number, and their velocities, clipped to ±10."""

    action_space = spaces.Box(-1, 1, (1,))

    def __init__(self, dtype=np.float64):
        self.observation_space = spaces.Box(-20, 20, (6,), dtype=dtype)

    def _obs(self):
        return np.array([7, *self.at, 5, *np.clip(self.speed, -LIMIT, LIMIT)], self.observation_space.dtype)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at, self.speed = np.array([1.0, 2.0]), np.array([12.0, -3.0])
        return self._obs(), {"begun": True}

    def step(self, action):
        before, self.speed = self.speed, self.speed + np.array([4.0, -8.0])
        self.at = self.at + (before + self.speed) / 2 * STEP
        return self._obs(), 1.5, False, bool(self.at[0] > 20), {}


def _seen(env, **changes):
    return RestoredVelocities(
        env, **({"position": 1, "velocity": 4, "count": 2, "limit": 10, "seconds": STEP} | changes)
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_environment_seen_so(dtype):
    env = _seen(_Slides(dtype))
    assert env.observation_space.low.tolist() == [*[-20] * 4, *[-np.inf] * 2]
    for _ in range(2):  # An episode knows nothing of the one before.
        obs, info = env.reset(seed=0)
        assert (obs.tolist(), info) == ([7, 1, 2, 5, 10, -3], {"begun": True})
        obs, *rest = env.step(np.zeros(1))
        # It began with 12, of which 10 were shown: 2 too many now, 2 too few after the next step.
        assert (obs.tolist(), rest) == ([7, 8, -1.5, 5, 18, -11], [1.5, False, False, {}])
        obs, *rest = env.step(np.zeros(1))
        assert (obs[4:].tolist(), rest[2]) == ([18, -19], False)
        assert obs.dtype == dtype
        assert obs in env.observation_space


def test_it_leaves_what_the_environment_holds_alone():
    inner = _Slides()
    kept = []
    step = inner.step
    inner.step = lambda action: (kept.append(step(action)), kept[-1])[1]
    env = _seen(inner)
    env.reset()
    env.step(np.zeros(1))
    assert kept[0][0][4:].tolist() == [10, -10]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"position": -1}, "begin at -1"),
        ({"velocity": 5}, "fit into the 6 numbers"),
        ({"count": 0}, "0 positions"),
        ({"count": 1.0}, "1.0 positions"),
        ({"limit": 0}, "it was given 0 and 0.5"),
        ({"seconds": np.nan}, "nan"),
        ({"seconds": -1}, "-1"),
    ],
)
def test_what_cannot_be_restored(changes, words):
    with pytest.raises(UnsupportedEnvironment) as caught:
        _seen(_Slides(), **changes)
    assert words in one_paragraph(str(caught.value))


def test_whole_numbers_are_refused():
    with pytest.raises(UnsupportedEnvironment, match="floating-point"):
        _seen(_Slides(np.int64))


def test_an_observation_that_is_no_vector():
    with pytest.raises(UnsupportedEnvironment, match="FlattenObservation") as caught:
        _seen(gymnasium.make("FrozenLake-v1"))
    one_paragraph(str(caught.value))


@pytest.mark.parametrize("version", ["v4", "v5"])
@pytest.mark.parametrize(("name", "positions"), [("Hopper", 5), ("Walker2d", 8)])
def test_our_tasks_are_gymnasiums_seen_so(name, positions, version):
    pytest.importorskip("mujoco")
    ours, theirs = gymnasium.make(f"mbpo/{name}RestoredObs-{version}"), gymnasium.make(f"{name}-{version}")
    assert ours.spec.max_episode_steps == theirs.spec.max_episode_steps
    for algo in ("mbpo", "mbpo-dh"):
        settings = [dataclasses.replace(preset(env.spec.id, algo), env_id="any-v0") for env in (ours, theirs)]
        assert settings[0] == settings[1]
    env = RestoredVelocities(theirs, 0, positions + 1, count=positions, limit=10, seconds=theirs.unwrapped.dt)
    data, shown_off, seen_off = theirs.unwrapped.data, [], []
    push = ours.action_space.high  # All joints at full strength: soon fast.
    for seed in range(3):
        seen, same = ours.reset(seed=seed)[0], env.reset(seed=seed)[0]
        ended = False
        while not ended:
            assert seen.tolist() == same.tolist()
            assert seen in ours.observation_space
            (seen, *rest), (same, *others) = ours.step(push), env.step(push)
            assert rest[:3] == others[:3]
            fast = abs(data.qvel[1:]) > 10
            shown_off += abs(np.clip(data.qvel[1:], -10, 10) - data.qvel[1:])[fast].tolist()
            seen_off += abs(seen[-positions:] - data.qvel[1:])[fast].tolist()
            ended = rest[1]
    assert len(seen_off) > 10
    assert np.mean(seen_off) < 0.2 * np.mean(shown_off)


def test_a_state_that_was_set_has_no_step_before():
    pytest.importorskip("mujoco")
    env = gymnasium.make("mbpo/Walker2dRestoredObs-v5").unwrapped
    env.reset(seed=0)
    for _ in range(20):
        env.step(env.action_space.high)
    speeds = np.full(9, 30.0)
    env.set_state(env.init_qpos + 1.0, speeds)  # Had this been a step, it would have been a fast one.
    assert env._get_obs()[-8:].tolist() == [10.0] * 8


@pytest.mark.parametrize("version", ["v4", "v5"])
def test_hoppers_rule_is_not_broken_by_what_is_told_from_positions(version):
    """It is 200 over the step here, and nobody saw how much at its end."""
    pytest.importorskip("mujoco")
    env = gymnasium.make(f"mbpo/HopperRestoredObs-{version}").unwrapped
    env.reset(seed=0)
    env.data.qvel[:] = 200.0
    env._before = env.data.qpos - 200.0 * env.dt, np.full(5, 10.0)
    seen = env._get_obs().astype(np.float32)
    assert (seen[6:] > 99).all()
    assert (seen[6:] < 100).all()
    assert not hopper_ends(seen[None], np.zeros((1, 3), np.float32), seen[None])[0]


@pytest.mark.parametrize("changes", [{"exclude_current_positions_from_observation": False}, {"frame_skip": 2}])
def test_with_other_arguments_it_is_gymnasiums_too(changes):
    pytest.importorskip("mujoco")
    ours, theirs = (gymnasium.make(env_id, **changes) for env_id in ("mbpo/Walker2dRestoredObs-v5", "Walker2d-v5"))
    shown = theirs.observation_space.shape[0] - 17
    env = RestoredVelocities(theirs, shown, shown + 9, count=8, limit=10, seconds=theirs.unwrapped.dt)
    ours.reset(seed=1), env.reset(seed=1)
    fastest = 0.0
    for _ in range(15):
        seen, same = ours.step(ours.action_space.high)[0], env.step(ours.action_space.high)[0]
        assert seen.tolist() == same.tolist()
        fastest = max(fastest, abs(seen[-8:]).max())
    assert fastest > 10


def test_a_wrapped_environment_is_made_again_from_its_spec():
    pytest.importorskip("mujoco")
    env = RestoredVelocities(gymnasium.make("Walker2d-v5", healthy_reward=3.0), 0, 9, count=8, limit=10, seconds=0.008)
    again = gymnasium.make(env.spec)
    assert again.reset(seed=2)[0].tolist() == env.reset(seed=2)[0].tolist()
    push = env.action_space.high
    for _ in range(10):
        (obs, reward, *_), (same, same_reward, *_) = env.step(push), again.step(push)
        assert (obs.tolist(), reward) == (same.tolist(), same_reward)
