"""Dyna-Q: its updates by hand, what it explores and plans with, and the book's mazes."""

from collections import Counter
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mbpo.agents.dyna_q import DynaQAgent, DynaQConfig, DynaQState
from mbpo.envs.mazes import DYNA, SHORTCUT, Layout, Maze
from mbpo.errors import ConfigError
from mbpo.types import TabularSpec, Transition

KEY = jax.random.key(0)


def make_agent(states: int = 3, actions: int = 2, **settings) -> DynaQAgent:
    return DynaQAgent(TabularSpec(states, actions), DynaQConfig(**settings))


def number(n: int) -> np.ndarray:
    return np.array([n], np.float32)


def step(s: int, a: int, reward: float, next_s: int, terminated: bool = False) -> Transition:
    return Transition(number(s), number(a), np.float32(reward), number(next_s), np.bool_(terminated))


def feed(agent: DynaQAgent, *transitions: Transition) -> tuple[DynaQState, list]:
    state, log = agent.init(KEY), []
    for env_step, transition in enumerate(transitions):
        state, metrics = agent.improve(state, transition, env_step, jax.random.fold_in(KEY, env_step))
        log.append({name: float(value) for name, value in metrics.items()})
    return state, log


def test_q_learning_by_hand():
    agent = make_agent(planning_steps=0, alpha=0.5, gamma=0.8)
    state, log = feed(agent, step(1, 0, 2.0, 2), step(0, 1, 1.0, 1), step(0, 1, 1.0, 1))
    # Q(1,0) = 0.5·2 = 1; Q(0,1) = 0.5·(1 + 0.8·1) = 0.9, then 0.9 + 0.5·(1.8 − 0.9) = 1.35.
    np.testing.assert_allclose(state.q, [[0, 1.35], [1, 0], [0, 0]], rtol=1e-6)
    assert [row["td_error"] for row in log] == pytest.approx([2.0, 1.8, 0.9])
    assert log[-1]["q_mean"] == pytest.approx((1 + 1.35) / 2)
    assert [row["table_pairs"] for row in log] == [1, 2, 2]
    assert log[-1]["planning_updates"] == 0


def test_the_end_bootstraps_nothing_neither_real_nor_imagined():
    """State 1 has a value, and the transition into it ends the episode."""
    agent = make_agent(planning_steps=40, alpha=1.0, gamma=0.9)
    state, _ = feed(agent, step(1, 0, 5.0, 2, True), step(0, 0, 1.0, 1, True))
    np.testing.assert_allclose(state.q, [[1, 0], [5, 0], [0, 0]], rtol=1e-6)
    swept, _ = feed(make_agent(prioritized=True, alpha=1.0), step(1, 0, 5.0, 2, True), step(0, 0, 1.0, 1, True))
    np.testing.assert_allclose(swept.q, state.q, rtol=1e-6)


def test_planning_updates_each_seen_pair_and_no_other():
    """One pair, n updates towards a fixed target: the distance shrinks by 1 − α with each."""
    agent = make_agent(planning_steps=3, alpha=0.5, gamma=0.0)
    state, log = feed(agent, step(1, 0, 16.0, 2))
    np.testing.assert_allclose(state.q, [[0, 0], [15, 0], [0, 0]])
    assert log[0]["planning_updates"] == int(state.planning_updates) == 3


def test_planning_carries_a_reward_back_to_the_start():
    agent = make_agent(planning_steps=200, alpha=1.0, gamma=0.5)
    state, _ = feed(agent, step(0, 0, 0.0, 1), step(1, 1, 0.0, 2), step(2, 0, 1.0, 0, True))
    np.testing.assert_allclose(state.q, [[0.25, 0], [0, 0.5], [1, 0]])


def test_plans_with_the_mean_of_a_stochastic_world():
    """Half the time the reward is 4 and half the time it is 0 and the episode goes on: Q → 2."""
    outcomes = [step(0, 0, 4.0, 1, True), step(0, 0, 0.0, 2)] * 10
    state, _ = feed(make_agent(planning_steps=200, alpha=0.02, gamma=1.0), *outcomes)
    assert float(state.q[0, 0]) == pytest.approx(2.0, abs=0.7)
    swept, _ = feed(make_agent(prioritized=True, planning_steps=5, alpha=1.0, gamma=1.0), *outcomes)
    assert float(swept.q[0, 0]) == pytest.approx(2.0)


def test_the_bonus_grows_with_the_root_of_the_time_since_a_pair_was_tried():
    """κ = 1, α = 1, γ = 0: after planning, Q is r + √τ of each pair of the seen states."""
    agent = make_agent(planning_steps=300, alpha=1.0, gamma=0.0, exploration_bonus=1.0)
    state, _ = feed(agent, step(0, 0, 5.0, 1), step(1, 0, 0.0, 0), step(1, 0, 0.0, 0), step(1, 0, 0.0, 0))
    # (0,0) was tried 3 steps ago, (1,0) just now; (0,1) and (1,1) never, so 4 steps ago. State 2 was not seen.
    np.testing.assert_allclose(state.q, [[5 + 3**0.5, 2], [0, 2], [0, 0]], rtol=1e-6)


def test_without_a_bonus_untried_actions_are_not_planned():
    agent = make_agent(planning_steps=100, alpha=1.0, gamma=0.9)
    state, _ = feed(agent, step(0, 0, -1.0, 1), step(1, 0, -1.0, 0))
    assert state.q[:, 1].tolist() == [0, 0, 0]


def test_sweeping_updates_the_largest_error_first_then_its_predecessors():
    """0 → 1 → 2 → end: with the reward at the end, three updates carry it to the start."""
    agent = make_agent(prioritized=True, planning_steps=10, alpha=1.0, gamma=0.5)
    state, log = feed(agent, step(0, 0, 0.0, 1), step(1, 1, 0.0, 2), step(2, 0, 1.0, 0, True))
    np.testing.assert_allclose(state.q, [[0.25, 0], [0, 0.5], [1, 0]])
    assert [row["planning_updates"] for row in log] == [0, 0, 3]
    assert float(state.priority.max()) == 0


def test_sweeping_goes_on_with_its_queue_at_the_next_step():
    agent = make_agent(prioritized=True, planning_steps=2, alpha=1.0, gamma=0.5)
    chain = step(0, 0, 0.0, 1), step(1, 1, 0.0, 2), step(2, 0, 1.0, 0, True)
    state, _ = feed(agent, *chain)
    np.testing.assert_allclose(state.q, [[0, 0], [0, 0.5], [1, 0]])
    np.testing.assert_allclose(state.priority, [[0.25, 0], [0, 0], [0, 0]])
    state, log = feed(agent, *chain, step(2, 0, 1.0, 0, True))
    assert float(state.q[0, 0]) == 0.25
    assert log[-1]["planning_updates"] == 1


def test_greedy_with_ties_broken_at_random():
    agent = make_agent(1, 4, epsilon=0.0, planning_steps=0)
    state, _ = feed(agent, step(0, 2, -1.0, 0))
    keys = jax.random.split(KEY, 600)
    drawn = Counter(int(agent.act(state, number(0), i, key)[0][0]) for i, key in enumerate(keys))
    assert set(drawn) == {0, 1, 3}
    # Mean 200, standard deviation 11.5.
    assert all(abs(count - 200) < 5 * 11.5 for count in drawn.values())
    actions, memory = agent.predict(state, jnp.zeros((5, 1)), agent.memory(5))
    assert actions.tolist() == [[0.0]] * 5
    assert memory == ()


def test_explores_uniformly_at_the_rate_epsilon():
    agent = make_agent(1, 4, epsilon=0.2, planning_steps=0)
    state, _ = feed(agent, step(0, 2, 1.0, 0))
    actions = np.asarray(agent.sample(state, jnp.zeros((20_000, 1)), KEY))
    assert actions.shape == (20_000, 1)
    shares = np.bincount(actions[:, 0].astype(int)) / 20_000
    np.testing.assert_allclose(shares, [0.05, 0.05, 0.85, 0.05], atol=0.012)


def test_the_interface_of_the_loop():
    agent = make_agent()
    state = agent.init(KEY)
    same, metrics = agent.learn_model(state, 0, KEY)
    assert same is state
    assert metrics == {}
    action, same = agent.act(state, number(1), 0, KEY)
    assert same is state
    assert (action.shape, action.dtype, type(action)) == ((1,), np.float32, np.ndarray)
    assert (agent.spec.obs_dim, agent.spec.action_dim) == (1, 1)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"alpha": 0.0}, "alpha"),
        ({"planing_steps": 3}, "planning_steps"),
        ({"prioritized": True, "exploration_bonus": 0.1}, "exclude each other"),
    ],
)
def test_wrong_settings_are_named(wrong, words):
    with pytest.raises(ConfigError, match=words):
        DynaQConfig(**wrong)
    with pytest.raises(ConfigError, match="states"):
        DynaQAgent(TabularSpec(2**24 + 1, 2), DynaQConfig())


class Walk(NamedTuple):
    state: DynaQState
    lengths: list
    """Steps of each finished episode."""


def walk(agent: DynaQAgent, layout: Layout, *, seed: int, episodes: int = 10**9, steps: int = 10**9) -> Walk:
    """The training loop in short, until so many episodes or steps are over."""
    env, state, lengths, key = Maze(layout), agent.init(KEY), [], jax.random.key(seed)
    obs, _ = env.reset(seed=seed)
    begun = 0
    while len(lengths) < episodes and env.total_steps < steps:
        act_key, improve_key = jax.random.split(jax.random.fold_in(key, env.total_steps))
        action, state = agent.act(state, number(obs), env.total_steps, act_key)
        next_obs, reward, terminated, *_ = env.step(np.int64(action[0]))
        transition = step(obs, action[0], reward, next_obs, terminated)
        state, _ = agent.improve(state, transition, env.total_steps, improve_key)
        obs = next_obs
        if terminated:
            lengths.append(env.total_steps - begun)
            begun = env.total_steps
            obs, _ = env.reset()
    return Walk(state, lengths)


def greedy_length(agent: DynaQAgent, state: DynaQState, layout: Layout) -> int:
    """Steps of the best policy to the goal, or 100."""
    env = Maze(Layout(layout.later_walls or layout.walls))
    obs, _ = env.reset(seed=0)
    for i in range(1, 100):
        actions, _ = agent.predict(state, jnp.asarray(number(obs)[None]), ())
        obs, _, terminated, *_ = env.step(np.int64(actions[0, 0]))
        if terminated:
            return i
    return 100


@pytest.fixture(scope="module")
def maze_agent():
    return make_agent(54, 4, planning_steps=50)


@pytest.mark.parametrize("seed", [0, 1])
def test_finds_the_shortest_way_within_a_few_episodes(maze_agent, seed):
    result = walk(maze_agent, DYNA, seed=seed, episodes=6)
    assert greedy_length(maze_agent, result.state, DYNA) == 14
    assert min(result.lengths[2:]) < 20


def test_two_runs_are_equal_and_nothing_compiles_twice(maze_agent):
    first = walk(maze_agent, DYNA, seed=3, steps=200)
    compiled = DynaQAgent._improve._cache_size(), DynaQAgent._sample._cache_size()
    second = walk(maze_agent, DYNA, seed=3, steps=200)
    assert (DynaQAgent._improve._cache_size(), DynaQAgent._sample._cache_size()) == compiled
    assert first.lengths == second.lengths
    jax.tree.map(np.testing.assert_array_equal, first.state, second.state)


def test_sweeping_finds_the_shortest_way_too():
    agent = make_agent(54, 4, planning_steps=50, prioritized=True, alpha=0.5)
    assert greedy_length(agent, walk(agent, DYNA, seed=0, episodes=4).state, DYNA) == 14


def test_sweeping_keeps_the_error_that_a_small_step_leaves():
    """α = ½ halves the error with each update: 1 − 2⁻⁴ after four, with 2⁻⁴ still queued."""
    agent = make_agent(prioritized=True, planning_steps=4, alpha=0.5)
    state, log = feed(agent, step(2, 1, 1.0, 0, True))
    assert float(state.q[2, 1]) == 1 - 2**-4
    assert float(state.priority[2, 1]) == 2**-4
    state, log = feed(make_agent(prioritized=True, planning_steps=40, alpha=0.5), step(2, 1, 1.0, 0, True))
    assert log[0]["planning_updates"] == 14, "2⁻¹⁴ is the first error below the threshold of 1e-4"


def test_only_the_bonus_finds_the_shortcut():
    """Example 8.3 in short: the wall opens after 600 steps, and 2000 are given to notice.

    Judged by what the last episodes took (16 steps the old way, 10 the new), as the best actions of
    Dyna-Q+ may be those that look for the next change.
    """
    layout = Layout(SHORTCUT.walls, SHORTCUT.later_walls, change_step=600)
    late = {}
    for kappa in (0.0, 1e-3):
        agent = make_agent(54, 4, planning_steps=50, alpha=0.5, exploration_bonus=kappa)
        runs = [walk(agent, layout, seed=seed, steps=2600) for seed in (0, 1)]
        late[kappa] = [float(np.median(run.lengths[-20:])) for run in runs]
    assert min(late[0.0]) >= 16
    assert max(late[1e-3]) <= 13
