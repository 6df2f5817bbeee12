"""The command line as a user meets it: what it prints, what it writes, how it ends."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny_tasks
from tiny_tasks import RUN_SETTINGS, SHORT, final_file, flags, read_lines, without_time

from mbpo import MBPO
from mbpo.cli import display
from mbpo.cli.main import COMMANDS, main
from mbpo.training import loop
from mbpo.training.config import from_dict, to_dict

STEPS = 80
TINY = [SHORT, *flags()]


def start(*arguments: str, folder: Path, path: Path | None = None) -> subprocess.Popen:
    """`mbpo …` as a process of its own, in a folder of its own."""
    places = [str(p) for p in (path, Path(tiny_tasks.__file__).parent) if p is not None]
    return subprocess.Popen(
        [sys.executable, "-m", "mbpo.cli.main", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(places), "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen) -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=300)
    finally:
        process.kill()
    assert "Traceback" not in err
    return process.returncode, out, err


@pytest.fixture(scope="module")
def trained(tmp_path_factory, compiled_code):
    """One whole run: its working folder, and what was printed."""
    place = tmp_path_factory.mktemp("trained")
    status, out, err = finish(start("train", *TINY, "--steps", str(STEPS), "--final-episodes", "3", folder=place))
    assert status == 0, err
    return place, out


@pytest.fixture
def folder(trained):
    return trained[0] / "runs" / "Short-v0" / "mbpo-seed0"


# --- train ------------------------------------------------------------------------------------


def test_train_says_what_it_does(trained, folder):
    _, out = trained
    first, *lines = out.splitlines()
    assert first == f"mbpo on {SHORT}, seed 0, 80 environment steps; writing to runs/Short-v0/mbpo-seed0"
    assert [int(line.split()[1]) for line in lines[:4]] == [25, 50, 75, 80]
    for line in lines[1:4]:
        for words in ("return", "±", "model error", "k 1", "alpha"):
            assert words in line
    assert lines[4].startswith("results  runs/Short-v0/mbpo-seed0/")
    assert re.fullmatch(
        r"policy   mean return -\d+\.\d ± \d+\.\d \(standard error, 3 episodes\) after 80 environment steps", lines[5]
    )
    assert len(lines) == 6


def test_train_writes_a_run_folder(folder):
    assert {path.name for path in folder.iterdir()} == {
        "config.json",
        "metrics.jsonl",
        "status.json",
        "checkpoint",
        "curve.png",
        "tensorboard",
    }
    assert (folder / "curve.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert len(list((folder / "tensorboard").iterdir())) == 1


def test_config_holds_every_resolved_value(folder):
    description = json.loads((folder / "config.json").read_text())
    expected = from_dict(
        {
            "env_id": SHORT,
            "steps": STEPS,
            **{name: RUN_SETTINGS[name] for name in ("eval_freq", "eval_episodes", "termination")},
            "mbpo": tiny_tasks.MBPO_SETTINGS,
        },
        where="a test",
    )
    assert description["config"] == to_dict(expected)
    assert description["config"]["mbpo"]["sac"]["gamma"] == 0.99  # Defaults too.
    assert {"python", "platform", "jax", "jaxlib", "gymnasium", "numpy"} <= description["versions"].keys()
    assert description["device"] == {"kind": "cpu", "matmul_precision": "the device's own"}
    assert description["commit"] is None or re.fullmatch(r"[0-9a-f]{40}\+?", description["commit"])
    assert description["spec"] == {"obs_dim": 3, "action_low": [-2.0], "action_high": [2.0], "angles": []}


def test_metrics_hold_what_is_promised(folder):
    records = read_lines(folder)
    assert [record["env_step"] for record in records] == [20, 25, 40, 50, 60, 75, 80]
    assert all("wall_time" in record for record in records)
    promised = {"eval_return_mean", "eval_return_std", "model_holdout_error", "rollout_length", "alpha"}
    assert promised | {"critic_loss", "actor_loss"} <= records[-1].keys()
    times = [record["wall_time"] for record in records]
    assert times == sorted(times)


def test_the_command_line_and_python_do_the_same(folder):
    agent = MBPO(SHORT, **RUN_SETTINGS).learn(STEPS)
    assert without_time(agent.records) == without_time(read_lines(folder))
    agent.close()


def test_a_second_run_goes_beside_the_first(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    short = [*TINY, "--steps", "5", "--final-episodes", "0"]
    assert [main(["train", *short]) for _ in range(2)] == [0, 0]
    assert {path.name for path in (tmp_path / "runs" / "Short-v0").iterdir()} == {"mbpo-seed0", "mbpo-seed0-2"}
    assert "policy" not in capsys.readouterr().out


def test_interrupted_by_ctrl_c_and_resumed(tmp_path, capsys):
    process = start("train", *TINY, "--out", "run", "--steps", "1000000", folder=tmp_path)
    deadline = time.monotonic() + 300
    metrics = tmp_path / "run" / "metrics.jsonl"
    while not (metrics.exists() and metrics.read_bytes().count(b"\n") >= 3):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    status, out, _ = finish(process)
    assert status == 130
    assert "Stopped by SIGINT" in out
    assert out.rstrip().endswith("mbpo train --resume run")
    agent = MBPO.load(tmp_path / "run")
    stopped_at = agent.env_step
    agent.close()
    assert stopped_at >= 40
    assert f"at step {stopped_at}" in out
    arguments = ["--resume", str(tmp_path / "run"), "--steps", str(stopped_at + 7), "--final-episodes", "2"]
    assert main(["train", *arguments]) == 0
    assert f"after {stopped_at + 7} environment steps" in capsys.readouterr().out
    assert read_lines(tmp_path / "run")[-1]["env_step"] == stopped_at + 7
    assert (tmp_path / "run" / "curve.png").exists()


def test_sigterm_is_like_ctrl_c(tmp_path, folder, monkeypatch, capsys):
    def step(self, run) -> None:
        if run.env_step == 47:
            os.kill(os.getpid(), signal.SIGTERM)

    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(display.Display, "step", step)
        assert main(["train", *TINY, "--out", str(out), "--steps", str(STEPS)]) == 130
    printed = capsys.readouterr().out
    assert "Stopped by SIGTERM at step 47" in printed
    assert f"mbpo train --resume {out}" in printed
    assert main(["train", "--resume", str(out), "--final-episodes", "0"]) == 0
    assert without_time(read_lines(out)) == without_time(read_lines(folder))
    assert final_file(out) == final_file(folder)


def test_a_full_disk(tmp_path, folder, monkeypatch, capfd):
    monkeypatch.setattr(loop, "CHECKPOINT_SHARE", float("inf"))
    out = tmp_path / "run"
    calls = iter(range(10**6))
    flush = os.fsync

    def full(descriptor) -> None:
        # config.json and metrics.jsonl take two flushes each, the first checkpoint eight (metrics.jsonl, the
        # networks, three replay buffers, the folder, and the manifest two) and the second two more: the third fails.
        if next(calls) >= 2 + 2 + 8 + 10:
            raise OSError(28, os.strerror(28))
        flush(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert main(["train", *TINY, "--out", str(out), "--steps", str(STEPS)]) == 1
    err = capfd.readouterr().err
    assert err.startswith("mbpo: ")
    assert "No space left on device" in err
    assert f"mbpo train --resume {out}" in err
    assert "Traceback" not in err
    assert main(["train", "--resume", str(out), "--final-episodes", "0"]) == 0
    assert without_time(read_lines(out)) == without_time(read_lines(folder))
    assert final_file(out) == final_file(folder)


def test_an_environment_that_fails(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tiny_tasks.Needy, "steps", 0)
    monkeypatch.setenv("FAIL_AT_STEP", "17")
    needy = ["tiny_tasks:Needy-v0", *flags()]
    out = tmp_path / "run"
    assert main(["train", *needy, "--out", str(out), "--steps", str(STEPS)]) == 1
    err = capsys.readouterr().err
    for words in ("Needy-v0", "step 16 of episode 0", "ConnectionError: the simulator hung up", "mbpo train --resume"):
        assert words in err
    agent = MBPO.load(out)
    assert agent.env_step == 16
    agent.close()
    assert main(["train", "--resume", str(out), "--steps", "22", "--final-episodes", "0"]) == 0
    assert read_lines(out)[-1]["env_step"] == 22


def test_a_run_that_is_finished_can_be_made_longer(tmp_path, capsys):
    out = str(tmp_path / "run")
    assert main(["train", *TINY, "--out", out, "--steps", "5", "--final-episodes", "0"]) == 0
    assert main(["train", "--resume", out]) == 2
    assert "--steps 10" in capsys.readouterr().err
    assert main(["train", "--resume", out, "--steps=8", "--final_episodes", "0"]) == 0
    assert read_lines(tmp_path / "run")[-1]["env_step"] == 8


def test_how_to_go_on_with_a_run_that_was_made_longer(tmp_path, capsys):
    out = str(tmp_path / "my run")
    assert main(["train", *TINY, "--out", out, "--steps", "5", "--final-episodes", "0"]) == 0
    assert main(["train", "--resume", out, "--steps", "9", "--max-time", "0.001s"]) == 3
    command = capsys.readouterr().out.splitlines()[-1].strip()
    assert command == f"mbpo train --resume '{out}' --steps 9"
    assert main([*shlex.split(command)[1:], "--final-episodes", "0"]) == 0
    assert read_lines(tmp_path / "my run")[-1]["env_step"] == 9


# --- eval -------------------------------------------------------------------------------------


def test_profile_of_a_resumed_run(tmp_path, capsys):
    out = ["--out", str(tmp_path / "run"), "--final-episodes", "0"]
    assert main(["train", *TINY, "--steps", "40", *out]) == 0
    assert not (tmp_path / "run" / "profile.json").exists()
    capsys.readouterr()
    assert main(["train", "--resume", str(tmp_path / "run"), "--steps", "60", "--profile", *out[2:]]) == 0
    printed = capsys.readouterr().out
    saved = json.loads((tmp_path / "run" / "profile.json").read_text())
    assert (saved["from_env_step"], saved["to_env_step"]) == (40, 60)
    assert saved["sections"]["act"]["calls"] == 20
    assert "profile  steps 40 to 60" in printed
    assert all(f"\n{section} " in printed for section in saved["sections"])


def test_eval_as_json(folder, capsys):
    assert main(["eval", str(folder), "--episodes", "4", "--json"]) == 0
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    values = json.loads(line)
    assert list(values) == ["env_id", "episodes", "mean_return", "std_return", "env_step", "cut_episodes"]
    assert (values["env_id"], values["episodes"], values["env_step"]) == (SHORT, 4, STEPS)
    agent = MBPO.load(folder)
    result = agent.evaluate(4)
    agent.close()
    assert (values["mean_return"], values["std_return"]) == (result.mean, result.std)


def test_eval_repeats_itself_and_takes_a_seed(folder, capsys):
    def mean(*arguments: str) -> float:
        assert main(["eval", str(folder), "--episodes", "2", "--json", *arguments]) == 0
        return json.loads(capsys.readouterr().out)["mean_return"]

    assert mean() == mean() == mean("--seed", "0") != mean("--seed", "1")
    assert mean() == read_lines(folder)[-1]["eval_return_mean"]  # Two episodes then, too.


def test_eval_in_words(folder, capsys):
    assert main(["eval", str(folder), "--episodes", "4"]) == 0
    out = capsys.readouterr().out
    assert re.fullmatch(
        rf"{SHORT} after 80 environment steps: mean return -\d+\.\d ± \d+\.\d \(standard error; "
        r"standard deviation \d+\.\d, 4 episodes\)\n",
        out,
    )


def test_eval_leaves_the_folder_alone(folder):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert main(["eval", str(folder), "--episodes", "1"]) == 0
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


# --- plot -------------------------------------------------------------------------------------


def test_plot(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["plot", str(folder)]) == 0
    assert main(["plot", str(folder), str(folder), "--out", "deep/er/two.png"]) == 0
    assert capsys.readouterr().out.splitlines() == ["curves.png", "deep/er/two.png"]
    for name in ("curves.png", "deep/er/two.png"):
        assert (tmp_path / name).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


# --- help -------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], []])
def test_help(arguments, capsys):
    assert main(arguments) == (0 if arguments else 2)
    out = capsys.readouterr().out
    assert all(f"mbpo {name}" in out for name in COMMANDS)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("train", ["ENV_ID", "--seed", "--resume", "--sac.gamma", "--model.num-elites", "--rollout-length.start"]),
        ("eval", ["DIR", "--episodes", "--json"]),
        ("plot", ["DIR", "--out"]),
    ],
)
def test_help_of_a_command(command, words, capsys):
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    for word in words:
        assert word in out


def test_version(capsys):
    import mbpo

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"{mbpo.__version__}\n"


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_goes_away(unbuffered):
    # `mbpo --help | head -0`
    read, write = os.pipe()
    os.close(read)
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(
        [sys.executable, "-m", "mbpo.cli.main", "--help"],
        env=environment,
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        timeout=300,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")
