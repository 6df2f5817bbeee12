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
from mbpo.model.ensemble import make_ensemble, predict_normalized, unfitted
from mbpo.model.epoch import MemberData, init_optimizer, normalized_rows, train_epoch
from mbpo.model.fit import member_loss
from mbpo.model.homoscedastic import make_homoscedastic
from mbpo.model.homoscedastic_fit import homoscedastic_loss

CAPACITY, MEMBERS, BATCH, BATCHES = 200, 3, 16, 4
SPLIT = make_split(jax.random.key(5), CAPACITY, MEMBERS, 0.2)
ENSEMBLE = make_ensemble(
    jax.random.key(0), 2, 2, ensemble_size=MEMBERS, num_elites=2, hidden_sizes=(8, 8), residual=True
)
OPTIMIZER = optax.adam(1e-2)
KEY = jax.random.key(7)


def loss_fn(member, x, y, key):
    # With a term that only the key decides.
    return member_loss(member, x, y, weight_decay=1e-3) + jax.random.normal(key) * member.min_log_var.sum()


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
            slot_key, loss_key = jax.random.split(jax.random.fold_in(key, i))
            slots = draw_train_slots(SPLIT.train_slots[member], data.entries[member], slot_key, BATCH)
            x, y = normalized_rows(ENSEMBLE, take(data.replay, slots))
            loss, grads = jax.value_and_grad(loss_fn)(alone, x, y, loss_key)
            updates, state = OPTIMIZER.update(grads, state)
            alone = optax.apply_updates(alone, updates)
            losses.append(float(loss))
        found = jax.tree.map(lambda leaf, m=member: leaf[m], params)
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), found, alone)
    assert float(train_loss) == pytest.approx(np.mean(losses), rel=1e-4)


def gaussian():
    return ENSEMBLE, loss_fn


def homoscedastic():
    shape = {"ensemble_size": MEMBERS, "hidden_sizes": (16, 16), "dropout": 0.2}
    params = make_homoscedastic(jax.random.key(0), 4, 3, **shape)
    ensemble = unfitted(params, 2, 2, ensemble_size=MEMBERS, num_elites=MEMBERS, residual=True)
    return ensemble, homoscedastic_loss


def learned_and_predicted(ensemble, loss):
    """What an epoch leaves behind, and what that predicts of each member's own rows."""
    data = data_of(ROWS)._replace(ensemble=ensemble)
    state = init_optimizer(OPTIMIZER, ensemble.params)
    learned = train_epoch(data, loss, OPTIMIZER, ensemble.params, state, KEY, batches=jnp.int32(BATCHES))
    return learned, predict_normalized(learned[0], jax.random.normal(KEY, (MEMBERS, 5, 4)))


@pytest.mark.parametrize("kind", [gaussian, homoscedastic])
def test_members_side_by_side_as_on_a_gpu_learn_and_predict_the_same(kind, monkeypatch):
    one_by_one = jax.jit(lambda: learned_and_predicted(*kind()))()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax.lax, "map", None)  # Nothing is done one after the other.
    at_once = jax.jit(lambda: learned_and_predicted(*kind()))()
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), at_once, one_by_one)


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
    data, descent = data_of(ROWS), optax.sgd(1e-2)

    @eqx.filter_jit
    def step(rate):
        state = init_optimizer(descent, ENSEMBLE.params)
        return train_epoch(data, loss_fn, descent, ENSEMBLE.params, state, KEY, batches=1, rate=rate)[0]

    whole, half = (jax.tree.map(lambda new, old: new - old, step(rate), ENSEMBLE.params) for rate in (1.0, 0.5))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, 2 * b, rtol=1e-2, atol=1e-5), whole, half)
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(half)) > 1e-4


def test_a_limit_on_the_gradient_is_each_members_own():
    # Member 0's rows pay a million; what the others learn is what they learn without it.
    limited = optax.chain(optax.clip_by_global_norm(0.1), optax.sgd(1e-2))

    def loud(member, x, y, key):
        return loss_fn(member, x, y, key) * jnp.where(jnp.all(member.max_log_var > 0.9), 1e6, 1.0)

    params = eqx.tree_at(lambda p: p.max_log_var, ENSEMBLE.params, ENSEMBLE.params.max_log_var.at[0].set(1.0))

    @eqx.filter_jit
    def step(loss):
        state = init_optimizer(limited, params)
        return train_epoch(data_of(ROWS), loss, limited, params, state, KEY, batches=1)[0]

    for a, b in zip(jax.tree.leaves(step(loss_fn)), jax.tree.leaves(step(loud)), strict=True):
        np.testing.assert_allclose(a[1:], b[1:], rtol=1e-6)
    moved = jax.tree.map(lambda new, old: new[1:] - old[1:], step(loud), params)
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(moved)) > 1e-5
