"""The speed benchmark's own arithmetic: operations counted, sides that take turns, failures that are told."""

import sys
from functools import partial
from math import prod
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.speed import flops, harness
from benchmarks.speed.harness import Options, Side, Worker, WorkerFailed, Workload, summarise, take_turns
from mbpo.agents.config import SACConfig
from mbpo.agents.sac import init_sac, sac_update
from mbpo.model.ensemble import make_ensemble
from mbpo.model.fit import member_loss
from mbpo.types import Spec, Transition

SIDE = """
import sys
sys.path.insert(0, {workers!r})
from worker import serve

def prepare(job):
    if job.get("broken"):
        raise RuntimeError("no such library")
    print("what a library prints does not get into the answers")
    return lambda calls: {{"units": calls * job["units"], "seconds": 2.0}}

serve(prepare, ())
"""


def multiplications(jaxpr) -> int:
    """Operations of all matrix multiplications in a traced program, loops aside."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            inner = prod(equation.invars[0].aval.shape[axis] for axis in contracted)
            total += 2 * prod(equation.outvars[0].aval.shape) * inner
        for value in equation.params.values():
            value = getattr(value, "jaxpr", value)
            total += multiplications(value) if hasattr(value, "eqns") else 0
    return total


def test_one_layer_by_hand():
    assert flops.forward((3, 5, 2)) == 2 * (15 + 10)
    assert flops.backward_inputs((3, 5, 2)) == 2 * 10
    assert flops.backward_inputs((3, 5, 2), needed_inputs=1) == 2 * (5 + 10)


@pytest.mark.parametrize("width", [64, 256])
def test_sac_updates_are_what_is_traced(width):
    ones, batch = np.ones(6, np.float32), 32
    spec, config = Spec(17, -ones, ones), SACConfig(hidden_sizes=(width, width))
    rows = Transition(
        jnp.zeros((batch, 17)),
        jnp.zeros((batch, 6)),
        jnp.zeros(batch),
        jnp.zeros((batch, 17)),
        jnp.zeros(batch, bool),
    )
    state = init_sac(spec, config, jax.random.key(0))
    traced = jax.make_jaxpr(partial(sac_update, spec=spec, config=config))(state, rows, jnp.zeros((2, batch, 6)))
    # Traced, but not needed: how Q falls with the 17 observations, in both critics.
    unneeded = 2 * batch * 2 * 17 * width
    counted = flops.sac_update(17, 6, (width, width), batch)
    # Log-densities are summed over the actions by a product with ones: for the target, for the actor and back.
    sums = 3 * 2 * batch * 6
    assert multiplications(traced.jaxpr) - counted - sums in (0, unneeded)


def test_fit_steps_are_what_is_traced():
    sizes, members, batch = (20, 20, 20), 3, 16
    ensemble = make_ensemble(
        jax.random.key(0), 5, 2, ensemble_size=members, num_elites=2, hidden_sizes=sizes, residual=True
    )
    member = jax.tree.map(lambda leaf: leaf[0], ensemble.params)
    loss = jax.grad(partial(member_loss, weight_decay=1e-4))
    traced = jax.make_jaxpr(loss)(member, jnp.zeros((batch, 7)), jnp.zeros((batch, 6)))
    assert members * multiplications(traced.jaxpr) == flops.fit_step(5, 2, sizes, members, batch)


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "side.py"
    path.write_text(SIDE.format(workers=str(harness.WORKERS)))
    return str(path)


def test_sides_take_turns_and_ratios_are_paired(script, monkeypatch):
    monkeypatch.setattr(harness, "GEMM", Side("peak", script, {"units": 1000}))
    sides = (Side("mbpo", script, {"units": 30}), Side("other", script, {"units": 10}))
    workload = Workload("title", "rows/s", sides, flops_per_unit=20, formula="")
    found = take_turns(workload, 1, Options(repeats=3, turn_seconds=8.0))
    assert [len(found["turns"][name]) for name in ("peak", "mbpo", "other")] == [3, 3, 3]
    summary = summarise(workload, found)
    # A call takes 2 s, so that turns of 8 s have four: 4 · 30 units in 2 s.
    assert summary["sides"]["mbpo"]["rate"] == {"median": 60, "low": 60, "high": 60}
    assert summary["sides"]["other"]["ours_against_it"]["median"] == pytest.approx(3)
    # The peak's side is asked for one call a turn: 1000 operations in 2 s.
    assert summary["sides"]["mbpo"]["fraction_of_peak"]["median"] == pytest.approx(60 * 20 / (1000 / 2))


def test_a_side_that_cannot_run_says_why_and_the_others_go_on(script, monkeypatch):
    monkeypatch.setattr(harness, "GEMM", Side("peak", script, {"units": 1}))
    sides = (Side("mbpo", script, {"units": 1}), Side("other", script, {"units": 1, "broken": True}))
    workload = Workload("title", "rows/s", sides, flops_per_unit=1, formula="")
    summary = summarise(workload, take_turns(workload, 1, Options(repeats=1, turn_seconds=2.0)))
    assert summary["sides"]["other"] == {"failure": "RuntimeError: no such library"}
    assert summary["sides"]["mbpo"]["rate"]["median"] > 0


def test_a_worker_that_dies_is_a_failure(tmp_path):
    path = tmp_path / "dies.py"
    path.write_text("import sys; sys.exit(3)")
    with pytest.raises(WorkerFailed, match="ended with status 3"):
        Worker(Side("mbpo", str(path), {}), 1)
