"""`mbpo compare` as a user meets it: what it asks of the runner, prints, writes, and how it ends."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny_tasks
from fake_runs import FakeRunner
from rich.console import Console
from tiny_tasks import SHORT, flags, one_paragraph

from mbpo.cli import compare, comparison_display
from mbpo.cli.arguments import changed, options
from mbpo.cli.main import main
from mbpo.cli.train_arguments import read_arguments, run_config
from mbpo.training.comparison import check_trainable
from mbpo.training.config import ALGOS, merge, section, to_dict
from mbpo.training.presets import preset, presets
from mbpo.training.run_folder import read_description

ASK = ["compare", SHORT, "--algos", "mbpo", "sac", "--seeds", "2", "--steps", "20", "--termination", "never"]


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A working folder of its own; what checks the environment is tested beside it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(compare, "check_trainable", lambda entries: None)
    return tmp_path


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs a command on a runner that only pretends; its status and what it printed."""

    def run(*arguments: str, runner: FakeRunner) -> tuple[int, str]:
        made = []
        monkeypatch.setattr(compare, "LocalRunner", lambda *args, **kwargs: made.append(args) or runner)
        status = main(list(arguments))
        out, err = capsys.readouterr()
        assert err == ""
        return status, out

    return run


@pytest.fixture
def paragraph(capsys):
    """Runs a command that is refused with status 2; the one paragraph it says."""

    def run(*arguments: str) -> str:
        assert main(list(arguments)) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("mbpo: ")
        return one_paragraph(err)

    return run


def names(runner: FakeRunner) -> list[str]:
    return [job.name for job in runner.jobs]


# --- what is done -----------------------------------------------------------------------------


def test_from_nothing_to_a_figure(run, place):
    runner = FakeRunner()
    status, out = run(*ASK, "--mbpo.utd-ratio", "3", "--sac.sac.gamma", "0.9", runner=runner)
    assert status == 0
    assert names(runner) == ["mbpo seed 0", "sac seed 0", "mbpo seed 1", "sac seed 1"]
    commands = {job.name: " ".join(job.command[4:]) for job in runner.jobs}
    shared = f"{SHORT} --algo {{}} --seed {{}} --eval-freq 1000 --eval-episodes 10 --termination never"
    folder = "runs/compare/Short-v0"
    ending = "--steps 20 --final-episodes 0"
    assert commands["mbpo seed 0"] == (f"{shared.format('mbpo', 0)} --utd-ratio 3 --out {folder}/mbpo/seed-00 {ending}")
    assert commands["sac seed 1"] == (f"{shared.format('sac', 1)} --sac.gamma 0.9 --out {folder}/sac/seed-01 {ending}")
    first, *lines = out.splitlines()
    assert first == (
        f"{SHORT}: mbpo (2 seeds, 20 steps), sac (2 seeds, 20 steps); 0 of 4 runs are finished; writing to {folder}"
    )
    assert [re.sub(r"^[\d:]{8}  ", "", line) for line in lines[:4]] == [
        "mbpo seed 0 started",
        "mbpo seed 0 done: return -20.0 at step 20, 3 s (1 of 4)",
        "sac seed 0 started",
        "sac seed 0 done: return -20.0 at step 20, 3 s (2 of 4)",
    ]
    assert lines[8:10] == [f"figure   {folder}/curves.png", f"summary  {folder}/summary.csv"]
    # The interquartile mean of -20 and -19, whose band is their range.
    assert lines[-2].split() == ["mbpo", "20", "-19.5", "[-20.0,", "-19.0]", "2", "1"]
    assert lines[-1].split()[:3] == ["sac", "20", "-19.5"]
    assert (place / folder / "curves.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    rows = (place / folder / "summary.csv").read_text().splitlines()
    assert rows[2] == "mbpo,20,2,-19.5,-20.0,-19.0,-19.5,0.71,-20.0,-19.0"
    held = json.loads((place / folder / "compare.json").read_text())["algorithms"]
    assert (held["mbpo"]["config"]["mbpo"]["utd_ratio"], held["sac"]["config"]["sac"]["sac"]["gamma"]) == (3, 0.9)


def test_the_same_command_goes_on_and_more_extends(run):
    assert run(*ASK, runner=FakeRunner(stop_at="mbpo seed 1"))[0] == 130
    runner = FakeRunner()
    assert run(*ASK, runner=runner)[0] == 0
    assert names(runner) == ["mbpo seed 1", "sac seed 1"]
    status, out = run(*ASK, runner=runner)
    assert (status, names(runner)) == (0, ["mbpo seed 1", "sac seed 1"])  # Not asked again.
    assert "4 of 4 runs are finished" in out
    assert "started" not in out
    longer = [*ASK[:2], "--algos", "sac", "pets", "--seeds", "3", "--steps", "30", "--termination", "never"]
    status, out = run(*longer, runner=runner)
    assert names(runner) == ["sac seed 0", "pets seed 0", "sac seed 1", "pets seed 1", "sac seed 2", "pets seed 2"]
    assert ["--resume" in job.command for job in runner.jobs] == [True, False, True, False, False, False]
    assert "sac seed 0 started, from step 20" in out
    assert [line.split()[:2] for line in out.splitlines()[-3:]] == [["mbpo", "20"], ["sac", "30"], ["pets", "30"]]


def test_a_seed_that_fails(run):
    status, out = run(*ASK, runner=FakeRunner(failing=["sac seed 0"]))
    assert status == 1
    log = "runs/compare/Short-v0/sac/seed-00.log"
    assert f"sac seed 0 FAILED after 3 s: The simulator hung up. Its output is in {log}" in out
    assert "mbpo seed 1 done" in out
    assert out.splitlines()[-2].split()[:4] == ["sac", "20", "-19.0", "-"]
    assert "1 of 2" in out.splitlines()[-2]
    assert out.splitlines()[-1] == "1 of 4 runs failed: sac seed 0. The same command tries them again."
    runner = FakeRunner()
    assert run(*ASK, runner=runner)[0] == 0
    assert names(runner) == ["sac seed 0"]


def test_when_every_seed_fails(run, place):
    status, out = run(*ASK[:4], "--seeds", "1", "--steps", "20", runner=FakeRunner(failing=["mbpo seed 0"]))
    assert status == 1
    assert "there is no figure" in out
    assert not (place / "runs" / "compare" / "Short-v0" / "curves.png").exists()


def test_stopped(run, place):
    status, out = run(*ASK, runner=FakeRunner(stop_at="sac seed 1"))
    assert status == 130
    assert out.count("stopping: the runs under way are saved first") == 1
    assert "sac seed 1 stopped at step 0, 2 s" in out
    assert out.endswith("\nStopped by SIGINT. To go on, give the same command again.\n")
    assert (place / "runs" / "compare" / "Short-v0" / "curves.png").exists()  # Of what there is.


def test_each_algorithm_has_the_preset_of_the_task(run):
    runner = FakeRunner()
    run("compare", "Pendulum-v1", "--algos", "mbpo", "sac", "--seeds", "1", "--out", "out", runner=runner)
    (mbpo, sac) = (" ".join(job.command) for job in runner.jobs)
    assert "--eval-freq 100 --eval-episodes 10 --termination auto --out out/mbpo/seed-00 --steps 600" in mbpo
    assert "--eval-freq 500 --eval-episodes 10 --termination auto --out out/sac/seed-00 --steps 5000" in sac


def test_the_environment_may_come_last(run):
    runner = FakeRunner()
    assert run("compare", "--algos", "mbpo", "--seeds", "1", "--out", "out", "Pendulum-v1", runner=runner)[0] == 0
    assert "600" in runner.jobs[0].command


def test_on_a_terminal_runs_have_bars(run, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(comparison_display, "REFRESH_SECONDS", 0.0)
    monkeypatch.setattr(comparison_display, "Console", lambda: Console(force_terminal=True, width=120))
    status, out = run(*ASK, runner=FakeRunner(failing=["sac seed 0"]))
    assert status == 1
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out)
    for words in ("all runs", "3/4", "mbpo seed 1 done: return -19.0 at step 20", "sac seed 0 FAILED"):
        assert words in plain


@pytest.mark.parametrize("algo", ALGOS)
def test_a_run_gets_exactly_the_settings_asked_for(algo):
    for env_id in ("Pendulum-v1", "Task-v0"):
        base = preset(env_id, algo)
        settings = {"random_steps": 17} if hasattr(base.chosen, "random_steps") else {}
        if hasattr(base.chosen, "sac"):
            settings["sac"] = {"hidden_sizes": [8, 9], "target_entropy": -1.5e-5, "critic_layer_norm": True}
        given = {"eval_freq": 7, "eval_episodes": 3, "termination": "never", "steps": 5, section(algo): settings}
        given["angles"] = [2, 0]
        config = merge(base, given, where="a test")
        spelled = ["--algo", algo, *compare._options(config), "--steps", "5"]
        read = read_arguments([env_id, *spelled], preset(env_id, algo))
        assert run_config(read, {}) == config


@pytest.mark.parametrize("name", presets())
def test_every_setting_of_a_preset_can_be_spelled(name):
    env_id, algo = "Task-v1", presets()[name].algo
    config, plain = presets()[name].config(env_id), preset(env_id, algo)
    spelled = [env_id, "--algo", algo, *options(changed(to_dict(config.chosen), to_dict(plain.chosen)))]
    assert run_config(read_arguments(spelled, plain), {}).chosen == config.chosen


def test_options_and_changes_by_hand():
    settings = {"a_b": 1, "c": {"d": None, "e": [1, 2], "f": True, "g": False}, "h": "x"}
    assert options(settings) == ["--a-b", "1", "--c.d", "None", "--c.e", "1", "2", "--c.f", "--c.no-g", "--h", "x"]
    assert changed(settings, {"a_b": 1, "c": {"d": 3, "e": [1, 2]}, "h": "y"}) == {
        "c": {"d": None, "f": True, "g": False},
        "h": "x",
    }
    assert changed(settings, settings) == {}


# --- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--algos", "mbpo", "scr"], ["'scr'", "pets"]),
        (["--algos", "mbop"], ["'mbop'", "Did you mean 'mbpo'"]),
        (["--algos"], ["at least one algorithm", "sac"]),
        (["--algos", "sac", "--seeds", "0"], ["at least 1 seed", "0"]),
        (["--algos", "sac", "--steps", "0"], ["'steps'", "0"]),
        (["--algos", "sac", "--jobs", "0"], ["--jobs", "0"]),
        (["--algos", "sac", "--mbpo.utd-ratio", "3"], ["--mbpo.utd-ratio", "not among --algos sac"]),
        (["--algos", "sac", "--sca.gamma=3"], ["--sca.gamma", "'sac'", "--sac.random-steps"]),
        (["--algos", "sac", "--sac.sac.gamma", "2"], ["gamma", "2.0"]),
    ],
)
def test_impossible(paragraph, place, arguments, words):
    message = paragraph("compare", SHORT, *arguments)
    for word in words:
        assert word in message
    assert not list(place.iterdir())


@pytest.mark.parametrize(
    ("option", "hint"),
    [("--mbpo.utd-rato", "--mbpo.utd-ratio"), ("--sac.gamma", "--sac.sac.gamma"), ("--sed", "--seeds")],
)
def test_unknown_options(capfd, option, hint):
    with pytest.raises(SystemExit) as caught:
        main([*ASK, option, "3"])
    assert caught.value.code == 2
    assert hint in capfd.readouterr().err


def test_an_environment_that_an_algorithm_cannot_learn_in(paragraph, place, monkeypatch):
    monkeypatch.setattr(compare, "check_trainable", check_trainable)
    message = paragraph("compare", SHORT, "--algos", "sac", "dyna-q")
    assert "dyna-q cannot be compared here" in message
    assert "--algo mbpo" in message
    assert not list(place.iterdir())


def test_a_folder_of_another_comparison(run, paragraph):
    run(*ASK, runner=FakeRunner())
    message = paragraph(*ASK, "--mbpo.utd-ratio", "7", "--eval-freq", "3")
    assert "mbpo.utd_ratio is 20 there and 7 now" in message
    assert "sac's eval_freq is 1000 there and 3 now" in message


# --- in earnest -------------------------------------------------------------------------------


def start(place: Path, *arguments: str) -> subprocess.Popen:
    tiny = [*flags({"random_steps": 10, "sac": {"hidden_sizes": [8, 8], "batch_size": 8}}, "sac.")]
    path = [str(Path(tiny_tasks.__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    own = ["--termination", "never", "--eval-freq", "20", "--eval-episodes", "1"]
    return subprocess.Popen(
        [sys.executable, "-m", "mbpo.cli.main", "compare", SHORT, "--algos", "sac", *own, *tiny, *arguments],
        cwd=place,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path), "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def processes_in(folder: Path) -> list[int]:
    """Processes whose command names the folder; only where /proc tells."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(folder).encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.slow
def test_one_seed_to_the_end_and_stopped_in_the_next(place):
    out = place / "out"
    lines: list[str] = []
    seen: list[int] = []
    with start(place, "--out", str(out), "--seeds", "2", "--steps", "25", "--jobs", "1") as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if "seed 1 started" in line:
                # The command and its run, where /proc tells. A process just begun has no command line yet.
                until = time.monotonic() + 1
                while len(seen := processes_in(out)) < 2 and time.monotonic() < until:
                    time.sleep(0.01)
                process.send_signal(signal.SIGTERM)
    printed = "".join(lines)
    assert process.returncode == 130, printed
    assert re.search(r"sac seed 0 done: return -\d+\.\d at step 25", printed)
    assert "sac seed 1 stopped at step 0" in printed
    assert printed.endswith("\nStopped by SIGTERM. To go on, give the same command again.\n")
    assert len(seen) >= 2 or not Path("/proc").exists(), seen
    assert processes_in(out) == []
    assert (out / "curves.png").exists()
    assert (out / "sac" / "seed-00.log").read_text().startswith(f"sac on {SHORT}, seed 0, 25 environment steps")
    config = read_description(out / "sac" / "seed-00").config
    assert (config.sac.sac.hidden_sizes, config.eval_freq, config.steps) == ((8, 8), 20, 25)
