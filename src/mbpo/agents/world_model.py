"""The world as the agents' settings describe it: an ensemble refitted to all real data, a reward and an end."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from mbpo.agents.config import ModelConfig
from mbpo.agents.limits import adam
from mbpo.agents.mbpo_dh_config import HomoscedasticConfig
from mbpo.data.replay import Replay
from mbpo.data.split import DataSplit, make_split
from mbpo.errors import ConfigError
from mbpo.model.end_margin import with_end_margin
from mbpo.model.ensemble import make_ensemble, unfitted
from mbpo.model.fit import FitState, fit_ensemble
from mbpo.model.homoscedastic import make_homoscedastic
from mbpo.model.homoscedastic_fit import fit_homoscedastic
from mbpo.model.reward import with_reward
from mbpo.model.termination import (
    TerminationModel,
    draw_ends,
    fit_termination,
    make_termination_model,
    termination_mismatch,
    with_learned_termination,
)
from mbpo.model.unseen_noise import with_unseen_noise
from mbpo.types import Metrics, ModelStep, RewardFn, Spec, TerminationFn

_TERMINATION_KEY = 0x7E42


def init_model(spec: Spec, config: ModelConfig | HomoscedasticConfig, key: Key[Array, ""]) -> FitState:
    """An ensemble that has seen nothing.

    Raises:
        ConfigError: It is to predict angles themselves: of θ + 2π it sees what it sees of θ.
    """
    if spec.angles and not config.residual:
        raise ConfigError(
            f"angles = {list(spec.angles)} are seen as cosine and sine, which say nothing of whole turns, so a model "
            "can only predict how they change: leave model.residual on, or angles empty (--angles)."
        )
    if isinstance(config, HomoscedasticConfig):
        return _init_homoscedastic(spec, config, key)
    ensemble = make_ensemble(
        key,
        spec.obs_dim,
        spec.action_dim,
        ensemble_size=config.ensemble_size,
        num_elites=config.num_elites,
        hidden_sizes=config.hidden_sizes,
        residual=config.residual,
        angles=spec.angles,
    )
    return FitState(ensemble, jnp.zeros((), jnp.int32))


def _init_homoscedastic(spec: Spec, config: HomoscedasticConfig, key: Key[Array, ""]) -> FitState:
    params = make_homoscedastic(
        key,
        spec.seen_dim + spec.action_dim,
        spec.obs_dim + 1,
        ensemble_size=config.ensemble_size,
        hidden_sizes=config.hidden_sizes,
        dropout=config.dropout,
    )
    ensemble = unfitted(
        params,
        spec.obs_dim,
        spec.action_dim,
        ensemble_size=config.ensemble_size,
        num_elites=config.ensemble_size,
        residual=config.residual,
        normalize_targets=config.normalize_targets,
        angles=spec.angles,
    )
    return FitState(ensemble, jnp.zeros((), jnp.int32))


def split_rows(config: ModelConfig | HomoscedasticConfig, capacity: int, key: Key[Array, ""]) -> DataSplit:
    """Which rows of a buffer are held out and which each member learns from, once for a whole run."""
    return make_split(key, capacity, config.ensemble_size, config.holdout_ratio, bootstrap=config.bootstrap)


def refit(
    state: FitState,
    real: Replay,
    split: DataSplit,
    key: Key[Array, ""],
    config: ModelConfig | HomoscedasticConfig,
    *,
    newest: int = 0,
) -> tuple[FitState, Metrics]:
    """`fit_ensemble` with an agent's settings, or `fit_homoscedastic`.

    Args:
        newest: Rows that the fit before had not got; 0 if nobody knows.
    """
    if isinstance(config, HomoscedasticConfig):
        return _refit_homoscedastic(state, real, split, key, config, newest)
    return fit_ensemble(
        state,
        real,
        split,
        key,
        optimizer=adam(config.learning_rate, config.max_grad_norm),
        batch_size=config.batch_size,
        weight_decay=config.weight_decay,
        max_epochs=config.max_epochs,
        min_epoch_batches=config.min_epoch_batches,
        max_epoch_batches=config.max_epoch_batches,
        max_holdout=min(config.max_holdout, split.holdout_slots.shape[0]),
        patience=config.patience,
        first_fit_factor=config.first_fit_factor,
    )


def _refit_homoscedastic(
    state: FitState, real: Replay, split: DataSplit, key: Key[Array, ""], config: HomoscedasticConfig, newest: int
) -> tuple[FitState, Metrics]:
    outputs = state.ensemble.targets.mean.shape[0]
    max_holdout = min(config.max_holdout, split.holdout_slots.shape[0])
    fitted, metrics = fit_homoscedastic(
        state,
        real,
        split,
        key,
        learning_rate=config.learning_rate,
        final_rate_share=config.final_rate_share,
        batch_size=config.batch_size,
        weight_decay=config.weight_decay,
        weight_decay_rows=config.weight_decay_rows,
        min_epoch_batches=config.min_epoch_batches,
        max_epoch_batches=config.max_epoch_batches,
        patience=max(round(config.patience * math.log(outputs)), 1),
        max_epochs=config.max_epochs,
        first_fit_factor=config.first_fit_factor,
        improvement=config.improvement,
        max_holdout=max_holdout,
    )
    if not config.unseen_noise:
        return fitted, metrics
    fitted, noise = with_unseen_noise(
        state, fitted, real, split, newest=min(newest, real.capacity), max_holdout=max_holdout
    )
    return fitted, {**metrics, "model_noise": jnp.sqrt(noise).mean()}


def init_termination(spec: Spec, rule: TerminationFn | None, key: Key[Array, ""]) -> TerminationModel | None:
    """What learns when an episode ends, if no rule is given."""
    if rule is not None:
        return None
    return make_termination_model(jax.random.fold_in(key, _TERMINATION_KEY), spec.obs_dim, spec.action_dim, spec.angles)


def refit_termination(
    learned: TerminationModel | None,
    rule: TerminationFn | None,
    real: Replay,
    split: DataSplit,
    key: Key[Array, ""],
    newest: int,
) -> tuple[TerminationModel | None, Metrics]:
    """Learn the ends again; or hold the rule given against the `newest` real transitions."""
    if learned is not None:
        return fit_termination(learned, real, split, jax.random.fold_in(key, _TERMINATION_KEY))
    assert rule is not None
    return None, {"termination_mismatch": termination_mismatch(rule, real, min(newest, real.capacity))}


def completed(model_step: ModelStep, reward_fn: RewardFn | None, learned: TerminationModel | None) -> ModelStep:
    """The model with the reward that was given and the ends that were learned, where that is so."""
    if reward_fn is not None:
        model_step = with_reward(model_step, reward_fn)
    return model_step if learned is None else with_learned_termination(model_step, learned)


def ending_early(
    model_step: ModelStep,
    rule: TerminationFn,
    learned: TerminationModel | None,
    spread: Float[Array, " obs"],
    margin: float,
) -> ModelStep:
    """The model with ends that come early, by what was learned of them or else by the rule; the same if margin is 0."""
    if not margin:
        return model_step

    def ends(obs: Array, action: Array, next_obs: Array, key: Key[Array, ""]) -> Array:
        return rule(obs, action, next_obs) if learned is None else draw_ends(learned, obs, action, next_obs, key)

    return with_end_margin(model_step, ends, spread, margin)
