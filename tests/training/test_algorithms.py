"""Every algorithm on the one loop: run folders, exact resume, and which algorithm a folder holds."""

import contextlib
import json
import re
from functools import reduce

import gymnasium
import numpy as np
import pytest
from tiny_tasks import RUN_SETTINGS, SHORT, one_paragraph, same_weights, without_time

from mbpo import MBPO, MBPODH, PETS, SAC, DynaQ
from mbpo.envs.mazes import Layout, Maze
from mbpo.errors import ConfigError
from mbpo.training.algorithms import ALGORITHMS, load
from mbpo.training.config import ALGOS, section

SETTINGS = {
    "mbpo-dh": {
        "random_steps": 30,
        "replay_capacity": 100,
        "model_train_freq": 20,
        "critic_updates": 3,
        "first_updates": 5,
        "rollout_freq": 4,
        "rollout_batch_size": 6,
        "rollout_length": 3,
        "retain_rollouts": 2,
        "termination": "never",
        "learner": {"hidden_sizes": [8, 8], "num_critics": 3, "horizon": 2, "batch_size": 6},
        "model": {"hidden_sizes": [8], "ensemble_size": 3, "max_epochs": 2, "batch_size": 16},
    },
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
    "dyna-q": {"planning_steps": 5, "alpha": 0.5, "eval_max_steps": 50},
}
CLASSES = {"mbpo-dh": MBPODH, "sac": SAC, "pets": PETS, "dyna-q": DynaQ}
ENVS = {"mbpo-dh": SHORT, "sac": SHORT, "pets": SHORT, "dyna-q": "FrozenLake-v1"}


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
        return keep(CLASSES[algo](ENVS[algo], seed=3, out=out, eval_freq=25, eval_episodes=2, **SETTINGS[algo]))

    return made


def test_every_algorithm_has_a_class_of_its_name():
    assert set(ALGORITHMS) == set(ALGOS) == {"mbpo", *SETTINGS}
    assert all(kind.algo == name for name, kind in ALGORITHMS.items())


def test_settings_that_would_help_where_training_diverges_exist():
    for kind in ALGORITHMS.values():
        env, settings = ("FrozenLake-v1", {}) if kind is DynaQ else (SHORT, {"random_steps": 30})
        with contextlib.closing(kind(env, **settings)) as algorithm:
            agent, _ = algorithm.learned
            names = re.findall(r"[a-z_]+(?:\.[a-z_]+)+|[a-z]+_[a-z_]+|alpha", agent.steadier)
            assert names
            for name in names:
                reduce(getattr, name.split("."), agent.config)


def test_resume_equals_uninterrupted(make, keep, algo, tmp_path):
    whole = make(algo, tmp_path / "whole").learn(70)
    make(algo, tmp_path / "cut").learn(47)
    again = keep(load(tmp_path / "cut", resume=True)).learn(23)
    assert type(again) is CLASSES[algo]
    assert again.env_step == whole.env_step == 70
    assert same_weights(again._run.state, whole._run.state)
    # A stop writes a record of its own at step 47.
    one, other = ([r for r in without_time(run.records) if r["env_step"] != 47] for run in (again, whole))
    assert one == other
    assert len(one) > 2
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
    assert set(config) & set(map(section, ALGOS)) == {section(algo)}


def test_without_a_model_no_termination_rule_is_asked_for(keep):
    class Unknown(gymnasium.Wrapper):
        pass

    agent = keep(SAC(lambda: Unknown(gymnasium.make("Pendulum-v1")), **SETTINGS["sac"]))
    assert agent.predict(np.zeros(3))[0].shape == (1,)


def corridor() -> Maze:
    """The way on the right closes after 300 steps, and one on the left opens."""
    return Maze(Layout(("....G", "####.", "..S.."), ("....G", ".####", "..S.."), change_step=300))


def test_a_world_that_changes_is_the_same_after_a_resumption(keep, tmp_path):
    settings = {"seed": 1, "eval_freq": 50, "eval_episodes": 1, **SETTINGS["dyna-q"]}
    whole = keep(DynaQ(corridor, out=tmp_path / "whole", **settings)).learn(500)
    keep(DynaQ(corridor, out=tmp_path / "cut", **settings)).learn(423)
    again = keep(DynaQ.load(tmp_path / "cut", env=corridor, resume=True)).learn(77)
    assert same_weights(again._run.state, whole._run.state)
    evaluated = {r["env_step"]: r["eval_length_mean"] for r in whole.records if "eval_return_mean" in r}
    # Evaluations meet the walls of their moment: what was right before the change is not right after it.
    assert evaluated[250] == 4
    assert evaluated[300] == 50
    assert [r["eval_cut"] for r in whole.records if r["env_step"] == 300] == [1]


def test_states_and_actions_of_a_table_are_whole_numbers(keep, tmp_path):
    agent = keep(DynaQ("CliffWalking-v1", seed=0, out=tmp_path / "run")).learn(2000)
    assert agent.evaluate(3).returns.tolist() == [-13.0] * 3
    action, _ = agent.predict(np.int64(36))
    assert action.dtype == np.int64
    assert action == 0  # Up, from the start.
    assert agent.predict(np.array([24, 25]))[0].tolist() == [1, 1]  # Along the cliff.
    with pytest.raises(ValueError, match="48 is not in"):
        agent.predict(np.array([48]))
    assert load(tmp_path / "run").spec == agent.spec


def test_a_reward_function_replaces_the_learned_reward(keep, tmp_path):
    def reward_fn(obs, action, next_obs):
        return 100 - next_obs[:, 2] ** 2

    agent = keep(PETS(SHORT, seed=3, out=tmp_path / "run", reward_fn=reward_fn, **SETTINGS["pets"])).learn(31)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["config"]["reward"] == "given"
    with pytest.raises(ConfigError, match="reward_fn"):
        PETS.load(tmp_path / "run")
    again = keep(PETS.load(tmp_path / "run", reward_fn=reward_fn))
    obs = np.zeros((1, 3), np.float32)
    with pytest.warns(UserWarning, match=r"config\.json is not the file"):
        learned = keep(make_like(tmp_path / "run"))
    np.testing.assert_array_equal(again.predict(obs)[0], agent.predict(obs)[0])
    assert not np.array_equal(learned.predict(obs)[0], agent.predict(obs)[0])


def make_like(folder) -> PETS:
    """The same run without its reward function."""
    path = folder / "config.json"
    path.write_text(path.read_text().replace('"reward": "given"', '"reward": "learned"'))
    return PETS.load(folder)


def test_mbpo_imagines_the_reward_it_is_given(keep):
    agent = keep(MBPO(SHORT, seed=0, reward_fn=lambda obs, action, next_obs: 0 * obs[:, 0] + 5, **RUN_SETTINGS))
    agent.learn(31)
    imagined = agent._run.state.imagined
    rewards = np.asarray(imagined.data.reward)[: int(imagined.size)]
    assert rewards.size
    assert (rewards == 5).all()


@pytest.mark.parametrize(
    ("kind", "reward_fn", "words"),
    [
        (PETS, lambda obs, action, next_obs: next_obs, "gives shape (5, 3)"),
        (MBPO, lambda obs, action, next_obs: next_obs, "gives shape (5, 3)"),
        (SAC, lambda obs, action, next_obs: obs[:, 0], "sac does not imagine"),
    ],
)
def test_a_reward_function_that_does_not_fit_is_refused_before_training(kind, reward_fn, words):
    with pytest.raises(ConfigError) as caught:
        kind("Pendulum-v1", reward_fn=reward_fn)
    assert words in one_paragraph(str(caught.value))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"horizon": 0}, ["pets.horizon", "greater than or equal to 1"]),
        ({"planner": "cem", "num_elites": 200}, ["num_elites (200)", "population (40)"]),
        ({"population": 0}, ["pets.population"]),
    ],
)
def test_planners_that_cannot_be_are_refused_before_training(wrong, words):
    with pytest.raises(ConfigError) as caught:
        PETS("Pendulum-v1", **wrong)
    for word in words:
        assert word in one_paragraph(str(caught.value))
