"""Members of an ensemble that begin anew, some at each refit, in turn. Not published with double horizon.

A policy climbs what its model says, and so finds where that is wrong in its favour; a refit that starts from the
weights there are keeps much of such an error. A member that is fitted to the same rows from random weights is wrong
elsewhere. With `count` of them renewed at each refit no error outlives members / count refits.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from mbpo.data.replay import Replay
from mbpo.data.split import DataSplit, num_train_entries
from mbpo.model.epoch import MemberData, init_optimizer, train_epoch
from mbpo.model.fit import FitState, refresh_normalizers
from mbpo.model.homoscedastic import HomoscedasticParams, make_homoscedastic
from mbpo.model.homoscedastic_fit import decay_at, epoch_rate, homoscedastic_loss, make_optimizer


def renew_members(
    state: FitState,
    replay: Replay,
    split: DataSplit,
    key: Key[Array, ""],
    *,
    count: int,
    epochs: int,
    hidden_sizes: tuple[int, ...],
    dropout: float,
    learning_rate: float,
    final_rate_share: float,
    batch_size: int,
    weight_decay: float,
    weight_decay_rows: int,
    min_epoch_batches: int,
    max_epoch_batches: int,
) -> FitState:
    """The state before a refit, with the next `count` members in turn fitted afresh; as it is before the first fit.

    Args:
        epochs: How long these are fitted before they join the others, who are fitted to the same rows next.
    """
    make_key, fit_key = jax.random.split(key)

    def renewed(state: FitState) -> FitState:
        ensemble = refresh_normalizers(state, replay)
        params = ensemble.params
        assert isinstance(params, HomoscedasticParams)
        members = params.log_std.shape[0]
        chosen = (jnp.arange(count) + (state.num_fits - 1) * count) % members
        optimizer = make_optimizer(decay_at(replay.size, weight_decay, weight_decay_rows), len(params.network.weights))
        fresh = make_homoscedastic(
            make_key,
            params.network.weights[0].shape[1],
            params.log_std.shape[1],
            ensemble_size=count,
            hidden_sizes=hidden_sizes,
            dropout=dropout,
        )
        entries = num_train_entries(split, replay.size)
        batches = jnp.clip(entries.max() // batch_size, min_epoch_batches, max_epoch_batches)
        own = DataSplit(split.train_slots[chosen], split.holdout_slots)
        data = MemberData(ensemble, replay, own, entries[chosen], batch_size)

        def epoch(i, carry):  # type: ignore[no-untyped-def]
            params, optimizer_state = carry
            rate = epoch_rate(i, jnp.asarray(epochs), learning_rate, final_rate_share)
            key = jax.random.fold_in(fit_key, i)
            return train_epoch(
                data, homoscedastic_loss, optimizer, params, optimizer_state, key, batches=batches, rate=rate
            )[:2]

        fresh, _ = jax.lax.fori_loop(0, epochs, epoch, (fresh, init_optimizer(optimizer, fresh)))
        params = jax.tree.map(lambda old, new: old.at[chosen].set(new), params, fresh)
        return FitState(eqx.tree_at(lambda e: e.params, ensemble, params), state.num_fits)

    return jax.lax.cond(state.num_fits > 0, renewed, lambda state: state, state)
