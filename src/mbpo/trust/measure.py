"""All measurements of one run, in order; the same run, seed and versions give the same numbers."""

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import jax
import numpy as np
from jaxtyping import Array, Float, Key

from mbpo.errors import ConfigError
from mbpo.training.seeding import Stream, stream_key
from mbpo.trust.bound import BoundCurve, PolicyShift, bound_curve, shift_below
from mbpo.trust.compounding import Calibration, Compounding, calibration, compounding, imagine
from mbpo.trust.history import Track, read_history
from mbpo.trust.one_step import one_step, target_spread
from mbpo.trust.picture import Picture, draw_branches, principal_directions
from mbpo.trust.promise import Promise, promise
from mbpo.trust.shift import SHARES, Shift, fit_fresh, measure_shift, mixed, uniform_variation
from mbpo.trust.subject import Stochastic, Subject, read_subject
from mbpo.trust.trajectories import Episode, as_rows, cut_branches, episode_limit, record_episodes

HORIZON = 50
"""Rollout steps looked ahead, at most."""
MAX_BRANCHES = 240
PATHS = 24
"""Branches imagined (about), and paths of each: some hundred thousand model steps."""
CALIBRATION_STEPS = (1, 5, 20)
PROMISE_STEPS, PROMISE_PATHS = 80, 8
"""Steps that the policy is followed in the model, at most, and branches from each state."""
PICTURE_LENGTH = 20
"""Steps of a branch in the picture."""
ROWS_PER_SHARE, MAX_VISITS = 1600, 16
"""Rows visited by each π_λ, about, and environments they come from, at most."""
DATA_ROWS = (1000, 4000)
"""Rows of π₀'s own data that models are fitted to: as many as the run has, between these."""
SIZE_SHARES = (1 / 16, 1 / 4, 1)
"""Growing data: these shares of it."""
VARIATION_STATES, VARIATION_DRAWS = 256, 64
"""States and actions of each that TV(U, π₀) is estimated with."""
_PROMISE_KEY = 0x9201

Terms: TypeAlias = tuple[PolicyShift | None, BoundCurve | None, BoundCurve | None]


@dataclass(frozen=True, eq=False)
class Trust:
    """Everything measured; see each part for its units."""

    env_id: str
    algo: str
    env_step: int
    run_seed: int
    seed: int
    episodes: int
    returns: Float[np.ndarray, " episode"]
    """Rewards summed over each recorded trajectory's first episode."""
    steps: int
    """Environment steps recorded per environment."""
    real_rows: int
    output_names: tuple[str, ...]
    picture: Picture
    compounding: Compounding
    calibration: Calibration
    promise: Promise | None
    """None for a planner, and where no trajectory was long enough."""
    model_error: float
    """ε_m's stand-in: one-step TV at the data's resolution over the replay buffer's rows."""
    on_policy_error: float
    """ε_m′'s: the same over the fresh trajectories of the run's policy."""
    own_on_policy_error: float
    """The same at the resolution of the model's own predicted width."""
    on_policy_rms: float
    """Root mean square one-step error over the same, in units of the targets' spread."""
    policy_shift: PolicyShift | None
    shift: Shift | None
    bound: BoundCurve | None
    own_bound: BoundCurve | None
    """None, all four, for a planner: it has no policy that could move away from its data's."""
    history: dict[str, Track]
    branches_per_refit: int | None
    """What the run's settings say; None for a planner."""
    seconds: float


def measure(folder: Path, *, episodes: int = 10, seed: int | None = None) -> Trust:
    """Measure the run in `folder` at its last checkpoint.

    Args:
        episodes: Trajectories recorded with the run's policy.
        seed: Decides them and every draw; default the run's seed.

    Raises:
        RunFolderError, CheckpointError, UnsupportedEnvironment, EnvironmentFault: with the reason.
    """
    started = time.monotonic()
    _check(episodes, seed)
    subject = read_subject(folder)
    seed = subject.config.seed if seed is None else seed
    key = stream_key(seed, Stream.TRUST)
    keys = dict(zip(("record", "imagine", "shift", "policy"), jax.random.split(key, 4), strict=True))
    steps = episode_limit(subject.source, subject.config.eval_max_steps)
    slots = record_episodes(
        subject.source,
        subject.behave,
        subject.memory(episodes),
        starts=range(episodes),
        steps=steps,
        seed=seed,
        at_step=subject.env_step,
        key=keys["record"],
    )
    recorded = [episode for slot in slots for episode in slot]
    along = _along(subject, recorded, keys["imagine"], seed)
    outputs = subject.spec.obs_dim + (subject.reward_fn is None)
    errors = _errors(subject, recorded, outputs)
    history = read_history(subject.records)
    terms: Terms = (None, None, None)
    shift = None
    if subject.policy is not None:
        terms = _terms(subject, subject.policy, history, errors, keys["policy"])
        shift = _shift(subject, subject.policy, steps, seed, keys["shift"], outputs)
    chosen = subject.config.chosen
    return Trust(
        env_id=subject.config.env_id,
        algo=subject.config.algo,
        env_step=subject.env_step,
        run_seed=subject.config.seed,
        seed=seed,
        episodes=episodes,
        returns=np.array([slot[0].reward.sum() for slot in slots]),
        steps=steps,
        real_rows=len(subject.replay.reward),
        output_names=(*(f"obs[{i}]" for i in range(subject.spec.obs_dim)), "reward"),
        **along,
        promise=None if subject.policy is None else _promise(subject, subject.policy, recorded, key),
        **errors,
        policy_shift=terms[0],
        shift=shift,
        bound=terms[1],
        own_bound=terms[2],
        history=history,
        branches_per_refit=getattr(chosen, "num_branches", getattr(chosen, "rollout_batch_size", None)),
        seconds=time.monotonic() - started,
    )


def _check(episodes: int, seed: int | None) -> None:
    if episodes < 1:
        raise ConfigError(f"Measuring takes at least 1 episode, and got {episodes}.")
    if seed is not None and seed < 0:
        raise ConfigError(f"The seed is a whole number of at least 0, not {seed}.")


def _errors(subject: Subject, recorded: list[Episode], outputs: int) -> dict[str, Any]:
    """One-step errors on the buffer's rows and on the fresh trajectories'."""
    spread = target_spread(subject.ensemble, subject.replay)
    on_policy = one_step(subject.ensemble, as_rows(recorded), spread, outputs=outputs)
    on_data = one_step(subject.ensemble, subject.replay, spread, outputs=outputs)
    return {
        "model_error": float(on_data.variation.mean()),
        "on_policy_error": float(on_policy.variation.mean()),
        "own_on_policy_error": float(on_policy.own_variation.mean()),
        "on_policy_rms": float(np.sqrt(np.mean(on_policy.error**2))),
    }


def _along(subject: Subject, recorded: list[Episode], key: Key[Array, ""], seed: int) -> dict[str, Any]:
    """Branches along the recorded trajectories: picture, compounding, calibration."""
    longest = max(episode.length for episode in recorded)
    total = sum(episode.length for episode in recorded)
    branches = cut_branches(recorded, every=max(round(total / MAX_BRANCHES), 1), horizon=min(HORIZON, longest))
    imagined = imagine(subject.model_step, branches, key, paths=PATHS)
    replay = subject.replay
    spread = _spread(np.column_stack([replay.obs, replay.reward]))
    rng = np.random.default_rng([seed, int(Stream.TRUST)])
    # The longest trajectory with the median return of those: neither the best nor the worst.
    whole = [number for number, episode in enumerate(recorded) if episode.length == longest]
    middle = sorted(whole, key=lambda number: float(recorded[number].reward.sum()))[len(whole) // 2]
    projection = principal_directions(np.asarray(replay.obs), spread[:-1])
    return {
        "picture": draw_branches(projection, recorded, branches, imagined, episode=middle, length=PICTURE_LENGTH),
        "compounding": compounding(imagined, branches, spread),
        "calibration": calibration(imagined, branches, CALIBRATION_STEPS, rng),
    }


def _promise(subject: Subject, policy: Stochastic, recorded: list[Episode], key: Key[Array, ""]) -> Promise | None:
    """What the policy earns in the model and in the world."""
    assert subject.imagined is not None, "what has a policy imagines"
    return promise(
        subject.imagined,
        policy,
        recorded,
        jax.random.fold_in(key, _PROMISE_KEY),
        every=max(round(sum(episode.length for episode in recorded) / MAX_BRANCHES), 1),
        # Half a trajectory, so that of each long one half the states have so many steps after them.
        horizon=min(PROMISE_STEPS, max(episode.length for episode in recorded) // 2 or 1),
        paths=PROMISE_PATHS,
    )


def _terms(
    subject: Subject,
    policy: Stochastic,
    history: dict[str, Track],
    errors: dict[str, float],
    key: Key[Array, ""],
) -> Terms:
    """ε_π, and theorem 4.3 at both resolutions; without a future, or a discount, the theorem says nothing."""
    replay = subject.replay
    if "policy_shift" in history:
        shift = PolicyShift(history["policy_shift"].last, "recorded", 0.0)
    else:
        drawn = policy.sample(np.repeat(replay.obs, 4, axis=0), key)[0]
        again = policy.log_prob(np.repeat(replay.obs, 4, axis=0), drawn)
        shift = shift_below(policy.log_prob(replay.obs, replay.action), again)
    if not 0 < policy.gamma < 1:
        return shift, None, None
    r_max = float(np.abs(replay.reward).max())
    first = bound_curve(policy.gamma, r_max, errors["on_policy_error"], shift.value)
    return shift, first, bound_curve(policy.gamma, r_max, errors["own_on_policy_error"], shift.value)


def _shift(subject: Subject, policy: Stochastic, steps: int, seed: int, key: Key[Array, ""], outputs: int) -> Shift:
    """Data of π₀, fresh models on growing parts of it, and their errors where each π_λ goes."""
    record_key, fit_key, draw_key = jax.random.split(key, 3)
    rows = int(np.clip(len(subject.replay.reward), *DATA_ROWS))
    data_slots, visits = math.ceil(rows / steps), int(np.clip(round(ROWS_PER_SHARE / steps), 2, MAX_VISITS))
    shares = np.repeat(np.array([0.0, *SHARES]), [data_slots, *[visits] * len(SHARES)])
    slots = record_episodes(
        subject.source,
        mixed(subject.behave, shares, subject.spec),
        subject.memory(len(shares)),
        # Every λ begins at the same states, which takes their luck out of the comparison.
        starts=[*range(visits, visits + data_slots), *list(range(visits)) * len(SHARES)],
        steps=steps,
        seed=seed,
        at_step=subject.env_step,
        key=record_key,
    )
    data = as_rows([episode for slot in slots[:data_slots] for episode in slot])
    sizes = tuple(int(share * rows) for share in SIZE_SHARES)
    ensembles, refits, epochs = fit_fresh(data, sizes, subject.spec, subject.model_config, fit_key)
    states = data.obs[np.linspace(0, len(data.obs) - 1, VARIATION_STATES).astype(int)]
    _, log_prob = policy.sample(np.repeat(states, VARIATION_DRAWS, axis=0), draw_key)
    uniform = uniform_variation(log_prob, subject.spec.action_dim)
    visited = list(zip(shares[data_slots:].tolist(), slots[data_slots:], strict=True))
    spread = target_spread(subject.ensemble, subject.replay)
    curves = measure_shift(ensembles, sizes, visited, spread, uniform, outputs=outputs)
    return Shift(np.array(SHARES), uniform, curves, refits, epochs)


def _spread(rows: Float[np.ndarray, "row out"]) -> Float[np.ndarray, " out"]:
    """Standard deviations; 1 where a dimension never moves."""
    std = np.asarray(rows, float).std(axis=0)
    return np.where(std > 1e-8, std, 1.0)
