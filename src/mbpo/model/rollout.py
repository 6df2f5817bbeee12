"""Branched rollouts: short imagined futures from states really visited.

Janner et al. 2019, algorithm 2, lines 7–9. The world is a `ModelStep` and the behaviour a
`Policy`, both plain functions, so this file knows neither the ensemble nor SAC.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from mbpo.data.replay import Replay, insert_rows
from mbpo.types import Metrics, ModelStep, Policy, Transition


def branched_rollouts(
    model_step: ModelStep,
    policy: Policy,
    start_obs: Float[Array, "batch obs"],
    imagined: Replay,
    key: Key[Array, ""],
    *,
    rollout_length: Int[Array, ""],
    retain: Int[Array, ""],
) -> tuple[Replay, Metrics]:
    """Branch from every start state for up to `rollout_length` steps and store what is imagined.

    A branch ends when the model predicts termination; the terminal transition is stored and
    nothing after it. A row the model sends to infinity or NaN ends its branch unstored.

    Args:
        start_obs: States drawn from the real buffer.
        imagined: The buffer written to; donate it.
        key: Consumed; step `t` uses the keys folded from `t`.
        rollout_length: Steps per branch, k. Traced: a new k does not recompile.
        retain: Rows the buffer keeps, see `insert_rows`.

    Returns:
        The buffer, and `rollout_rows` (rows stored), `rollout_alive` (share of branches that ran
        to the end), `model_uncertainty` (mean over stored rows), `rollout_nonfinite` (rows cut).
    """
    batch = start_obs.shape[0]

    def step(t: Int[Array, ""], carry):  # type: ignore[no-untyped-def]
        obs, alive, buffer, stored, uncertainty, nonfinite = carry
        action_key, model_key = jax.random.split(jax.random.fold_in(key, t))
        action = policy(obs, action_key)
        out = model_step(obs, action, model_key)
        finite = jnp.isfinite(out.next_obs).all(axis=-1) & jnp.isfinite(out.reward)
        keep = alive & finite
        rows = Transition(obs, action, out.reward, out.next_obs, out.terminated)
        buffer = insert_rows(buffer, rows, keep, retain)
        stored = stored + keep.sum()
        uncertainty = uncertainty + jnp.where(keep, out.uncertainty, 0.0).sum()
        nonfinite = nonfinite + (alive & ~finite).sum()
        # A dead row keeps a harmless state: it is still computed (static shapes), never stored.
        next_obs = jnp.where(keep[:, None], out.next_obs, start_obs)
        return next_obs, keep & ~out.terminated, buffer, stored, uncertainty, nonfinite

    zero = jnp.zeros((), jnp.int32)
    start = (start_obs, jnp.ones((batch,), bool), imagined, zero, jnp.zeros(()), zero)
    _, alive, imagined, stored, uncertainty, nonfinite = jax.lax.fori_loop(0, rollout_length, step, start)
    return imagined, {
        "rollout_rows": stored,
        "rollout_alive": alive.mean(),
        "rollout_nonfinite": nonfinite,
        "model_uncertainty": uncertainty / jnp.maximum(stored, 1),
    }
