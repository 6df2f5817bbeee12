"""The benchmarks' ways with run folders: results that are collected, runs that go on under other settings."""

import csv
import json
import shutil
import sys
from pathlib import Path

import pytest

from mbpo.training.algorithms import load
from mbpo.training.logbook import read_records

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import collect
import gone_on_with


def run(script, monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["script", *map(str, words)])
    return script.main()


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def seeds(tiny_run, tmp_path):
    """Two run folders, of which one says that it has another seed."""
    for seed in (0, 1):
        folder = tmp_path / "runs" / f"seed-{seed:02d}"
        shutil.copytree(tiny_run, folder)
        described = json.loads((folder / "config.json").read_text())
        described["config"]["seed"] = seed
        (folder / "config.json").write_text(json.dumps(described))
    return tmp_path / "runs"


ABOUT = ("--command", "mbpo train $seed", "--machine", "one of two", "--cores", 2)


def test_what_is_collected(seeds, tmp_path, monkeypatch):
    out = tmp_path / "results"
    assert run(collect, monkeypatch, seeds, *ABOUT, "--out", out) == 0
    about = json.loads((out / "run.json").read_text())
    assert (about["seeds"], about["command"], about["cores"]) == ([0, 1], "mbpo train $seed", 2)
    assert about["device"]["machine"] == "one of two"
    table = rows(out / "summary.csv")
    assert [(row["env_step"], row["seeds"]) for row in table] == [(str(step), "2") for step in (25, 50, 75, 80)]
    assert read_records(out / "seed-01") == read_records(seeds / "seed-01")


def test_runs_of_different_settings_are_not_one_result(seeds, tmp_path, monkeypatch, capsys):
    described = json.loads((seeds / "seed-01" / "config.json").read_text())
    described["config"]["mbpo"]["utd_ratio"] = 3
    (seeds / "seed-01" / "config.json").write_text(json.dumps(described))
    assert run(collect, monkeypatch, seeds, *ABOUT, "--out", tmp_path / "results") == 1
    assert "not all of the same settings" in capsys.readouterr().out
    assert not (tmp_path / "results").exists()
    assert run(collect, monkeypatch, tmp_path / "results", *ABOUT, "--out", tmp_path) == 1


def test_a_run_goes_on_as_it_would_have_or_otherwise(tiny_run, tmp_path, monkeypatch):
    before = {path: path.read_bytes() for path in tiny_run.rglob("*") if path.is_file()}
    plain = load(tiny_run)
    plain.learn(20)
    expected = [record for record in plain._run.logbook.records if record["env_step"] > 80]
    plain.close()
    tables = {}
    for utd in (2, 5):
        out = tmp_path / f"{utd}.csv"
        options = ("--until", 100, "--every", 25, "--set", f"mbpo.utd_ratio={utd}", "--out", out)
        assert run(gone_on_with, monkeypatch, tiny_run, *options) == 0
        tables[utd] = rows(out)
    assert [(row["env_step"], row["kind"]) for row in tables[2]] == [("100", "episode"), ("100", "evaluation")]
    told = {row["kind"]: float(row["return_mean"]) for row in tables[2]}
    assert told["episode"] == pytest.approx(next(r["train_return"] for r in expected if "train_return" in r), abs=0.06)
    assert told["evaluation"] == pytest.approx(expected[-1]["eval_return_mean"], abs=0.06)
    assert tables[5] != tables[2]
    assert before == {path: path.read_bytes() for path in tiny_run.rglob("*") if path.is_file()}


def test_settings_by_name():
    assert gone_on_with.changed(["a.b.c=0.5", "a.b.d=true", "e=[1, 2]"]) == {
        "a": {"b": {"c": 0.5, "d": True}},
        "e": [1, 2],
    }
