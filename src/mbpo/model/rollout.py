"""Branched rollouts: short imagined futures from states really visited.

Janner et al. 2019, algorithm 2, lines 7–9. The world is a `ModelStep` and the behaviour a
`Policy`, both plain functions, so this file knows neither the ensemble nor SAC; when a branch must
stop is a `Gate`'s to say.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from mbpo.data.replay import Replay, insert_rows
from mbpo.model.gates.interface import Gate, GateMemory, open_gate
from mbpo.types import Metrics, ModelStep, Policy, Transition

LARGEST = 1e18
"""What a row may hold: the square of anything larger is infinite in float32, and so is a loss on it."""
BLOCK_BRANCHES = 2048
"""Branches imagined side by side, at most. The networks' activations of so many rows stay in a core's cache,
and the memory that a rollout needs does not grow with the number of branches."""


class _Tally(NamedTuple):
    """What is counted over all branches."""

    stored: Int[Array, ""]
    finished: Int[Array, ""]
    """Branches that neither termination, the gate nor an infinity ended."""
    gated: Int[Array, ""]
    nonfinite: Int[Array, ""]
    uncertainty: Float[Array, ""]
    """Σ over stored rows of the mean over channels."""


class _Branches(NamedTuple):
    """Branches under way."""

    step: Int[Array, ""]
    obs: Float[Array, "batch obs"]
    alive: Bool[Array, " batch"]
    memory: GateMemory
    imagined: Replay
    tally: _Tally


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
        start_obs: States drawn from the real buffer; taken in blocks of `BLOCK_BRANCHES` at most.
        imagined: The buffer written to; donate it.
        key: Consumed; block `b` uses the key folded from `b`, and its step `t` that folded from `t`.
        rollout_length: Steps per branch, k. Traced: a new k does not recompile.
        retain: Rows the buffer keeps, see `insert_rows`.
        gate: Ends branches one by one; None: only k, termination and infinities do.

    Returns:
        The buffer, and how many rows were stored or not finite, the shares of branches that ran to the
        end or that the gate ended, and the mean uncertainty over stored rows and channels.
    """
    batch, gate = start_obs.shape[0], gate or open_gate()
    place = _blocks(batch)
    blocks, size = place.shape
    # The last block is filled up with branches that are over before they begin.
    starts = start_obs[place % batch], place < batch

    def take_block(
        carry: tuple[Replay, _Tally], block: tuple[Int[Array, ""], Float[Array, "batch obs"], Bool[Array, " batch"]]
    ) -> tuple[tuple[Replay, _Tally], None]:
        index, obs, alive = block
        branches = _Branches(jnp.zeros((), jnp.int32), obs, alive, gate.start(size), *carry)
        block_key = jax.random.fold_in(key, index)
        return _run_block(model_step, policy, gate, branches, block_key, rollout_length, retain), None

    zero = jnp.zeros((), jnp.int32)
    nothing = _Tally(zero, zero, zero, zero, jnp.zeros(()))
    (imagined, tally), _ = jax.lax.scan(take_block, (imagined, nothing), (jnp.arange(blocks), *starts))
    return imagined, {
        "rollout_rows": tally.stored,
        "rollout_alive": tally.finished / batch,
        "rollout_gated": tally.gated / batch,
        "rollout_nonfinite": tally.nonfinite,
        "model_uncertainty": tally.uncertainty / jnp.maximum(tally.stored, 1),
    }


def in_blocks(
    fn: Callable[[Int[Array, ""], Float[Array, "block obs"]], Float[Array, " block"]], obs: Float[Array, "batch obs"]
) -> Float[Array, " batch"]:
    """`fn` of every row, given their blocks by number, one after the other as `branched_rollouts` takes them."""
    place = _blocks(len(obs))
    found = jax.lax.map(lambda block: fn(*block), (jnp.arange(len(place)), obs[place % len(obs)]))
    return found.reshape(-1)[: len(obs)]


def _blocks(batch: int) -> Int[Array, "block place"]:
    """Numbers of the rows in each block; the last ones go on beyond `batch`."""
    blocks = -(-batch // BLOCK_BRANCHES)
    size = -(-batch // blocks)
    return jnp.arange(blocks * size).reshape(blocks, size)


def _run_block(
    model_step: ModelStep,
    policy: Policy,
    gate: Gate,
    branches: _Branches,
    key: Key[Array, ""],
    rollout_length: Int[Array, ""],
    retain: Int[Array, ""],
) -> tuple[Replay, _Tally]:
    start_obs = branches.obs

    def step(now: _Branches) -> _Branches:
        action_key, model_key = jax.random.split(jax.random.fold_in(key, now.step))
        action = policy(now.obs, action_key)
        out = model_step(now.obs, action, model_key)
        finite = (jnp.abs(out.next_obs) < LARGEST).all(axis=-1) & (jnp.abs(out.reward) < LARGEST)
        admitted, memory = gate.admit(now.memory, out)
        keep = now.alive & finite & admitted
        rows = Transition(now.obs, action, out.reward, out.next_obs, out.terminated)
        unsure = out.uncertainty.mean(axis=tuple(range(1, out.uncertainty.ndim)))
        tally = now.tally._replace(
            stored=now.tally.stored + keep.sum(),
            gated=now.tally.gated + (now.alive & finite & ~admitted).sum(),
            nonfinite=now.tally.nonfinite + (now.alive & ~finite).sum(),
            uncertainty=now.tally.uncertainty + jnp.where(keep, unsure, 0.0).sum(),
        )
        # A dead row keeps a harmless state: it is still computed (static shapes), never stored.
        next_obs = jnp.where(keep[:, None], out.next_obs, start_obs)
        imagined = insert_rows(now.imagined, rows, keep, retain)
        return _Branches(now.step + 1, next_obs, keep & ~out.terminated, memory, imagined, tally)

    last = jax.lax.while_loop(lambda now: (now.step < rollout_length) & now.alive.any(), step, branches)
    return last.imagined, last.tally._replace(finished=last.tally.finished + last.alive.sum())
