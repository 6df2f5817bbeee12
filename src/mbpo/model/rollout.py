"""Branched rollouts: short imagined futures from states really visited.

Janner et al. 2019, algorithm 2, lines 7–9. The world is a `ModelStep` and the behaviour a
`Policy`, both plain functions, so this file knows neither the ensemble nor SAC; when a branch must
stop is a `Gate`'s to say.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from mbpo.data.replay import Replay, insert_rows
from mbpo.model.gates.interface import Gate, open_gate
from mbpo.types import Metrics, ModelStep, Policy, Transition

LARGEST = 1e18
"""What a row may hold: the square of anything larger is infinite in float32, and so is a loss on it."""


def branched_rollouts(
    model_step: ModelStep,
    policy: Policy,
    start_obs: Float[Array, "batch obs"],
    imagined: Replay,
    key: Key[Array, ""],
    *,
    rollout_length: Int[Array, ""],
    retain: Int[Array, ""],
    gate: Gate | None = None,
) -> tuple[Replay, Metrics]:
    """Branch from every start state for up to `rollout_length` steps and store what is imagined.

    A branch ends when the model predicts termination; the terminal transition is stored and nothing
    after it. A row sent to infinity, NaN or beyond `LARGEST`, or not admitted by the gate, ends its branch unstored.

    Args:
        start_obs: States drawn from the real buffer.
        imagined: The buffer written to; donate it.
        key: Consumed; step `t` uses the keys folded from `t`.
        rollout_length: Steps per branch, k. Traced: a new k does not recompile.
        retain: Rows the buffer keeps, see `insert_rows`.
        gate: Ends branches one by one; None: only k, termination and infinities do.

    Returns:
        The buffer, and how many rows were stored or not finite, the shares of branches that ran to the
        end or that the gate ended, and the mean uncertainty over stored rows and channels.
    """
    batch, gate = start_obs.shape[0], gate or open_gate()

    def step(carry):  # type: ignore[no-untyped-def]
        t, obs, alive, memory, buffer, stored, uncertainty, nonfinite, gated = carry
        action_key, model_key = jax.random.split(jax.random.fold_in(key, t))
        action = policy(obs, action_key)
        out = model_step(obs, action, model_key)
        finite = (jnp.abs(out.next_obs) < LARGEST).all(axis=-1) & (jnp.abs(out.reward) < LARGEST)
        admitted, memory = gate.admit(memory, out)
        keep = alive & finite & admitted
        rows = Transition(obs, action, out.reward, out.next_obs, out.terminated)
        buffer = insert_rows(buffer, rows, keep, retain)
        stored = stored + keep.sum()
        unsure = out.uncertainty.mean(axis=tuple(range(1, out.uncertainty.ndim)))
        uncertainty = uncertainty + jnp.where(keep, unsure, 0.0).sum()
        nonfinite = nonfinite + (alive & ~finite).sum()
        gated = gated + (alive & finite & ~admitted).sum()
        # A dead row keeps a harmless state: it is still computed (static shapes), never stored.
        next_obs = jnp.where(keep[:, None], out.next_obs, start_obs)
        return t + 1, next_obs, keep & ~out.terminated, memory, buffer, stored, uncertainty, nonfinite, gated

    zero = jnp.zeros((), jnp.int32)
    start = (zero, start_obs, jnp.ones((batch,), bool), gate.start(batch), imagined, zero, jnp.zeros(()), zero, zero)
    _, _, alive, _, imagined, stored, uncertainty, nonfinite, gated = jax.lax.while_loop(
        lambda carry: (carry[0] < rollout_length) & carry[2].any(), step, start
    )
    return imagined, {
        "rollout_rows": stored,
        "rollout_alive": alive.mean(),
        "rollout_gated": gated / batch,
        "rollout_nonfinite": nonfinite,
        "model_uncertainty": uncertainty / jnp.maximum(stored, 1),
    }
