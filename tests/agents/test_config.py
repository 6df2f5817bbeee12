"""Settings: what is unknown, mistyped or impossible is an error, and nothing is swallowed."""

import dataclasses

import pytest
from pydantic import TypeAdapter, ValidationError

from mbpo.agents.config import MBPOConfig, ModelConfig, RolloutLengthConfig, SACConfig
from mbpo.errors import ConfigError

ADAPTER = TypeAdapter(MBPOConfig)


def test_defaults_are_the_papers():
    config = MBPOConfig()
    assert (config.random_steps, config.model_train_freq, config.rollout_batch_size) == (5000, 250, 100_000)
    assert (config.real_ratio, config.utd_ratio, config.epoch_length) == (0.05, 20, 1000)
    assert (config.sac.gamma, config.sac.tau, config.sac.learning_rate) == (0.99, 0.005, 3e-4)
    assert (config.sac.batch_size, config.sac.hidden_sizes) == (256, (256, 256))
    assert (config.model.ensemble_size, config.model.num_elites) == (7, 5)
    assert config.model.hidden_sizes == (200, 200, 200, 200)
    assert (config.model.patience, config.model.max_holdout, config.model.holdout_ratio) == (5, 5000, 0.2)


def test_the_name_probably_meant_is_suggested():
    with pytest.raises(ConfigError, match="'utd_ratio'"):
        MBPOConfig(utd_ration=20)


@pytest.mark.parametrize("kind", [MBPOConfig, SACConfig, ModelConfig, RolloutLengthConfig])
def test_unknown_settings_are_errors(kind):
    with pytest.raises(ConfigError, match="utd_ration"):
        kind(utd_ration=20)


def test_unknown_settings_are_errors_inside_nested_json_too():
    with pytest.raises((ConfigError, ValidationError), match="gama"):
        ADAPTER.validate_json('{"sac": {"gama": 0.9}}')
    assert ADAPTER.validate_json('{"sac": {"gamma": 0.9}}').sac.gamma == 0.9


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (MBPOConfig, {"utd_ratio": 2.0}),  # a float for an integer
        (MBPOConfig, {"utd_ratio": "20"}),
        (MBPOConfig, {"utd_ratio": True}),
        (MBPOConfig, {"real_ratio": "0.05"}),
        (MBPOConfig, {"real_ratio": True}),
        (MBPOConfig, {"sac": None}),
        (SACConfig, {"critic_layer_norm": "yes"}),
        (SACConfig, {"critic_layer_norm": 1}),
        (SACConfig, {"hidden_sizes": 256}),
        (SACConfig, {"hidden_sizes": (256.0,)}),
        (SACConfig, {"target_entropy": "auto"}),
        (ModelConfig, {"residual": "False"}),
        (ModelConfig, {"max_epochs": None}),
    ],
)
def test_wrong_types_are_errors(kind, settings):
    with pytest.raises(ConfigError) as caught:
        kind(**settings)
    # The message names what is wrong.
    assert any(name in str(caught.value) for name in settings)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (MBPOConfig, {"utd_ratio": 0}),
        (MBPOConfig, {"real_ratio": 1.01}),
        (MBPOConfig, {"real_ratio": -0.01}),
        (MBPOConfig, {"random_steps": 0}),
        (MBPOConfig, {"model_train_freq": 0}),
        (MBPOConfig, {"rollout_batch_size": -1}),
        (MBPOConfig, {"random_steps": 5000, "replay_capacity": 4999}),
        (SACConfig, {"gamma": 1.5}),
        (SACConfig, {"tau": 0.0}),
        (SACConfig, {"learning_rate": 0.0}),
        (SACConfig, {"learning_rate": float("nan")}),
        (SACConfig, {"learning_rate": float("inf")}),
        (SACConfig, {"initial_alpha": 0.0}),
        (SACConfig, {"target_entropy": float("nan")}),
        (SACConfig, {"hidden_sizes": ()}),
        (SACConfig, {"hidden_sizes": (256, 0)}),
        (ModelConfig, {"ensemble_size": 3, "num_elites": 4}),
        (ModelConfig, {"holdout_ratio": 0.0}),
        (ModelConfig, {"holdout_ratio": 1.0}),
        (ModelConfig, {"weight_decay": -1e-4}),
        (ModelConfig, {"min_epoch_batches": 30, "max_epoch_batches": 20}),
        (RolloutLengthConfig, {"start": 0}),
        (RolloutLengthConfig, {"start": 5, "end": 4}),
        (RolloutLengthConfig, {"start": 1, "end": 5, "start_epoch": 20, "end_epoch": 20}),
    ],
)
def test_impossible_values_are_errors(kind, settings):
    with pytest.raises(ConfigError) as caught:
        kind(**settings)
    # The message names what is wrong.
    assert any(name in str(caught.value) for name in settings)


def test_an_integer_will_do_for_a_float():
    config = SACConfig(gamma=1, target_entropy=-3)
    assert (config.gamma, config.target_entropy) == (1.0, -3.0)
    assert isinstance(config.gamma, float) and isinstance(config.target_entropy, float)


def test_the_edges_of_what_is_possible_are_possible():
    assert MBPOConfig(real_ratio=0.0).real_ratio == 0.0
    assert MBPOConfig(real_ratio=1.0).real_ratio == 1.0
    assert SACConfig(tau=1.0).tau == 1.0
    assert ModelConfig(ensemble_size=1, num_elites=1).num_elites == 1
    assert RolloutLengthConfig(start=3, end=3, start_epoch=5, end_epoch=5).end == 3


def test_settings_are_frozen_and_survive_a_round_trip():
    config = MBPOConfig(real_ratio=0.5, sac=SACConfig(hidden_sizes=(8,)))
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.real_ratio = 0.1
    assert ADAPTER.validate_json(ADAPTER.dump_json(config)) == config
