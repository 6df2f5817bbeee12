"""The ensemble as the agents' settings describe it: made, and refitted to all real data."""

import jax.numpy as jnp
import optax
from jaxtyping import Array, Key

from mbpo.agents.config import ModelConfig
from mbpo.data.replay import Replay
from mbpo.data.split import DataSplit
from mbpo.model.ensemble import make_ensemble
from mbpo.model.fit import FitState, fit_ensemble
from mbpo.types import Metrics, Spec


def init_model(spec: Spec, config: ModelConfig, key: Key[Array, ""]) -> FitState:
    """An ensemble that has seen nothing."""
    ensemble = make_ensemble(
        key,
        spec.obs_dim,
        spec.action_dim,
        ensemble_size=config.ensemble_size,
        num_elites=config.num_elites,
        hidden_sizes=config.hidden_sizes,
        residual=config.residual,
    )
    return FitState(ensemble, jnp.zeros((), jnp.int32))


def refit(
    state: FitState, real: Replay, split: DataSplit, key: Key[Array, ""], config: ModelConfig
) -> tuple[FitState, Metrics]:
    """`fit_ensemble` with an agent's settings."""
    return fit_ensemble(
        state,
        real,
        split,
        key,
        optimizer=optax.adam(config.learning_rate),
        batch_size=config.batch_size,
        weight_decay=config.weight_decay,
        max_epochs=config.max_epochs,
        min_epoch_batches=config.min_epoch_batches,
        max_epoch_batches=config.max_epoch_batches,
        max_holdout=min(config.max_holdout, split.holdout_slots.shape[0]),
        patience=config.patience,
    )
