"""One epoch of gradient descent for every member of an ensemble.

Members share no data order, no parameters and no gradient, so each can take all its steps before the
next one begins. On a CPU each does, and its parameters and moments stay in the processor's cache; elsewhere
all step together.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key

from mbpo.data.replay import Replay, take
from mbpo.data.split import DataSplit, draw_train_slots
from mbpo.model.ensemble import Ensemble, EnsembleParams, make_targets, over_members
from mbpo.model.homoscedastic import HomoscedasticParams
from mbpo.types import Transition

ParamsT = TypeVar("ParamsT", EnsembleParams, HomoscedasticParams)
MemberLoss = Callable[[ParamsT, Float[Array, "batch in"], Float[Array, "batch out"], Key[Array, ""]], Float[Array, ""]]
"""Parameters of one member (without the `member` axis), its normalised rows, a key → what it descends."""


class MemberData(NamedTuple):
    """What members are trained on."""

    ensemble: Ensemble
    """For its normalisers and kind of target; its parameters are not read."""
    replay: Replay
    split: DataSplit
    entries: Int[Array, " member"]
    """How long each member's bootstrap is."""
    batch_size: int
    """Rows of one gradient step."""


def normalized_rows(
    ensemble: Ensemble, rows: Transition
) -> tuple[Float[Array, "*batch in"], Float[Array, "*batch out"]]:
    """Inputs and targets of real transitions as the networks see them."""
    x = ensemble.inputs.normalize(jnp.concatenate([rows.obs, rows.action], axis=-1))
    y = make_targets(ensemble, rows)
    return x, ensemble.targets.normalize(y)


def train_epoch(
    data: MemberData,
    loss_fn: MemberLoss[ParamsT],
    optimizer: optax.GradientTransformation,
    params: ParamsT,
    optimizer_state: optax.OptState,
    key: Key[Array, ""],
    *,
    batches: int | Int[Array, ""],
    rate: float | Float[Array, ""] = 1.0,
) -> tuple[ParamsT, optax.OptState, Float[Array, ""]]:
    """Take `batches` gradient steps with every member.

    Args:
        params: With a leading `member` axis, as `optimizer_state` (see `init_optimizer`).
        key: Split over the members; a batch uses the key folded from its number.
        rate: Factor of the optimiser's updates.

    Returns:
        The new parameters and optimiser state, and the loss, mean over members and batches.
    """

    def train_member(
        member: tuple[ParamsT, optax.OptState, Int[Array, " entry"], Int[Array, ""], Key[Array, ""]],
    ) -> tuple[ParamsT, optax.OptState, Float[Array, ""]]:
        start, start_state, train_slots, entries, member_key = member

        def train_batch(
            i: Int[Array, ""], carry: tuple[ParamsT, optax.OptState, Float[Array, ""]]
        ) -> tuple[ParamsT, optax.OptState, Float[Array, ""]]:
            params, state, total = carry
            slot_key, loss_key = jax.random.split(jax.random.fold_in(member_key, i))
            rows = take(data.replay, draw_train_slots(train_slots, entries, slot_key, data.batch_size))
            loss, grads = jax.value_and_grad(loss_fn)(params, *normalized_rows(data.ensemble, rows), loss_key)
            updates, state = optimizer.update(grads, state, params)
            params = jax.tree.map(lambda value, update: value + rate * update, params, updates)
            return params, state, total + loss

        return jax.lax.fori_loop(0, batches, train_batch, (start, start_state, jnp.zeros(())))

    keys = jax.random.split(key, data.entries.shape[0])
    params, optimizer_state, totals = over_members(
        train_member, (params, optimizer_state, data.split.train_slots, data.entries, keys)
    )
    return params, optimizer_state, totals.mean() / batches


def init_optimizer(optimizer: optax.GradientTransformation, params: ParamsT) -> optax.OptState:
    """A fresh optimiser state for every member."""
    return jax.vmap(optimizer.init)(params)
