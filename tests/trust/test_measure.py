"""All measurements on a tiny run: they repeat, leave the run alone, and refuse what they cannot look into."""

import hashlib
import json

import jax
import numpy as np
import pytest
import tiny_tasks
from tiny_tasks import EPISODE_STEPS, RUN_SETTINGS, SHORT, one_paragraph, read_lines

from mbpo import MBPO
from mbpo.envs.make import EnvSource
from mbpo.errors import CheckpointError, ConfigError, RunFolderError
from mbpo.training.algorithms import PETS, SAC
from mbpo.trust import measure as measure_module
from mbpo.trust.measure import measure
from mbpo.trust.trajectories import episode_limit, record_episodes
from mbpo.viz.trust_report import as_json

FEW = {"ROWS_PER_SHARE": 60, "DATA_ROWS": (80, 80), "VARIATION_STATES": 16}


@pytest.fixture(scope="module", autouse=True)
def small_experiment():
    """A shift experiment of a few hundred steps."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in FEW.items():
            patch.setattr(measure_module, name, value)
        yield


def contents(folder):
    files = (file for file in sorted(folder.rglob("*")) if file.is_file())
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.fixture(scope="module")
def trust(tiny_run):
    before = contents(tiny_run)
    found = measure(tiny_run, episodes=3)
    assert contents(tiny_run) == before
    return found


def test_everything_is_measured(trust):
    assert (trust.algo, trust.env_step, trust.real_rows, trust.steps) == ("mbpo", 80, 80, EPISODE_STEPS)
    assert trust.returns.shape == (3,)
    assert trust.output_names == ("obs[0]", "obs[1]", "obs[2]", "reward")
    assert trust.compounding.step.tolist() == list(range(1, EPISODE_STEPS + 1))
    assert trust.compounding.output_median.shape == (EPISODE_STEPS, 4)
    assert trust.calibration.step.tolist() == [1, 5, 20]
    assert trust.promise.paid_real.shape == trust.promise.alive_model.shape == (EPISODE_STEPS // 2,)
    assert trust.promise.starts == 3 * (EPISODE_STEPS // 2 + 1)  # Of these half an episode is recorded.
    assert 0 < trust.on_policy_error < 1
    assert 0 < trust.own_on_policy_error <= 1
    assert [curve.rows for curve in trust.shift.curves] == [5, 20, 80]
    for curve in trust.shift.curves:
        assert curve.shift.shape == (18,)  # Six λ, three starts each.
        assert curve.shift[0] == 0
        assert curve.shift[-1] == pytest.approx(trust.shift.uniform_variation)
        assert np.isfinite(curve.line.standard_error)
    assert trust.bound.gamma == 0.99
    assert trust.bound.on_policy_error == trust.on_policy_error
    assert trust.policy_shift.source == "recorded"
    assert trust.branches_per_refit == 64
    assert set(trust.history) >= {"rollout_length", "rollout_alive", "model_holdout_error"}


def test_the_same_seed_gives_the_same_numbers(tiny_run, trust):
    again = as_json(measure(tiny_run, episodes=3)) | {"seconds": 0}
    assert again == as_json(trust) | {"seconds": 0}


def test_json_is_json(trust):
    values = json.loads(json.dumps(as_json(trust), allow_nan=False))
    assert values["compounding"]["median"][0] == pytest.approx(float(trust.compounding.median[0]))
    assert values["shift"]["curves"][0]["line"]["slope"] == trust.shift.curves[0].line.slope


def test_another_seed_and_a_run_that_recorded_no_shift(tiny_run, trust, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("config.json", "checkpoint"):
        (copy / name).symlink_to(tiny_run / name)
    recorded = read_lines(tiny_run)
    lines = [json.dumps({k: v for k, v in record.items() if k != "policy_shift"}) for record in recorded]
    (copy / "metrics.jsonl").write_text("\n".join([*lines, ""]))
    found = measure(copy, episodes=3, seed=4)
    assert found.on_policy_error != trust.on_policy_error
    assert trust.policy_shift == (recorded[-1]["policy_shift"], "recorded", 0.0)
    assert found.policy_shift.source == "bounded below"
    assert 0 < found.bound.policy_shift < 1


def test_pets_has_a_model_and_no_policy(tmp_path):
    settings = {name: RUN_SETTINGS[name] for name in ("eval_freq", "termination", "random_steps", "model")}
    planner = {"horizon": 3, "population": 8, "num_elites": 2, "iterations": 1, "num_particles": 2}
    agent = PETS(SHORT, out=tmp_path / "run", eval_episodes=2, replay_capacity=200, **settings, **planner).learn(31)
    agent.close()
    found = measure(tmp_path / "run", episodes=2)
    assert found.compounding.median.shape == (EPISODE_STEPS,)
    assert (found.policy_shift, found.shift, found.bound, found.own_bound) == (None, None, None, None)
    assert found.promise is None


def test_refusals(tmp_path, tiny_run):
    with pytest.raises(RunFolderError, match="no folder"):
        measure(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="at least 1 episode"):
        measure(tiny_run, episodes=0)
    with pytest.raises(ConfigError, match="seed"):
        measure(tiny_run, seed=-1)

    SAC(SHORT, sac={"hidden_sizes": [8]}, replay_capacity=50, random_steps=20).save(tmp_path / "sac")
    with pytest.raises(RunFolderError, match="learns no ensemble") as refusal:
        measure(tmp_path / "sac")
    one_paragraph(str(refusal.value))

    MBPO(SHORT, **RUN_SETTINGS).learn(10).save(tmp_path / "early")
    with pytest.raises(RunFolderError, match="had not been fitted yet") as refusal:
        measure(tmp_path / "early")
    one_paragraph(str(refusal.value))

    MBPO(tiny_tasks.PendulumEnv, **RUN_SETTINGS).save(tmp_path / "object")
    with pytest.raises(RunFolderError, match="given as an object") as refusal:
        measure(tmp_path / "object")
    one_paragraph(str(refusal.value))

    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "config.json").write_bytes((tiny_run / "config.json").read_bytes())
    (tmp_path / "begun" / "metrics.jsonl").touch()
    with pytest.raises(CheckpointError, match="no checkpoint") as refusal:
        measure(tmp_path / "begun")
    one_paragraph(str(refusal.value))


def test_equal_starts_have_equal_resets():
    source = EnvSource.of(SHORT)
    assert episode_limit(source, 10_000) == EPISODE_STEPS
    assert episode_limit(source, 7) == 7

    def still(obs, memory, key):
        return np.zeros((len(obs), 1), np.float32), memory

    slots = record_episodes(
        source, still, (), starts=[5, 6, 5], steps=EPISODE_STEPS + 3, seed=0, at_step=0, key=jax.random.key(0)
    )
    assert [[episode.length for episode in slot] for slot in slots] == [[EPISODE_STEPS, 3]] * 3
    for number in range(2):
        np.testing.assert_array_equal(slots[0][number].obs, slots[2][number].obs)
        assert not np.array_equal(slots[0][number].obs, slots[1][number].obs)
    assert not np.array_equal(slots[0][0].obs[0], slots[0][1].obs[0])
