"""Presets: files with the values they always had, found by environment, read from a user's file."""

import json
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from tiny_tasks import one_paragraph

from mbpo.agents.config import MBPOConfig
from mbpo.envs.make import EnvSource
from mbpo.envs.tasks import termination_fn_for
from mbpo.errors import ConfigError, UnsupportedEnvironment
from mbpo.training.algorithms import ALGORITHMS
from mbpo.training.config import ALGOS, RunConfig, to_dict
from mbpo.training.presets import find_preset, preset, presets, presets_for, read_preset
from mbpo.training.spaces import spec_for

VALUES = json.loads(Path(__file__).with_name("preset_values.json").read_text())
"""What presets resolved to when they were Python dicts."""
PAPER = {  # utd, refits, k, retained epochs, target entropy, steps, observations of -v4 and -v5
    "Hopper": (20, 250, (20, 150, 1, 15), 1, -1, 125_000, 11),
    "HalfCheetah": (40, 250, (20, 150, 1, 1), 1, -3, 400_000, 17),
    "Walker2d": (20, 250, (20, 150, 1, 1), 1, -3, 300_000, 17),
    "Ant": (20, 250, (20, 100, 1, 25), 1, -4, 300_000, 27),
    "Humanoid": (20, 1000, (20, 300, 1, 25), 5, -2, 300_000, 45),
}
MUJOCO = [(name, version) for name in PAPER for version in ("v4", "v5")]


@pytest.mark.parametrize("values", VALUES, ids=lambda values: f"{values['env']}-{values['algo']}")
def test_values_are_those_of_the_dicts_before(values):
    # Regression guard: the presets became files, and no number may have changed on the way. Settings that
    # did not exist then are not looked at.
    config = to_dict(preset(f"{values['env']}-v1", values["algo"]))
    assert config["env_kwargs"] == {}
    assert json.loads(json.dumps(known(config, values["config"]))) == values["config"]


def known(config, recorded):
    """What of `config` was there to be recorded."""
    if not isinstance(recorded, dict):
        return config
    return {name: known(config[name], value) for name, value in recorded.items()}


@pytest.mark.parametrize(("name", "version"), MUJOCO)
def test_settings_of_the_paper(name, version):
    utd, freq, k, retain, entropy, steps, _ = PAPER[name]
    config = preset(f"{name}-{version}")
    mbpo, length = config.mbpo, config.mbpo.rollout_length
    assert (mbpo.utd_ratio, mbpo.model_train_freq, mbpo.model_retain_epochs, config.steps) == (utd, freq, retain, steps)
    assert (length.start_epoch, length.end_epoch, length.start, length.end) == k
    assert mbpo.sac.target_entropy == entropy
    assert (mbpo.random_steps, mbpo.rollout_batch_size, mbpo.sac.gamma, mbpo.sac.tau) == (5000, 100_000, 0.99, 0.005)
    assert mbpo.model.hidden_sizes == ((400,) * 4 if name == "Humanoid" else (200,) * 4)


@pytest.mark.parametrize(("name", "version"), MUJOCO)
def test_observations_of_the_paper_with_a_known_end(name, version):
    pytest.importorskip("mujoco")
    truncated = (name, version) == ("Humanoid", "v4")  # No option of Gymnasium's: see the preset.
    env_id = "mbpo/HumanoidTruncatedObs-v4" if truncated else f"{name}-{version}"
    env = EnvSource.of(env_id, preset(env_id).env_kwargs).training_env()
    assert env.observation_space.shape == (PAPER[name][-1],)
    assert termination_fn_for(env) is not None
    assert preset(env_id).mbpo == preset(f"{name}-{version}").mbpo
    env.close()


def test_all_algorithms_learn_the_same_task():
    kwargs = preset("Ant-v5").env_kwargs
    assert kwargs == {"include_cfrc_ext_in_observation": False}
    for algo in ALGOS:
        assert preset("Ant-v5", algo).env_kwargs == kwargs
        assert preset("Hopper-v5", algo).env_kwargs == {}


@pytest.mark.parametrize("version", ["v4", "v5"])
def test_the_angle_of_half_cheetah_is_the_joint_that_winds_up(version):
    mujoco = pytest.importorskip("mujoco")
    env = EnvSource.of(f"HalfCheetah-{version}").training_env()
    obs, _ = env.reset(seed=0)
    model, data = env.unwrapped.model, env.unwrapped.data
    winding = np.flatnonzero((model.jnt_type == mujoco.mjtJoint.mjJNT_HINGE) & (model.jnt_limited == 0))
    places = [model.jnt_qposadr[joint] for joint in winding]
    assert (
        [int(np.flatnonzero(obs == data.qpos[place])[0]) for place in places]
        == list(spec_for(env, "sac").angles)
        == [1]
    )
    env.close()


@pytest.mark.parametrize("name", presets())
def test_each_file_is_valid_and_speaks_for_itself(name):
    found = presets()[name]
    assert found.config("Task-v0").algo == found.algo
    assert found.title.endswith((".", ")."))
    assert found.envs
    for env in found.envs:
        assert presets_for(f"space/{env}")[found.algo] is found
    assert preset("Unheard-v3", found.algo) == RunConfig(env_id="Unheard-v3", algo=found.algo)


def test_no_two_presets_are_meant_for_the_same():
    keys = [(found.algo, env) for found in presets().values() for env in found.envs]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    "env_id", ["Pendulum-v1", "Pendulum-v12", "Pendulum", "module:Pendulum-v1", "space/Pendulum-v0"]
)
def test_presets_are_found_by_name(env_id):
    assert preset(env_id).mbpo == preset("Pendulum-v1").mbpo != MBPOConfig()
    assert preset(env_id).env_id == env_id


@pytest.mark.parametrize("env_id", ["MyPendulum-v1", "Pendulum-vx", "Pendulum-v1x", "pendulum-v1", "Pendulum-", ""])
def test_presets_of_other_names_are_not_taken(env_id):
    assert preset(env_id).mbpo == MBPOConfig()


def test_a_version_may_have_its_own():
    assert preset("Ant-v5").env_kwargs != preset("Ant-v4").env_kwargs
    assert preset("Ant-v3") == RunConfig(env_id="Ant-v3")


def test_a_copy_serves_another_task(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(presets()["hopper"].text.replace("utd_ratio = 20", "utd_ratio = 3"))
    config = find_preset(file).config("MyTask-v0")
    assert (config.env_id, config.mbpo.utd_ratio, config.mbpo.rollout_length.end) == ("MyTask-v0", 3, 15)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("algo = mbpo", ["TOML", "mbpo presets"]),
        ("steps = 3", ["must name its algorithm", "None"]),
        ('algo = "mpbo"', ["'mpbo'", "one of mbpo"]),
        ('algo = "mbpo"\nenvs = "Hopper"', ["envs", "list"]),
        ('algo = "mbpo"\nenv_id = "Hopper-v4"', ["env_id"]),
        ('algo = "mbpo"\n[sac]\nutd_ratio = 1', ["settings of sac"]),
        ('algo = "mbpo"\n[mbpo]\nutd_ration = 1', ["'mbpo.utd_ration'", "utd_ratio", "file"]),
        ('algo = "mbpo"\nsteps = 1.5', ["'steps'"]),
    ],
)
def test_what_is_no_preset(text, words):
    with pytest.raises(ConfigError) as caught:
        read_preset(text, "file").config("Task-v0")
    for word in words:
        assert word in one_paragraph(str(caught.value))


def test_a_preset_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"no preset 'hoper'.*Did you mean 'hopper'"):
        find_preset("hoper")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read"):
        find_preset(tmp_path / "bytes.toml")


# --- arguments of the environment ---------------------------------------------------------------


def test_an_unknown_argument_of_the_environment():
    with pytest.raises(UnsupportedEnvironment) as caught:
        EnvSource.of("Pendulum-v1", {"gravity": 5.0}).training_env()
    message = one_paragraph(str(caught.value))
    for words in ("gravity=5.0", "Its arguments are: render_mode, g.", "env_kwargs"):
        assert words in message


@pytest.mark.parametrize("env_id", ["mbpo/AntTorsoFrame-v4", "mbpo/HumanoidTruncatedObs-v4", "Ant-v4"])
def test_a_task_that_is_seen_otherwise_takes_the_arguments_of_gymnasiums(env_id):
    pytest.importorskip("mujoco")
    with pytest.raises(UnsupportedEnvironment) as caught:
        EnvSource.of(env_id, {"healthy_z_rang": [0, 1]}).training_env()
    message = one_paragraph(str(caught.value))
    for words in ("Did you mean 'healthy_z_range'", "Its arguments are: ", "reset_noise_scale"):
        assert words in message


def test_arguments_reach_both_environments_and_come_back_with_the_run(tmp_path):
    kind = ALGORITHMS["sac"]
    agent = kind("Pendulum-v1", env_kwargs={"g": 1.5}, random_steps=10, sac={"hidden_sizes": [4], "batch_size": 4})
    agent.save(tmp_path / "run")
    again = kind.load(tmp_path / "run")
    for made in (agent, again):
        assert made.config.env_kwargs == {"g": 1.5}
        for env in (made._source.training_env(), made._source.evaluation_env()):
            assert env.unwrapped.g == 1.5
        made.close()


def test_an_environment_that_is_made_already_takes_none():
    with pytest.raises(ConfigError, match="made already"):
        ALGORITHMS["sac"](lambda: gymnasium.make("Pendulum-v1"), env_kwargs={"g": 1.5})
    pytest.importorskip("mujoco")
    agent = ALGORITHMS["sac"](gymnasium.make("Ant-v5"), sac={"hidden_sizes": [4]}, replay_capacity=5000)
    assert (agent.config.env_kwargs, agent.spec.obs_dim) == ({}, 105)
    agent.close()
