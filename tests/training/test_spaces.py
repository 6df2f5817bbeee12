"""Each algorithm takes the spaces it can learn in, and for others names those that can."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from tiny_tasks import one_paragraph

from mbpo.errors import ConfigError, UnsupportedEnvironment
from mbpo.training.config import ALGOS, TABULAR_ALGOS
from mbpo.training.spaces import spec_for
from mbpo.types import Spec, TabularSpec

CONTINUOUS = [algo for algo in ALGOS if algo not in TABULAR_ALGOS]


def refusal(env_id: str, algo: str) -> str:
    with pytest.raises(UnsupportedEnvironment) as caught:
        spec_for(gymnasium.make(env_id), algo)
    return one_paragraph(str(caught.value))


def test_each_algorithm_gets_its_kind_of_spec():
    for algo in CONTINUOUS:
        assert isinstance(spec_for(gymnasium.make("Pendulum-v1"), algo), Spec)
    for algo in TABULAR_ALGOS:
        assert spec_for(gymnasium.make("CliffWalking-v1"), algo) == TabularSpec(48, 4)


@pytest.mark.parametrize("algo", CONTINUOUS)
def test_a_table_is_named_to_those_who_need_numbers(algo):
    message = refusal("CliffWalking-v1", algo)
    assert "--algo dyna-q" in message
    assert f"but {algo} " in message
    assert not any(f"--algo {other}" in message for other in CONTINUOUS)


def test_the_others_are_named_to_the_table():
    message = refusal("Pendulum-v1", "dyna-q")
    assert "Discrete observation space" in message
    assert all(f"--algo {other}" in message for other in CONTINUOUS)
    assert "--algo dyna-q" not in message


@pytest.mark.parametrize("algo", ALGOS)
def test_where_nobody_can_that_is_said(algo):
    # Continuous observations, discrete actions.
    message = refusal("CartPole-v1", algo)
    assert "None of" in message
    assert all(name in message for name in ALGOS)


def test_a_table_too_large_is_refused():
    class Huge(gymnasium.Env):
        observation_space, action_space = spaces.Discrete(2**24 + 1), spaces.Discrete(2)

    with pytest.raises(UnsupportedEnvironment, match=str(2**24)):
        spec_for(Huge(), "dyna-q")
    Huge.observation_space = spaces.Discrete(2**24)
    assert spec_for(Huge(), "dyna-q").num_states == 2**24
    assert int(np.float32(2**24 - 1)) == 2**24 - 1  # The last number is still told from its neighbours.


def test_angles_are_numbers_of_the_observation():
    spec = spec_for(gymnasium.make("Pendulum-v1"), "mbpo", (2, 0, 2))
    assert spec.angles == (0, 2)
    assert (spec.obs_dim, spec.seen_dim) == (3, 5)
    assert spec != spec_for(gymnasium.make("Pendulum-v1"), "mbpo")
    assert spec_for(gymnasium.make("Pendulum-v1"), "mbpo").angles == ()
    with pytest.raises(ConfigError, match="0 to 2") as caught:
        spec_for(gymnasium.make("Pendulum-v1"), "mbpo", (1, 3))
    assert "[1, 3]" in one_paragraph(str(caught.value))
    with pytest.raises(ConfigError, match="dyna-q learns in tables") as caught:
        spec_for(gymnasium.make("CliffWalking-v1"), "dyna-q", (0,))
    one_paragraph(str(caught.value))


def test_angles_of_a_known_task_only_where_they_are_for_certain():
    pytest.importorskip("mujoco")
    cheetah = gymnasium.make("HalfCheetah-v5")
    for algo in ("mbpo", "mbpo-dh", "sac", "pets"):
        assert spec_for(cheetah, algo).angles == (1,)
        assert spec_for(cheetah, algo, ()).angles == ()
    shifted = gymnasium.make("HalfCheetah-v5", exclude_current_positions_from_observation=False)
    assert spec_for(shifted, "mbpo").angles == ()
    assert spec_for(gymnasium.wrappers.TimeAwareObservation(cheetah), "mbpo").angles == ()
    assert spec_for(gymnasium.make("HalfCheetah-v5", forward_reward_weight=2.0), "mbpo").angles == (1,)
