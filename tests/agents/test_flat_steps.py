"""What an environment step costs does not grow with the buffers: no step makes a copy of one."""

import jax
import pytest
from oracles import PointMass

from mbpo.agents.config import MBPOConfig, ModelConfig, SACConfig
from mbpo.agents.mbpo import MBPOAgent
from mbpo.agents.mbpo_dh import MBPODHAgent
from mbpo.agents.mbpo_dh_config import HomoscedasticConfig, MBPODHConfig
from mbpo.agents.pets import PETSAgent, PETSConfig
from mbpo.agents.sac_agent import SACAgent, SACAgentConfig

ROWS = 200_000
COLUMN = 4 * ROWS
"""Bytes of the smallest column of the real buffer but one: the flags of termination have one byte."""
SAC = SACConfig(hidden_sizes=(8,), batch_size=20)
MODEL = ModelConfig(hidden_sizes=(8,), ensemble_size=2, num_elites=1)
KEY = jax.random.key(0)
TRANSITION = PointMass.transition(1.0, [0.0])


def sac():
    agent = SACAgent(PointMass.spec, SACAgentConfig(replay_capacity=ROWS, sac=SAC))
    state = agent.init(KEY)
    return {
        "store": SACAgent._store.lower(agent, state.real, TRANSITION),
        "update": SACAgent._update.lower(agent, state.sac, state.real, KEY),
    }


def mbpo():
    config = MBPOConfig(replay_capacity=ROWS, sac=SAC, model=MODEL)
    agent = MBPOAgent(PointMass.spec, config, PointMass.terminated, KEY)
    state = agent.init(KEY)
    return {
        "store": MBPOAgent._store.lower(agent, state, TRANSITION),
        "store and update": MBPOAgent._store_and_update.lower(agent, state, TRANSITION, KEY),
        "store and follow": MBPOAgent._store_and_follow.lower(agent, state, TRANSITION, KEY),
    }


def mbpo_dh():
    config = MBPODHConfig(replay_capacity=ROWS, model=HomoscedasticConfig(hidden_sizes=(8,), ensemble_size=2))
    agent = MBPODHAgent(PointMass.spec, config, PointMass.terminated, KEY)
    return {"store": MBPODHAgent._store.lower(agent, agent.init(KEY).real, TRANSITION)}


def pets():
    agent = PETSAgent(PointMass.spec, PETSConfig(replay_capacity=ROWS, model=MODEL), PointMass.terminated, KEY)
    return {"store": PETSAgent._store.lower(agent, agent.init(KEY), TRANSITION)}


@pytest.mark.parametrize("parts", [sac, mbpo, mbpo_dh, pets])
def test_no_step_copies_a_buffer(parts):
    for name, lowered in parts().items():
        memory = lowered.compile().memory_analysis()
        made = memory.temp_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
        assert made < COLUMN, f"{name} makes {made} bytes, and a column of the buffer has {COLUMN}"
