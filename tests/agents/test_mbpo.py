"""MBPO: that it is SAC when nothing is imagined, acts as told, counts its steps, and repeats itself."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import PointMass

from mbpo.agents.config import MBPOConfig, ModelConfig, RolloutLengthConfig, SACConfig
from mbpo.agents.mbpo import MBPOAgent, MBPOState
from mbpo.agents.sac import sac_updates
from mbpo.data.replay import insert, insert_rows, sample_rows

SMALL = {
    "random_steps": 12,
    "replay_capacity": 64,
    "epoch_length": 10,
    "model_train_freq": 5,
    "rollout_batch_size": 16,
    "rollout_length": RolloutLengthConfig(start_epoch=0, end_epoch=2, start=1, end=3),
    "utd_ratio": 2,
    "sac": SACConfig(hidden_sizes=(8,), batch_size=8),
    "model": ModelConfig(
        ensemble_size=3, num_elites=2, hidden_sizes=(8,), batch_size=8, max_epochs=2, min_epoch_batches=2
    ),
}


def make_agent(**changes) -> MBPOAgent:
    return MBPOAgent(PointMass.spec, MBPOConfig(**{**SMALL, **changes}), PointMass.terminated, jax.random.key(9))


@pytest.fixture(scope="module")
def agent():
    return make_agent(real_ratio=0.5)


def step_key(seed: int, env_step: int):
    return jax.random.split(jax.random.fold_in(jax.random.key(seed), env_step), 3)


class Run(NamedTuple):
    state: MBPOState
    log: list
    """Every step's metrics."""
    actions: list
    compiled: list
    """How many versions of each compiled part there were after every step."""


def drive(agent: MBPOAgent, steps: int, seed: int = 0) -> Run:
    """The training loop in short."""
    state, x, log, actions, compiled = agent.init(jax.random.key(seed)), 1.0, [], [], []
    parts = (MBPOAgent._store, MBPOAgent._fit, MBPOAgent._imagine, MBPOAgent._store_and_update)
    for env_step in range(steps):
        model_key, act_key, improve_key = step_key(seed, env_step)
        state, model_metrics = agent.learn_model(state, env_step, model_key)
        action, state = agent.act(state, np.array([x], np.float32), env_step, act_key)
        transition = PointMass.transition(x, action)
        state, metrics = agent.improve(state, transition, env_step, improve_key)
        log.append({**model_metrics, **metrics})
        actions.append(action)
        compiled.append([part._cache_size() for part in parts])
        over = transition.terminated or (env_step + 1) % PointMass.steps == 0
        x = 1.0 if over else float(transition.next_obs[0])
    return Run(state, log, actions, compiled)


@pytest.fixture(scope="module")
def driven(agent):
    """45 steps: 12 random ones, then epochs 0 to 3, refits at 12, 17, …, 42."""
    return drive(agent, 45)


# --- MBPO without imagination is SAC -------------------------------------------------------------


def test_with_real_ratio_one_an_update_is_sacs_bit_for_bit():
    agent = make_agent(real_ratio=1.0)
    state = agent.init(jax.random.key(0))
    for x in np.linspace(-2, 2, 12):
        state, _ = agent.improve(state, PointMass.transition(x, np.array([x], np.float32)), 0, jax.random.key(0))
    # Imagined rows are there, to be ignored.
    rows = jax.tree.map(lambda a: a[:12] + jnp.ones((), a.dtype), state.real.data)
    state = eqx.tree_at(lambda s: s.imagined, state, insert_rows(state.imagined, rows, jnp.ones(12, bool)))
    transition = PointMass.transition(0.5, np.array([1.0], np.float32))
    key = jax.random.key(77)

    @jax.jit
    def sac_alone(sac, real, transition):
        batch_key, update_key = jax.random.split(key)
        batches = sample_rows(insert(real, transition), batch_key, (2, 8))
        return sac_updates(sac, batches, update_key, spec=agent.spec, config=agent.config.sac)

    expected, expected_metrics = sac_alone(state.sac, state.real, transition)
    # The state given is donated, so this comes second.
    after, metrics = agent.improve(state, transition, 13, key)
    jax.tree.map(np.testing.assert_array_equal, after.sac, expected)
    jax.tree.map(np.testing.assert_array_equal, metrics, expected_metrics)


# --- Acting and storing --------------------------------------------------------------------------


def test_first_actions_are_uniform_over_the_box(agent):
    state = agent.init(jax.random.key(0))
    obs = np.zeros(1, np.float32)
    keys = jax.random.split(jax.random.key(5), 1000)
    actions = np.array([agent.act(state, obs, 11, key)[0] for key in keys])
    assert actions.shape == (1000, 1)
    assert actions.dtype == np.float32
    # Ten equal parts of [−1, 3] with 100 ± 9.5 actions each.
    counts, _ = np.histogram(actions, bins=10, range=(-1, 3))
    assert counts.sum() == 1000
    assert 60 < counts.min() and counts.max() < 145


def test_the_real_environment_is_explored_with_drawn_actions_not_the_mean(agent):
    state = agent.init(jax.random.key(0))
    obs = np.array([0.7], np.float32)
    keys = jax.random.split(jax.random.key(6), 300)
    actions = np.array([agent.act(state, obs, 12, key)[0] for key in keys])
    assert (actions >= -1).all() and (actions <= 3).all()
    # A fresh actor's standard deviation before the tanh is near 1: about 0.6 · 2 in actions.
    assert actions.std() > 0.8
    assert len(np.unique(actions)) == 300
    mean = agent.predict(state, jnp.asarray(obs)[None], ())[0]
    np.testing.assert_array_equal(mean, agent.predict(state, jnp.asarray(obs)[None], ())[0])
    assert -1 < float(mean[0, 0]) < 3
    # The two agree in the middle: tanh is monotone, so the median of the actions is the mean's action.
    assert np.median(actions) == pytest.approx(float(mean[0, 0]), abs=0.35)
    # `sample` is what `act` draws from.
    np.testing.assert_array_equal(
        agent.sample(state, jnp.asarray(obs)[None], keys[0])[0], agent.act(state, obs, 12, keys[0])[0]
    )


def test_the_switch_from_random_to_policy_is_at_random_steps(agent):
    state, key, obs = agent.init(jax.random.key(0)), jax.random.key(8), np.zeros(1, np.float32)
    drawn = np.asarray(agent.sample(state, jnp.asarray(obs)[None], key))[0]
    assert agent.act(state, obs, 11, key)[0] != drawn
    assert agent.act(state, obs, 12, key)[0] == drawn


def test_a_random_action_is_held_as_long_as_told():
    held = drive(make_agent(random_action_hold=5), 14).actions
    every_step = drive(make_agent(), 14).actions
    # The draws themselves are the same; 12 random steps make holds of 5, 5 and 2.
    assert [float(a[0]) for a in held[:12]] == [float(every_step[5 * (i // 5)][0]) for i in range(12)]
    assert len({float(a[0]) for a in every_step[:12]}) == 12
    assert len({float(a[0]) for a in held[10:]}) == 3, "the policy's own actions are not held"


def test_the_buffer_holds_a_transition_at_once(agent):
    state = agent.init(jax.random.key(0))
    for env_step in (0, 1, 12):
        transition = PointMass.transition(0.1 * env_step, np.array([0.5], np.float32))
        before = int(state.real.size)
        state, metrics = agent.improve(state, transition, env_step, jax.random.key(env_step))
        assert int(state.real.size) == before + 1
        row = jax.tree.map(lambda a, i=before: np.asarray(a[i]), state.real.data)
        jax.tree.map(np.testing.assert_array_equal, row, transition)
        # Nothing is learned from the random steps as they happen.
        assert (metrics == {}) == (env_step < 12)


# --- Counting ------------------------------------------------------------------------------------


def test_rollout_length_follows_the_real_steps():
    hopper = make_agent(
        random_steps=5000,
        replay_capacity=5000,
        epoch_length=1000,
        rollout_batch_size=1,
        rollout_length=RolloutLengthConfig(start_epoch=20, end_epoch=150, start=1, end=15),
    )
    by_hand = {
        0: 1,
        5000: 1,  # epoch 0
        25_000: 1,  # epoch 20
        34_999: 1,  # epoch 29
        35_000: 2,  # epoch 30: 1 + 10·14/130 = 2.08
        90_000: 8,  # epoch 85
        154_999: 14,  # epoch 149
        155_000: 15,  # epoch 150
        1_005_000: 15,
    }
    assert {env_step: hopper.rollout_length(env_step) for env_step in by_hand} == by_hand


def test_refits_and_rollouts_happen_when_due_and_grow_as_scheduled(driven):
    log = driven.log
    due = [env_step for env_step, metrics in enumerate(log) if "rollout_length" in metrics]
    assert due == [12, 17, 22, 27, 32, 37, 42]
    # Epoch 0 is steps 12–21, epoch 1 is 22–31, and from epoch 2 on, at step 32, the end is reached.
    lengths = [int(log[env_step]["rollout_length"]) for env_step in due]
    assert lengths == [1, 1, 2, 2, 3, 3, 3]
    for env_step, length in zip(due, lengths, strict=True):
        rows, alive = int(log[env_step]["rollout_rows"]), float(log[env_step]["rollout_alive"])
        # All branches store their first step; those alive at the end have stored all of them.
        assert 16 <= rows <= 16 * length
        assert rows >= 16 * alive * length
        model = SMALL["model"]  # The first fit has no warm start.
        assert int(log[env_step]["model_epochs"]) <= model.max_epochs * (
            model.first_fit_factor if env_step == 12 else 1
        )
    # Updates at every step from the first learned one.
    assert [env_step for env_step, metrics in enumerate(log) if "critic_loss" in metrics] == list(range(12, 45))


def test_the_imagined_buffer_retains_one_epoch_of_rollouts(agent, driven):
    # Two refits an epoch, 16 branches each, k steps.
    assert [agent.retained_rows(k) for k in (1, 2, 3)] == [32, 64, 96]
    state, log = driven.state, driven.log
    assert state.imagined.capacity == 96
    stored = sum(int(m.get("rollout_rows", 0)) for m in log)
    assert int(state.imagined.size) == min(stored, 96)
    assert int(state.real.size) == 45


def test_imagined_rows_are_the_models_under_the_policy_and_the_tasks_rule(driven):
    state = driven.state
    rows = jax.tree.map(lambda a: np.asarray(a)[: int(state.imagined.size)], state.imagined.data)
    assert all(np.isfinite(a).all() for a in rows)
    assert (rows.action >= -1).all() and (rows.action <= 3).all()
    np.testing.assert_array_equal(rows.terminated, abs(rows.next_obs[:, 0]) > 3)
    # No branch goes on from a finished state.
    assert (abs(rows.obs[:, 0]) <= 3).all()


def test_nothing_is_fitted_when_nothing_is_due(agent):
    state = agent.init(jax.random.key(0))
    for env_step in (0, 7, 11, 13, 16):
        same, metrics = agent.learn_model(state, env_step, jax.random.key(0))
        assert same is state and metrics == {}


def test_growing_data_and_lengths_recompile_nothing(driven):
    # By step 12 everything has run once; the data, k and the retention have all grown since.
    assert driven.compiled[-1] == driven.compiled[12]


# --- Repeating -----------------------------------------------------------------------------------


def leaves(state):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state)]


def test_the_same_keys_give_the_same_run_and_others_another(agent, driven):
    again = drive(agent, 45)
    np.testing.assert_array_equal(again.actions, driven.actions)
    for a, b in zip(leaves(again.state), leaves(driven.state), strict=True):
        np.testing.assert_array_equal(a, b)
    other = drive(agent, 45, seed=1)
    assert not np.isclose(other.actions, driven.actions).any()
    for a, b in zip(leaves(other.state.sac.params), leaves(driven.state.sac.params), strict=True):
        assert not np.isclose(a, b).all()
