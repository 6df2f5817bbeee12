"""Double-horizon MBPO as an agent: its rhythm, where short rollouts start, and that it learns."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import PointMass

from mbpo.agents.mbpo_dh import MBPODHAgent
from mbpo.agents.mbpo_dh_config import HomoscedasticConfig, MBPODHConfig, ValueGradientConfig
from mbpo.agents.value_gradient import mean_action, q_values
from mbpo.agents.world_model import refit
from mbpo.data.replay import insert
from mbpo.errors import ConfigError

CONFIG = MBPODHConfig(
    random_steps=60,
    replay_capacity=200,
    model_train_freq=30,
    critic_updates=20,
    first_updates=200,
    utd_ratio=10,
    rollout_freq=20,
    rollout_batch_size=20,
    rollout_length=5,
    retain_rollouts=3,
    learner=ValueGradientConfig(
        hidden_sizes=(32, 32), num_critics=2, horizon=3, batch_size=64, learning_rate=2e-3, gamma=0.9, tau=0.02
    ),
    model=HomoscedasticConfig(
        ensemble_size=3, hidden_sizes=(32, 32), learning_rate=3e-3, batch_size=32, dropout=0.0, patience=15.0
    ),
)
STEPS = 150
THRESHOLD = -3.0
"""From the 21 starts of `PointMass.mean_return` the best controller scores −1.40, never acting −29.3."""


@pytest.fixture(scope="module")
def agent():
    return MBPODHAgent(PointMass.spec, CONFIG, PointMass.terminated, jax.random.key(0))


PARTS = ("_fit", "_long_rollouts", "_critic_updates", "_updates")


def copy(state):
    """For a part that keeps what it is handed."""
    return jax.tree.map(jnp.copy, state)


def drive(agent):
    """The training loop in short: the last state, all metrics, when each part was called, how often compiled."""
    seed, calls = 0, []
    compiled = {name: -getattr(MBPODHAgent, name)._cache_size() for name in PARTS}
    for name in PARTS:

        def counted(*inputs, name=name, part=getattr(agent, name)):
            calls.append((env_step, name))
            return part(*inputs)

        setattr(agent, name, counted)
    rng = np.random.default_rng(seed)
    state, x, age, log = agent.init(jax.random.key(seed)), rng.uniform(-2, 2), 0, []
    for env_step in range(STEPS):
        keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), env_step), 3)
        state, found = agent.learn_model(state, env_step, keys[0])
        action, state = agent.act(state, np.array([x], np.float32), env_step, keys[1])
        transition = PointMass.transition(x, action)
        state, metrics = agent.improve(state, transition, env_step, keys[2])
        log.append({**found, **metrics})
        x, age = float(transition.next_obs[0]), age + 1
        if transition.terminated or age == PointMass.steps:
            x, age = rng.uniform(-2, 2), 0
    for name in PARTS:
        delattr(agent, name)
        compiled[name] += getattr(MBPODHAgent, name)._cache_size()
    return state, log, calls, compiled


@pytest.fixture(scope="module")
def driven(agent):
    return drive(agent)


def test_it_learns_the_point_mass(agent, driven):
    untrained, learned = (
        PointMass.mean_return(lambda x, state=state: agent.predict(state, jnp.asarray(x), ())[0])
        for state in (agent.init(jax.random.key(0)), driven[0])
    )
    assert untrained < 2 * THRESHOLD
    assert learned > THRESHOLD


def test_an_average_is_evaluated_and_the_actor_explores():
    agent = MBPODHAgent(
        PointMass.spec,
        replace(CONFIG, learner=replace(CONFIG.learner, actor_average_rate=0.01)),
        PointMass.terminated,
        jax.random.key(0),
    )
    state, obs = agent.init(jax.random.key(0)), jnp.linspace(-2, 2, 5)[:, None]
    other = jax.tree.map(lambda leaf: leaf + 0.1, state.learner.params.actor)
    kept = state.learner.average
    for average, actor in ((replace(kept, actor=other), state.learner.params.actor), (kept, other)):
        learner = replace(state.learner, average=average, params=state.learner.params._replace(actor=actor))
        changed = replace(state, learner=learner)
        same = [
            jnp.array_equal(agent.predict(changed, obs, ())[0], agent.predict(state, obs, ())[0]),
            jnp.array_equal(agent.sample(changed, obs, jax.random.key(1)), agent.sample(state, obs, jax.random.key(1))),
        ]
        assert same == [average is kept, actor is state.learner.params.actor]


def test_its_rhythm(driven):
    _, log, calls, _ = driven
    steps = {name: [step for step, called in calls if called == name] for _, name in calls}
    assert steps["_fit"] == steps["_critic_updates"] == [60, 90, 120]
    # Every second environment step brings 20 updates; before that, the 200 that the random steps are owed.
    assert steps["_updates"] == [60] * 10 + list(range(60, STEPS, 2))
    assert steps["_long_rollouts"] == sorted([60, 90, 120] + [60] * 10 + list(range(60, STEPS, 2)))
    assert not any(log[:60])
    assert {"model_holdout_error", "model_epochs", "rollout_rows", "critic_loss", "termination_mismatch"} <= set(
        log[60]
    )


def test_the_policy_can_rest_between_refits():
    config = replace(CONFIG, updates_at_refit=True, first_updates=50, utd_ratio=1)
    agent = MBPODHAgent(PointMass.spec, config, PointMass.terminated, jax.random.key(0))
    state, log, calls, _ = drive(agent)
    # Rounds of 20 updates: the 50 that the random steps are owed, then 30 for the 30 steps since.
    assert [step for step, name in calls if name == "_updates"] == [60] * 3 + [90] * 2 + [120] * 2
    assert [step for step, metrics in enumerate(log) if "critic_loss" in metrics] == [60, 90, 120]
    assert int(state.real.size) == STEPS


def test_its_noise_is_told_which_rows_are_new():
    model = replace(CONFIG.model, unseen_noise=True, max_epochs=3)
    config = replace(CONFIG, model=model, first_updates=0, critic_updates=0)
    agent = MBPODHAgent(PointMass.spec, config, PointMass.terminated, jax.random.key(0))
    state, rng, found = agent.init(jax.random.key(0)), np.random.default_rng(0), []
    for env_step in range(91):
        if env_step in (60, 90):
            before, key = copy(state), jax.random.key(env_step)
            state, metrics = agent.learn_model(copy(state), env_step, key)
            found.append(float(metrics["model_noise"]))
        # From step 60 on, a world in which nothing is as it was.
        shift = 3.0 * rng.standard_normal() if env_step >= 60 else 0.0
        transition = PointMass.transition(rng.uniform(-2, 2), rng.uniform(-1, 1, 1))
        transition = transition._replace(next_obs=transition.next_obs + np.float32(shift))
        state = replace(state, real=agent._store(state.real, transition))
    told, untold = (
        float(
            refit(before.model, before.real, agent.split, jax.random.split(key, 4)[0], model, newest=newest)[1][
                "model_noise"
            ]
        )
        for newest in (config.model_train_freq, 0)
    )
    assert found[1] == pytest.approx(told, rel=1e-4)
    assert abs(told - untold) > 0.02


@pytest.mark.parametrize("absorbs", [False, True])
def test_a_refit_can_leave_actor_and_critics_as_they_are(agent, driven, absorbs):
    """Nothing was learned in it but the model: with `absorb_normalizers` all that the learner says stays the same."""
    learner = replace(CONFIG.learner, absorb_normalizers=absorbs)
    other = MBPODHAgent(PointMass.spec, replace(CONFIG, learner=learner), PointMass.terminated, jax.random.key(0))
    before = copy(driven[0])
    for x in np.linspace(3, 5, 30):  # Rows that move the statistics.
        row = PointMass.transition(x, np.zeros(1, np.float32))
        before = replace(before, real=insert(before.real, row))
    kept = copy(before)
    after, _ = other._refit(before, jax.random.key(3))
    eyes = [agent.eyes(state.model.ensemble.inputs) for state in (kept, after)]
    assert abs(float(eyes[0].obs.std[0] / eyes[1].obs.std[0]) - 1) > 0.1
    obs = jnp.linspace(-2, 2, 30)[:, None]
    said = []
    for state, seen in zip((kept, after), eyes, strict=True):
        params, bounds = state.learner.params, state.learner.bounds
        actors = [mean_action(actor, obs, seen) for actor in (params.actor, state.learner.average.actor)]
        critics = [q_values(c, bounds, obs, 0.3 * obs, seen) for c in (params.critics, state.learner.target_critics)]
        said.append([*actors, *critics])
    errors = [float(np.abs(now - then).max()) for then, now in zip(*said, strict=True)]
    assert all(error < 1e-3 for error in errors) if absorbs else all(error > 0.02 for error in errors)


def test_nothing_recompiles(driven):
    assert driven[3] == dict.fromkeys(PARTS, 1)


def test_short_rollouts_start_where_long_ones_went(agent, driven):
    state = driven[0]
    rows, size = int(state.imagined.size), state.imagined.capacity
    assert size == 3 * 20 * 5
    assert rows == size
    # Most long rollouts come near the target and stay; the real states they began at are spread out.
    imagined, real = np.abs(state.imagined.data.obs[:, 0]), np.abs(state.real.data.obs[: int(state.real.size), 0])
    assert np.median(imagined) < 0.7 * np.median(real)
    # A long rollout's states follow one another.
    follow = np.abs(state.imagined.data.next_obs[:20] - state.imagined.data.obs[20:40])
    assert (follow < 1e-6).mean() > 0.8 or int(state.imagined.position) % 20 != 0


def test_settings_that_cannot_be():
    with pytest.raises(ConfigError, match="replay_capacity"):
        MBPODHConfig(random_steps=100, replay_capacity=50)
    with pytest.raises(ConfigError, match="min_epoch_batches"):
        HomoscedasticConfig(min_epoch_batches=101)
    with pytest.raises(ConfigError, match=r"unseen_noise goes with improvement = 1, and improvement is 0\.1"):
        HomoscedasticConfig(unseen_noise=True, improvement=0.1)
    with pytest.raises(ConfigError, match="horizon"):
        ValueGradientConfig(horizon=0)
