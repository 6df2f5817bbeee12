"""Settings of a run: checked like everything a user types, whole from JSON and back."""

import dataclasses
import functools
import json

import numpy as np
import pytest
from tiny_tasks import MBPO_SETTINGS, one_paragraph

from mbpo.errors import ConfigError
from mbpo.training.config import ADDED_SINCE, ALGOS, RunConfig, from_dict, from_run, merge, section, to_dict
from mbpo.training.presets import preset
from mbpo.training.run_folder import read_description, write_description
from mbpo.types import Spec


def complaint(values) -> str:
    with pytest.raises(ConfigError) as caught:
        from_dict(values, where="a test")
    return one_paragraph(str(caught.value))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"stesp": 3}, ["'stesp'", "Did you mean 'steps'", "a test"]),
        ({"mbpo": {"sac": {"gama": 0.9}}}, ["'mbpo.sac.gama'", "Did you mean 'gamma'"]),
        ({"mbpo": {"utd": 3}}, ["'mbpo.utd'"]),
        ({"env": "Pendulum-v1"}, ["'env'", "env_id"]),
        ({"steps": 1.5}, ["'steps'", "1.5"]),
        ({"steps": "100"}, ["'steps'", "'100'"]),
        ({"steps": True}, ["'steps'", "True"]),
        ({"steps": 0}, ["'steps'", "0"]),
        ({"seed": -1}, ["'seed'", "-1"]),
        ({"seed": 2**32}, ["'seed'", str(2**32)]),
        ({"algo": "ppo"}, ["'algo'", "'ppo'"]),
        ({"env_id": None}, ["'env_id'"]),
        ({"mbpo": {"real_ratio": 1.2}}, ["'mbpo.real_ratio'", "1.2"]),
        ({"mbpo": {"sac": {"hidden_sizes": []}}}, ["'mbpo.sac.hidden_sizes'"]),
        ({"mbpo": {"sac": {"learning_rate": float("nan")}}}, ["learning_rate"]),
        ({"mbpo": {"model": {"num_elites": 9}}}, ["num_elites (9)", "ensemble_size (7)"]),
        ({"mbpo": {"rollout_length": {"start": 5}}}, ["rollout_length.end (1)", "rollout_length.start (5)"]),
        ({"mbpo": {"replay_capacity": 100}}, ["replay_capacity (100)", "random_steps (5000)"]),
        ({"steps": 0, "seed": -1}, ["'steps'", "'seed'"]),  # All that is wrong, at once.
        ({"steps": object()}, ["a test", "object"]),
    ],
)
def test_what_is_refused(values, words):
    message = complaint(values)
    for word in words:
        assert word in message


def test_an_integer_may_stand_for_a_float():
    config = from_dict({"mbpo": {"real_ratio": 1}}, where="a test")
    assert config.mbpo.real_ratio == 1.0
    assert isinstance(config.mbpo.real_ratio, float)


def test_settings_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        RunConfig().steps = 3


def test_every_setting_survives_json():
    config = from_dict(
        {"env_id": "a:B-v0", "seed": 2**32 - 1, "mbpo": {**MBPO_SETTINGS, "real_ratio": 0.1}}, where="a test"
    )
    again = from_dict(json.loads(json.dumps(to_dict(config))), where="a test")
    assert again == config
    assert again.mbpo.sac.hidden_sizes == (16, 16)
    assert to_dict(config)["mbpo"]["sac"]["hidden_sizes"] == [16, 16]


@pytest.mark.parametrize(("path", "then"), ADDED_SINCE.items())
def test_an_older_run_goes_on_as_it_was(path, then):
    """What it did not write down is not what new runs begin with; what it did write down counts."""
    algo = next(algo for algo in ALGOS if section(algo) == path[0])

    def at_path(config):
        return functools.reduce(getattr, path, config)

    new = from_dict({"algo": algo}, where="a test")
    written = to_dict(new)
    assert at_path(from_run(written, where="a test")) == at_path(new) != then
    functools.reduce(dict.__getitem__, path[:-1], written).pop(path[-1])
    assert at_path(from_run(written, where="a test")) == then
    assert path[-1] not in functools.reduce(dict.__getitem__, path[:-1], written)
    assert from_run({"algo": "sac"}, where="a test") == from_dict({"algo": "sac"}, where="a test")


def test_an_older_run_may_hold_what_is_no_setting_any_more():
    written = to_dict(from_dict({"algo": "mbpo-dh"}, where="a test"))
    written["mbpo_dh"]["model"]["unseen_noise_rows"] = "newest"
    assert to_dict(from_run(written, where="a test")) == to_dict(from_dict({"algo": "mbpo-dh"}, where="a test"))
    assert written["mbpo_dh"]["model"]["unseen_noise_rows"] == "newest"
    # At another value it would go on as another run.
    written["mbpo_dh"]["model"]["unseen_noise_rows"] = "held-out"
    with pytest.raises(ConfigError, match="unseen_noise_rows"):
        from_run(written, where="a test")


def test_an_older_run_folder_goes_on_as_it_was(tmp_path):
    spec = Spec(3, np.float32([-2.0]), np.float32([2.0]))
    write_description(tmp_path, RunConfig(algo="mbpo-dh"), spec, env_by_id=True)
    file = tmp_path / "config.json"
    values = json.loads(file.read_text())
    del values["config"]["mbpo_dh"]["learner"]["actor_average_rate"]
    file.write_text(json.dumps(values))
    assert read_description(tmp_path).config.mbpo_dh.learner.actor_average_rate == 1.0


def test_to_dict_holds_every_setting():
    def names(cls) -> dict:
        return {f.name: names(f.type) if dataclasses.is_dataclass(f.type) else None for f in dataclasses.fields(cls)}

    def keys(values) -> dict:
        nested = {name for name, value in values.items() if isinstance(value, dict) and name != "env_kwargs"}
        return {name: keys(value) if name in nested else None for name, value in values.items()}

    everything = names(RunConfig)
    for algo in ALGOS:
        # Of the algorithms, only the one that runs.
        others = {section(other) for other in ALGOS if other != algo}
        expected = {name: kind for name, kind in everything.items() if name not in others}
        assert keys(to_dict(preset("Pendulum-v1", algo))) == expected


def test_an_unknown_algorithm_is_named_with_its_near_match():
    with pytest.raises(ConfigError, match=r"'sca'\. Did you mean 'sac'"):
        preset("Pendulum-v1", "sca")


def test_merge_changes_only_what_it_is_told_to():
    base = from_dict({"seed": 4, "mbpo": {"sac": {"gamma": 0.9, "tau": 0.1}}}, where="a test")
    changed = merge(base, {"steps": 7, "mbpo": {"sac": {"gamma": 0.5}}}, where="a test")
    assert (changed.seed, changed.steps, changed.mbpo.sac.gamma, changed.mbpo.sac.tau) == (4, 7, 0.5, 0.1)
    assert merge(base, {}, where="a test") == base
    assert base.mbpo.sac.gamma == 0.9


def test_merge_refuses_what_does_not_fit():
    with pytest.raises(ConfigError, match="Did you mean 'gamma'"):
        merge(RunConfig(), {"mbpo": {"sac": {"gamm": 0.5}}}, where="a test")
    with pytest.raises(ConfigError, match=r"'mbpo\.sac'"):
        merge(RunConfig(), {"mbpo": {"sac": 3}}, where="a test")


def test_arguments_of_the_environment_are_merged_and_survive_json():
    base = from_dict({"env_kwargs": {"a": 1, "box": [0.1, 2], "file": "x.xml"}}, where="a test")
    changed = merge(base, {"env_kwargs": {"a": False, "b": None}}, where="a test")
    assert changed.env_kwargs == {"a": False, "b": None, "box": [0.1, 2], "file": "x.xml"}
    assert from_dict(json.loads(json.dumps(to_dict(changed))), where="a test") == changed


def test_angles_are_a_set_and_numbers_may_be_numpys():
    for angles in ((2, 0, 2), [0, 2], np.array([2, 0]), (np.int64(2), np.int64(0))):
        config = merge(RunConfig(), {"angles": angles, "seed": np.uint32(3)}, where="a test")
        assert (config.angles, config.seed) == ((0, 2), 3)
    with pytest.raises(ConfigError, match="not a number, text, list or mapping") as caught:
        merge(RunConfig(), {"angles": {1, 2}}, where="a test")
    one_paragraph(str(caught.value))
