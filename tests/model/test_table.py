"""The table against counts kept in plain Python, and the shares of what it draws."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbpo.model.table import (
    Table,
    draw_any_action,
    draw_outcome,
    draw_pair,
    expected_return,
    leads_to,
    make_table,
    outcomes_of,
    record,
)

STATES, ACTIONS, OUTCOMES = 4, 3, 3
RECORD = jax.jit(record)
DRAW_PAIRS = jax.jit(jax.vmap(draw_pair, in_axes=(None, 0)))
DRAW_ANY = jax.jit(jax.vmap(draw_any_action, in_axes=(None, 0, 0)))
DRAW_OUTCOMES = jax.jit(jax.vmap(draw_outcome, in_axes=(None, None, None, 0)))


def filled(*steps) -> Table:
    """A table that recorded `(state, action, reward, next_state, terminated)`, one after the other."""
    table = make_table(STATES, ACTIONS, OUTCOMES)
    for s, a, reward, next_s, terminated in steps:
        table = RECORD(
            table, jnp.int32(s), jnp.int32(a), jnp.float32(reward), jnp.int32(next_s), jnp.asarray(terminated)
        )
    return table


def held(table: Table, s: int, a: int) -> dict:
    """(next state, terminated) -> (count, mean reward), of one pair."""
    seen = outcomes_of(table, jnp.int32(s), jnp.int32(a))
    rows = zip(*(np.asarray(x).tolist() for x in seen), strict=True)
    return {(n, t): (c, pytest.approx(r)) for n, r, t, c in rows if c > 0}


def test_counts_and_mean_rewards_by_hand():
    table = filled((1, 2, 1.0, 3, False), (1, 2, 2.0, 3, False), (1, 2, 6.0, 3, True), (1, 2, 6.0, 3, False))
    assert held(table, 1, 2) == {(3, False): (3, 3.0), (3, True): (1, 6.0)}
    assert int(table.visits[1, 2]) == 4
    assert int(table.visits.sum()) == 4
    assert int(table.time) == 4


def test_pairs_and_states_are_listed_once_in_order_of_first_visit():
    table = filled((2, 1, 0, 0, False), (0, 0, 0, 2, False), (2, 1, 0, 0, False), (2, 0, 0, 0, False))
    assert table.pairs[: int(table.num_pairs)].tolist() == [2 * ACTIONS + 1, 0, 2 * ACTIONS]
    assert table.states[: int(table.num_states)].tolist() == [2, 0]


def test_remembers_when_each_pair_was_last_tried():
    table = filled((2, 1, 0, 0, False), (0, 0, 0, 2, False), (2, 1, 0, 0, False))
    expected = np.zeros((STATES, ACTIONS))
    expected[0, 0], expected[2, 1] = 2, 3
    np.testing.assert_array_equal(table.last_tried, expected)


def test_a_full_pair_gives_up_its_rarest_outcome():
    """Space-saving: the newcomer inherits the count of the outcome it replaces."""
    common = [(0, 0, 1, 0, False)] * 3 + [(0, 0, 1, 1, False)] * 2 + [(0, 0, 1, 2, False)]
    table = filled(*common, (0, 0, 5, 3, False))
    assert held(table, 0, 0) == {(0, False): (3, 1.0), (1, False): (2, 1.0), (3, False): (2, 5.0)}
    assert int(table.visits[0, 0]) == 7


steps = st.tuples(
    st.integers(0, STATES - 1),
    st.integers(0, ACTIONS - 1),
    st.integers(-2, 2),
    st.integers(0, STATES - 1),
    st.booleans(),
)


@given(st.lists(steps, max_size=30))
def test_keeps_count_of_everything(history):
    table = filled(*history)
    visits = Counter((s, a) for s, a, *_ in history)
    firsts = list(dict.fromkeys((s, a) for s, a, *_ in history))
    assert table.pairs[: int(table.num_pairs)].tolist() == [s * ACTIONS + a for s, a in firsts]
    for (s, a), count in visits.items():
        mine = held(table, s, a)
        assert sum(c for c, _ in mine.values()) == int(table.visits[s, a]) == count
        seen = Counter((n, t) for s2, a2, _, n, t in history if (s2, a2) == (s, a))
        if len(seen) <= OUTCOMES:
            assert {outcome: c for outcome, (c, _) in mine.items()} == dict(seen)
        for outcome, c in seen.items():
            assert outcome in mine or c * OUTCOMES <= count


def test_draws_exactly_the_seen_pairs_uniformly():
    seen = [(2, 1), (0, 0), (3, 2), (1, 1), (2, 2)]
    # Some were visited more often, which must not matter.
    table = filled(*((s, a, 0, 0, False) for s, a in seen + seen[:2] * 3))
    s, a = DRAW_PAIRS(table, jax.random.bits(jax.random.key(0), (20_000,)))
    drawn = Counter(zip(s.tolist(), a.tolist(), strict=True))
    assert set(drawn) == set(seen)
    # Mean 4000, standard deviation 57.
    assert all(abs(count - 4000) < 5 * 57 for count in drawn.values())


def test_any_action_of_a_seen_state_uniformly():
    table = filled((2, 1, 0, 0, False), (0, 0, 0, 3, False))
    s, a = DRAW_ANY(table, *jax.random.bits(jax.random.key(0), (2, 12_000)))
    drawn = Counter(zip(s.tolist(), a.tolist(), strict=True))
    assert set(drawn) == {(s, a) for s in (0, 2) for a in range(ACTIONS)}
    assert all(abs(count - 2000) < 5 * 41 for count in drawn.values())


def test_draws_outcomes_in_proportion_to_their_counts():
    table = filled((1, 0, 2, 3, False), *[(1, 0, 4, 0, True)] * 3, (0, 0, 9, 1, False))
    drawn = DRAW_OUTCOMES(table, jnp.int32(1), jnp.int32(0), jax.random.bits(jax.random.key(1), (10_000,)))
    rows = Counter(zip(*(np.asarray(x).tolist() for x in drawn), strict=True))
    assert set(rows) == {(3, 2.0, False), (0, 4.0, True)}
    assert abs(rows[0, 4.0, True] - 7500) < 5 * 43


def test_an_untried_action_stays_where_it_is():
    table = filled((1, 0, 2, 3, True))
    outcome = draw_outcome(table, jnp.int32(2), jnp.int32(1), jnp.uint32(12345))
    assert (int(outcome.next_state), float(outcome.reward), bool(outcome.terminated)) == (2, 0.0, False)


def test_expected_return_by_hand():
    table = filled((1, 0, 2, 3, False), *[(1, 0, 4, 0, True)] * 3)
    returns = expected_return(table.outcomes, jnp.array([100.0, 0.0, 0.0, 10.0]), 0.5)
    # A quarter of (2 + 0.5 · 10), three quarters of 4 with nothing after it.
    assert float(returns[1, 0]) == pytest.approx(0.25 * 7 + 0.75 * 4)
    assert float(jnp.abs(returns).sum()) == pytest.approx(4.75)


def test_predecessors():
    table = filled((0, 1, 0, 2, False), (1, 2, 0, 0, False), (1, 2, 0, 2, False), (3, 0, 1, 2, True))
    assert np.argwhere(leads_to(table, jnp.int32(2))).tolist() == [[0, 1], [1, 2]]
    assert np.argwhere(leads_to(table, jnp.int32(0))).tolist() == [[1, 2]]
