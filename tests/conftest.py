"""Strictness for every test: shapes are checked at run time, properties are reproducible.

The import hook must be installed before the package is imported, so it stands at the top of the
first file that pytest loads. `mbpo.agents.config` is left out: pydantic checks it already.
"""

import os
import signal

import jax
import pytest
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

# Tests compile much and compute little, and unoptimised code compiles in two thirds of the time. Set
# XLA_FLAGS to anything else, or to nothing, to test the code that users run.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

CHECKED = ["mbpo.nn", "mbpo.data", "mbpo.model", "mbpo.planning"]
CHECKED += [
    f"mbpo.agents.{name}"
    for name in ("sac", "mbpo", "value_gradient", "value_updates", "mbpo_dh", "gating", "sac_agent", "pets", "dyna_q")
]
install_import_hook(CHECKED, "beartype.beartype")

# No deadline: a first example compiles, and a shared machine is slow at any time. On CI the same
# examples are drawn every time, so that a red build can be repeated.
settings.register_profile(
    "mbpo",
    deadline=None,
    max_examples=40,
    derandomize="CI" in os.environ,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.differing_executors],
)
settings.load_profile("mbpo")


@pytest.fixture
def at_a_terminal():
    """A hang-up is not ignored, as it is where the tests themselves run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture(autouse=True, scope="module")
def let_go_of_compiled_code():
    """Every compiled function holds a dozen memory maps, and Linux allows a process 65,530 of them in all."""
    yield
    jax.clear_caches()


LONGEST = (
    "test_learned_termination",
    "test_pets",
    "test_algorithms",
    "test_algorithm",
    "test_value_gradient",
    "test_double_horizon",
    "test_gated_runs",
    "test_mbpo_dh",
    "test_mbpo",
    "test_measure",
)


def pytest_collection_modifyitems(items):
    """The files that take longest come first, so that no worker is left with one of them at the end."""
    items.sort(key=lambda item: item.path.stem not in LONGEST)
