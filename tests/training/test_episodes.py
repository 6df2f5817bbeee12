"""The training environment: seeded by episode, returned to exactly, and watched."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from tiny_tasks import Script, one_paragraph

from mbpo.errors import EnvironmentFault
from mbpo.training.episodes import Episodes
from mbpo.training.seeding import Stream, episode_seed

ACTION = np.float32([0.5])


def begin(env, index: int = 0, seed: int = 7) -> Episodes:
    episodes = Episodes(env, "Script", seed)
    episodes.start(index, 0)
    return episodes


def test_reset_seeds_are_a_function_of_seed_and_index():
    env = Script()
    episodes = begin(env, 0)
    for index in (1, 5, 1):
        episodes.start(index, 0)
    assert env.resets == [episode_seed(7, Stream.TRAINING_EPISODE, index) for index in (0, 1, 5, 1)]
    assert len(set(env.resets)) == 3


def test_transitions_follow_each_other():
    episodes = begin(Script(length=3))
    first = episodes.obs
    rows = [episodes.step(ACTION) for _ in range(3)]
    assert [over for _, over in rows] == [False, False, True]
    obs = [first, *(row.next_obs for row, _ in rows)]
    for i, (row, _) in enumerate(rows):
        np.testing.assert_array_equal(row.obs, obs[i])
        np.testing.assert_array_equal(row.next_obs, [first[0], i + 1])  # At the end too: not the next reset's.
        np.testing.assert_array_equal(row.action, ACTION)
        assert row.reward == i + 1
    assert episodes.log.total_reward == 6.0
    assert episodes.log.length == 3


@pytest.mark.parametrize("ending", ["truncated", "terminated"])
def test_only_termination_is_termination(ending):
    # Both end the episode; a time limit says nothing about the state it ended in.
    episodes = begin(Script(length=2, ending=ending))
    rows = [episodes.step(ACTION) for _ in range(2)]
    assert [over for _, over in rows] == [False, True]
    assert [bool(row.terminated) for row, _ in rows] == [False, ending == "terminated"]


def test_start_forgets_the_episode_before():
    episodes = begin(Script())
    episodes.step(ACTION)
    episodes.start(3, 0)
    assert (episodes.log.index, episodes.log.total_reward, episodes.log.length) == (3, 0.0, 0)
    assert episodes.obs[1] == 0


def test_arrays_an_environment_uses_again_are_copied():
    class Reusing(Script):
        shared = np.zeros(2, np.float32)

        def step(self, action):
            self.shared[:], *rest = super().step(action)
            return self.shared, *rest

    episodes = begin(Reusing())
    first, _ = episodes.step(ACTION)
    second, _ = episodes.step(ACTION)
    assert (first.next_obs[1], second.next_obs[1]) == (1, 2)


def pendulum_in_the_middle(steps: int = 30) -> Episodes:
    episodes = begin(gymnasium.make("Pendulum-v1"), index=4)
    rng = np.random.default_rng(0)
    for _ in range(steps):
        episodes.step(rng.uniform(-2, 2, 1).astype(np.float32))
    return episodes


def test_repeat_returns_to_the_middle_bit_for_bit():
    before = pendulum_in_the_middle()
    after = Episodes(gymnasium.make("Pendulum-v1"), "Pendulum-v1", 7)
    assert after.repeat(4, np.array(before.log.actions), before.obs, 30)
    assert after.obs.tobytes() == before.obs.tobytes()
    assert after.log.total_reward == before.log.total_reward
    assert (after.log.index, after.log.length) == (4, 30)
    # And from there on the same world: its hidden state came back too.
    for _ in range(20):
        one, other = before.step(ACTION)[0], after.step(ACTION)[0]
        assert one.next_obs.tobytes() == other.next_obs.tobytes()
        assert one.reward == other.reward


def test_repeat_sees_that_the_environment_is_another():
    before = pendulum_in_the_middle()
    actions, obs = np.array(before.log.actions), before.obs
    assert not begin(gymnasium.make("Pendulum-v1")).repeat(5, actions, obs, 30)
    assert not begin(gymnasium.make("Pendulum-v1", g=9.0)).repeat(4, actions, obs, 30)
    assert not begin(gymnasium.make("Pendulum-v1", max_episode_steps=20)).repeat(4, actions, obs, 30)


def test_repeat_of_nothing():
    episodes = begin(gymnasium.make("Pendulum-v1"))
    expected = begin(gymnasium.make("Pendulum-v1"), index=2).obs
    assert episodes.repeat(2, np.zeros((0, 1), np.float32), expected, 0)
    assert not episodes.repeat(2, np.zeros((0, 1), np.float32), np.zeros(0, np.float32), 0)
    np.testing.assert_array_equal(episodes.obs, expected)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("raises", ["RuntimeError: motor overheated"]),
        ("obs nan", ["nan", "dimension 1", "observation"]),
        ("obs inf", ["-inf", "dimension 0", "observation"]),
        ("obs shape", ["shape (3,) instead of (2,)"]),
        ("obs text", ["observation"]),
        ("reward nan", ["reward nan"]),
        ("reward inf", ["reward inf"]),
        ("reward none", ["reward None"]),
    ],
)
def test_fault_in_a_step(fault, words):
    episodes = begin(Script(fault=fault, fault_step=3), index=6)
    for _ in range(2):
        episodes.step(ACTION)
    with pytest.raises(EnvironmentFault) as caught:
        episodes.step(ACTION)
    message = one_paragraph(str(caught.value))
    for word in ["Script", "step 2", "episode 6", *words]:
        assert word in message
    assert episodes.log.length == 2  # The step that failed taught nothing.


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("reset raises", ["RuntimeError: out of licences", "reset(seed="]),
        ("reset nan", ["nan", "dimension 0"]),
        ("reset shape", ["shape (5,) instead of (2,)"]),
    ],
)
def test_fault_in_a_reset(fault, words):
    with pytest.raises(EnvironmentFault) as caught:
        begin(Script(fault=fault), index=6)
    message = one_paragraph(str(caught.value))
    for word in ["Script", "episode 6", *words]:
        assert word in message


def test_an_old_step_of_four_values():
    class Old(Script):
        def step(self, action):
            return super().step(action)[:4]

    with pytest.raises(EnvironmentFault, match="a tuple of 4 instead of five values"):
        begin(Old()).step(ACTION)


class Ageing(Script):
    """Is told how far training has come, and shows it."""

    told: list[int]

    def set_env_step(self, env_step: int) -> None:
        self.told = [*getattr(self, "told", []), env_step]


def test_a_world_that_changes_is_told_its_age_before_every_reset():
    env = Ageing()
    episodes = begin(env)
    episodes.step(ACTION)
    episodes.start(1, 40)
    assert env.told == [0, 40]
    # Two steps into the episode at step 60, it had begun at 58.
    assert not episodes.repeat(1, np.stack([ACTION, ACTION]), np.zeros(2, np.float32), 60)
    assert env.told == [0, 40, 58]


def test_numbers_of_discrete_spaces_count_from_zero():
    class Counter(Script):
        observation_space = spaces.Discrete(4, start=-1)
        action_space = spaces.Discrete(2, start=5)

        def reset(self, *, seed=None, options=None):
            return -1, {}

        def step(self, action):
            return int(action) - 5 + self.clock, 1.0, False, False, {}

    env = Counter()
    episodes = begin(env)
    np.testing.assert_array_equal(episodes.obs, np.float32([0]))
    np.testing.assert_array_equal(episodes.step(np.float32([1]))[0].next_obs, np.float32([2]))
    env.clock = 3
    with pytest.raises(EnvironmentFault, match=r"4 is not in Discrete\(4"):
        episodes.step(np.float32([1]))
