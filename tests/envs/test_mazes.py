"""The mazes: their shortest ways by breadth-first search, their changes, and Gymnasium's own checks."""

from collections import deque

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from mbpo.envs.mazes import BLOCKING, DYNA, LAYOUTS, SHORTCUT, Maze, register_mazes, successors
from mbpo.errors import UnsupportedEnvironment

UP, RIGHT, DOWN, LEFT = range(4)


def shortest_way(walls) -> list[int]:
    """The actions of one shortest way from S to G, breadth first."""
    text, table = "".join(walls), successors(walls)
    start, goal = text.index("S"), text.index("G")
    ways, queue = {start: []}, deque([start])
    while queue:
        state = queue.popleft()
        for action, following in enumerate(table[state].tolist()):
            if following not in ways:
                ways[following] = [*ways[state], action]
                queue.append(following)
    return ways[goal]


@pytest.mark.parametrize(
    ("walls", "length"),
    [
        (DYNA.walls, 14),
        (BLOCKING.walls, 10),
        (BLOCKING.later_walls, 16),
        (SHORTCUT.walls, 16),
        (SHORTCUT.later_walls, 10),
    ],
)
def test_shortest_ways_are_the_books(walls, length):
    assert [len(row) for row in walls] == [9] * 6
    assert len(shortest_way(walls)) == length


@pytest.mark.parametrize("env_id", LAYOUTS)
def test_passes_gymnasiums_checker(env_id):
    register_mazes()
    register_mazes()
    env = gymnasium.make(env_id)
    assert env.observation_space.n == 54
    assert env.action_space.n == 4
    check_env(env.unwrapped)


def test_the_shortest_way_is_rewarded_once_at_its_end():
    env = Maze(DYNA)
    state, _ = env.reset(seed=0)
    assert state == 2 * 9 + 0
    results = [env.step(np.int64(action)) for action in shortest_way(DYNA.walls)]
    assert [reward for _, reward, *_ in results] == [0.0] * 13 + [1.0]
    assert [terminated for _, _, terminated, *_ in results] == [False] * 13 + [True]
    assert not any(truncated for *_, truncated, _ in results)
    assert results[-1][0] == 8


def test_walls_and_edges_hold():
    env = Maze(DYNA)
    env.reset(seed=0)
    assert env.step(np.int64(LEFT))[0] == 18
    assert env.step(np.int64(RIGHT))[0] == 19
    assert env.step(np.int64(RIGHT))[0] == 19, "(2, 2) is a wall"
    assert env.step(np.int64(UP))[0] == 10
    assert env.step(np.int64(DOWN))[0] == 19


@pytest.mark.parametrize(("layout", "step"), [(BLOCKING, 1000), (SHORTCUT, 3000)])
def test_walls_change_by_the_steps_of_all_episodes(layout, step):
    """The last step with the old walls is number `step`, counted over resets."""
    env = Maze(layout)
    env.reset(seed=0)
    for i in range(step):
        assert not env.changed
        env.step(np.int64(LEFT))
        if i % 100 == 0:
            env.reset()
    assert env.changed
    env.reset()
    results = [env.step(np.int64(action)) for action in shortest_way(layout.later_walls)]
    assert results[-1][1] == 1.0


def test_renders_as_text():
    env = Maze(DYNA, render_mode="ansi")
    env.reset(seed=0)
    env.step(np.int64(DOWN))
    assert env.render().splitlines() == [".......#G", "..#....#.", "S.#....#.", "*.#......", ".....#...", "........."]
    assert Maze(DYNA).render() is None
    with pytest.raises(UnsupportedEnvironment, match="ansi"):
        Maze(DYNA, render_mode="human")
