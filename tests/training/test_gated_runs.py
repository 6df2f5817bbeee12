"""Whole runs with each gate: what they log, that thresholds recompile nothing, and that they resume bit for bit.

The schedule's own are in `test_algorithm`.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_tasks import RUN_SETTINGS, SHORT, same_weights

from mbpo import MBPO
from mbpo.agents.mbpo import MBPOAgent
from mbpo.model.consensus import as_fused_step
from mbpo.model.ensemble import as_model_step
from mbpo.model.termination import never
from mbpo.trust.subject import read_subject

STEPS = 110
# Buffers of one size, so that the parts that no gate touches compile once.
SETTINGS = {
    # κ well below what it would be: something must be gated.
    "macura": {"macura": {"quantile": 0.5, "scale": 1.0, "max_length": 4}, "utd_follows_rollouts": True},
    "infoprop": {"infoprop": {"max_length": 4, "horizon": 3, "branches": 64, "calibration_rows": 50}},
    # An untrained model would never get k above 1; seen this coarsely it does.
    "bound": {"bound": {"max_length": 4, "resolution": 50.0}},
}
MEASURED = {"policy_shift", "on_policy_error", "bound_rollout_length", "rollout_length", "rollout_gated"}


def make(gate: str, **settings) -> MBPO:
    return MBPO(SHORT, seed=0, rollout=gate, **{**RUN_SETTINGS, "epoch_length": 50, **SETTINGS[gate], **settings})


@pytest.fixture(scope="module", params=list(SETTINGS))
def whole(request, tmp_path_factory, shared_agents):
    """A gate's name, an uninterrupted run with it, and how much was compiled after its second refit and at the end."""
    agent, compiled = make(request.param), []
    parts = (MBPOAgent._measure, MBPOAgent._fit, MBPOAgent._imagine, MBPOAgent._imagine_gated)
    for steps in (57, STEPS - 57):
        agent.learn(steps)
        compiled.append([part._cache_size() for part in parts])
    yield request.param, agent, compiled
    agent.close()


def records_after_a_refit(agent: MBPO) -> list:
    return [record for record in agent.records if "rollout_length" in record]


def test_the_bounds_terms_are_logged_whatever_the_gate(whole):
    _, agent, _ = whole
    records = records_after_a_refit(agent)
    assert MEASURED <= records[0].keys()
    assert records[0]["on_policy_error"] == 1, "nothing was known of the model before its first fit"
    for record in records[1:]:
        assert 0 <= record["on_policy_error"] <= 1
        assert 0 < record["policy_shift"] <= 1
        assert 0 <= record["rollout_gated"] <= 1
    assert len({record["policy_shift"] for record in records}) >= 4


def test_each_gate_does_what_it_says(whole):
    gate, agent, _ = whole
    records, longest, branches = records_after_a_refit(agent), *limits(agent)
    lengths = [record["rollout_length"] for record in records]
    assert all(record["rollout_rows"] <= longest * branches for record in records)
    if gate == "bound":
        expected = [min(max(round(record["bound_rollout_length"]), 1), 4) for record in records]
        assert lengths == expected
        assert lengths[0] == 1 and max(lengths) == 4
    else:
        assert any(0 < record["rollout_gated"] for record in records)
        assert lengths == pytest.approx([record["rollout_rows"] / branches for record in records])


def limits(agent: MBPO) -> tuple[int, int]:
    return agent.config.mbpo.max_rollout_length, agent.config.mbpo.num_branches


def test_updates_follow_what_survived(whole):
    gate, agent, _ = whole
    longest, branches = limits(agent)
    for record in records_after_a_refit(agent):
        assert ("grad_steps" in record) == (gate == "macura")
        if gate == "macura":
            assert record["grad_steps"] == max(int(2 * record["rollout_rows"] / (longest * branches) * 2), 1)


def test_as_many_rounds_are_kept_as_their_sizes_need(whole):
    _, agent, _ = whole
    state = agent._run.state
    assert int(state.imagined.size) == int(state.gate.round_rows.sum())
    assert state.gate.round_rows.shape == (2,)
    held = jax.tree.map(lambda a: np.asarray(a)[: int(state.imagined.size)], state.imagined.data)
    assert all(np.isfinite(column).all() for column in held)
    assert int(state.gate.behaviour.size) == int(state.real.size) == STEPS


def test_new_data_thresholds_and_lengths_recompile_nothing(whole):
    _, _, compiled = whole
    assert compiled[0] == compiled[1]


def test_resumed_it_is_the_same_run(whole, tmp_path):
    # 80 is right before a refit.
    gate, agent, _ = whole
    first = make(gate, out=tmp_path / "run")
    first.learn(80)
    first.close()
    again = MBPO.load(tmp_path / "run", resume=True)
    again.learn(STEPS - 80)
    assert same_weights(again._run.state, agent._run.state)
    last, expected = again.records[-1], agent.records[-1]
    assert {name: last[name] for name in MEASURED} == {name: expected[name] for name in MEASURED}
    again.close()


def test_a_run_is_looked_into_with_the_step_that_its_branches_take(whole, tmp_path):
    gate, agent, _ = whole
    agent.save(tmp_path / "run")
    subject = read_subject(tmp_path / "run")
    step = (as_fused_step if gate == "infoprop" else as_model_step)(subject.ensemble, never)
    obs, action = (jnp.asarray(part[:20]) for part in (subject.replay.obs, subject.replay.action))
    expected, found = (world(obs, action, jax.random.key(3)) for world in (step, subject.imagined))
    np.testing.assert_array_equal(found.next_obs, expected.next_obs)
    np.testing.assert_array_equal(found.reward, expected.reward)
