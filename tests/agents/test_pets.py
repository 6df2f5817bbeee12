"""PETS: its verbs, warm starts, memories, planners and propagations, settings errors; that it learns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import PointMass

from mbpo.agents.config import ModelConfig
from mbpo.agents.pets import PETSAgent, PETSConfig, _World
from mbpo.errors import ConfigError

SMALL = {
    "random_steps": 12,
    "replay_capacity": 64,
    "model_train_freq": 5,
    "horizon": 4,
    "population": 12,
    "num_elites": 3,
    "iterations": 2,
    "num_particles": 2,
    "model": ModelConfig(
        ensemble_size=3, num_elites=2, hidden_sizes=(8,), batch_size=8, max_epochs=2, min_epoch_batches=2
    ),
}
OBS = np.array([0.7], np.float32)
KEY = jax.random.key(5)


def make_agent(reward_fn=None, **changes) -> PETSAgent:
    config = PETSConfig(**{**SMALL, **changes})
    return PETSAgent(PointMass.spec, config, PointMass.terminated, jax.random.key(9), reward_fn)


@pytest.fixture(scope="module")
def agent():
    return make_agent()


def drive(agent: PETSAgent, steps: int, seed: int = 0):
    """The training loop in short: the state, each step's model metrics, the actions."""
    state, x, log, actions = agent.init(jax.random.key(seed)), 1.0, [], []
    for env_step in range(steps):
        model_key, act_key, key = jax.random.split(jax.random.fold_in(jax.random.key(seed), env_step), 3)
        state, metrics = agent.learn_model(state, env_step, model_key)
        action, state = agent.act(state, np.array([x], np.float32), env_step, act_key)
        transition = PointMass.transition(x, action)
        state, nothing = agent.improve(state, transition, env_step, key)
        assert nothing == {}
        log.append(metrics)
        actions.append(action)
        over = transition.terminated or (env_step + 1) % PointMass.steps == 0
        x = 1.0 if over else float(transition.next_obs[0])
    return state, log, np.array(actions)


@pytest.fixture(scope="module")
def driven(agent):
    return drive(agent, 30)


def test_the_verbs_keep_the_algorithms_order(driven):
    state, log, actions = driven
    assert [t for t, metrics in enumerate(log) if metrics] == [12, 17, 22, 27]
    assert "model_holdout_error" in log[12]
    assert int(state.model.num_fits) == 4
    assert int(state.real.size) == 30
    assert actions.shape == (30, 1) and actions.dtype == np.float32
    assert (actions >= -1).all() and (actions <= 3).all()
    np.testing.assert_array_equal(state.real.data.action[:30], actions)


def test_two_runs_are_equal_and_nothing_is_compiled_twice(agent, driven):
    again = drive(agent, 30)
    jax.tree.map(np.testing.assert_array_equal, (again[0].real, again[0].plan), (driven[0].real, driven[0].plan))
    before = [part._cache_size() for part in (PETSAgent._act, PETSAgent._fit, PETSAgent._store)]
    drive(agent, 24, seed=1)
    assert [part._cache_size() for part in (PETSAgent._act, PETSAgent._fit, PETSAgent._store)] == before


def test_first_actions_are_uniform_and_can_be_held():
    agent = make_agent(random_action_hold=4)
    state, _, actions = drive(agent, 12)
    np.testing.assert_array_equal(actions, np.repeat(actions[::4], 4, axis=0))
    draws = np.array([agent.act(state, OBS, 8, key)[0] for key in jax.random.split(KEY, 400)])
    counts, _ = np.histogram(draws, bins=4, range=(-1, 3))
    assert counts.sum() == 400 and counts.min() > 70


def test_acting_moves_the_plan_on_and_an_end_resets_it(agent):
    state = agent.init(KEY)
    np.testing.assert_array_equal(state.plan, np.ones((4, 1)))
    plan = np.asarray(agent._plan(_World(state.model.ensemble, None), jnp.asarray(OBS), state.plan, KEY))
    action, state = agent.act(state, OBS, 12, KEY)
    np.testing.assert_allclose(action, plan[0], rtol=1e-5, atol=1e-6)
    # The new end of the plan is the middle of [-1, 3].
    np.testing.assert_allclose(state.plan, [*plan[1:], [1.0]], rtol=1e-5, atol=1e-6)
    moved = np.asarray(state.plan)
    state, _ = agent.improve(state, PointMass.transition(0.0, action), 12, KEY)
    np.testing.assert_array_equal(state.plan, moved)
    state, _ = agent.improve(state, PointMass.transition(2.9, np.array([3.0], np.float32)), 13, KEY)
    np.testing.assert_array_equal(state.plan, np.ones((4, 1)))


def test_predict_plans_row_by_row_with_memories_of_their_own(agent, driven):
    state = driven[0]
    obs = jnp.array([[0.5], [-1.0], [0.5]])
    memory = agent.memory(3)
    assert all(leaf.shape[0] == 3 for leaf in jax.tree.leaves(memory))
    actions, memory = agent.predict(state, obs, memory)
    assert actions.shape == (3, 1)
    # Equal rows at equal times are equal, and batch mates do not matter.
    np.testing.assert_array_equal(actions[0], actions[2])
    alone, alone_memory = agent.predict(state, obs[1:2], agent.memory(1))
    np.testing.assert_allclose(alone[0], actions[1], rtol=1e-5, atol=1e-6)
    # The second decision starts from the first one's plan, with new random numbers.
    np.testing.assert_array_equal(memory.env_step, [1, 1, 1])
    second, _ = agent.predict(state, obs[1:2], alone_memory)
    fresh, _ = agent.predict(state, obs[1:2], agent.memory(1))
    np.testing.assert_array_equal(fresh, alone)
    assert not np.array_equal(second, fresh)


def test_samples_differ_by_row_and_key(agent, driven):
    obs = jnp.full((4, 1), 0.5)
    actions = np.asarray(agent.sample(driven[0], obs, KEY))
    assert actions.shape == (4, 1)
    assert len(np.unique(actions)) == 4
    np.testing.assert_array_equal(actions, agent.sample(driven[0], obs, KEY))


@pytest.mark.parametrize("planner", ["cem", "icem", "mppi"])
@pytest.mark.parametrize("propagation", ["ts1", "tsinf"])
def test_every_planner_and_propagation_plans_for_a_known_reward(planner, propagation):
    def aim(obs, action, next_obs):
        return -((action[:, 0] - 2.0) ** 2)

    agent = make_agent(
        aim, planner=planner, propagation=propagation, population=100, num_elites=10, iterations=5, temperature=0.1
    )
    actions = agent.sample(agent.init(KEY), jnp.zeros((2, 1)), KEY)
    np.testing.assert_allclose(actions, 2.0, atol=0.4)


def test_the_tail_is_part_of_what_is_planned_for():
    def aim(obs, action, next_obs):
        return -((action[:, 0] - 2.0) ** 2)

    def plan(tail_steps, temperature):
        agent = make_agent(aim, planner="mppi", horizon=1, tail_steps=tail_steps, temperature=temperature)
        return agent.sample(agent.init(KEY), jnp.zeros((1, 1)), KEY)

    # One step that is paid four times over, at four times the temperature, weighs the same.
    np.testing.assert_allclose(plan(3.0, 4.0), plan(0.0, 1.0), rtol=1e-5)
    assert not np.allclose(plan(3.0, 1.0), plan(0.0, 1.0), rtol=1e-3)


def test_it_learns_the_point_mass():
    settings = {
        "random_steps": 60,
        "replay_capacity": 256,
        "model_train_freq": 20,
        "population": 40,
        "num_elites": 6,
        "iterations": 3,
        "model": ModelConfig(
            ensemble_size=3, num_elites=2, hidden_sizes=(32, 32), batch_size=32, learning_rate=3e-3, max_epochs=20
        ),
    }
    agent = make_agent(**settings)
    state, _, _ = drive(agent, 121)
    memory = agent.memory(21)

    def predict(obs):
        nonlocal memory
        actions, memory = agent.predict(state, jnp.asarray(obs), memory)
        return actions

    # Idle scores -31; the best there is, about -2.7: from 2 down at -0.25 a step, from -2 up at 0.75.
    assert PointMass.mean_return(predict) > -4.5


def test_settings_that_cannot_be_are_told():
    for changes, message in [
        ({"horizon": 0}, "horizon"),
        ({"num_elites": 13}, r"num_elites \(13\) cannot exceed population \(12\)"),
        ({"planner": "random"}, "planner"),
        ({"propagation": "moment"}, "propagation"),
        ({"alpha": 1.0}, "alpha"),
        ({"population_decay": 0.9}, "population_decay"),
        ({"temperature": 0.0}, "temperature"),
        ({"fresh_share": 1.0}, "fresh_share"),
        ({"tail_steps": -1.0}, "tail_steps"),
        ({"num_particles": 3}, r"num_particles \(3\) must be at most 2 or a multiple of it"),
        ({"random_steps": 65}, r"replay_capacity \(64\) must hold at least random_steps \(65\)"),
        ({"populaton": 10}, "Did you mean 'population'"),
    ]:
        with pytest.raises(ConfigError, match=message):
            PETSConfig(**{**SMALL, **changes})
    # TS1 deals particles out anew at every step, so any number will do; so will fewer than members.
    assert PETSConfig(**{**SMALL, "propagation": "ts1", "num_particles": 3}).num_particles == 3
    assert PETSConfig(**{**SMALL, "num_particles": 1}).num_particles == 1


def test_a_bad_reward_function_is_told_at_once():
    with pytest.raises(ConfigError, match="The reward function gives shape"):
        make_agent(lambda obs, action, next_obs: next_obs)
