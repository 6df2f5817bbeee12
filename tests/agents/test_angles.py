"""Numbers that are angles: a turn more changes nothing that any agent does, learns or imagines."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mbpo.agents.config import MBPOConfig, ModelConfig, SACConfig
from mbpo.agents.mbpo import MBPOAgent
from mbpo.agents.mbpo_dh import MBPODHAgent
from mbpo.agents.mbpo_dh_config import HomoscedasticConfig, MBPODHConfig, ValueGradientConfig
from mbpo.agents.sac import q_values
from mbpo.agents.sac_agent import SACAgent, SACAgentConfig
from mbpo.agents.value_gradient import ReturnBounds
from mbpo.agents.value_gradient import q_values as dh_q_values
from mbpo.agents.world_model import init_model, init_termination, refit
from mbpo.data.replay import insert_rows, make_replay
from mbpo.data.split import make_split
from mbpo.errors import ConfigError
from mbpo.model.differentiable import as_differentiable_step
from mbpo.model.ensemble import as_model_step, make_targets
from mbpo.model.termination import termination_logit
from mbpo.types import Spec, Transition

SPEC = Spec(2, np.float32([-1.0]), np.float32([1.0]), angles=(0,))
BLIND = replace(SPEC, angles=())
KEY, SMALL = jax.random.key(0), (16, 16)
MODEL = ModelConfig(hidden_sizes=SMALL, ensemble_size=2, num_elites=2)
DH_MODEL = HomoscedasticConfig(hidden_sizes=SMALL, ensemble_size=2, batch_size=64, max_holdout=200)
CONFIGS = {
    SACAgent: SACAgentConfig(replay_capacity=100, random_steps=20, sac=SACConfig(hidden_sizes=SMALL)),
    MBPOAgent: MBPOConfig(replay_capacity=100, random_steps=20, sac=SACConfig(hidden_sizes=SMALL), model=MODEL),
    MBPODHAgent: MBPODHConfig(
        random_steps=20, replay_capacity=100, learner=ValueGradientConfig(hidden_sizes=SMALL), model=DH_MODEL
    ),
}
OBS = jnp.array([[0.3, -1.0], [-2.0, 0.5], [1.5, 0.1]])
TURNED = OBS.at[:, 0].add(2 * jnp.pi)
ACTION = jnp.array([[0.5], [-0.5], [0.0]])


def agent_of(kind, spec):
    config = CONFIGS[kind]
    return SACAgent(spec, config) if kind is SACAgent else kind(spec, config, None, KEY)


def fresh(agent):
    return jax.jit(type(agent).init, static_argnums=0)(agent, KEY)


def acts(kind, spec, obs):
    agent = agent_of(kind, spec)
    return np.asarray(agent.predict(fresh(agent), obs, agent.memory(len(obs)))[0])


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_turn_more_changes_no_action(kind):
    np.testing.assert_allclose(acts(kind, SPEC, TURNED), acts(kind, SPEC, OBS), atol=1e-4)


@pytest.mark.parametrize("kind", CONFIGS)
def test_it_does_where_nobody_says_that_it_is_an_angle(kind):
    assert np.abs(acts(kind, BLIND, TURNED) - acts(kind, BLIND, OBS)).max() > 1e-3


def test_a_turn_more_changes_no_value():
    agent = agent_of(SACAgent, SPEC)
    critics = fresh(agent).sac.params.critics
    np.testing.assert_allclose(q_values(critics, TURNED, ACTION), q_values(critics, OBS, ACTION), atol=1e-5)
    agent = agent_of(MBPODHAgent, SPEC)
    state = fresh(agent)
    params, eyes = state.learner.params, agent.eyes(state.model.ensemble.inputs)
    critics = params.critics  # Their last layer starts as 0.
    last = jax.random.normal(KEY, critics.weights[-1].shape)
    critics = replace(critics, weights=(*critics.weights[:-1], last))
    bounds = ReturnBounds(jnp.asarray(-1.0), jnp.asarray(1.0))
    one, other = (dh_q_values(critics, bounds, obs, ACTION, eyes) for obs in (OBS, TURNED))
    np.testing.assert_allclose(one, other, atol=1e-3)
    assert float(one.std()) > 0.1


def wheel(angle, speed, push):
    """A wheel with a weight on its rim: the angle goes on, the speed falls and rises with it."""
    after = speed + 0.3 * jnp.sin(angle) + 0.2 * push
    return jnp.stack([angle + 0.2 * after, after], -1), jnp.cos(angle)


def turns_of(rows, first, seed):
    """Transitions of the wheel in the turn that begins at `first` · 2π."""
    a, b, c = jax.random.split(jax.random.key(seed), 3)
    angle = 2 * jnp.pi * (first + jax.random.uniform(a, (rows,)))
    speed, push = jax.random.normal(b, (rows,)), jax.random.uniform(c, (rows,), minval=-1)
    after, reward = wheel(angle, speed, push)
    return Transition(jnp.stack([angle, speed], -1), push[:, None], reward, after, jnp.zeros(rows, bool))


@pytest.mark.parametrize(("config", "step"), [(MODEL, as_model_step), (DH_MODEL, as_differentiable_step)])
def test_a_model_knows_turns_that_it_never_saw(config, step):
    def errors(spec):
        """Root of the mean square of what it says of the next state, in the turn seen and three turns on."""
        replay = insert_rows(make_replay(1000, 2, 1), turns_of(1000, 0, seed=1), jnp.ones(1000, bool))
        split = make_split(KEY, 1000, config.ensemble_size, 0.2)
        state, _ = jax.jit(lambda state: refit(state, replay, split, KEY, config))(init_model(spec, config, KEY))
        world = step(state.ensemble, lambda obs, action, after: jnp.zeros(len(obs), bool))
        found = []
        for first in (0, 3):
            rows = turns_of(200, first, seed=2)
            said = world(rows.obs, rows.action, KEY).next_obs
            found.append(float(jnp.sqrt(jnp.mean((said - rows.next_obs) ** 2))))
        return found

    seen, unseen = errors(SPEC)
    assert seen < 0.15
    assert unseen < 1.2 * seen
    assert errors(BLIND)[1] > 3 * unseen


@pytest.mark.parametrize("config", [MODEL, DH_MODEL])
def test_a_model_cannot_say_how_often_an_angle_has_turned(config):
    with pytest.raises(ConfigError, match=r"angles = \[0\].*model\.residual"):
        init_model(SPEC, replace(config, residual=False), KEY)


def test_an_end_learned_before_a_turn_is_known_after_it():
    model = init_termination(SPEC, None, KEY)
    model = replace(model, log_odds=jnp.zeros(()))
    np.testing.assert_allclose(
        termination_logit(model, TURNED, ACTION, TURNED), termination_logit(model, OBS, ACTION, OBS), atol=1e-4
    )


@pytest.mark.parametrize("config", [MODEL, DH_MODEL])
def test_an_angle_that_is_wrapped_changes_by_the_shorter_way(config):
    ensemble = init_model(SPEC, config, KEY).ensemble
    obs, turned = jnp.array([[3.1, 9.0], [-3.0, -9.0], [0.5, 3.0]]), jnp.array([[-3.1, -9.0], [3.0, 9.0], [0.7, 3.5]])
    rows = Transition(obs, ACTION, jnp.zeros(3), turned, jnp.zeros(3, bool))
    found = make_targets(ensemble, rows)[:, :2]
    np.testing.assert_allclose(found[:2, 0], [2 * np.pi - 6.2, 6.0 - 2 * np.pi], atol=1e-6)
    np.testing.assert_array_equal(found[:, 1], turned[:, 1] - obs[:, 1])
    np.testing.assert_array_equal(found[2], turned[2] - obs[2])  # Bit for bit where nothing jumps.
    blind = init_model(BLIND, config, KEY).ensemble
    np.testing.assert_array_equal(make_targets(blind, rows)[:, :2], turned - obs)
