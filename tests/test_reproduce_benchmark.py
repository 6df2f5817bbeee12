"""Whether committed records come out again: what counts as the same."""

import json
import sys
from pathlib import Path

import pytest
from tiny_tasks import RUN_SETTINGS, SHORT

from mbpo import MBPO
from mbpo.errors import RunFolderError

BENCHMARKS = str(Path(__file__).parent.parent / "benchmarks")


@pytest.fixture
def reproduce(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import reproduce

    yield reproduce
    sys.modules.pop("reproduce")


def test_compare_by_hand(reproduce):
    before = [{"env_step": 5, "a": 1.0, "wall_time": 3.0}, {"env_step": 8, "a": 2.0, "gone": 1, "b": 3}]
    now = [{"env_step": 5, "a": 1.0, "wall_time": 9.0}, {"env_step": 8, "a": 2.0, "b": 3, "new": 7}, {"env_step": 9}]
    assert reproduce.compare(before, now) == (3, None)
    now[1]["b"] = 4
    assert reproduce.compare(before, now) == (3, reproduce.Difference(8, "b", 3, 4))
    assert reproduce.compare(before, now[:1]) == (1, reproduce.Difference(8, "no record", None, None))


def test_a_run_comes_out_again_and_an_edited_record_does_not(reproduce, tmp_path):
    folder = tmp_path / "seed-00"
    MBPO(SHORT, seed=0, out=folder, **RUN_SETTINGS).learn(60).close()
    found = reproduce.again(folder, None)
    assert found["numbers"] > 20
    assert "differs_first" not in found
    assert found["same_until"] == found["until"] > RUN_SETTINGS["random_steps"]
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    changed = next(line for line in lines if line["env_step"] == found["until"])
    changed["eval_return_mean"] += 1e-12
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = reproduce.again(folder, None)
    assert found["differs_first"] == "eval_return_mean"
    assert found["same_until"] < found["until"]


def test_what_cannot_be_repeated_is_refused(reproduce, tmp_path):
    MBPO(SHORT, seed=0, out=tmp_path / "run", **RUN_SETTINGS).learn(60).close()
    MBPO.fork(tmp_path / "run", out=tmp_path / "fork").learn(5).close()
    with pytest.raises(RunFolderError, match="began where another run stands"):
        reproduce.again(tmp_path / "fork", None)
    with pytest.raises(RunFolderError, match="no record up to step 1"):
        reproduce.again(tmp_path / "run", 1)
