"""An epoch of gradient descent: each member alone, on its own bootstrap, in the order of its key."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles import LINEAR_GAUSSIAN

from mbpo.data.replay import insert_rows, make_replay, take
from mbpo.data.split import draw_train_slots, make_split, num_train_entries
from mbpo.model.ensemble import make_ensemble
from mbpo.model.epoch import MemberData, init_optimizer, normalized_rows, train_epoch
from mbpo.model.fit import member_loss

CAPACITY, MEMBERS, BATCH, BATCHES = 200, 3, 16, 4
SPLIT = make_split(jax.random.key(5), CAPACITY, MEMBERS, 0.2)
ENSEMBLE = make_ensemble(
    jax.random.key(0), 2, 2, ensemble_size=MEMBERS, num_elites=2, hidden_sizes=(8, 8), residual=True
)
OPTIMIZER = optax.adam(1e-2)
KEY = jax.random.key(7)


def loss_fn(member, x, y, _):
    return member_loss(member, x, y, weight_decay=1e-3)


def data_of(rows) -> MemberData:
    replay = insert_rows(make_replay(CAPACITY, 2, 2), jax.tree.map(jnp.asarray, rows), jnp.ones(CAPACITY, bool))
    return MemberData(ENSEMBLE, replay, SPLIT, num_train_entries(SPLIT, replay.size), BATCH)


ROWS = LINEAR_GAUSSIAN.sample_transitions(0, CAPACITY)


@eqx.filter_jit
def one_epoch(data: MemberData, rate: float = 1.0):
    state = init_optimizer(OPTIMIZER, ENSEMBLE.params)
    return train_epoch(data, loss_fn, OPTIMIZER, ENSEMBLE.params, state, KEY, batches=jnp.int32(BATCHES), rate=rate)


def test_an_epoch_is_each_members_own_gradient_descent():
    data = data_of(ROWS)
    params, _, train_loss = one_epoch(data)
    losses = []
    for member, key in enumerate(jax.random.split(KEY, MEMBERS)):
        alone = jax.tree.map(lambda leaf, m=member: leaf[m], ENSEMBLE.params)
        state = OPTIMIZER.init(alone)
        for i in range(BATCHES):
            slot_key, _ = jax.random.split(jax.random.fold_in(key, i))
            slots = draw_train_slots(SPLIT.train_slots[member], data.entries[member], slot_key, BATCH)
            x, y = normalized_rows(ENSEMBLE, take(data.replay, slots))
            loss, grads = jax.value_and_grad(loss_fn)(alone, x, y, None)
            updates, state = OPTIMIZER.update(grads, state)
            alone = optax.apply_updates(alone, updates)
            losses.append(float(loss))
        found = jax.tree.map(lambda leaf, m=member: leaf[m], params)
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), found, alone)
    assert float(train_loss) == pytest.approx(np.mean(losses), rel=1e-4)


def test_a_row_that_is_not_in_a_members_bootstrap_does_not_reach_it():
    own = np.asarray(SPLIT.train_slots[0][: int(data_of(ROWS).entries[0])])
    foreign = np.setdiff1d(np.arange(CAPACITY), own)
    changed = eqx.tree_at(lambda r: r.reward, ROWS, np.where(np.isin(np.arange(CAPACITY), foreign), 1e3, ROWS.reward))
    (before, _, _), (after, _, _) = one_epoch(data_of(ROWS)), one_epoch(data_of(changed))
    same = jax.tree.map(lambda a, b: jnp.array_equal(a[0], b[0]), before, after)
    assert all(jax.tree.leaves(same))
    others = jax.tree.map(lambda a, b: jnp.array_equal(a[1:], b[1:]), before, after)
    assert not all(jax.tree.leaves(others))


def test_the_rate_scales_what_is_learned():
    still, _, _ = one_epoch(data_of(ROWS), 0.0)
    jax.tree.map(np.testing.assert_array_equal, still, ENSEMBLE.params)
