"""Settings that no machine could hold are refused before memory is taken; settings of every preset are not."""

import json
import shutil

import jax
import numpy as np
import pytest
from tiny_tasks import one_paragraph

from mbpo import MBPO
from mbpo.errors import ConfigError
from mbpo.training import memory
from mbpo.training.algorithms import ALGORITHMS
from mbpo.training.memory import least_bytes
from mbpo.training.presets import preset
from mbpo.types import Spec, TabularSpec


@pytest.mark.parametrize(
    "settings",
    [
        {"replay_capacity": 10**15},
        {"rollout_batch_size": 10**14},
        {"sac": {"hidden_sizes": [10**8, 10**8]}},
        {"model": {"hidden_sizes": [10**8, 10**8]}},
        {"sac": {"batch_size": 2 * 10**9}},
        {"model": {"batch_size": 10**11}},
    ],
)
def test_too_large(settings):
    with pytest.raises(ConfigError) as caught:
        MBPO("Pendulum-v1", **settings)
    assert "GiB" in one_paragraph(str(caught.value))


@pytest.mark.parametrize(
    ("algo", "settings"),
    [
        ("sac", {"sac": {"batch_size": 2 * 10**9}}),
        ("pets", {"population": 10**11}),
        ("pets", {"num_particles": 10**12}),
        ("mbpo-dh", {"learner": {"batch_size": 10**12}}),
        ("mbpo-dh", {"learner": {"hidden_sizes": [10**6, 10**6], "batch_size": 1}}),
        ("mbpo-dh", {"model": {"hidden_sizes": [10**6, 10**6], "batch_size": 1}}),
        ("mbpo-dh", {"model": {"batch_size": 10**11}}),
    ],
)
def test_networks_batches_and_candidates_count(algo, settings):
    with pytest.raises(ConfigError) as caught:
        ALGORITHMS[algo]("Pendulum-v1", **settings)
    assert "GiB" in one_paragraph(str(caught.value))


@pytest.mark.parametrize("algo", ["mbpo", "sac", "pets", "mbpo-dh"])
def test_what_is_counted_is_taken(algo):
    # At least: the state of a real agent is never smaller than what was said.
    agent = ALGORITHMS[algo]("Pendulum-v1", replay_capacity=1000)
    state = agent.learned[1]
    taken = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    assert 0.5 * taken < least_bytes(agent.config, agent.spec) <= taken
    agent.close()


def test_a_table():
    assert least_bytes(preset("CliffWalking-v1", "dyna-q"), TabularSpec(48, 4)) == 4 * 48 * 4


def test_hopper_fits_a_desktop():
    spec = Spec(11, -np.ones(3, np.float32), np.ones(3, np.float32))
    assert least_bytes(preset("Hopper-v4", "mbpo"), spec) < 8 * 2**30


def test_a_forged_run_takes_no_memory(tiny_run, tmp_path, monkeypatch):
    folder = shutil.copytree(tiny_run, tmp_path / "run")
    config = json.loads((folder / "config.json").read_text())
    config["config"]["mbpo"]["replay_capacity"] = 10**13
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="GiB"):
        MBPO.load(folder)
    monkeypatch.setattr(memory, "_physical_bytes", lambda: None)  # A system that does not say.
    memory.check_memory(preset("Pendulum-v1"), Spec(3, -np.ones(1, np.float32), np.ones(1, np.float32)))
