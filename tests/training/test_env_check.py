"""What is found of an environment before training, each fault by an environment that has just that one."""

import json
import sys
import time
import types

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from misbehaving import CASES, Misbehaving
from tiny_tasks import one_paragraph

from mbpo.cli.main import main
from mbpo.envs.make import EnvSource
from mbpo.errors import UnsupportedEnvironment
from mbpo.training.env_check import Finding, check_env, first_difference, source_of
from mbpo.training.random_episodes import Episode


class Well(gymnasium.Env):
    """Nothing is wrong with it: a point that drifts, with a time limit of 20 steps."""

    observation_space = spaces.Box(-5.0, 5.0, (2,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.clock, self.point = 0, self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return self.point.copy(), {}

    def step(self, action):
        self.clock += 1
        self.point = np.clip(self.point + 0.1 * action, -5, 5).astype(np.float32)
        return self.point.copy(), -float(np.abs(self.point).sum()), False, self.clock >= 20, {}


class Careless(Well):
    """Draws from a generator of its own, which no seed reaches."""

    rng = np.random.default_rng(0)

    def step(self, action):
        self.point = self.point + np.float32(1e-3) * self.rng.uniform()
        return super().step(action)


class Remembering(Well):
    """Its first reset differs from all others, so only a fresh one repeats."""

    offset = 0.0

    def reset(self, **kwargs):
        _, info = super().reset(**kwargs)
        self.offset += 0.01
        self.point = (self.point + self.offset).astype(np.float32)
        return self.point.copy(), info


class Whimsical(Well):
    """Ends when it likes to; what it shows and pays is a function of its seed."""

    rng = np.random.default_rng(3)

    def step(self, action):
        obs, reward, *_, info = super().step(action)
        return obs, reward, self.rng.uniform() < 0.1, self.clock >= 20, info


class Constant(Well):
    def reset(self, **kwargs):
        super().reset(**kwargs)
        self.point = np.zeros(2, np.float32)
        return self.point.copy(), {}


class TimeAsEnd(Well):
    def step(self, action):
        obs, reward, _, over, info = super().step(action)
        return obs, reward, over, False, info


class Endless(Well):
    def step(self, action):
        return (*super().step(action)[:3], False, {})


class Enormous(Well):
    def step(self, action):
        obs, reward, *rest = super().step(action)
        return obs, 1e5 * reward, *rest


class Unpaid(Well):
    def step(self, action):
        obs, _, *rest = super().step(action)
        return obs, 0.0, *rest


class Doubles(Well):
    def step(self, action):
        obs, *rest = super().step(action)
        return obs.astype(np.float64), *rest


class Reusing(Well):
    def __init__(self):
        self.shared = np.zeros(2, np.float32)

    def step(self, action):
        self.shared[:], *rest = super().step(action)
        action *= 0
        return self.shared, *rest


class Millimetres(Well):
    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)

    def step(self, action):
        obs, *rest = super().step(action)
        return obs * np.float32([0, 1e5]), *rest


def found(env, **kwargs) -> dict[str, list[Finding]]:
    findings: dict[str, list[Finding]] = {}
    for finding in check_env(EnvSource.of(env), steps=100, **kwargs):
        one_paragraph(finding.sentence)
        findings.setdefault(finding.subject, []).append(finding)
    return findings


def test_nothing_is_wrong():
    levels = {name: [f.level for f in findings] for name, findings in found(Well).items()}
    names = ["spaces", "contract", "dtypes", "determinism", "endings", "rewards", "termination"]
    assert levels == {name: ["ok"] for name in names}


@pytest.mark.parametrize(
    ("env", "subject", "level", "words"),
    [
        (
            Careless,
            "determinism",
            "warning",
            "with the same seed and given the same actions, differs from step 1",
        ),
        (Remembering, "determinism", "warning", "differs from step 0 on"),
        (Whimsical, "determinism", "warning", "given the same actions, differs from step"),
        (Constant, "seeding", "warning", "All 5 episodes begin in the same state"),
        (TimeAsEnd, "endings", "error", "All 5 episodes terminate after exactly 20 steps, as by a time limit"),
        (Endless, "endings", "warning", "No episode ended within 100 steps"),
        (Enormous, "rewards", "warning", "a scale nearer to 1"),
        (Unpaid, "rewards", "warning", "between 0 and 0, mean 0; random actions never change them"),
        (Doubles, "dtypes", "warning", "come as float32, float64, and the space declares float32"),
        (Reusing, "arrays", "warning", "changes after it was handed out"),
        (Millimetres, "observations", "warning", "(dimensions 1); the policy sees them as they are"),
    ],
)
def test_one_thing_is_wrong(env, subject, level, words):
    (first, *_) = found(env)[subject]
    assert first.level == level
    assert words in first.sentence


def some(length, *, terminated=False, truncated=False, reward=1.0) -> Episode:
    obs = np.arange(length + 1, dtype=np.float32)[:, None]
    return Episode(obs, np.zeros((length, 1)), np.full(length, reward), terminated, truncated)


@pytest.mark.parametrize(
    ("second", "step"),
    [
        (some(5, terminated=True), None),
        (some(3), None),
        (some(4, terminated=True), 4),
        (some(3, truncated=True), 3),
        (some(5, truncated=True), 5),
        (some(5), 5),
        (some(5, terminated=True, reward=2.0), 1),
    ],
)
def test_where_a_repeated_episode_differs(second, step):
    assert first_difference(some(5, terminated=True), second) == step


def test_an_action_that_is_written_into():
    assert "writes into the action" in found(Reusing)["arrays"][1].sentence


@pytest.mark.parametrize("case", CASES[:-5:3], ids=lambda case: case.name)
def test_faults_are_told_as_in_training(case):
    findings = check_env(EnvSource.of(lambda: Misbehaving(case.fault, at_reset=case.at_reset)), timeout=0.2)
    assert (findings[-1].level, findings[-1].subject) == ("error", "contract")
    assert case.sentence in findings[-1].sentence
    assert "step 2 of episode 0" in findings[-1].sentence


def ends_above(obs, action, next_obs):
    return next_obs[:, 0] > 0.5


def test_a_termination_rule_is_held_against_real_transitions(monkeypatch):
    module = types.ModuleType("rules")
    module.ends_above = ends_above
    monkeypatch.setitem(sys.modules, "rules", module)
    assert found(Well, termination="never")["termination"][0].level == "ok"
    (finding,) = found(Well, termination="rules:ends_above")["termination"]
    assert finding.level == "error"
    assert "where it ends the task and the environment does not" in finding.sentence
    assert "of 100 real transitions" in finding.sentence


def test_names():
    assert source_of("tiny_tasks:Script").name == "Script"
    assert source_of("tiny_tasks:Short-v0").name == "Short-v0"
    assert source_of("Pendulum-v1").name == "Pendulum-v1"
    for name in ("no_such_module:Env", "tiny_tasks:Shrot", "tiny_tasks:EPISODE_STEPS", "Pendulm-v1"):
        with pytest.raises(UnsupportedEnvironment):
            source_of(name)


def test_the_command(capsys):
    assert main(["check-env", "Pendulum-v1", "--steps", "250"]) == 0
    out = capsys.readouterr().out
    assert "Pendulum-v1 is fit to train in." in out
    assert "agrees with all 250 real transitions" in out
    assert main(["check-env", "CartPole-v1", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["ok"], told["findings"][0]["subject"]) == (False, "spaces")
    assert main(["check-env", "tiny_tasks:Script", "--steps", "20"]) == 0
    assert "then named as tiny_tasks:Script-v0" in capsys.readouterr().out
    assert main(["check-env", "tiny_tasks:Script", "--steps", "20", "--env-kwargs", "length=7"]) == 0
    out = capsys.readouterr().out
    assert "after 7 to 7 steps" in out
    assert "Script (length=7) is fit to train in." in out
    assert main(["check-env", "Pendulum-v7"]) == 2
    assert main(["check-env", "Pendulum-v1", "--steps", "0"]) == 2


def test_it_is_the_task_that_training_would_make(capsys):
    pytest.importorskip("mujoco")
    assert main(["check-env", "Ant-v5", "--steps", "20"]) == 0
    out = capsys.readouterr().out
    assert "Box(-inf, inf, (27,), float64)" in out
    assert "Ant-v5 (include_cfrc_ext_in_observation=false" in out


def test_a_reset_without_a_seed_is_told_how_to_have_one():
    class Unseeded(Well):
        def reset(self):
            return super().reset()

    (finding,) = found(Unseeded)["contract"]
    assert "declare it as reset(self, *, seed=None, options=None)" in finding.sentence


class Slow(Well):
    """Does not come back from what it is told."""

    where = ""

    def __init__(self) -> None:
        if self.where == "made":
            time.sleep(30)

    def close(self) -> None:
        if self.where == "closed":
            time.sleep(30)


def test_a_time_limit_holds_for_making_and_closing(monkeypatch):
    module = types.ModuleType("slow")
    module.Slow = Slow
    monkeypatch.setitem(sys.modules, "slow", module)
    source = source_of("slow:Slow", 0.2)
    monkeypatch.setattr(Slow, "where", "made")
    for make in (lambda: source_of("slow:Slow", 0.2), lambda: check_env(source, steps=5, timeout=0.2)):
        with pytest.raises(UnsupportedEnvironment, match=r"Slow, or closing it again, took longer than 0\.2 seconds"):
            make()
    monkeypatch.setattr(Slow, "where", "closed")
    finding = check_env(source, steps=50, timeout=0.2)[-1]
    assert (finding.level, finding.subject) == ("error", "closing")
    assert "its close did not come back within 0.2 seconds" in finding.sentence


def test_a_module_that_exits_when_it_is_imported(tmp_path, monkeypatch, capsys):
    (tmp_path / "leaving.py").write_text("import sys; sys.exit(0)")
    monkeypatch.syspath_prepend(str(tmp_path))
    for arguments in (["check-env", "leaving:Env"], ["train", "leaving:Env-v0", "--out", str(tmp_path / "run")]):
        assert main(arguments) == 2
        assert "failed with SystemExit: 0" in capsys.readouterr().err
