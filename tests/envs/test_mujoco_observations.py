"""Our variants of MuJoCo tasks differ from Gymnasium's in what is seen, and in nothing else."""

import copy
import dataclasses
import pickle

import gymnasium
import numpy as np
import pytest

from mbpo.envs.make import SEEN_OTHERWISE, EnvSource
from mbpo.envs.torso_frame import TorsoFrame, in_torso_frame
from mbpo.errors import UnsupportedEnvironment
from mbpo.training.presets import preset

mujoco = pytest.importorskip("mujoco")

TORSO_FRAMES = [
    ("Ant", "v4", "Ant-v4"),
    ("Ant", "v5", "Ant-v5"),
    ("Humanoid", "v4", "mbpo/HumanoidTruncatedObs-v4"),
    ("Humanoid", "v5", "Humanoid-v5"),
]
"""Task, version, and the environment that differs in nothing but the frame."""


def test_the_truncated_humanoid_is_humanoid_in_all_else():
    short, full = gymnasium.make("mbpo/HumanoidTruncatedObs-v4"), gymnasium.make("Humanoid-v4")
    assert short.spec.max_episode_steps == full.spec.max_episode_steps
    seen, whole = short.reset(seed=1)[0], full.reset(seed=1)[0]
    full.action_space.seed(0)
    for _ in range(30):
        assert seen.tolist() == whole[:45].tolist()
        assert seen in short.observation_space
        action = full.action_space.sample()
        seen, *rest = short.step(action)
        whole, *same = full.step(action)
        assert rest[:3] == same[:3]
        if rest[1]:
            break


@pytest.mark.parametrize(("name", "velocities"), [("Hopper", 6), ("Walker2d", 9)])
def test_unclipped_velocities_are_the_only_difference(name, velocities):
    ours, theirs = gymnasium.make(f"mbpo/{name}UnclippedObs-v4"), gymnasium.make(f"{name}-v4")
    assert ours.spec.max_episode_steps == theirs.spec.max_episode_steps
    assert preset(f"mbpo/{name}UnclippedObs-v4").mbpo == preset(f"{name}-v4").mbpo
    seen, clipped = ours.reset(seed=1)[0], theirs.reset(seed=1)[0]
    push = ours.action_space.high  # All joints at full strength: soon fast.
    fastest, ended = 0.0, False
    while not ended:
        whole = seen.copy()
        whole[-velocities:] = np.clip(whole[-velocities:], -10, 10)
        assert whole.tolist() == clipped.tolist()
        assert seen in ours.observation_space
        assert seen[-velocities:].tolist() == theirs.unwrapped.data.qvel.tolist()
        fastest = max(fastest, abs(seen[-velocities:]).max())
        (seen, *rest), (clipped, *same) = ours.step(push), theirs.step(push)
        assert rest[:3] == same[:3]
        ended = rest[1]
    assert fastest > 10  # Something was there to clip.


def _settings(env_id, algo):
    """All that a run of it is set to, but for the environment's name."""
    return dataclasses.replace(preset(env_id, algo), env_id="any-v0")


@pytest.mark.parametrize(("name", "version", "seen_as"), TORSO_FRAMES)
def test_the_torso_frame_is_the_only_difference(name, version, seen_as):
    kwargs = preset(f"mbpo/{name}TorsoFrame-{version}").env_kwargs or {}
    ours, theirs = gymnasium.make(f"mbpo/{name}TorsoFrame-{version}", **kwargs), gymnasium.make(seen_as, **kwargs)
    assert ours.spec.max_episode_steps == theirs.spec.max_episode_steps
    for algo in ("mbpo", "mbpo-dh"):
        assert _settings(f"mbpo/{name}TorsoFrame-{version}", algo) == _settings(seen_as, algo)
    velocity = {"Ant": 13, "Humanoid": 22}[name]
    wrapped = TorsoFrame(gymnasium.make(seen_as, **kwargs), quaternion=1, velocity=velocity)
    assert wrapped.observation_space == ours.observation_space
    torso, plain, same_torso = ours.reset(seed=1)[0], theirs.reset(seed=1)[0], wrapped.reset(seed=1)[0]
    assert len(torso) == len(plain) + 2
    ours.action_space.seed(0)
    for _ in range(30):
        assert torso in ours.observation_space
        assert torso.tolist() == same_torso.tolist() == in_torso_frame(plain, 1, velocity).tolist()
        data, matrix = theirs.unwrapped.data, np.zeros(9)
        quaternion = data.qpos[3:7] / np.linalg.norm(data.qpos[3:7])  # Noise at the reset leaves it of another length.
        mujoco.mju_quat2Mat(matrix, quaternion)
        world = matrix.reshape(3, 3)
        np.testing.assert_allclose(torso[:4], [data.qpos[2], *world[2]], atol=1e-9)
        np.testing.assert_allclose(torso[4:7], world[0], atol=1e-9)
        np.testing.assert_allclose(torso[velocity + 2 : velocity + 5], world.T @ data.qvel[:3], atol=1e-9)
        action = ours.action_space.sample()
        (torso, *rest), (plain, *same), (same_torso, *_) = ours.step(action), theirs.step(action), wrapped.step(action)
        assert rest[:3] == same[:3]
        if rest[1]:
            break


@pytest.mark.parametrize("env_id", ["mbpo/AntTorsoFrame-v4", "mbpo/AntTorsoFrame-v5", "mbpo/HumanoidTorsoFrame-v5"])
def test_with_x_and_y_shown_the_torso_is_found_behind_them(env_id):
    whole = gymnasium.make(env_id, exclude_current_positions_from_observation=False)
    usual = gymnasium.make(env_id)
    assert whole.reset(seed=3)[0][2:].tolist() == usual.reset(seed=3)[0].tolist()


def test_a_truncated_humanoid_with_x_and_y_is_refused():
    for env_id in ("mbpo/HumanoidTruncatedObs-v4", "mbpo/HumanoidTorsoFrame-v4"):
        with pytest.raises(UnsupportedEnvironment, match="does not see its x and y"):
            EnvSource.of(env_id, {"exclude_current_positions_from_observation": False}).training_env()


def test_a_robot_of_another_file_is_found_too(tmp_path):
    ant = gymnasium.make("Ant-v5").unwrapped
    with open(ant.fullpath) as file:
        text = file.read()
    joint = '<joint axis="0 0 1" name="hip_1"'
    assert joint in text
    (tmp_path / "ant.xml").write_text(
        text.replace(joint, '<joint axis="1 0 0" name="extra" range="-30 30" type="hinge"/>\n' + joint, 1)
    )
    env = gymnasium.make("mbpo/AntTorsoFrame-v5", xml_file=str(tmp_path / "ant.xml"))
    obs, data, matrix = env.reset(seed=0)[0], env.unwrapped.data, np.zeros(9)
    assert env.unwrapped.model.nq == 16
    mujoco.mju_quat2Mat(matrix, data.qpos[3:7] / np.linalg.norm(data.qpos[3:7]))
    np.testing.assert_allclose(obs[7:16], data.qpos[7:])
    np.testing.assert_allclose(obs[16:19], matrix.reshape(3, 3).T @ data.qvel[:3], atol=1e-9)
    np.testing.assert_allclose(obs[19:31], data.qvel[3:])


@pytest.mark.parametrize("env_id", SEEN_OTHERWISE)
def test_our_tasks_are_copied_with_their_settings(env_id):
    env = gymnasium.make(env_id, reset_noise_scale=0.03)
    for again in (copy.deepcopy(env), pickle.loads(pickle.dumps(env)), gymnasium.make(env.spec)):
        assert again.reset(seed=5)[0].tolist() == env.reset(seed=5)[0].tolist()
        assert again.observation_space == env.observation_space
