"""When an episode ends, learned from real transitions where no rule is known, and held against them where one is.

A small classifier of (obs, action, next_obs). Ends are rare, so every batch is half of them, and the
logit is moved back by the true log odds afterwards (King & Zeng 2001, "Logistic regression in rare
events data", §4.1). What it says is calibrated on held-out rows by one temperature (Guo et al. 2017,
arXiv:1706.04599), since imagined ends are drawn with just this probability: then branches end as
often as real episodes do in like states.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, Key

from mbpo.data.replay import Replay, draw_slots, take, valid_mask
from mbpo.data.split import DataSplit, select_holdout_slots
from mbpo.nn.networks import MLP, make_mlp
from mbpo.nn.normalizer import Normalizer, fit_normalizer, identity_normalizer
from mbpo.types import Metrics, ModelOutput, ModelStep, TerminationFn, Transition

HIDDEN_SIZES = (64, 64)
STEPS, BATCH_SIZE, LEARNING_RATE = 500, 256, 1e-3
"""Of one fit, warm-started: about a tenth of a second."""
TEMPERATURES = tuple(2.0 ** (i / 4) for i in range(-8, 17))
"""Tried in calibration: ¼ to 16."""
MOST_HOLDOUT = 5000
NEVER = -30.0
"""Logit while no end has been seen."""
_KEY_OFFSET = 0x7E41


class TerminationModel(eqx.Module):
    """P(terminated | obs, action, next_obs) = sigmoid(network(x) / temperature + log_odds)."""

    network: MLP
    inputs: Normalizer
    log_odds: Float[Array, ""]
    """Of an end among all rows trained on; `NEVER` while there is none, -`NEVER` where there is nothing else."""
    temperature: Float[Array, ""]


def make_termination_model(
    key: Key[Array, ""], obs_dim: int, action_dim: int, angles: tuple[int, ...] = ()
) -> TerminationModel:
    """One that has seen nothing, and says that nothing ends.

    Args:
        angles: Which numbers of an observation are angles.
    """
    after = obs_dim + action_dim
    inputs = identity_normalizer(obs_dim + after, (*angles, *(after + i for i in angles)))
    return TerminationModel(
        network=make_mlp(key, inputs.mean.shape[0], HIDDEN_SIZES, 1, activation=jax.nn.silu),
        inputs=inputs,
        log_odds=jnp.asarray(NEVER, jnp.float32),  # Of its own type: what a fit returns is compiled for once.
        temperature=jnp.ones(()),
    )


def termination_logit(
    model: TerminationModel,
    obs: Float[Array, "*batch obs"],
    action: Float[Array, "*batch act"],
    next_obs: Float[Array, "*batch obs"],
) -> Float[Array, "*batch"]:
    """The calibrated log odds that the episode ends in `next_obs`."""
    raw = model.network(model.inputs.normalize(jnp.concatenate([obs, action, next_obs], axis=-1)))[..., 0]
    return jnp.where(jnp.abs(model.log_odds) < -NEVER, raw / model.temperature + model.log_odds, model.log_odds)


def draw_ends(
    model: TerminationModel,
    obs: Float[Array, "batch obs"],
    action: Float[Array, "batch act"],
    next_obs: Float[Array, "batch obs"],
    key: Key[Array, ""],
) -> Bool[Array, " batch"]:
    """Which episodes end in `next_obs`, drawn with the learned probability.

    Draws with the same key are of the same uniform numbers: where the probability is more, no end is taken back.
    """
    logit = termination_logit(model, obs, action, next_obs)
    return jax.random.bernoulli(jax.random.fold_in(key, _KEY_OFFSET), jax.nn.sigmoid(logit))


def with_learned_termination(model_step: ModelStep, model: TerminationModel) -> ModelStep:
    """The same world, its ends drawn with the learned probability."""

    def ending_step(
        obs: Float[Array, "batch obs"], action: Float[Array, "batch act"], key: Key[Array, ""]
    ) -> ModelOutput:
        out = model_step(obs, action, key)
        return out._replace(terminated=draw_ends(model, obs, action, out.next_obs, key))

    return ending_step


class _Rows(NamedTuple):
    """Slots to draw batches from: the first `count` of each."""

    ends: Int[Array, " capacity"]
    num_ends: Int[Array, ""]
    others: Int[Array, " capacity"]
    num_others: Int[Array, ""]


def fit_termination(
    model: TerminationModel, real: Replay, split: DataSplit, key: Key[Array, ""]
) -> tuple[TerminationModel, Metrics]:
    """Learn from all real rows that are not held out, then calibrate on those that are.

    Returns:
        The model, and over held-out rows `termination_brier` (mean squared error of the
        probability), `termination_missed` (share of ends given less than ½; 0 if there are none) and
        `termination_false` (share of other rows given more), and `termination_rate` (share of all
        real rows that end).
    """
    valid = valid_mask(real) > 0
    held_out = jnp.zeros((real.capacity,), bool).at[split.holdout_slots].set(True)
    rows = _rows(valid & ~held_out & real.data.terminated, valid & ~held_out & ~real.data.terminated)
    features = jnp.concatenate([real.data.obs, real.data.action, real.data.next_obs], axis=-1)
    inputs = fit_normalizer(features, valid_mask(real), model.inputs.angles)
    network = _train(model.network, inputs, real, rows, key)
    odds = jnp.log(rows.num_ends / jnp.maximum(rows.num_others, 1))
    log_odds = jnp.where(rows.num_ends == 0, NEVER, jnp.where(rows.num_others == 0, -NEVER, odds))
    fitted = TerminationModel(network, inputs, log_odds, jnp.ones(()))
    slots, count = select_holdout_slots(split, real.size, min(MOST_HOLDOUT, split.holdout_slots.shape[0]))
    holdout, counted = take(real, slots), jnp.arange(slots.shape[0]) < count
    fitted = eqx.tree_at(lambda m: m.temperature, fitted, _temperature(fitted, holdout, counted))
    return fitted, _scores(fitted, real, holdout, counted)


def termination_mismatch(termination_fn: TerminationFn, real: Replay, newest: int) -> Float[Array, ""]:
    """Share of the `newest` real rows on which a rule says otherwise than the environment did."""
    slots = (real.position - 1 - jnp.arange(newest)) % real.capacity
    rows, counted = take(real, slots), jnp.arange(newest) < real.size
    wrong = termination_fn(rows.obs, rows.action, rows.next_obs) != rows.terminated
    return jnp.sum(wrong & counted) / jnp.maximum(counted.sum(), 1)


def never(
    obs: Float[Array, "*batch obs"], action: Float[Array, "*batch act"], next_obs: Float[Array, "*batch obs"]
) -> Bool[Array, "*batch"]:
    """The rule of a world that does not end: what a learned termination is put on top of."""
    return jnp.zeros(next_obs.shape[:-1], bool)


def _rows(ends: Bool[Array, " capacity"], others: Bool[Array, " capacity"]) -> _Rows:
    def first(mask: Array) -> Array:
        return jnp.nonzero(mask, size=mask.shape[0], fill_value=0)[0].astype(jnp.int32)

    return _Rows(first(ends), ends.sum(), first(others), others.sum())


def _train(network: MLP, inputs: Normalizer, real: Replay, rows: _Rows, key: Key[Array, ""]) -> MLP:
    """Logistic regression on batches half of which are ends; as it was while there is no end."""
    optimizer = optax.adam(LEARNING_RATE)
    label = jnp.arange(BATCH_SIZE) < BATCH_SIZE // 2

    def loss(now: MLP, batch: Transition) -> Array:
        x = inputs.normalize(jnp.concatenate([batch.obs, batch.action, batch.next_obs], axis=-1))
        return optax.sigmoid_binary_cross_entropy(now(x)[:, 0], label.astype(x.dtype)).mean()

    def step(i: Array, carry: tuple[MLP, optax.OptState]) -> tuple[MLP, optax.OptState]:
        now, optimizer_state = carry
        end_key, other_key = jax.random.split(jax.random.fold_in(key, i))
        half = (BATCH_SIZE // 2,)
        ends = rows.ends[draw_slots(end_key, half, rows.num_ends)]
        others = rows.others[draw_slots(other_key, half, rows.num_others)]
        gradient = jax.grad(loss)(now, take(real, jnp.concatenate([ends, others])))
        updates, optimizer_state = optimizer.update(gradient, optimizer_state)
        return optax.apply_updates(now, updates), optimizer_state

    steps = jnp.where((rows.num_ends > 0) & (rows.num_others > 0), STEPS, 0)
    return jax.lax.fori_loop(0, steps, step, (network, optimizer.init(network)))[0]


def _temperature(model: TerminationModel, rows: Transition, counted: Bool[Array, " row"]) -> Float[Array, ""]:
    """The one with the best likelihood of the held-out rows; 1 if none of them ends."""
    raw = termination_logit(model, rows.obs, rows.action, rows.next_obs) - model.log_odds
    temperatures = jnp.asarray(TEMPERATURES)
    logits = raw / temperatures[:, None] + model.log_odds
    losses = optax.sigmoid_binary_cross_entropy(logits, rows.terminated.astype(logits.dtype))
    best = temperatures[jnp.argmin(jnp.where(counted, losses, 0.0).sum(axis=-1))]
    return jnp.where(jnp.any(rows.terminated & counted), best, 1.0)


def _scores(model: TerminationModel, real: Replay, rows: Transition, counted: Bool[Array, " row"]) -> Metrics:
    probability = jax.nn.sigmoid(termination_logit(model, rows.obs, rows.action, rows.next_obs))
    ends, others = rows.terminated & counted, ~rows.terminated & counted

    def share(of: Array, among: Array) -> Array:
        return jnp.sum(of & among) / jnp.maximum(among.sum(), 1)

    return {
        "termination_brier": jnp.where(counted, (probability - rows.terminated) ** 2, 0.0).sum()
        / jnp.maximum(counted.sum(), 1),
        "termination_missed": share(probability < 0.5, ends),
        "termination_false": share(probability >= 0.5, others),
        "termination_rate": jnp.sum(real.data.terminated & (valid_mask(real) > 0)) / jnp.maximum(real.size, 1),
    }
