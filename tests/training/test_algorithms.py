"""Every algorithm on the one loop: run folders, exact resume, and which algorithm a folder holds."""

import contextlib
import json

import gymnasium
import numpy as np
import pytest
from tiny_tasks import SHORT, one_paragraph, same_weights, without_time

from mbpo import MBPO, PETS, SAC
from mbpo.errors import ConfigError
from mbpo.training.algorithms import ALGORITHMS, load
from mbpo.training.config import ALGOS

SETTINGS = {
    "sac": {"random_steps": 30, "replay_capacity": 100, "sac": {"hidden_sizes": [8], "batch_size": 8}},
    "pets": {
        "random_steps": 30,
        "replay_capacity": 100,
        "model_train_freq": 20,
        "termination": "never",
        "horizon": 4,
        "population": 6,
        "num_elites": 2,
        "iterations": 2,
        "num_particles": 2,
        "model": {"hidden_sizes": [8], "ensemble_size": 3, "num_elites": 2, "max_epochs": 2, "min_epoch_batches": 2},
    },
}
CLASSES = {"sac": SAC, "pets": PETS}


@pytest.fixture(params=list(SETTINGS))
def algo(request):
    return request.param


@pytest.fixture
def keep():
    """Closes at the end what it was given."""
    with contextlib.ExitStack() as stack:
        yield lambda agent: stack.enter_context(contextlib.closing(agent))


@pytest.fixture
def make(keep):
    def made(algo: str, out=None):
        return keep(CLASSES[algo](SHORT, seed=3, out=out, eval_freq=25, eval_episodes=2, **SETTINGS[algo]))

    return made


def test_every_algorithm_has_a_class_of_its_name():
    assert set(ALGORITHMS) == set(ALGOS) == {"mbpo", *SETTINGS}
    assert all(kind.algo == name for name, kind in ALGORITHMS.items())


def test_resume_equals_uninterrupted(make, keep, algo, tmp_path):
    whole = make(algo, tmp_path / "whole").learn(70)
    make(algo, tmp_path / "cut").learn(47)
    again = keep(load(tmp_path / "cut", resume=True)).learn(23)
    assert type(again) is CLASSES[algo]
    assert again.env_step == whole.env_step == 70
    assert same_weights(again._run.state, whole._run.state)
    # A stop writes a record of its own at step 47.
    records = [record for record in without_time(again.records) if record["env_step"] != 47]
    assert records == without_time(whole.records)
    assert not same_weights(whole._run.state, make(algo)._run.state)


def test_a_folder_of_another_algorithm_is_refused(make, algo, tmp_path):
    make(algo, tmp_path / "run").learn(5)
    with pytest.raises(ConfigError) as caught:
        MBPO.load(tmp_path / "run")
    assert algo in one_paragraph(str(caught.value))
    assert "mbpo" in str(caught.value)


def test_only_its_own_settings_are_written_down(make, algo, tmp_path):
    make(algo, tmp_path / "run").learn(1)
    config = json.loads((tmp_path / "run" / "config.json").read_text())["config"]
    assert config["algo"] == algo
    assert set(config) & set(ALGOS) == {algo}


def test_without_a_model_no_termination_rule_is_asked_for(keep):
    class Unknown(gymnasium.Wrapper):
        pass

    agent = keep(SAC(lambda: Unknown(gymnasium.make("Pendulum-v1")), **SETTINGS["sac"]))
    assert agent.predict(np.zeros(3))[0].shape == (1,)
