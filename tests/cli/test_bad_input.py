"""Bad input: one readable paragraph, an exit status that is not 0, and nothing lost."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_tasks import SHORT, flags, one_paragraph, read_lines, without_time

from mbpo.cli.main import main
from mbpo.errors import EnvironmentFault
from mbpo.training.evaluate import Evaluator

TINY = [SHORT, *flags()]


@pytest.fixture
def complain(capfd):
    """Runs a command that must fail with status 2; what it says, on one line."""

    def run(*arguments: str) -> str:
        try:
            status = main(list(arguments))
        except SystemExit as stop:
            status = stop.code
        out, err = capfd.readouterr()
        assert status == 2
        assert "Traceback" not in out + err
        return " ".join(err.split())

    return run


@pytest.fixture
def paragraph(complain, capfd):
    """The same, for what we say ourselves."""

    def run(*arguments: str) -> str:
        status = main(list(arguments))
        err = capfd.readouterr().err
        assert status == 2
        assert err.startswith("mbpo: ")
        return one_paragraph(err)

    return run


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, shared_agents):
    """A run that has taken 5 steps."""
    folder = tmp_path_factory.mktemp("short") / "run"
    assert main(["train", *TINY, "--out", str(folder), "--steps", "5", "--final-episodes", "0"]) == 0
    return folder


@pytest.fixture
def copy(run_folder, tmp_path):
    """A copy of it, to be damaged."""
    for path in run_folder.rglob("*"):
        target = tmp_path / "copy" / path.relative_to(run_folder)
        if path.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    return tmp_path / "copy"


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- the environment --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("env_id", "words"),
    [
        ("Pendulm-v1", ["'Pendulm-v1'", "Did you mean 'Pendulum-v1'"]),
        ("Pendulum-v7", ["Known: Pendulum-v1"]),
        ("CartPole-v1", ["CartPole-v1", "Discrete(2)", "continuous actions"]),
        ("FrozenLake-v1", ["observation space Discrete(16)"]),
        ("tiny_tasks:DictObs-v0", ["observation space Dict", "FlattenObservation"]),
        ("tiny_tasks:Unbounded-v0", ["no finite action bounds", "TransformAction"]),
        ("no_such_module:Env-v0", ["No module named 'no_such_module'"]),
        ("tiny_tasks:Shrot-v0", ["Did you mean 'Short-v0'"]),
        ("tiny_tasks:Script", ["gymnasium.register('Script-v0', entry_point='tiny_tasks:Script'"]),
    ],
)
def test_environment(paragraph, tmp_path, monkeypatch, env_id, words):
    monkeypatch.chdir(tmp_path)
    message = paragraph("train", env_id)
    for word in words:
        assert word in message
    assert not list(tmp_path.iterdir())


BLOCKER = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name == "mujoco":
            raise ModuleNotFoundError("No module named 'mujoco'", name="mujoco")

sys.meta_path.insert(0, Blocker())
"""


def test_missing_extra(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(BLOCKER)
    done = subprocess.run(
        [sys.executable, "-m", "mbpo.cli.main", "train", "InvertedPendulum-v5"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 2
    assert "pip install 'mbpo[mujoco]'" in one_paragraph(done.stderr)


# --- options ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--utd-rato", "3"], ["--utd-rato", "--utd-ratio"]),
        (["--sac.gama", "0.9"], ["--sac.gama", "--sac.gamma"]),
        (["--gamma", "0.9"], ["--gamma", "--sac.gamma"]),
        (["--mbpo.sac.gamma", "0.9"], ["--sac.gamma"]),
        (["--utd-ratio", "abc"], ["--utd-ratio", "'abc'"]),
        (["--utd-ratio", "1.5"], ["--utd-ratio", "'1.5'"]),
        (["--steps"], ["--steps"]),
        (["--seed", "one"], ["--seed", "'one'"]),
        (["Pendulum-v1", "again"], ["again"]),
        (
            ["Pendulum-v1", "--learner.horizon", "1"],
            ["--learner.horizon is a setting of mbpo-dh, and this is --algo mbpo"],
        ),
        (["Pendulum-v1", "--rollout-length", "5"], ["--rollout-length.start"]),
        (["Pendulum-v1", "--algo", "sac", "--model.no_residual"], ["a setting of mbpo and mbpo-dh and pets"]),
    ],
)
def test_unknown_and_mistyped_options(complain, arguments, words):
    message = complain("train", *arguments)
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--steps", "0"], ["'steps'", "0"]),
        (["--seed", "-1"], ["'seed'", "-1"]),
        (["--seed", str(2**64)], ["'seed'"]),
        (["--algo", "mbop"], ["'mbop'", "Did you mean 'mbpo'", "pets"]),
        (["--sac.gamma", "2"], ["gamma", "2.0"]),
        (["--sac.learning-rate", "nan"], ["learning_rate", "nan"]),
        (["--sac.hidden-sizes", "0"], ["hidden_sizes", "0"]),
        (["--model.num-elites", "9"], ["num_elites (9)", "ensemble_size (7)"]),
        (["--rollout-length.start", "99"], ["rollout_length.start (99)"]),
        (["--termination", "nevr"], ["Did you mean 'never'"]),
        (["--termination", "no_such_module:ends"], ["No module named 'no_such_module'"]),
        (["--angles", "1", "3"], ["[1, 3]", "Pendulum-v1 has 3 numbers: 0 to 2"]),
        (["--angles", "-1"], ["angles", "-1"]),
        (["--final-episodes", "-1"], ["--final-episodes", "-1"]),
    ],
)
def test_impossible_values(paragraph, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    message = paragraph("train", *arguments)
    for word in words:
        assert word in message
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("command", "words"), [("trian", "Did you mean 'train'"), ("evaluate", "eval"), ("--sed", "There is no command")]
)
def test_unknown_command(paragraph, command, words):
    assert words in paragraph(command)


def test_eval_and_plot_options(complain, run_folder):
    assert "DIR" in complain("eval")
    assert "--episodes" in complain("eval", str(run_folder), "--episode", "3")
    for episodes in ("0", "10000000000000"):
        assert "at least 1 episode and at most" in complain("eval", str(run_folder), "--episodes", episodes)
    assert "seed" in complain("eval", str(run_folder), "--seed", "-1")
    assert "at least one run folder" in complain("plot")


# --- folders ----------------------------------------------------------------------------------


def test_out_that_holds_a_run(paragraph, run_folder):
    before = contents(run_folder)
    message = paragraph("train", *TINY, "--out", str(run_folder))
    assert "already holds a run" in message
    assert f"mbpo train --resume {run_folder}" in message
    assert contents(run_folder) == before


def test_out_that_is_a_file(paragraph, tmp_path):
    (tmp_path / "file").write_text("precious")
    assert "is a file" in paragraph("train", *TINY, "--out", str(tmp_path / "file"))
    assert (tmp_path / "file").read_text() == "precious"


def test_out_that_cannot_be_written(paragraph, tmp_path):
    (tmp_path / "file").write_text("")
    message = paragraph("train", *TINY, "--out", str(tmp_path / "file" / "run"))
    assert "Cannot write the run folder" in message
    assert "deleted" not in message  # Nothing is there.


def test_out_with_files_of_the_users_is_not_called_deletable(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    (tmp_path / "thesis.tex").write_text("precious")
    assert main(["train", *TINY, "--out", str(tmp_path), "--steps", "5"]) == 2
    assert "deleted" not in capsys.readouterr().err
    assert (tmp_path / "thesis.tex").read_text() == "precious"


@pytest.mark.parametrize("command", [["eval"], ["plot"], ["train", "--resume"]])
def test_folders_that_are_no_runs(paragraph, tmp_path, command):
    assert "nowhere" in paragraph(*command, str(tmp_path / "nowhere"))
    assert "not a run folder of mbpo" in paragraph(*command, str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    assert "not a run description of mbpo" in paragraph(*command, str(tmp_path))
    (tmp_path / "config.json").write_text('{"config": ')
    assert "damaged" in paragraph(*command, str(tmp_path))


@pytest.mark.parametrize("command", [["eval"], ["train", "--steps", "9", "--resume"]])
@pytest.mark.parametrize("damage", ["flipped", "truncated", "gone", "foreign", "no manifest", "manifest", "settings"])
def test_corrupt_and_foreign_checkpoints(paragraph, copy, command, damage):
    (state,) = (copy / "checkpoint").glob("state-*")
    manifest = copy / "checkpoint" / "manifest.json"
    data = state.read_bytes()
    match damage:
        case "flipped":
            state.write_bytes(data[:-3] + bytes([data[-3] ^ 4]) + data[-2:])
        case "truncated":
            state.write_bytes(data[: len(data) // 2])
        case "gone":
            state.unlink()
        case "foreign":
            manifest.write_text('{"format": "pt"}')
        case "no manifest":
            manifest.unlink()
        case "manifest":
            manifest.write_text(manifest.read_text()[:50])
        case "settings":
            config = copy / "config.json"
            config.write_text(config.read_text().replace('"utd_ratio"', '"utd_ration"'))
    before = contents(copy)
    message = paragraph(*command, str(copy))
    expected = {"foreign": "not a checkpoint of mbpo", "gone": "cannot be read", "no manifest": "no checkpoint"}
    assert expected.get(damage, "utd_ratio'" if damage == "settings" else "damaged") in message
    assert contents(copy) == before


def test_damaged_metrics(paragraph, copy):
    lines = (copy / "metrics.jsonl").read_text()
    (copy / "metrics.jsonl").write_text("{broken\n" + lines)
    for command in (["eval"], ["plot"], ["train", "--steps", "9", "--resume"]):
        assert "Line 1" in paragraph(*command, str(copy))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--seed", "3"], "--seed"),
        (["--seed=3"], "--seed"),
        (["--sac.gamma", "0.9", "--steps", "9"], "--sac.gamma"),
        (["--utd_ratio", "3"], "--utd-ratio"),
        (["--out", "elsewhere"], "--out"),
    ],
)
def test_resume_with_other_settings(paragraph, copy, arguments, words):
    before = contents(copy)
    message = paragraph("train", *arguments, "--resume", str(copy))
    assert words in message
    assert "cannot be given" in message
    assert contents(copy) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([*TINY, "--seed", "3"], ["it stands for --seed 3, the run has --seed 0."]),
        ([*TINY, "--angles", "2", "0"], ["it stands for --angles 0 2, the run has --angles None."]),
        ([*TINY, "--out", "elsewhere"], ["--out elsewhere"]),
        (["Pendulum-v1"], ["the whole command", "it stands for --", "the run has --"]),
        (["Pendulum-v1", "--algo", "sac"], ["--algo sac", "--algo mbpo"]),
    ],
)
def test_resume_with_another_command_names_what_differs(paragraph, copy, arguments, words):
    before = contents(copy)
    message = paragraph("train", *arguments, "--resume", str(copy))
    for word in words:
        assert word in message
    assert contents(copy) == before


def test_a_run_whose_last_evaluation_failed_is_resumed(run_folder, tmp_path, monkeypatch, capsys):
    def fail(*args, **kwargs):
        raise EnvironmentFault("The light went out.")

    command = ["train", *TINY, "--out", str(tmp_path / "run"), "--steps", "5", "--final-episodes", "0"]
    with monkeypatch.context() as patch:
        patch.setattr(Evaluator, "run", fail)
        assert main(command) == 1
    assert f"mbpo train --resume {tmp_path / 'run'}" in capsys.readouterr().err
    assert main(["train", "--resume", str(tmp_path / "run"), "--final-episodes", "0"]) == 0
    assert without_time(read_lines(tmp_path / "run")) == without_time(read_lines(run_folder))
    assert main(["doctor", str(tmp_path / "run")]) == 0


@pytest.mark.parametrize("option", ["--eval-episodes", "--final-episodes"])
def test_more_episodes_than_memory_holds(paragraph, tmp_path, option):
    assert "1000000" in paragraph("train", *TINY, option, str(10**13), "--out", str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("seconds", ["-1", "0", "inf", "nan", "1e300"])
def test_time_limits_that_are_none(paragraph, tmp_path, seconds):
    assert "--timeout is a number of seconds" in paragraph("check-env", SHORT, f"--timeout={seconds}")
    message = paragraph("train", *TINY, f"--env-timeout={seconds}", "--out", str(tmp_path / "run"))
    assert "'env_timeout'" in message


def test_a_path_that_is_too_long(paragraph):
    for command in (["train", *TINY, "--out"], ["train", "--resume"], ["doctor"], ["eval"], ["runs"]):
        assert "File name too long" in paragraph(*command, "x" * 300)


def test_resume_of_a_run_that_is_done(paragraph, copy):
    assert "already taken 5 of 5 steps" in paragraph("train", "--resume", str(copy))
    assert "already taken 5 of 3 steps" in paragraph("train", "--resume", str(copy), "--steps", "3")


def test_plot_of_different_tasks(paragraph, copy, run_folder, tmp_path):
    config = copy / "config.json"
    config.write_text(config.read_text().replace(SHORT, "Pendulum-v1"))
    out = tmp_path / "curve.png"
    assert "different tasks" in paragraph("plot", str(copy), str(run_folder), "--out", str(out))
    assert not out.exists()


@pytest.mark.parametrize("setting", ["env_id", "termination", "reward"])
def test_a_run_that_brings_its_own_code(paragraph, copy, tmp_path, monkeypatch, setting):
    # Somebody else's run folder, entered: its module must not be imported.
    (copy / "brought_along.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    config = json.loads((copy / "config.json").read_text())
    config["config"][setting] = "brought_along:Env-v0"
    (copy / "config.json").write_text(json.dumps(config))
    monkeypatch.chdir(copy)
    for command in (["eval", "."], ["train", "--resume", "."], ["trust", "."], ["doctor", "."]):
        if command[0] == "doctor":
            assert main(command) == 1  # The settings are not those of the checkpoint.
        else:
            assert "'brought_along', which lies in the run folder itself" in paragraph(*command)
    assert not (tmp_path / "ran").exists()
