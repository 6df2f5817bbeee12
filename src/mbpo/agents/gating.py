"""The gates as an agent's settings describe them: what is measured at a refit, and where branches stop.

Everything that a gate carries from refit to refit is declared here as `GateState` and is a part of the
agent's state. What is measured is measured whatever the gate, without drawing random numbers.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from mbpo.agents.config import MBPOConfig
from mbpo.agents.sac import action_distribution
from mbpo.data.replay import Replay, empty_ring, newest_slots, sample_rows, spaced_slots, take
from mbpo.model.consensus import as_disagreeing_step, as_fused_step, one_step_error, one_step_losses
from mbpo.model.ensemble import Ensemble, as_model_step
from mbpo.model.fit import FitState
from mbpo.model.gates.bound import best_length
from mbpo.model.gates.infoprop import infoprop_gate, loss_limits
from mbpo.model.gates.interface import Gate, open_gate
from mbpo.model.gates.macura import Threshold, macura_gate, no_threshold, update_threshold
from mbpo.model.rollout import branched_rollouts, in_blocks
from mbpo.model.total_variation import gaussian_total_variation
from mbpo.nn.networks import MLP
from mbpo.types import Metrics, ModelStep, Policy, Spec, TerminationFn

UNIFORM_LOG_STD = math.log(0.815)
"""A uniform action is, before the tanh, ½ sech²(u); this is the Gaussian nearest to it (TV 0.033)."""
MAX_SHIFT_ROWS = 1024
"""Replayed states that the policy shift is averaged over, evenly spaced over the whole buffer."""
MAX_ERROR_ROWS = 1024
"""Newest rows that the on-policy error is averaged over, at most."""


class Behaviour(NamedTuple):
    """The Gaussian, before the tanh, that an action was drawn from."""

    mean: Float[Array, "*batch act"]
    log_std: Float[Array, "*batch act"]


class GateState(eqx.Module):
    """What gates remember from refit to refit."""

    behaviour: Replay[Behaviour]
    """For every real row, the policy that collected it."""
    threshold: Threshold
    """MACURA's κ."""
    round_rows: Int[Array, " round"]
    """Rows that the last rounds of rollouts stored, newest first."""


def init_gate_state(spec: Spec, config: MBPOConfig, rounds: int) -> GateState:
    """Nothing collected, nothing imagined."""
    shape = (config.replay_capacity, spec.action_dim)
    return GateState(
        behaviour=empty_ring(Behaviour(jnp.zeros(shape), jnp.zeros(shape))),
        threshold=no_threshold(),
        round_rows=jnp.zeros((rounds,), jnp.int32),
    )


def uniform_behaviour(spec: Spec) -> Behaviour:
    """What the random actions at the start were drawn from, nearly."""
    return Behaviour(jnp.zeros(spec.action_dim), jnp.full(spec.action_dim, UNIFORM_LOG_STD))


def policy_shift(actor: MLP, real: Replay, behaviour: Replay[Behaviour]) -> Float[Array, ""]:
    """ε_π: mean over replayed states of TV(π(·|s), π_D(·|s)), 0 to 1.

    π is the actor as it is and π_D the policy that acted in that state when it was visited: what the
    theorem's data policy is for a branch that starts there. The theorem takes the largest TV over
    all states, which is 1 as soon as the policy is sure of itself anywhere; the mean is over the
    states that branches start from. TV is invariant under bijections, so that of the tanh-Gaussians
    is that of their Gaussians: exact for one action dimension, an upper bound for more.
    """
    slots = spaced_slots(real, min(real.capacity, MAX_SHIFT_ROWS))
    then = take(behaviour, slots)
    mean, log_std = action_distribution(actor, take(real, slots).obs)
    return gaussian_total_variation(mean, log_std, then.mean, then.log_std).mean()


def measure(
    actor: MLP, model: FitState, real: Replay, state: GateState, config: MBPOConfig, *, outputs: int | None = None
) -> Metrics:
    """The bound's terms and k*, to be called before the model is refitted; `outputs`: see `consensus`.

    ε_m′ is the error of the model as it was fitted last on the transitions since: states of the
    current policy (as of one refit), which the model has never seen. It is 1 before the first fit.
    """
    rows = min(config.model_train_freq, MAX_ERROR_ROWS, real.capacity)
    newest, resolution = take(real, newest_slots(real, rows)), config.bound.resolution
    error = one_step_error(model.ensemble, newest, resolution=resolution, outputs=outputs)
    error = jnp.where(model.num_fits > 0, error, 1.0)
    shift = policy_shift(actor, real, state.behaviour)
    return {
        "policy_shift": shift,
        "on_policy_error": error,
        "bound_rollout_length": best_length(config.sac.gamma, error, shift),
    }


def gated_world(
    ensemble: Ensemble,
    termination_fn: TerminationFn,
    policy: Policy,
    real: Replay,
    start_obs: Float[Array, "batch obs"],
    threshold: Threshold,
    key: Key[Array, ""],
    *,
    config: MBPOConfig,
    outputs: int | None = None,
) -> tuple[ModelStep, Gate, Threshold]:
    """The model to branch in, when its branches stop, and MACURA's updated threshold.

    Args:
        start_obs: Where the branches begin. MACURA's κ is set on these states, each with an action
            of the policy drawn for the purpose: the first rollout step, in distribution.
        key: Consumed where a threshold needs draws.
        outputs: See `consensus`.
    """
    if config.rollout == "macura":
        model_step, macura = as_disagreeing_step(ensemble, termination_fn, outputs), config.macura

        def disagreement_at(block: Int[Array, ""], obs: Float[Array, "block obs"]) -> Float[Array, " block"]:
            action_key, model_key = jax.random.split(jax.random.fold_in(key, block))
            return model_step(obs, policy(obs, action_key), model_key).uncertainty

        threshold = update_threshold(
            threshold,
            in_blocks(disagreement_at, start_obs),
            quantile=macura.quantile,
            scale=macura.scale,
            rounds=macura.rounds,
        )
        return model_step, macura_gate(threshold.kappa), threshold
    if config.rollout == "infoprop":
        infoprop = config.infoprop
        rows = sample_rows(real, key, (infoprop.calibration_rows,))
        limits = loss_limits(
            one_step_losses(ensemble, rows.obs, rows.action, outputs),
            step_quantile=infoprop.step_quantile,
            path_quantile=infoprop.path_quantile,
            horizon=infoprop.horizon,
        )
        return as_fused_step(ensemble, termination_fn, outputs), infoprop_gate(limits), threshold
    return as_model_step(ensemble, termination_fn), open_gate(), threshold


def gated_rollouts(
    ensemble: Ensemble,
    policy: Policy,
    real: Replay,
    imagined: Replay,
    state: GateState,
    key: Key[Array, ""],
    *,
    rollout_length: Int[Array, ""],
    retain: Int[Array, ""],
    termination_fn: TerminationFn,
    complete: Callable[[ModelStep], ModelStep],
    config: MBPOConfig,
    outputs: int | None = None,
) -> tuple[Replay, GateState, Metrics]:
    """`branched_rollouts` from replayed real states, stopped as the settings say.

    Args:
        rollout_length: Steps per branch, at most.
        complete: Puts in what the ensemble does not say, see `world_model.completed`.
        outputs: See `consensus`.
    """
    start_key, rollout_key, gate_key = jax.random.split(key, 3)
    start_obs = sample_rows(real, start_key, (config.num_branches,)).obs
    model_step, gate, threshold = gated_world(
        ensemble,
        termination_fn,
        policy,
        real,
        start_obs,
        state.threshold,
        gate_key,
        config=config,
        outputs=outputs,
    )
    imagined, metrics = branched_rollouts(
        complete(model_step),
        policy,
        start_obs,
        imagined,
        rollout_key,
        rollout_length=rollout_length,
        retain=retain,
        gate=gate,
    )
    rows = jnp.roll(state.round_rows, 1).at[0].set(metrics["rollout_rows"])
    return imagined, GateState(state.behaviour, threshold, rows), metrics
