"""A table as the model: what followed each (state, action), how often, and with what reward.

The model of tabular Dyna-Q (Sutton & Barto 2018, §8.2), but for stochastic worlds too: instead of
the last outcome it counts every distinct one, and draws them in proportion. All shapes are fixed,
so a growing table recompiles nothing, and recording or drawing costs the same however much the
table holds. It answers for pairs it has seen only; it does not generalise.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt


class Outcomes(NamedTuple):
    """The distinct outcomes of (state, action) pairs; a slot with count 0 is empty.

    Two outcomes are the same if they lead to the same state and end the episode or not alike;
    rewards that differ between them are averaged.
    """

    next_state: Int[Array, "*pair outcome"]
    mean_reward: Float[Array, "*pair outcome"]
    terminated: Bool[Array, "*pair outcome"]
    counts: Int[Array, "*pair outcome"]


class Outcome(NamedTuple):
    """One imagined step from one pair."""

    next_state: Int[Array, ""]
    reward: Float[Array, ""]
    terminated: Bool[Array, ""]


class Table(eqx.Module):
    """Everything seen so far; states and actions are numbered from 0."""

    outcomes: Outcomes
    """Leading axes `[state, act]`."""
    visits: Int[Array, "state act"]
    """How often each pair was tried: the sum of its outcomes' counts."""
    last_tried: Int[Array, "state act"]
    """`time` right after the pair was last tried, 0 if never."""
    pairs: Int[Array, " pair"]
    """The pairs seen, as `state · num_actions + action`, in order of their first visit: the first
    `num_pairs` entries. Drawing a seen pair is drawing a position below `num_pairs`."""
    num_pairs: Int[Array, ""]
    states: Int[Array, " state"]
    """The states in which an action was ever tried, likewise."""
    num_states: Int[Array, ""]
    time: Int[Array, ""]
    """Transitions recorded."""


def make_table(num_states: int, num_actions: int, max_outcomes: int) -> Table:
    """An empty table with room for `max_outcomes` distinct outcomes of each pair."""
    pair, outcome = (num_states, num_actions), (num_states, num_actions, max_outcomes)
    return Table(
        outcomes=Outcomes(
            next_state=jnp.zeros(outcome, jnp.int32),
            mean_reward=jnp.zeros(outcome),
            terminated=jnp.zeros(outcome, bool),
            counts=jnp.zeros(outcome, jnp.int32),
        ),
        visits=jnp.zeros(pair, jnp.int32),
        last_tried=jnp.zeros(pair, jnp.int32),
        pairs=jnp.zeros((num_states * num_actions,), jnp.int32),
        num_pairs=jnp.zeros((), jnp.int32),
        states=jnp.zeros((num_states,), jnp.int32),
        num_states=jnp.zeros((), jnp.int32),
        time=jnp.zeros((), jnp.int32),
    )


def record(
    table: Table,
    state: Int[Array, ""],
    action: Int[Array, ""],
    reward: Float[Array, ""],
    next_state: Int[Array, ""],
    terminated: Bool[Array, ""],
) -> Table:
    """Count one real transition.

    A new outcome takes the slot with the lowest count, which is an empty one while there is any.
    When all slots are taken it replaces the rarest outcome and inherits its count ("space-saving",
    Metwally et al. 2005): an outcome with more than `1 / max_outcomes` of the visits is never
    lost, and the counts still add up to the visits.
    """
    visits = table.visits[state, action]
    seen = outcomes_of(table, state, action)
    same = (seen.counts > 0) & (seen.next_state == next_state) & (seen.terminated == terminated)
    known = jnp.any(same)
    slot = jnp.where(known, jnp.argmax(same), jnp.argmin(seen.counts))
    count = seen.counts[slot] + 1
    mean = seen.mean_reward[slot]
    new = Outcomes(next_state, jnp.where(known, mean + (reward - mean) / count, reward), terminated, count)
    time = table.time + 1
    first_here = jnp.all(table.visits[state] == 0)
    pairs, num_pairs = _append(
        table.pairs, table.num_pairs, state * table.visits.shape[1] + action, condition=visits == 0
    )
    states, num_states = _append(table.states, table.num_states, state, condition=first_here)
    return Table(
        outcomes=jax.tree.map(lambda old, value: old.at[state, action, slot].set(value), table.outcomes, new),
        visits=table.visits.at[state, action].add(1),
        last_tried=table.last_tried.at[state, action].set(time),
        pairs=pairs,
        num_pairs=num_pairs,
        states=states,
        num_states=num_states,
        time=time,
    )


def outcomes_of(table: Table, state: Int[Array, ""], action: Int[Array, ""]) -> Outcomes:
    """The outcomes of one pair, `[outcome]`."""
    return jax.tree.map(lambda values: values[state, action], table.outcomes)


def draw_pair(table: Table, bits: UInt[Array, ""]) -> tuple[Int[Array, ""], Int[Array, ""]]:
    """A (state, action) drawn uniformly from those seen, of which there must be one.

    Args:
        bits: 32 random bits; taken modulo the number of pairs, so that a pair's chance is off by
            less than `num_pairs / 2³²`.
    """
    pair = table.pairs[_below(bits, table.num_pairs)]
    return pair // table.visits.shape[1], pair % table.visits.shape[1]


def draw_any_action(
    table: Table, state_bits: UInt[Array, ""], action_bits: UInt[Array, ""]
) -> tuple[Int[Array, ""], Int[Array, ""]]:
    """A state drawn uniformly from those seen, and any action, tried there or not."""
    state = table.states[_below(state_bits, table.num_states)]
    return state, _below(action_bits, jnp.asarray(table.visits.shape[1]))


def draw_outcome(table: Table, state: Int[Array, ""], action: Int[Array, ""], bits: UInt[Array, ""]) -> Outcome:
    """What the model says happens next, drawn in proportion to the counts.

    An action never tried is a step back to the same state with reward 0 (Sutton & Barto 2018,
    footnote to §8.3): this is how Dyna-Q+ thinks of it.
    """
    seen = outcomes_of(table, state, action)
    visits = table.visits[state, action]
    # Position `i` among the visits, with the outcomes laid end to end, falls into one slot.
    slot = jnp.sum(jnp.cumsum(seen.counts) <= _below(bits, visits))
    slot = jnp.minimum(slot, seen.counts.shape[0] - 1)
    tried = visits > 0
    return Outcome(
        next_state=jnp.where(tried, seen.next_state[slot], state),
        reward=jnp.where(tried, seen.mean_reward[slot], 0.0),
        terminated=tried & seen.terminated[slot],
    )


def expected_return(outcomes: Outcomes, values: Float[Array, " state"], gamma: float) -> Float[Array, "*pair"]:
    """Σ_k p_k (r_k + discount_k · V(s'_k)), with p_k the share of outcome k; 0 for a pair never tried."""
    discount = gamma * (1.0 - outcomes.terminated)
    returns = outcomes.mean_reward + discount * values[outcomes.next_state]
    return jnp.sum(outcomes.counts * returns, axis=-1) / jnp.maximum(jnp.sum(outcomes.counts, axis=-1), 1)


def leads_to(table: Table, state: Int[Array, ""]) -> Bool[Array, "state act"]:
    """The pairs that were seen to lead to a state: its predecessors.

    A scan over the table rather than a list for each state: a list would need a bound, and could
    overflow, while the queue of prioritized sweeping costs a scan of all pairs at each update
    anyway. An episode's end is no way into a state, as nothing of its value flows back.
    """
    seen = table.outcomes
    return jnp.any((seen.counts > 0) & (seen.next_state == state) & ~seen.terminated, axis=-1)


def _append(
    items: Int[Array, " capacity"], size: Int[Array, ""], item: Int[Array, ""], *, condition: Bool[Array, ""]
) -> tuple[Int[Array, " capacity"], Int[Array, ""]]:
    slot = jnp.where(condition, size, items.shape[0])
    return items.at[slot].set(item, mode="drop"), size + condition


def _below(bits: UInt[Array, ""], size: Int[Array, ""]) -> Int[Array, ""]:
    """A number below `size`, which counts as 1 if it is 0."""
    return (bits % jnp.maximum(size, 1).astype(jnp.uint32)).astype(jnp.int32)
