"""The gridworld mazes of Sutton & Barto (2018), chapter 8, as Gymnasium environments.

    Dyna maze (example 8.1)    blocking maze (8.2)        shortcut maze (8.3)
    . . . . . . . # G          . . . . . . . . G          . . . . . . . . G
    . . # . . . . # .          . . . . . . . . .          . . . . . . . . .
    S . # . . . . # .          . . . . . . . . .          . . . . . . . . .
    . . # . . . . . .          # # # # # # # # .          . # # # # # # # #
    . . . . . # . . .          . . . . . . . . .          . . . . . . . . .
    . . . . . . . . .          . . . S . . . . .          . . . S . . . . .

After 1000 steps the blocking maze's wall moves one cell to the right, which closes the way on the
right (10 steps) and opens one on the left (16 steps). After 3000 steps the shortcut maze's wall
loses its last cell: the way of 16 steps stays open, and one of 10 steps opens on the right. The
agent is not told.

A cell is (row, column), from (0, 0) at the top left, and its state has the number
`9 · row + column`; walls have numbers too, which never occur. Actions: 0 up, 1 right, 2 down,
3 left; a step into a wall or off the grid stays where it is. The reward is 1 on reaching the goal,
which ends the episode, and 0 otherwise. Episodes have no time limit. Nothing is random.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from mbpo.errors import UnsupportedEnvironment

MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))
"""(rows down, columns to the right) of each action."""


@dataclass(frozen=True)
class Layout:
    """A maze whose walls may change once."""

    walls: tuple[str, ...]
    """One string for each row, as drawn above: `#` wall, `S` start, `G` goal."""
    later_walls: tuple[str, ...] = ()
    """The same after the change; empty for a maze that stays as it is."""
    change_step: int = 0
    """Environment steps, over all episodes, taken with the first walls."""


_OPEN_ROW = "........."
_GOAL_ROW = "........G"
_BELOW_START = "...S....."


def _with_wall(row: str) -> tuple[str, ...]:
    return (_GOAL_ROW, _OPEN_ROW, _OPEN_ROW, row, _OPEN_ROW, _BELOW_START)


DYNA = Layout((".......#G", "..#....#.", "S.#....#.", "..#......", ".....#...", _OPEN_ROW))
BLOCKING = Layout(_with_wall("########."), _with_wall(".########"), change_step=1000)
SHORTCUT = Layout(_with_wall(".########"), _with_wall(".#######."), change_step=3000)

LAYOUTS = {"mbpo/DynaMaze-v0": DYNA, "mbpo/BlockingMaze-v0": BLOCKING, "mbpo/ShortcutMaze-v0": SHORTCUT}


class Maze(gymnasium.Env[np.int64, np.int64]):
    """A walk from S to G through a layout, by the number of the cell."""

    metadata = {"render_modes": ["ansi"], "render_fps": 4}  # noqa: RUF012  (as Gymnasium declares it)

    def __init__(self, layout: Layout = DYNA, render_mode: str | None = None) -> None:
        """Args:
        layout: Which maze; the change of its walls counts the steps of this object.
        render_mode: `"ansi"`: the maze as text, with `*` for where the walker is.

        Raises:
            UnsupportedEnvironment: Another render mode.
        """
        if render_mode not in (None, "ansi"):
            raise UnsupportedEnvironment(f"Mazes can only be rendered as text ('ansi'), not as {render_mode!r}.")
        self.layout = layout
        self.render_mode = render_mode
        self.num_columns = len(layout.walls[0])
        size = len(layout.walls) * self.num_columns
        self.observation_space = spaces.Discrete(size)
        self.action_space = spaces.Discrete(len(MOVES))
        self.start = "".join(layout.walls).index("S")
        self.goal = "".join(layout.walls).index("G")
        self.total_steps = 0
        """Steps over all episodes; `reset` leaves it."""
        self._successors = successors(layout.walls)
        self._later_successors = successors(layout.later_walls or layout.walls)
        self._state = self.start

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.int64, dict[str, Any]]:
        """Back to the start; the walls stay as they are."""
        super().reset(seed=seed)
        self._state = self.start
        return np.int64(self._state), {}

    def set_env_step(self, env_step: int) -> None:
        """Have the walls that stand after `env_step` steps."""
        self.total_steps = env_step

    def step(self, action: np.int64) -> tuple[np.int64, float, bool, bool, dict[str, Any]]:
        """One cell further, if it is free."""
        table = self._later_successors if self.changed else self._successors
        self.total_steps += 1
        self._state = int(table[self._state, int(action)])
        arrived = self._state == self.goal
        return np.int64(self._state), float(arrived), arrived, False, {}

    @property
    def changed(self) -> bool:
        """Whether the next step meets the later walls."""
        return bool(self.layout.later_walls) and self.total_steps >= self.layout.change_step

    def render(self) -> str | None:
        """The maze as text, if it was made for that."""
        if self.render_mode is None:
            return None
        rows = self.layout.later_walls if self.changed else self.layout.walls
        cells = list("".join(rows))
        cells[self._state] = "*"
        width = self.num_columns
        return "\n".join("".join(cells[i : i + width]) for i in range(0, len(cells), width)) + "\n"


def successors(walls: Sequence[str]) -> np.ndarray:
    """Where each action leads from each cell, `[state, act]`, for one set of walls."""
    rows, columns = len(walls), len(walls[0])
    table = np.empty((rows * columns, len(MOVES)), np.int64)
    for row in range(rows):
        for column in range(columns):
            for action, (down, right) in enumerate(MOVES):
                r, c = row + down, column + right
                free = 0 <= r < rows and 0 <= c < columns and walls[r][c] != "#"
                table[row * columns + column, action] = r * columns + c if free else row * columns + column
    return table


def register_mazes() -> None:
    """Make the three mazes known to `gymnasium.make`; calling it again changes nothing."""
    for env_id, layout in LAYOUTS.items():
        if env_id not in gymnasium.registry:
            gymnasium.register(env_id, entry_point="mbpo.envs.mazes:Maze", kwargs={"layout": layout})
