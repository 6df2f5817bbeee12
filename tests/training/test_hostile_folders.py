"""Run folders that somebody else prepared: nothing in them runs, nothing outside is written, nothing waits for ever."""

import json
import os
import shutil
import sys

import pytest
from spy_runs import make_run, train
from tiny_tasks import RUN_SETTINGS, SHORT, Script, one_paragraph

from mbpo import MBPO
from mbpo.errors import RunFolderError
from mbpo.training import doctor
from mbpo.training.config import RunConfig
from mbpo.training.doctor import examine, repair
from mbpo.training.durable import AppendedFile, put
from mbpo.training.logbook import METRICS_FILE, Logbook, read_latest, read_records
from mbpo.training.run_folder import check_modules, check_no_links, check_unused, read_description
from mbpo.training.status import Heartbeat, read_status
from mbpo.training.survey import survey
from mbpo.viz.curves import plot_curves


@pytest.fixture
def folder(tmp_path, tiny_run):
    return shutil.copytree(tiny_run, tmp_path / "runs" / "Pendulum-v1" / "run")


# --- code -------------------------------------------------------------------------------------


def config(setting: str, module: str) -> RunConfig:
    return RunConfig(**{setting: f"{module}:Env-v0"})


@pytest.mark.parametrize("setting", ["env_id", "termination", "reward"])
@pytest.mark.parametrize("name", ["evil.py", "evil/__init__.py", "evil/inner.py"])
def test_a_dotted_module_within_the_run(folder, tmp_path, monkeypatch, setting, name):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("raise SystemExit('it ran')")
    monkeypatch.syspath_prepend(str(tmp_path))
    module = "runs.Pendulum-v1.run.evil" + (".inner" if "inner" in name else "")
    with pytest.raises(RunFolderError, match="lies in the run folder itself"):
        check_modules(folder, config(setting, module))
    # As it also would from within a package that is imported already.
    monkeypatch.setitem(sys.modules, "runs", type(sys)("runs"))
    with pytest.raises(RunFolderError, match="lies in the run folder itself"):
        check_modules(folder, config(setting, module))
    assert "runs.Pendulum-v1" not in sys.modules


def test_a_package_that_is_a_link_into_the_run(folder, tmp_path, monkeypatch):
    (folder / "evil.py").write_text("")
    (tmp_path / "innocent").symlink_to(folder)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(RunFolderError, match="lies in the run folder itself"):
        check_modules(folder, config("reward", "innocent.evil"))


def test_modules_elsewhere_are_the_users_own(folder, tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "rules.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    for module in ("mine.rules", "json", "json.decoder", "tiny_tasks", "no_such.module", "", "..", "a b"):
        check_modules(folder, config("reward", module))


# --- links ------------------------------------------------------------------------------------


@pytest.fixture
def victim(tmp_path):
    (tmp_path / "victim").write_text("precious")
    yield tmp_path / "victim"
    assert (tmp_path / "victim").read_text() == "precious"


def test_nothing_is_written_through_a_link(tmp_path, victim):
    (tmp_path / "file.tmp").symlink_to(victim)
    put(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    (tmp_path / "grown").symlink_to(victim)
    with pytest.raises(OSError):
        AppendedFile(tmp_path / "grown")
    AppendedFile(tmp_path / "grown", fresh=True).close()


def test_a_run_with_links_for_files_goes_on_within_its_folder(folder, victim):
    for name in ("metrics.jsonl.tmp", "status.json.tmp", "curve.png.tmp", "checkpoint/manifest.json.tmp"):
        (folder / name).symlink_to(victim)
    for name in ("curve.png", "status.json"):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(victim)
    MBPO.load(folder, resume=True).close()
    with Heartbeat(folder, 100, make_run()):
        assert read_status(folder)["state"] == "running"
    Logbook(folder, keep=read_records(folder)).close()
    plot_curves([folder], folder / "curve.png")
    assert not any(path.is_symlink() for path in folder.glob("*.*") if path.suffix != ".tmp")


@pytest.mark.parametrize("name", ["checkpoint", "tensorboard"])
def test_a_folder_of_a_run_that_is_a_link_is_not_written_to(folder, tmp_path, name):
    outside = tmp_path / "outside"
    (folder / name).rename(outside)
    (folder / name).symlink_to(outside)
    before = sorted(outside.iterdir())
    for attempt in (repair, check_no_links, lambda folder: MBPO.load(folder, resume=True)):
        with pytest.raises(RunFolderError) as caught:
            attempt(folder)
        assert f"{folder / name} is a link" in one_paragraph(str(caught.value))
    MBPO.load(folder).close()  # Reading it does no harm.
    assert sorted(outside.iterdir()) == before


# --- pipes, devices, folders, and what cannot be looked at -------------------------------------


def put_pipe(path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def put_device(path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to("/dev/zero")


def put_folder(path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


@pytest.mark.parametrize("place", [put_pipe, put_device, put_folder])
@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl", "status.json", "checkpoint/manifest.json", "state"])
def test_what_is_no_file_is_not_waited_for(folder, place, name):
    path = next((folder / "checkpoint").glob("state-80-*")) if name == "state" else folder / name
    place(path)
    assert name == "status.json" or examine(folder).problems
    read_latest(folder)
    assert (read_status(folder) == {}) is (name == "status.json")
    assert len(survey(folder)) <= 1
    if name == "metrics.jsonl":
        assert "Began an empty metrics.jsonl." in repair(folder)
        assert examine(folder).problems == []


def test_a_path_that_is_too_long(tmp_path):
    path = tmp_path / ("x" * 300)
    for look in (check_unused, read_description, examine, repair, survey):
        with pytest.raises(RunFolderError) as caught:
            look(path)
        assert "cannot be looked at: File name too long" in one_paragraph(str(caught.value))


def test_records_without_settings_are_not_written_over(tmp_path):
    (tmp_path / METRICS_FILE).write_text('{"env_step": 1}\n')
    with pytest.raises(RunFolderError, match="holds the records of a run"):
        MBPO(SHORT, out=tmp_path, **RUN_SETTINGS)


# --- settings that were changed ----------------------------------------------------------------


def test_other_settings_than_the_checkpoint_was_written_with(folder, capsys):
    values = json.loads((folder / "config.json").read_text())
    values["config"]["seed"] += 1
    (folder / "config.json").write_text(json.dumps(values))
    (problem,) = examine(folder).problems
    assert "config.json is not the file that the checkpoint was written with" in one_paragraph(problem.sentence)
    assert problem.repair is None
    with pytest.raises(Exception, match="would not be the same run"):
        MBPO.load(folder, resume=True)
    with pytest.warns(UserWarning, match="is not the file that"):
        MBPO.load(folder).close()


def test_an_older_manifest_says_nothing_of_the_settings(tmp_path):
    run = train(make_run(Script(length=5), folder=tmp_path), 5)
    assert "config_sha256" not in json.loads((tmp_path / "checkpoint" / "manifest.json").read_text())
    assert run.saved.config is None


# --- a folder that is being written to ---------------------------------------------------------


def test_a_folder_that_is_written_to_is_looked_at_again(folder, monkeypatch):
    (folder / "metrics.jsonl.tmp").write_text("half")
    assert len(examine(folder).problems) == 1
    agent = MBPO.load(folder, resume=True)  # Holds the lock.
    diagnosis = examine(folder)
    assert (diagnosis.problems, diagnosis.holds["written_to"]) == ([], "now, by a process")
    # A checkpoint that was half replaced at the first look.
    (state,) = (folder / "checkpoint").glob("state-80-*")
    away = state.rename(folder / "away")
    monkeypatch.setattr(doctor.time, "sleep", lambda seconds: away.exists() and away.rename(state))
    assert examine(folder).problems == []
    state.unlink()
    assert len(examine(folder).problems) == 1  # It stays so.
    agent.close()
