"""The model as settings describe it: which rows its members learn from."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mbpo.agents.config import MBPOConfig, ModelConfig
from mbpo.agents.mbpo import MBPOAgent
from mbpo.agents.mbpo_dh import MBPODHAgent
from mbpo.agents.mbpo_dh_config import HomoscedasticConfig, MBPODHConfig
from mbpo.agents.pets import PETSAgent, PETSConfig
from mbpo.agents.world_model import init_model, refit, split_rows
from mbpo.data.replay import insert_rows, make_replay
from mbpo.model.ensemble import as_model_step
from mbpo.model.fit import refresh_normalizers
from mbpo.model.termination import never
from mbpo.trust.one_step import target_spread
from mbpo.types import Spec, Transition

KEY = jax.random.key(0)
SPEC = Spec(2, np.float32([-1]), np.float32([1]))


@pytest.mark.parametrize("config", [ModelConfig(ensemble_size=5), HomoscedasticConfig(ensemble_size=3)])
def test_members_learn_from_a_bootstrap_or_from_every_row(config):
    drawn, every = (split_rows(replace(config, bootstrap=on), 1000, KEY) for on in (True, False))
    members = config.ensemble_size
    assert drawn.train_slots.shape[0] == every.train_slots.shape[0] == members
    rest = np.setdiff1d(np.arange(1000), np.asarray(drawn.holdout_slots))
    np.testing.assert_array_equal(every.train_slots, np.tile(rest, (members, 1)))
    # Of 800 rows each member misses 1/e: 294 ± 14.
    for slots in np.asarray(drawn.train_slots):
        assert 230 < len(np.setdiff1d(rest, slots)) < 360


@pytest.mark.parametrize(
    ("agent", "config"), [(MBPOAgent, MBPOConfig()), (PETSAgent, PETSConfig()), (MBPODHAgent, MBPODHConfig())]
)
def test_agents_heed_it(agent, config):
    config = replace(config, replay_capacity=6000, model=replace(config.model, bootstrap=False, holdout_ratio=0.1))
    slots = agent(SPEC, config, never, KEY).split.train_slots
    assert jnp.all(slots == slots[0])
    assert slots.shape[1] == pytest.approx(5400, abs=150)


def test_targets_are_standardised_or_predicted_as_they_are():
    config = HomoscedasticConfig(ensemble_size=2, hidden_sizes=(8,), max_epochs=1)
    rng = np.random.default_rng(0)
    obs, action = rng.standard_normal((200, 2)).astype(np.float32), rng.uniform(-1, 1, (200, 1)).astype(np.float32)
    # Changes of 1000 ± 50 and a reward of 0 ± 0.01: in the environment's units far from a network's.
    change = np.float32([1000, -1000]) + 50 * obs
    rows = Transition(obs, action, 0.01 * action[:, 0], obs + change, np.zeros(200, bool))
    replay = insert_rows(make_replay(200, 2, 1), jax.tree.map(jnp.asarray, rows), jnp.ones(200, bool))
    spreads = []
    for on in (True, False):
        settings = replace(config, normalize_targets=on)
        split = split_rows(settings, 200, KEY)
        fitted, metrics = jax.jit(lambda state, s=settings, p=split: refit(state, replay, p, KEY, s))(
            init_model(SPEC, settings, KEY)
        )
        ensemble = fitted.ensemble
        out = as_model_step(ensemble, never)(replay.data.obs, replay.data.action, KEY)
        error = float(jnp.abs(out.next_obs - rows.next_obs).mean())
        if on:
            np.testing.assert_allclose(ensemble.targets.mean[:2], [1000, -1000], rtol=0.02)
            assert error < 200
        else:
            np.testing.assert_array_equal(ensemble.targets.mean, 0)
            np.testing.assert_array_equal(ensemble.targets.std, 1)
            # One epoch does not bring a network as far as a thousand; the error says so, in these units.
            assert error > 500
            assert float(metrics["model_holdout_error"]) > 500
        spreads.append(target_spread(ensemble, replay.data))
    np.testing.assert_allclose(*spreads, rtol=1e-5)


def test_a_model_that_was_fitted_says_the_same_when_targets_are_no_more_standardised():
    rng = np.random.default_rng(1)
    obs, action = rng.standard_normal((200, 2)).astype(np.float32), rng.uniform(-1, 1, (200, 1)).astype(np.float32)
    rows = Transition(obs, action, action[:, 0], obs + 30 + obs, np.zeros(200, bool))
    replay = insert_rows(make_replay(200, 2, 1), jax.tree.map(jnp.asarray, rows), jnp.ones(200, bool))
    config = HomoscedasticConfig(ensemble_size=2, hidden_sizes=(8,), max_epochs=3)
    split = split_rows(config, 200, KEY)
    fitted = jax.jit(lambda state: refit(state, replay, split, KEY, config))(init_model(SPEC, config, KEY))[0]
    other = replace(fitted, ensemble=replace(fitted.ensemble, normalize_targets=False))
    changed = jax.jit(refresh_normalizers)(other, replay)
    np.testing.assert_array_equal(changed.targets.std, 1)
    said = [as_model_step(it, never)(replay.data.obs, replay.data.action, KEY) for it in (fitted.ensemble, changed)]
    np.testing.assert_allclose(said[0].next_obs, said[1].next_obs, rtol=1e-3, atol=1e-2)
