"""An environment whose every answer is held against what its spaces declare.

What comes out is fresh arrays of our own: an environment that changes an array after handing it
out, or the action it was given, changes nothing that was learned. A call that does not come back
in time is given up; the thread that made it cannot be ended from here, so the environment is
then of no more use.
"""

import queue
import threading
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import gymnasium
import numpy as np
from gymnasium import spaces

from mbpo.envs.make import set_env_step
from mbpo.envs.spec import env_name, flatten_obs, read_obs, shape_action
from mbpo.errors import FOREIGN, UnsupportedEnvironment, in_short

BOUND_TOLERANCE = 1e-3
"""By how much an observation may lie outside of its bounds, relative to a bound above 1: a float32 of a
bounded float64 does, and so does a simulator whose limits are springs."""


T = TypeVar("T")


class Misbehaviour(Exception):
    """What an environment did wrong: half a sentence that follows its name."""


class WatchedEnv:
    """Resets and steps one environment."""

    def __init__(
        self, env: gymnasium.Env[Any, Any], *, timeout: float | None = None, check_bounds: bool = True
    ) -> None:
        """Args:
        timeout: Seconds that a reset, a step or closing it may take; None for any time.
        check_bounds: Whether an observation outside of its declared bounds counts as a fault.

        Raises:
            Misbehaviour: Its observation space cannot be asked for.
        """
        self.env = env
        self.stuck = False
        """Whether a call never came back."""
        self._closed = False
        self._timeout = timeout
        self._worker = _Worker() if timeout is not None else None
        self._space = self._call("observation_space", lambda: env.observation_space)
        self._low, self._high = _bounds(self._space) if check_bounds else (None, None)

    def set_env_step(self, env_step: int) -> None:
        """Tell an environment that changes as training goes on how far it has come.

        Raises:
            Misbehaviour: Its method for that failed, or is one for something else.
        """
        self._call("set_env_step(env_step)", lambda: set_env_step(self.env, env_step))

    def reset(self, seed: int) -> np.ndarray:
        """The first observation `[obs]` of an episode.

        Raises:
            Misbehaviour: The reset failed, took too long, or gave something else back.
        """
        try:
            result = self._call(f"reset(seed={seed})", lambda: self.env.reset(seed=seed))
        except Misbehaviour as error:
            if isinstance(error.__cause__, TypeError) and "'seed'" in str(error):
                raise Misbehaviour(f"{error}; declare it as reset(self, *, seed=None, options=None)") from error
            raise
        if not isinstance(result, tuple) or len(result) != 2:
            raise Misbehaviour(f"its reset returned {_kind(result)} instead of an observation and an info dict")
        return self._obs(result[0])

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool]:
        """The next observation `[obs]`, the reward, and whether the task or the time is over.

        Args:
            action: `[act]`.

        Raises:
            Misbehaviour: The step failed, took too long, or gave something else back.
        """
        given = shape_action(self.env, action)
        result = self._call("step", lambda: self.env.step(given))
        if not isinstance(result, tuple) or len(result) != 5:
            raise Misbehaviour(
                f"its step returned {_kind(result)} instead of five values: observation, reward, terminated, "
                "truncated, info"
            )
        obs = self._obs(result[0])
        return obs, _reward(result[1]), _flag("terminated", result[2]), _flag("truncated", result[3])

    def shut(self) -> None:
        """Close the environment, unless it is stuck.

        Raises:
            Misbehaviour: Closing it failed, or took too long.
        """
        if self._closed:
            return
        self._closed = True
        try:
            if self._worker is not None and self._worker.busy and not self.stuck:
                self._worker.later(self.env.close)  # A call that was interrupted may hang: it is not waited for.
            elif not self.stuck:
                self._call("close", self.env.close)
        finally:
            if self._worker is not None:
                self._worker.end()

    def close(self) -> None:
        """As `shut`, but a failure is only a warning: nothing that was learned depends on it."""
        try:
            self.shut()
        except Misbehaviour as error:
            try:
                name = env_name(self.env)
            except UnsupportedEnvironment:
                name = type(self.env).__name__
            warnings.warn(f"An environment ({name}) was not closed well: {error}. Results are whole.", stacklevel=2)

    def _call(self, what: str, function: Callable[[], Any]) -> Any:
        if self.stuck:
            raise Misbehaviour(f"its {what} was asked for while an earlier call had not come back")
        try:
            return function() if self._worker is None else self._worker.run(function, self._timeout)
        except TimeoutError as error:
            if self._worker is None or not self._worker.busy:  # The environment's own.
                raise Misbehaviour(f"its {what} raised {in_short(error)}") from error
            self.stuck = True
            raise Misbehaviour(f"its {what} did not come back within {self._timeout:g} seconds") from error
        except FOREIGN as error:
            raise Misbehaviour(f"its {what} raised {in_short(error)}") from error

    def _obs(self, obs: Any) -> np.ndarray:
        if isinstance(self._space, spaces.Discrete):
            try:
                return read_obs(self.env, obs)
            except FOREIGN as error:
                raise Misbehaviour(f"it returned an observation that cannot be read ({in_short(error)})") from error
        try:
            array = np.asarray(obs)
        except FOREIGN as error:  # An object may do anything when asked for its numbers.
            raise Misbehaviour(f"it returned an observation that cannot be read ({in_short(error)})") from error
        if array.dtype.kind not in "fiub" or not _casts(array.dtype, self._space.dtype):
            raise Misbehaviour(
                f"it returned an observation of {_kind(obs)} with dtype {array.dtype}, and its space declares "
                f"{self._space.dtype}"
            )
        if array.shape != self._space.shape:
            raise Misbehaviour(f"it returned an observation of shape {array.shape} instead of {self._space.shape}")
        flat = flatten_obs(array)
        finite = np.isfinite(flat)
        if not finite.all():
            bad = int(np.argmin(finite))
            raise Misbehaviour(f"it returned {flat[bad]} in dimension {bad} of the observation")
        if self._low is not None and self._high is not None:
            inside = (flat >= self._low) & (flat <= self._high)
            if not inside.all():
                raise Misbehaviour(self._outside(flat, int(np.argmin(inside))))
        return flat

    def _outside(self, flat: np.ndarray, bad: int) -> str:
        low, high = (getattr(self._space, side).reshape(-1)[bad] for side in ("low", "high"))
        return (
            f"it returned {flat[bad]} in dimension {bad} of the observation, which its space bounds by {low} and "
            f"{high}; correct the space, or train with --no-check-bounds (check_bounds=False)"
        )


def within(timeout: float | None, function: Callable[[], T]) -> T:
    """What a function returns or raises, given up after some seconds; None for any time.

    Raises:
        TimeoutError: It has not come back. Its thread cannot be ended, and ends with the process.
    """
    if timeout is None:
        return function()
    worker = _Worker()
    try:
        result: T = worker.run(function, timeout)
    finally:
        worker.end()
    return result


class _Worker:
    """A thread that makes calls, so that they can be given up. It ends with the process in any case."""

    def __init__(self) -> None:
        self.busy = False
        self._asked: queue.SimpleQueue[tuple[int, Callable[[], Any]] | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[tuple[int, Any, BaseException | None]] = queue.SimpleQueue()
        self._calls = 0
        self._thread: threading.Thread | None = None

    def run(self, function: Callable[[], Any], timeout: float | None) -> Any:
        """What the function returns or raises; TimeoutError, and `busy`, if it has not come back."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, daemon=True, name="environment")
            self._thread.start()
        self.busy = True
        self._calls += 1
        self._asked.put((self._calls, function))
        number = 0
        try:
            while number != self._calls:  # The answer of an interrupted call may come first.
                number, result, error = self._answers.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError from None
        self.busy = False
        if error is not None:
            raise error
        return result

    def later(self, function: Callable[[], Any]) -> None:
        """Call this after what is under way; nobody waits for its answer."""
        self._asked.put((0, function))

    def end(self) -> None:
        self._asked.put(None)

    def _work(self) -> None:
        while (asked := self._asked.get()) is not None:
            number, function = asked
            try:
                answer: tuple[Any, BaseException | None] = function(), None
            except BaseException as error:
                answer = None, error
            self._answers.put((number, *answer))


def _bounds(space: Any) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Of a Box, a little wider than declared; None where there are none to keep to."""
    if not isinstance(space, spaces.Box) or not (np.isfinite(space.low).any() or np.isfinite(space.high).any()):
        return None, None
    low, high = (np.asarray(side, np.float64).reshape(-1) for side in (space.low, space.high))
    slack_low, slack_high = (
        BOUND_TOLERANCE * np.where(np.isfinite(side), np.maximum(np.abs(side), 1), 0) for side in (low, high)
    )
    return low - slack_low, high + slack_high


def _casts(found: np.dtype, declared: np.dtype | None) -> bool:
    """Whether nothing but precision is lost between two dtypes."""
    return declared is None or np.can_cast(found, declared, "same_kind")


def _reward(reward: Any) -> float:
    if isinstance(reward, np.ndarray) and reward.ndim:
        raise Misbehaviour(f"it returned a reward of shape {reward.shape} instead of one number; return float(reward)")
    if not isinstance(reward, int | float | np.number | np.bool_ | np.ndarray) or np.iscomplexobj(reward):
        raise Misbehaviour(f"it returned the reward {_shown(reward)}, which is not a number")
    try:
        number = float(reward)
    except (TypeError, ValueError, OverflowError) as error:
        raise Misbehaviour(f"it returned the reward {_shown(reward)}, which is not a number") from error
    with np.errstate(over="ignore"):
        if not np.isfinite(np.float32(number)):
            raise Misbehaviour(f"it returned the reward {number}")
    return number


def _flag(name: str, value: Any) -> bool:
    """A truth value; anything else is refused, since most things are true in Python."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, bool | np.bool_) or (isinstance(value, int | np.integer) and value in (0, 1)):
        return bool(value)
    raise Misbehaviour(f"it returned {_shown(value)} for {name} instead of True or False")


def _kind(thing: Any) -> str:
    if isinstance(thing, tuple):
        return f"a tuple of {len(thing)}"
    return f"the type {type(thing).__name__}"


def _shown(thing: Any) -> str:
    try:
        text = " ".join(repr(thing).split())
    except Exception:
        text = f"<{type(thing).__name__}>"
    return text if len(text) <= 80 else text[:77] + "..."
