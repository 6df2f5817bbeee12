"""Where the time goes: every second is counted once, and measuring changes no number."""

import json

import jax
import jax.numpy as jnp
import pytest
from tiny_tasks import RUN_SETTINGS, SHORT, final_file, without_time

from mbpo import MBPO
from mbpo.agents.dyna_q import DynaQAgent
from mbpo.agents.mbpo import MBPOAgent
from mbpo.agents.pets import PETSAgent
from mbpo.agents.sac_agent import SACAgent
from mbpo.training.profile import NO_PROFILE, Profile, _covered, profile_table, write_profile

AGENTS = (MBPOAgent, SACAgent, PETSAgent, DynaQAgent)


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr("mbpo.training.profile.time", made)
    return made


def test_a_section_inside_another_is_taken_off_it(clock):
    profile = Profile()

    def outer() -> str:
        clock.pass_by(1)
        profile.time("inner", clock.pass_by, 4)
        profile.time("inner", clock.pass_by, 2)
        return "done"

    assert profile.time("outer", outer) == "done"
    assert profile.calls == {"outer": 1, "inner": 2}
    assert profile.seconds == pytest.approx({"outer": 1, "inner": 6})
    assert profile.total == pytest.approx(7)


def test_a_section_that_raises_is_closed(clock):
    profile = Profile()

    def fail() -> None:
        profile.time("inner", clock.pass_by, 1)
        raise ValueError

    with pytest.raises(ValueError):
        profile.time("outer", fail)
    profile.time("after", clock.pass_by, 2)
    assert profile.seconds == pytest.approx({"outer": 0, "inner": 1, "after": 2})


def test_compilation_is_taken_off_the_section_it_happens_in(clock):
    profile = Profile()

    def compile_for(seconds: float) -> None:
        clock.pass_by(seconds)
        profile.compiled(seconds)

    def inner() -> None:
        clock.pass_by(1)
        compile_for(5)
        profile.compiled(5.5)  # What it was needed for reports it too.

    def outer() -> None:
        clock.pass_by(2)
        compile_for(3)
        profile.time("inner", inner)

    profile.time("outer", outer)
    assert profile.seconds == pytest.approx({"outer": 2, "inner": 0.5, "compile": 8.5})
    assert profile.calls == {"outer": 1, "inner": 1, "compile": 2}


@pytest.mark.parametrize(
    ("spans", "length"),
    [
        ([], 0),
        ([(1, 2)], 1),
        ([(1, 2), (0, 4)], 4),
        ([(0, 4), (1, 2), (3, 6)], 6),
        ([(5, 6), (0, 1)], 2),
    ],
)
def test_nested_compilation_counts_once(spans, length):
    assert _covered(spans) == length


def test_jax_reports_what_it_compiles():
    profile, work = Profile(), jax.jit(lambda x: jnp.sin(x) + 1)
    for _ in range(2):
        profile.time("work", work, jnp.zeros(3))
    assert profile.calls == {"work": 2, "compile": 1}
    assert profile.seconds["compile"] > 0


def test_compilation_outside_of_sections_is_nobody_s():
    profile = Profile()
    jax.jit(lambda x: x * 3)(jnp.ones(7))
    assert profile.seconds == {}


def test_arrays_are_waited_for():
    def endless(x):
        return jax.lax.fori_loop(0, 200, lambda _, a: jnp.tanh(a @ a), x)

    work, x = jax.jit(endless), jnp.full((300, 300), 1e-3)
    jax.block_until_ready(work(x))
    profile = Profile()
    result = profile.time("work", work, x)
    assert result.is_ready()


@pytest.mark.parametrize("agent", AGENTS)
def test_the_parts_that_agents_name_are_their_methods(agent):
    assert all(callable(getattr(agent, method)) for method in agent.parts)


def test_no_profile_only_calls():
    assert NO_PROFILE.time("work", divmod, 7, 2) == (3, 1)


@pytest.fixture(scope="module")
def runs(tmp_path_factory, compiled_code):
    """The same short run without a profile and with one."""
    found = {}
    for name, profile in (("plain", None), ("profiled", Profile())):
        folder = tmp_path_factory.mktemp(name) / "run"
        agent = MBPO(SHORT, seed=3, out=folder, **RUN_SETTINGS)
        agent.learn(60, profile=profile)
        agent.close()
        found[name] = (agent.records, folder, profile)
    return found


def test_measuring_changes_no_number(runs):
    (records, folder, _), (profiled_records, profiled_folder, _) = runs["plain"], runs["profiled"]
    assert without_time(records) == without_time(profiled_records)
    assert final_file(folder) == final_file(profiled_folder)


def test_every_part_of_the_loop_is_counted(runs):
    profile = runs["profiled"][2]
    steps, refits = 60, profile.calls["fit"]
    assert profile.calls["act"] == profile.calls["improve"] == profile.calls["model"] == steps
    assert profile.calls["rollout"] == profile.calls["measure"] == refits >= 1
    assert profile.calls["env"] > steps  # Resets too.
    assert profile.calls["evaluate"] >= 1 and profile.calls["checkpoint"] >= 1 and profile.calls["log"] == steps
    assert all(seconds >= 0 for seconds in profile.seconds.values())


def test_the_table_and_the_file_say_the_same(runs, tmp_path):
    profile = runs["profiled"][2]
    lines = profile_table(profile, 60).splitlines()
    assert lines[0].split() == ["section", "seconds", "share", "ms/step", "calls"]
    assert [line.split()[0] for line in lines[1:-1]] == sorted(profile.seconds, key=lambda n: -profile.seconds[n])
    assert lines[-1].split()[0] == "total"
    assert sum(float(line.split()[1]) for line in lines[1:-1]) == pytest.approx(float(lines[-1].split()[1]), abs=0.1)
    write_profile(tmp_path, profile, 0, 60)
    saved = json.loads((tmp_path / "profile.json").read_text())
    assert saved["seconds"] == pytest.approx(sum(part["seconds"] for part in saved["sections"].values()))
    assert saved["sections"]["act"]["calls"] == 60 == saved["to_env_step"]
