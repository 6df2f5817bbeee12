"""Termination rules against the environments at their very bounds; many more in benchmarks/terminations.py."""

from itertools import islice

import gymnasium
import jax.numpy as jnp
import numpy as np
import pytest
from edges import EDGES, OWN, UNCLIPPED, Transition, bisected, scattered

from mbpo.envs.tasks import termination_fn_for
from mbpo.training.presets import preset

IDS = [f"{task}-{version}" for task in EDGES for version in ("v4", "v5")] + OWN
ROUNDING = 2.0**-23
"""A float32 is within this share of what it stands for, rule's constant and observation together."""


@pytest.fixture(params=IDS, scope="module")
def seen(request):
    """Real transitions near and at the bounds as one batch, and what the rule says of them."""
    pytest.importorskip("mujoco")
    env = gymnasium.make(request.param, **preset(request.param).env_kwargs)
    rule = termination_fn_for(env)
    assert rule is not None
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    count = 150 if "Humanoid" in request.param else 400
    rows = [*islice(scattered(env, rng), count), *islice(bisected(env, rng), count)]
    columns = Transition(*map(np.array, zip(*rows, strict=True)))
    said = rule(jnp.asarray(columns.obs), jnp.asarray(columns.action), jnp.asarray(columns.next_obs))
    env.close()
    return request.param, columns, np.asarray(said)


def test_a_rule_errs_within_the_rounding_of_float32_only(seen):
    env_id, columns, said = seen
    wrong = (said != columns.terminated) & (columns.hidden > 0)
    bound = 100.0 if "Hopper" in env_id else 2.0  # The largest that a rule compares with.
    assert np.abs(columns.margin[wrong]).max(initial=0.0) <= bound * ROUNDING


def test_a_rule_misses_only_what_the_observation_hides(seen):
    env_id, columns, said = seen
    unseen = (columns.hidden <= 0) & (columns.margin > 1e-4)
    # Joints beyond 100 rad/s, observed as 10.
    assert unseen.any() == ("Hopper" in env_id and env_id not in UNCLIPPED)
    assert columns.terminated[unseen].all()
    assert not said[unseen].any()


def test_the_bounds_were_really_met(seen):
    env_id, columns, _ = seen
    if env_id.startswith("HalfCheetah"):
        assert not columns.terminated.any()
        return
    assert 0.1 < columns.terminated.mean() < 0.9
    near = np.abs(columns.margin) < 1e-12
    assert near.sum() > 5
    assert columns.terminated[near].any()
    assert not columns.terminated[near].all()
