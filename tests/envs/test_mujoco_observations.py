"""Our variants of MuJoCo tasks differ from Gymnasium's in what is seen, and in nothing else."""

import gymnasium
import numpy as np
import pytest

import mbpo.envs.make  # noqa: F401
from mbpo.training.presets import preset

pytest.importorskip("mujoco")


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
