"""Settings that no machine could hold are refused before memory is taken; settings of every preset are not."""

import json
import shutil

import jax
import numpy as np
import pytest
from tiny_tasks import one_paragraph

from mbpo import MBPO, DynaQ
from mbpo.errors import ConfigError
from mbpo.training import memory
from mbpo.training.algorithms import ALGORITHMS
from mbpo.training.memory import kept_bytes
from mbpo.training.presets import preset
from mbpo.types import Spec


@pytest.fixture(autouse=True)
def desktop(monkeypatch):
    """Whatever machine this is."""
    monkeypatch.setattr(memory, "_physical_bytes", lambda: 16 * 2**30)


@pytest.mark.parametrize(
    "settings",
    [
        {"replay_capacity": 10**15},
        {"rollout": "infoprop", "rollout_batch_size": 10**9},
        {"epoch_length": 10**6, "model_train_freq": 1},
        {"rollout_batch_size": 10**9, "model_retain_epochs": 10**4},
        {"rollout": "bound", "rollout_batch_size": 10**9, "bound": {"max_length": 10**5}},
        {"rollout": "infoprop", "infoprop": {"branches": 10**9, "max_length": 10**5}},
        {
            "rollout": "infoprop",
            "infoprop": {"calibration_rows": 10**9},
            "model": {"ensemble_size": 999, "num_elites": 999},
        },
        {"sac": {"hidden_sizes": [10**8, 10**8]}},
        {"model": {"hidden_sizes": [10**8, 10**8]}},
        {"sac": {"batch_size": 10**9}},
        {"model": {"batch_size": 10**9}},
    ],
)
def test_too_large_and_whose_fault_it_is(settings):
    with pytest.raises(ConfigError) as caught:
        MBPO("Pendulum-v1", **settings)
    message = one_paragraph(str(caught.value))
    assert "GiB" in message
    named = message.partition("is decided by ")[2].partition(":")[0]
    assert any(name in named for name in (dotted(settings)))


def dotted(settings):
    """The names of settings, as messages say them."""
    for name, value in settings.items():
        yield from (f"{name}.{inner}" for inner in value) if isinstance(value, dict) else [name]


@pytest.mark.parametrize(
    ("algo", "settings"),
    [
        ("sac", {"sac": {"batch_size": 10**9}}),
        ("pets", {"population": 10**9, "horizon": 10**4}),
        ("pets", {"num_particles": 10**9}),
        ("mbpo-dh", {"learner": {"batch_size": 10**9}}),
        ("mbpo-dh", {"learner": {"hidden_sizes": [10**6, 10**6], "batch_size": 1}}),
        ("mbpo-dh", {"model": {"hidden_sizes": [10**6, 10**6], "batch_size": 1}}),
        ("mbpo-dh", {"model": {"batch_size": 10**9}}),
        ("mbpo-dh", {"learner": {"real_rows": 10**9}}),
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
    assert 0.5 * taken < sum(kept_bytes(agent.config, agent.spec).values()) <= taken
    agent.close()


def test_a_table():
    agent = DynaQ("CliffWalking-v1", max_outcomes=5)
    taken = sum(leaf.nbytes for leaf in jax.tree.leaves(agent.learned[1]))
    assert taken - 100 < sum(kept_bytes(agent.config, agent.spec).values()) <= taken  # Counters come on top.
    agent.close()


@pytest.mark.parametrize("settings", [{"max_outcomes": 10**9}, {"planning_steps": 10**9, "max_outcomes": 10**8}])
def test_tables_count(settings):
    with pytest.raises(ConfigError, match="decided by max_outcomes and the numbers"):
        DynaQ("Taxi-v4", **settings)


def test_hopper_fits_a_desktop():
    spec = Spec(11, -np.ones(3, np.float32), np.ones(3, np.float32))
    assert sum(kept_bytes(preset("Hopper-v4", "mbpo"), spec).values()) < 8 * 2**30


def test_a_forged_run_takes_no_memory(tiny_run, tmp_path, monkeypatch):
    folder = shutil.copytree(tiny_run, tmp_path / "run")
    config = json.loads((folder / "config.json").read_text())
    config["config"]["mbpo"]["replay_capacity"] = 10**13
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="GiB"):
        MBPO.load(folder)
    monkeypatch.setattr(memory, "_physical_bytes", lambda: None)  # A system that does not say.
    memory.check_memory(preset("Pendulum-v1"), Spec(3, -np.ones(1, np.float32), np.ones(1, np.float32)))
