"""Imagined ends that come early: how early, and that nothing else changes."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from mbpo.agents.mbpo_dh import MBPODHAgent, World
from mbpo.agents.mbpo_dh_config import HomoscedasticConfig, MBPODHConfig
from mbpo.agents.world_model import ending_early
from mbpo.errors import ConfigError
from mbpo.model.end_margin import obs_spread, with_end_margin
from mbpo.model.termination import make_termination_model, with_learned_termination
from mbpo.nn.networks import MLP
from mbpo.nn.normalizer import Normalizer, fit_normalizer
from mbpo.training.config import from_dict
from mbpo.types import ModelOutput, Spec

SPEC = Spec(3, np.float32([-1.0]), np.float32([1.0]), angles=(1,))
INPUTS = Normalizer(jnp.zeros(5), jnp.asarray([0.5, 7.0, 8.0, 2.0, 9.0]), angles=(1,))
"""The first number, cosine and sine of the angle, the third number, and the action."""


def line(obs, action, next_obs):
    """The end is where the first number passes 1."""
    return next_obs[:, 0] > 1.0


def world(obs, action, key):
    next_obs = obs + 0.1 * action + 0.01 * jax.random.normal(key, obs.shape)
    return ModelOutput(next_obs, -action[:, 0], line(obs, action, next_obs), jnp.zeros(obs.shape[:1]))


def wary(margin):
    return with_end_margin(world, lambda o, a, next_obs, k: line(o, a, next_obs), obs_spread(INPUTS, SPEC), margin)


def test_the_spread_is_of_what_is_no_angle():
    rows = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32) * [1, 2, 3, 4, 5, 6]
    spec = Spec(5, SPEC.action_low, SPEC.action_high, angles=(1, 3))
    seen = fit_normalizer(jnp.asarray(rows, jnp.float32), jnp.ones(50), spec.angles)
    expected = np.where([False, True, False, True, False], 0.0, rows[:, :5].std(axis=0))
    np.testing.assert_allclose(obs_spread(seen, spec), expected, rtol=1e-5)
    np.testing.assert_array_equal(obs_spread(INPUTS, SPEC), [0.5, 0.0, 2.0])


@pytest.mark.parametrize("distance", [0.05, 0.2, 0.5])
def test_how_often_a_branch_ends_at_a_distance(distance):
    rows, margin = 20_000, 0.4
    obs = jnp.tile(jnp.asarray([1.0 - distance, 0.0, 0.0]), (rows, 1))
    ended = wary(margin)(obs, jnp.zeros((rows, 1)), jax.random.key(0)).terminated
    # Noise of 0.4 · 0.5, and the world's own of 0.01.
    expected = norm.cdf(-distance / np.hypot(0.2, 0.01))
    assert float(ended.mean()) == pytest.approx(expected, abs=4 * np.sqrt(expected / rows))


def test_nothing_but_ends_changes_and_no_end_is_taken_back():
    obs = jax.random.normal(jax.random.key(1), (500, 3))
    action = jax.random.normal(jax.random.key(2), (500, 1))
    before, after = (step(obs, action, jax.random.key(3)) for step in (world, wary(0.5)))
    np.testing.assert_array_equal(before.next_obs, after.next_obs)
    np.testing.assert_array_equal(before.reward, after.reward)
    early = np.asarray(after.terminated & ~before.terminated)
    assert not (before.terminated & ~after.terminated).any() and early.any()
    assert np.asarray(before.next_obs)[early, 0].min() > 1.0 - 4 * 0.25

    def total(action, step):
        return step(obs, action, jax.random.key(3)).next_obs.sum()

    np.testing.assert_array_equal(jax.grad(total)(action, world), jax.grad(total)(action, wary(0.5)))


@pytest.mark.parametrize("rule", [line, None])
def test_the_agent_imagines_them(rule):
    """By a rule, and by what has been learned of ends."""
    config = MBPODHConfig(
        random_steps=10, replay_capacity=100, model=HomoscedasticConfig(ensemble_size=2, hidden_sizes=(8,))
    )
    spec = replace(SPEC, angles=())
    agents = [
        MBPODHAgent(spec, replace(config, model=replace(config.model, end_margin=margin)), rule, jax.random.key(0))
        for margin in (0.0, 1.0)
    ]
    state = agents[0].init(jax.random.key(1))
    termination = state.termination
    if termination is not None:  # The same line, as if it had been learned.
        inputs = termination.inputs.mean.shape[0]
        learned = MLP((jnp.zeros((inputs, 1)).at[4, 0].set(1e4),), (jnp.asarray([-1e4]),), (), (), jax.nn.silu)
        termination = replace(termination, network=learned, log_odds=jnp.zeros(()))
    obs = jnp.tile(jnp.asarray([0.5, 0.0, 0.0]), (64, 1))
    world = World(state.model.ensemble, termination)
    plain, early = (agent.model_step(world)(obs, jnp.zeros((64, 1)), jax.random.key(4)) for agent in agents)
    np.testing.assert_array_equal(plain.next_obs, early.next_obs)
    assert int(early.terminated.sum()) > int(plain.terminated.sum())


def test_an_end_that_is_drawn_is_drawn_once():
    """Where the chance is the same everywhere, a margin adds nothing to it."""
    learned = make_termination_model(jax.random.key(0), SPEC.obs_dim, 1)
    flat = MLP((jnp.zeros((7, 1)),), (jnp.zeros(1),), (), (), jax.nn.silu)
    learned = replace(learned, network=flat, log_odds=jnp.log(0.3 / 0.7))
    step = with_learned_termination(world, learned)
    obs, action, spread = jnp.zeros((500, 3)), jnp.zeros((500, 1)), jnp.ones(3)
    plain, early = (
        each(obs, action, jax.random.key(1)) for each in (step, ending_early(step, line, learned, spread, 0.5))
    )
    np.testing.assert_array_equal(plain.terminated, early.terminated)
    assert 0.2 < float(early.terminated.mean()) < 0.4


def test_each_row_and_step_has_noise_of_its_own():
    obs = jnp.tile(jnp.asarray([0.95, 0.0, 0.0]), (200, 1))
    first, second = (wary(0.5)(obs, jnp.zeros((200, 1)), jax.random.key(i)).terminated for i in (0, 1))
    assert 0.2 < float((first != second).mean()) < 0.8
    assert 0 < int(first.sum()) < 200


def test_it_cannot_be_negative():
    with pytest.raises(ConfigError, match="end_margin"):
        from_dict({"algo": "mbpo-dh", "mbpo_dh": {"model": {"end_margin": -0.1}}}, where="a test")
