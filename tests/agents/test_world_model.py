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
from mbpo.agents.world_model import split_rows
from mbpo.model.termination import never
from mbpo.types import Spec

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
