"""`MBPO` on a small task: runs repeat to the last bit, however often they are interrupted."""

import errno
import inspect
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_tasks
from tiny_tasks import (
    RUN_SETTINGS,
    SHORT,
    Script,
    final_file,
    one_paragraph,
    read_lines,
    same_weights,
    without_time,
)

from mbpo import MBPO, RunConfig
from mbpo.errors import (
    CheckpointError,
    ConfigError,
    EnvironmentFault,
    RunFolderError,
    TrainingError,
    UnsupportedEnvironment,
)
from mbpo.training import loop
from mbpo.training.checkpoint import read_checkpoint, write_checkpoint
from mbpo.training.evaluate import Evaluator
from mbpo.training.manifest import _checksum
from mbpo.training.run_folder import read_description
from mbpo.training.signals import Interrupted

STEPS = 80


@pytest.fixture(autouse=True)
def checkpoint_after_every_episode(monkeypatch):
    """However slow the disk is: so that the tests do not depend on the machine."""
    monkeypatch.setattr(loop, "CHECKPOINT_SHARE", float("inf"))


@pytest.fixture
def make(request):
    """Makes agents on the short task, or on another, and closes them at the end."""
    made = []

    def maker(env=SHORT, **kwargs) -> MBPO:
        made.append(MBPO(env, **{"seed": 0, **RUN_SETTINGS, **kwargs}))
        return made[-1]

    def load(*args, **kwargs) -> MBPO:
        made.append(MBPO.load(*args, **kwargs))
        return made[-1]

    maker.load = load
    yield maker
    for agent in made:
        agent.close()


@pytest.fixture(scope="module")
def whole(tmp_path_factory, shared_agents):
    """The uninterrupted run that all others are measured by."""
    agent = MBPO(SHORT, seed=0, out=tmp_path_factory.mktemp("whole") / "run", **RUN_SETTINGS)
    agent.learn(STEPS)
    yield agent
    agent.close()


def state(agent: MBPO):
    return agent._run.state


# --- the same run again -----------------------------------------------------------------------


def test_two_runs_are_equal(make, whole):
    again = make().learn(STEPS)
    assert same_weights(state(again), state(whole))
    assert without_time(again.records) == without_time(whole.records)
    assert len(whole.records) == 7  # Four episodes, and evaluations at 25, 50 and 75; the last at 80.


def test_another_seed_is_another_run(make, whole):
    other, same = make(seed=1).learn(25), make(seed=0).learn(25)  # Random actions still: nothing to compile.
    returns = [[r["train_return"] for r in agent.records if "train_return" in r] for agent in (other, same, whole)]
    assert returns[0] != returns[1] == returns[2][:1]
    for one, another in zip(
        jax.tree.leaves(state(other).sac.params), jax.tree.leaves(state(same).sac.params), strict=True
    ):
        assert one.ndim < 2 or not np.array_equal(one, another)
    assert not np.array_equal(state(other).real.data.action[:25], state(same).real.data.action[:25])


def test_something_was_learned_and_imagined(whole):
    run = state(whole)
    assert int(run.real.size) == STEPS
    assert int(run.imagined.size) > 0
    last = whole.records[-1]
    wanted = {"wall_time", "eval_return_mean", "eval_return_std", "model_holdout_error", "rollout_length", "alpha"}
    wanted |= {"policy_shift", "on_policy_error", "bound_rollout_length", "rollout_gated"}
    assert wanted <= last.keys()
    assert {name for name in last if "loss" in name}
    assert not wanted & {"alpha", "model_holdout_error"} & whole.records[0].keys()  # Random actions teach nothing yet.


def test_learning_in_two_parts(make, whole):
    parts = make().learn(33).learn(STEPS - 33)
    assert same_weights(state(parts), state(whole))
    same_steps = [r for r in without_time(parts.records) if r["env_step"] != 33]
    assert same_steps == without_time(whole.records)


def test_the_files_say_what_the_agent_says(whole):
    assert read_lines(whole._home.folder) == whole.records
    assert json.loads((whole._home.folder / "config.json").read_text())["config"]["mbpo"]["utd_ratio"] == 2


def resumed(make, folder: Path, until: int = STEPS) -> MBPO:
    agent = make.load(folder, resume=True)
    return agent.learn(until - agent.env_step)


def same_as(whole: MBPO, agent: MBPO) -> None:
    """Weights, metrics and files are those of the uninterrupted run."""
    assert agent.env_step == whole.env_step
    assert same_weights(state(agent), state(whole))
    assert without_time(agent.records) == without_time(whole.records)
    assert without_time(read_lines(agent._home.folder)) == without_time(whole.records)
    assert final_file(agent._home.folder) == final_file(whole._home.folder)


def test_resumed_after_stopping_at_the_end_of_an_episode(make, whole, tmp_path):
    first = make(out=tmp_path / "run").learn(STEPS, callback=lambda record: record["env_step"] < 40)
    assert first.env_step == 40
    same_as(whole, resumed(make, tmp_path / "run"))


def test_resumed_after_it_was_killed_before_its_first_checkpoint(make, whole, tmp_path):
    killed = make(out=tmp_path / "run")
    killed._home.open(killed._run, killed._describe)
    killed.close()
    (tmp_path / "run" / "metrics.jsonl").write_text('{"env_step": 10, "episode": 0}\n{"env_st')
    with pytest.raises(CheckpointError, match="There is no checkpoint"):
        make.load(tmp_path / "run")
    with pytest.warns(UserWarning, match="ended before its first checkpoint, and begins again"):
        agent = make.load(tmp_path / "run", resume=True)
    same_as(whole, agent.learn(STEPS))
    begun = (tmp_path / "run" / "metrics.begun.jsonl").read_text()
    assert begun.startswith('{"env_step": 10')  # Nothing is lost.


def test_resumed_after_it_was_killed_while_it_wrote_its_first_checkpoint(make, whole, tmp_path):
    killed = make(out=tmp_path / "run")
    killed._home.open(killed._run, killed._describe)
    killed.close()
    (tmp_path / "run" / "checkpoint").mkdir()
    (tmp_path / "run" / "checkpoint" / "state-10.safetensors").write_bytes(b"half")
    with pytest.warns(UserWarning, match="begins again"):
        agent = make.load(tmp_path / "run", resume=True)
    same_as(whole, agent.learn(STEPS))


def test_a_run_that_lost_its_checkpoint_does_not_begin_again(make, whole, tmp_path):
    folder = shutil.copytree(whole._home.folder, tmp_path / "run")
    shutil.rmtree(folder / "checkpoint")
    with pytest.raises(CheckpointError, match="There is no checkpoint"):
        make.load(folder, resume=True)
    assert read_lines(folder) == whole.records


@pytest.mark.parametrize("step", [25, 80])
def test_resumed_after_an_evaluation_failed(make, whole, tmp_path, monkeypatch, step):
    # 25 lies within an episode, 80 is the last step, and an episode's.
    evaluate = Evaluator.run

    def failing(self, *args, at_step):
        if at_step == step:
            raise EnvironmentFault("The light went out.")
        return evaluate(self, *args, at_step=at_step)

    with monkeypatch.context() as patch:
        patch.setattr(Evaluator, "run", failing)
        with pytest.raises(EnvironmentFault):
            make(out=tmp_path / "run").learn(STEPS).close()
    agent = make.load(tmp_path / "run", resume=True)
    assert (agent.env_step, agent.owes_evaluation) == (step, True)
    same_as(whole, agent.learn(STEPS - step))
    assert not agent.owes_evaluation


def test_the_first_reset_may_fail_too(make):
    class Late(gymnasium.Wrapper):
        """Is not ready when it is first asked."""

        asked = 0

        def reset(self, **kwargs):
            type(self).asked += 1
            if type(self).asked == 1:
                raise RuntimeError("motor not ready")
            return self.env.reset(**kwargs)

    agent = make(lambda: Late(gymnasium.make(SHORT)), env_retries=1)
    with pytest.warns(UserWarning, match="motor not ready. A fresh episode begins"):
        agent.learn(1)
    assert agent.records[-1]["env_faults"] == 1


@pytest.mark.parametrize("step", [25, 50])
def test_resumed_after_a_callback_stopped_in_the_middle(make, whole, tmp_path, step):
    # 25 still acts at random, 50 has learned; both are inside an episode.
    make(out=tmp_path / "run").learn(STEPS, callback=lambda record: record["env_step"] < step)
    same_as(whole, resumed(make, tmp_path / "run"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_resumed_after_a_signal_in_the_middle(make, whole, tmp_path, number):
    agent = make(out=tmp_path / "run")
    with pytest.raises(Interrupted, match=signal.Signals(number).name):
        agent.learn(STEPS, progress=lambda run: os.kill(os.getpid(), number) if run.env_step == 47 else None)
    assert agent.env_step == 47
    same_as(whole, resumed(make, tmp_path / "run"))


def test_a_signal_leaves_an_agent_without_a_folder_whole(make, whole):
    agent = make()
    with pytest.raises(Interrupted):
        agent.learn(STEPS, progress=lambda run: os.kill(os.getpid(), signal.SIGINT) if run.env_step == 47 else None)
    agent.learn(STEPS - 47)
    assert same_weights(state(agent), state(whole))
    assert without_time(agent.records) == without_time(whole.records)


def test_resumed_again_and_again(make, whole, tmp_path):
    make(out=tmp_path / "run").learn(STEPS, callback=lambda record: False)
    while (agent := make.load(tmp_path / "run", resume=True)).env_step < STEPS:
        agent.learn(STEPS - agent.env_step, callback=lambda record: False)
    same_as(whole, agent)


class Killed(BaseException):
    """Nothing after it runs, as after `kill -9`."""


@pytest.mark.parametrize("step", [47, 60])
def test_resumed_after_what_no_program_survives(make, whole, tmp_path, step):
    # The steps and records after the last checkpoint (40) are lost, and are made again.
    def kill(run) -> None:
        if run.env_step == step:
            raise Killed

    agent = make(out=tmp_path / "run")
    with pytest.raises(Killed):
        agent.learn(STEPS, progress=kill)
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write('{"env_step": 61, "half a li')
    again = make.load(tmp_path / "run", resume=True)
    assert again.env_step == 40
    same_as(whole, again.learn(STEPS - 40))


def test_an_environment_that_cannot_be_returned_to(make, tmp_path):
    class Unseeded(Script):
        draws = np.random.default_rng(0)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            self.start = self.draws.uniform()
            return np.float32([self.start, 0]), {}

    make(lambda: Unseeded(), out=tmp_path / "run").learn(13)
    agent = make.load(tmp_path / "run", env=lambda: Unseeded(), resume=True)
    with pytest.warns(UserWarning, match="not a function of its seed"):
        agent.learn(10)
    # Episode 2 is given up after three steps; what it taught is kept.
    episodes = [(r["env_step"], r["episode"]) for r in agent.records if "train_return" in r]
    assert episodes == [(5, 0), (10, 1), (18, 3), (23, 4)]


# --- in a process of its own, really killed ---------------------------------------------------

TRAIN = """
import os, signal, sys
import mbpo.training.loop
from mbpo.cli.main import main

mbpo.training.loop.CHECKPOINT_SHARE = float("inf")
step = mbpo.training.loop.Episodes.step
steps = 0

def step_or_die(*args):
    global steps
    steps += 1
    if steps == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
    return step(*args)

mbpo.training.loop.Episodes.step = step_or_die
sys.exit(main(sys.argv[2:]))
"""


def train_in_a_process(kill_at: int, *arguments: str) -> int:
    environment = os.environ | {"PYTHONPATH": str(Path(tiny_tasks.__file__).parent), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", TRAIN, str(kill_at), "train", *arguments, "--final-episodes", "0"]
    return subprocess.run(command, env=environment, capture_output=True, timeout=300).returncode


def test_killed_and_resumed_from_the_command_line(make, whole, tmp_path):
    folder = str(tmp_path / "run")
    arguments = [SHORT, "--out", folder, "--steps", str(STEPS), *tiny_tasks.flags()]
    assert train_in_a_process(47, *arguments) == -signal.SIGKILL
    assert make.load(folder).env_step == 40
    assert train_in_a_process(0, "--resume", folder) == 0
    same = make.load(folder)
    same._home.folder = Path(folder)
    same_as(whole, same)


# --- saving and loading -----------------------------------------------------------------------


def test_save_and_load(make, whole, tmp_path):
    whole.save(tmp_path / "saved")
    loaded = make.load(tmp_path / "saved")
    assert same_weights(state(loaded), state(whole))
    assert loaded.config == whole.config
    assert loaded.records == whole.records
    obs = np.float32([0.5, 0.5, 1.0])
    np.testing.assert_array_equal(loaded.predict(obs)[0], whole.predict(obs)[0])
    one, other = loaded.evaluate(3), whole.evaluate(3)
    np.testing.assert_array_equal(one.returns, other.returns)


def test_angles_are_kept(make, tmp_path):
    agent = make(angles=(1,), out=tmp_path / "run").learn(STEPS // 2)
    loaded = make.load(tmp_path / "run")
    assert loaded.spec == agent.spec
    assert loaded.spec.angles == (1,)
    assert read_description(tmp_path / "run").spec == agent.spec
    obs = np.float32([0.5, -0.5, 0.1])
    assert loaded.predict(obs)[0] == agent.predict(obs)[0]
    np.testing.assert_allclose(loaded.predict(obs + np.float32([0, 2 * np.pi, 0]))[0], agent.predict(obs)[0], atol=1e-4)


@pytest.mark.parametrize("angles", ["1", [3], [-1], [0.5], [True], {}])
def test_angles_that_cannot_be(make, tmp_path, angles):
    make(out=tmp_path / "run").learn(STEPS // 2)
    path = tmp_path / "run" / "config.json"
    values = json.loads(path.read_text())
    values["spec"]["angles"] = angles
    path.write_text(json.dumps(values))
    with pytest.raises(RunFolderError, match="angles") as caught:
        read_description(tmp_path / "run")
    one_paragraph(str(caught.value))


def test_a_loaded_agent_trains_on_and_leaves_the_folder_alone(make, whole, tmp_path):
    make(out=tmp_path / "run").learn(33)
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    loaded = make.load(tmp_path / "run").learn(STEPS - 33)
    assert same_weights(state(loaded), state(whole))
    assert {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()} == before


def test_a_copy_stands_in_the_middle_of_the_same_episode(make, whole, tmp_path):
    make(out=tmp_path / "run").learn(33)
    make.load(tmp_path / "run").save(tmp_path / "copy")
    where = [read_checkpoint(tmp_path / name / "checkpoint").progress["episode"] for name in ("run", "copy")]
    assert where[0] == where[1] > 0
    again = make.load(tmp_path / "copy", resume=True).learn(STEPS - 33)
    assert same_weights(state(again), state(whole))
    assert without_time(again.records)[-1] == without_time(whole.records)[-1]


def test_an_agent_that_has_learned_nothing_can_be_saved(make, whole, tmp_path):
    make().save(tmp_path / "fresh")
    loaded = make.load(tmp_path / "fresh").learn(STEPS)
    assert same_weights(state(loaded), state(whole))
    assert without_time(loaded.records) == without_time(whole.records)


def test_a_module_is_remembered(make, tmp_path):
    # In a new process only its module makes the environment known.
    make().save(tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["config"]["env_id"] == SHORT


def test_a_folder_that_holds_a_run_is_left_alone(make, whole):
    before = {p: p.read_bytes() for p in whole._home.folder.rglob("*") if p.is_file()}
    with pytest.raises(RunFolderError, match="already holds a run"):
        make(out=whole._home.folder)
    with pytest.raises(RunFolderError, match="already holds a run"):
        whole.save(whole._home.folder)
    assert {p: p.read_bytes() for p in whole._home.folder.rglob("*") if p.is_file()} == before


def test_nothing_is_written_before_training(make, tmp_path):
    make(out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_taken_since(make, whole, tmp_path):
    agent = make(out=tmp_path / "run")
    whole.save(tmp_path / "run")
    before = final_file(tmp_path / "run")
    with pytest.raises(RunFolderError, match="already holds a run"):
        agent.learn(10)
    assert final_file(tmp_path / "run") == before


def damaged(whole: MBPO, folder: Path, **progress) -> Path:
    """A copy of the run with other values in its progress, under a checksum that fits them."""
    whole.save(folder)
    path = folder / "checkpoint" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["progress"] |= progress
    del manifest["checksum"]
    path.write_text(json.dumps(manifest | {"checksum": _checksum(manifest)}))
    return folder


@pytest.mark.parametrize(
    "progress",
    [
        {"env_step": None},
        {"env_step": -1},
        {"env_step": 2**80},
        {"env_step": 1.5},
        {"episode": -3},
        {"episode": "4"},
        {"records": None},
        {"latest": 3},
        {"model_learned_at": "now"},
        {"latest": {"alpha": "much"}},
        {"wall_time": []},
        {"wall_time": 10**400},
        {"latest": {"alpha": 10**400}},
    ],
)
def test_damaged_progress(whole, tmp_path, progress):
    folder = damaged(whole, tmp_path / "run", **progress)
    with pytest.raises(CheckpointError) as caught:
        MBPO.load(folder)
    assert "damaged" in one_paragraph(str(caught.value))


def test_a_checkpoint_without_its_episode(whole, tmp_path):
    whole.save(tmp_path / "run")
    checkpoint = read_checkpoint(tmp_path / "run" / "checkpoint")
    arrays = {name: checkpoint.read(name) for name in checkpoint.keys()}
    del arrays["episode.actions"]
    write_checkpoint(tmp_path / "run" / "checkpoint", arrays, checkpoint.progress)
    with pytest.raises(CheckpointError, match=r"episode\.actions"):
        MBPO.load(tmp_path / "run")


def test_a_checkpoint_of_other_settings(whole, tmp_path):
    whole.save(tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    description = json.loads(path.read_text())
    description["config"]["mbpo"]["sac"]["hidden_sizes"] = [8, 16]
    path.write_text(json.dumps(description))
    with pytest.raises(CheckpointError) as caught:
        MBPO.load(tmp_path / "run")
    assert "does not fit" in one_paragraph(str(caught.value))


def test_an_environment_of_another_shape(whole, tmp_path):
    with pytest.raises(CheckpointError) as caught:
        MBPO.load(whole._home.folder, env=Script())
    message = one_paragraph(str(caught.value))
    assert "3 observation numbers" in message
    assert "has 2" in message


# --- environments in every form ---------------------------------------------------------------


def test_an_instance_is_trained_in_and_not_disturbed_by_evaluations(make):
    env = Script(length=5)
    agent = make(env, eval_freq=3).learn(12)
    assert len(env.resets) == 3
    assert env.clock == 2
    agent.evaluate(30)
    assert env.clock == 2
    assert len(env.resets) == 3
    undisturbed = make(Script(length=5), eval_freq=1000).learn(12)
    assert same_weights(state(agent), state(undisturbed))


def test_instance_function_and_id_are_the_same_run(make, whole):
    for env in (gymnasium.make("Short-v0"), lambda: gymnasium.make("Short-v0")):
        agent = make(env).learn(STEPS)
        assert same_weights(state(agent), state(whole))
        assert without_time(agent.records) == without_time(whole.records)


def test_a_run_of_an_instance_is_loaded_with_an_environment(make, tmp_path):
    agent = make(Script(length=5)).learn(7)
    assert agent.config.env_id == "Script"
    agent.save(tmp_path / "run")
    with pytest.raises(ConfigError) as caught:
        MBPO.load(tmp_path / "run")
    assert "in Python, as env=" in one_paragraph(str(caught.value))
    loaded = make.load(tmp_path / "run", env=Script(length=5))
    assert same_weights(state(loaded.learn(5)), state(agent.learn(5)))


def test_settings_of_another_environment_name_the_one_given(make):
    # What is saved must say what was trained in.
    assert make(SHORT, config=RunConfig(env_id="Pendulum-v1")).config.env_id == SHORT


def test_observations_of_any_shape(make):
    class Square(Script):
        observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1, 2), np.float64)
        action_space = gymnasium.spaces.Box(-1.0, 1.0, (1, 1), np.float64)

        def reset(self, *, seed=None, options=None):
            return super().reset(seed=seed)[0].astype(float)[None], {}

        def step(self, action):
            assert action.shape == (1, 1)
            obs, *rest = super().step(action[0])
            return obs.astype(float)[None], *rest

    agent = make(Square()).learn(12)
    assert agent.predict(np.zeros((1, 2)))[0].shape == (1, 1)
    assert agent.predict(np.zeros((7, 1, 2)))[0].shape == (7, 1, 1)
    with pytest.raises(ValueError, match="shape"):
        agent.predict(np.zeros(2))


@pytest.mark.parametrize(
    ("env", "error", "words"),
    [
        ("Pendulm-v1", UnsupportedEnvironment, "Pendulum-v1"),
        ("CartPole-v1", UnsupportedEnvironment, "continuous actions"),
        ("tiny_tasks:Unbounded-v0", UnsupportedEnvironment, "no finite action bounds"),
        ("tiny_tasks:DictObs-v0", UnsupportedEnvironment, "FlattenObservation"),
        (3, UnsupportedEnvironment, "int"),
    ],
)
def test_environments_that_cannot_be_learned_in(env, error, words):
    with pytest.raises(error) as caught:
        MBPO(env)
    assert words in one_paragraph(str(caught.value))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"utd_rato": 3}, "Did you mean 'utd_ratio'"),
        ({"sac": {"gama": 0.9}}, "Did you mean 'gamma'"),
        ({"seed": 1.5}, "'seed'"),
        ({"seed": -1}, "'seed'"),
        ({"eval_freq": "often"}, "'eval_freq'"),
        ({"env_id": "Pendulum-v1"}, "first argument"),
        ({"termination": "atuo"}, "Did you mean 'auto'"),
    ],
)
def test_settings_that_are_refused(settings, words):
    with pytest.raises(ConfigError) as caught:
        MBPO(SHORT, **{"termination": "never", **settings})
    assert words in one_paragraph(str(caught.value))


@pytest.mark.parametrize("steps", [0, -1, 2.5, "10"])
def test_numbers_of_steps_that_are_refused(whole, steps):
    with pytest.raises(ConfigError, match="learn"):
        whole.learn(steps)


@pytest.mark.parametrize("arguments", [{"episodes": 0}, {"episodes": 1.5}, {"seed": -1}, {"seed": 0.5}])
def test_evaluations_that_are_refused(whole, arguments):
    with pytest.raises(ConfigError) as caught:
        whole.evaluate(**{"episodes": 2, **arguments})
    one_paragraph(str(caught.value))


def test_evaluation_seeds(whole):
    first, second, other = whole.evaluate(3), whole.evaluate(3, seed=0), whole.evaluate(3, seed=1)
    np.testing.assert_array_equal(first.returns, second.returns)
    assert not np.array_equal(first.returns, other.returns)
    last = whole.records[-1]
    assert whole.evaluate(2).mean == last["eval_return_mean"]


def test_termination_function_of_the_user(make):
    def ends(obs, action, next_obs):
        return next_obs[..., 1] >= 5

    agent = make(Script(length=5, ending="terminated"), termination_fn=ends).learn(40)
    imagined = state(agent).imagined
    size = int(imagined.size)
    assert size > 0
    rows = jax.tree.map(lambda column: np.asarray(column[:size]), imagined.data)
    np.testing.assert_array_equal(rows.terminated, rows.next_obs[:, 1] >= 5)


def test_a_termination_function_is_missed_when_it_is_not_given_again(make, tmp_path):
    def ends(obs, action, next_obs):
        return next_obs[..., 1] >= 2

    def script():
        return Script(length=5, ending="terminated")

    make(script, termination_fn=ends, out=tmp_path / "run").learn(5)
    assert read_description(tmp_path / "run").config.termination == "given"
    with pytest.raises(ConfigError, match=r"load\(\.\.\., termination_fn=\.\.\.\)") as caught:
        make.load(tmp_path / "run", env=script)
    one_paragraph(str(caught.value))
    assert not make.load(tmp_path / "run", env=script, termination_fn=ends).learns_termination


# --- acting -----------------------------------------------------------------------------------


def test_predict_has_the_signature_of_stable_baselines3():
    parameters = inspect.signature(MBPO.predict).parameters
    assert list(parameters) == ["self", "observation", "state", "episode_start", "deterministic"]
    assert [p.default for p in parameters.values()][2:] == [None, None, True]


def test_predict_one_and_many(whole):
    rng = np.random.default_rng(0)
    batch = rng.normal(size=(5, 3)).astype(np.float32)
    actions, memory = whole.predict(batch)
    assert actions.shape == (5, 1)
    assert memory is None
    assert isinstance(actions, np.ndarray)
    one, memory = whole.predict(batch[2], state=("kept",), episode_start=np.array([True]))
    assert one.shape == (1,)
    assert memory == ("kept",)
    np.testing.assert_allclose(one, actions[2], rtol=1e-5)
    assert (np.abs(actions) <= 2).all()
    np.testing.assert_array_equal(whole.predict(batch.tolist())[0], actions)  # Lists and other dtypes will do.


def test_predict_is_deterministic_unless_told_otherwise(whole):
    obs = np.float32([[1, 0, 0]] * 4)
    first, second = whole.predict(obs)[0], whole.predict(obs)[0]
    np.testing.assert_array_equal(first, second)
    assert len(np.unique(first)) == 1
    drawn = [whole.predict(obs, deterministic=False)[0] for _ in range(2)]
    assert len(np.unique(drawn)) == 8
    assert (np.abs(drawn) <= 2).all()


@pytest.mark.parametrize("shape", [(), (2,), (4,), (5, 2), (2, 5, 3), (3, 1)])
def test_predict_refuses_other_shapes(whole, shape):
    with pytest.raises(ValueError, match="shape"):
        whole.predict(np.zeros(shape, np.float32))


def test_predict_does_not_change_training(make, whole):
    agent = make().learn(33)
    for deterministic in (True, False):
        agent.predict(np.zeros(3), deterministic=deterministic)
    agent.evaluate(2)
    assert same_weights(state(agent.learn(STEPS - 33)), state(whole))


def evaluate_policy(model, env, n_eval_episodes: int) -> list[float]:
    """How stable-baselines3's function of that name calls a model, on Gymnasium's vector environments."""
    returns, current = [], np.zeros(env.num_envs)
    observations, _ = env.reset(seed=0)
    states, episode_starts = None, np.ones(env.num_envs, bool)
    while len(returns) < n_eval_episodes:
        actions, states = model.predict(observations, state=states, episode_start=episode_starts, deterministic=True)
        observations, rewards, terminated, truncated, _ = env.step(actions)
        current += rewards
        episode_starts = terminated | truncated
        returns += current[episode_starts].tolist()
        current[episode_starts] = 0
    return returns


def test_the_calls_of_stable_baselines3_are_answered(whole):
    same_step = gymnasium.vector.AutoresetMode.SAME_STEP
    env = gymnasium.vector.SyncVectorEnv([lambda: gymnasium.make("Short-v0")] * 3, autoreset_mode=same_step)
    returns = evaluate_policy(whole, env, 6)
    env.close()
    assert len(returns) == 6
    # By hand: one of them alone.
    alone = gymnasium.make("Short-v0")
    obs, _ = alone.reset(seed=0)
    total, over = 0.0, False
    while not over:
        obs, reward, _, over, _ = alone.step(whole.predict(obs)[0])
        total += reward
    assert returns[0] == pytest.approx(total, rel=1e-4)


# --- things that go wrong ---------------------------------------------------------------------


def test_training_that_diverges_keeps_the_last_good_checkpoint(make, tmp_path):
    agent = make(out=tmp_path / "run", sac={**RUN_SETTINGS["sac"], "learning_rate": 1e30})
    with pytest.raises(TrainingError) as caught:
        agent.learn(STEPS)
    message = one_paragraph(str(caught.value))
    assert "diverged at environment step" in message
    assert "'" in message  # A quantity is named.
    assert "checkpoint of step 20 is kept" in message
    assert make.load(tmp_path / "run").env_step == 20


def test_poisoned_weights_are_never_saved(make, tmp_path):
    agent = make(out=tmp_path / "run").learn(40)
    run = agent._run
    run.state = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf * jnp.nan if "actor" in jax.tree_util.keystr(path) and leaf.ndim == 2 else leaf,
        run.state,
    )
    with pytest.raises(TrainingError, match=r"at environment step 40: .*actor.* checkpoint of step 40 is kept"):
        agent.learn(10)
    with pytest.raises(TrainingError, match="diverged"):
        agent.save(tmp_path / "other")
    loaded = make.load(tmp_path / "run")
    assert np.isfinite(loaded.predict(np.zeros(3))[0]).all()


@pytest.mark.parametrize("fault", ["raises", "obs nan", "reward inf"])
def test_a_fault_of_the_environment(make, tmp_path, fault):
    env = Script(length=5, fault_step=3)
    agent = make(env, out=tmp_path / "run")
    agent.learn(10)
    env.fault = fault
    with pytest.raises(EnvironmentFault) as caught:
        agent.learn(10)
    message = one_paragraph(str(caught.value))
    for words in ("Script", "step 2", "episode 2"):
        assert words in message
    loaded = make.load(tmp_path / "run", env=Script(length=5), resume=True)
    assert loaded.env_step == agent.env_step == 12
    assert int(state(loaded).real.size) == 12
    env.fault = ""
    assert same_weights(state(agent.learn(5)), state(loaded.learn(5)))


def test_a_full_disk_loses_nothing(make, whole, tmp_path, monkeypatch):
    agent = make(out=tmp_path / "run").learn(STEPS, callback=lambda record: record["env_step"] < 40)

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(TrainingError) as caught:
            agent.learn(40)
    assert "No space left on device" in one_paragraph(str(caught.value))
    same_as(whole, resumed(make, tmp_path / "run"))
