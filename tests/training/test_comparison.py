"""What a comparison's folder holds, what is left to do, and what it refuses."""

import json
import sys

import pytest
from fake_runs import write_run
from tiny_tasks import one_paragraph

from mbpo.errors import ConfigError, RunFolderError, UnsupportedEnvironment
from mbpo.training.comparison import Comparison, Entry, check_trainable, extend, locked, steps_taken, train_command
from mbpo.training.config import RunConfig, merge

TRAIN = (sys.executable, "-m", "mbpo.cli.main", "train")


def entry(algo: str = "mbpo", seeds: int = 2, **settings) -> Entry:
    return Entry(merge(RunConfig(algo=algo), {"steps": 20, **settings}, where="a test"), seeds)


def asked(**entries) -> dict[str, Entry]:
    return entries or {"mbpo": entry(), "sac": entry("sac")}


def names(comparison: Comparison, entries: dict[str, Entry]) -> list[str]:
    return [job.name for job in comparison.jobs(entries, dict.fromkeys(entries, ())).values()]


@pytest.fixture
def held(tmp_path):
    """A comparison of MBPO and SAC on the disk."""
    folder = tmp_path / "out"
    folder.mkdir()
    extend(folder, asked()).write()
    return folder


def test_seeds_take_turns(tmp_path):
    entries = asked(mbpo=entry(), sac=entry("sac", seeds=3), pets=entry("pets", seeds=1))
    comparison = extend(tmp_path / "new", entries)
    assert names(comparison, entries) == [
        *("mbpo seed 0", "sac seed 0", "pets seed 0"),
        *("mbpo seed 1", "sac seed 1", "sac seed 2"),
    ]
    assert not (tmp_path / "new").exists()


def test_what_is_left_to_do(tmp_path):
    entries = asked(mbpo=entry(seeds=4))
    comparison = extend(tmp_path, entries)
    write_run(comparison.run_folder("mbpo", 0), {20: -1.0})
    write_run(comparison.run_folder("mbpo", 1), {10: -1.0})
    write_run(comparison.run_folder("mbpo", 2), {10: -1.0}, checkpoint=False)
    jobs = comparison.jobs(entries, {"mbpo": ["--utd-ratio", "3"]})
    ending = ("--steps", "20", "--final-episodes", "0")
    folders = [str(comparison.run_folder("mbpo", seed)) for seed in range(4)]
    start = ("Pendulum-v1", "--algo", "mbpo", "--seed")
    assert {seed: job.command for (_, seed), job in jobs.items()} == {
        1: (*TRAIN, "--resume", folders[1], *ending),
        2: (*TRAIN, *start, "2", "--utd-ratio", "3", "--out", folders[2], *ending),
        3: (*TRAIN, *start, "3", "--utd-ratio", "3", "--out", folders[3], *ending),
    }
    assert not comparison.run_folder("mbpo", 2).exists()  # It had no checkpoint to go on from.
    assert jobs["mbpo", 1].log == tmp_path / "mbpo" / "seed-01.log"
    assert comparison.finished("mbpo") == [comparison.run_folder("mbpo", 0)]


def test_a_damaged_checkpoint_is_left_to_the_run_to_complain_of(tmp_path):
    folder = write_run(tmp_path / "run", {20: -1.0})
    (folder / "checkpoint" / "manifest.json").write_text("{")
    assert steps_taken(folder) == 0
    command = train_command(folder, 20, [])
    assert command is not None
    assert "--resume" in command
    assert (folder / "checkpoint" / "manifest.json").exists()


def test_a_run_that_lost_its_last_manifest_is_neither_deleted_nor_trained(tmp_path):
    folder = write_run(tmp_path / "run", {20: -1.0})
    (folder / "checkpoint" / "manifest.json").rename(folder / "checkpoint" / "manifest.previous.json")
    with pytest.raises(RunFolderError) as caught:
        train_command(folder, 40, [])
    assert f"mbpo doctor {folder} --repair" in one_paragraph(str(caught.value))
    assert (folder / "metrics.jsonl").exists()


def test_the_same_again_and_more(held):
    assert extend(held, asked()).entries == asked()
    more = asked(sac=entry("sac", steps=30, seeds=5), pets=entry("pets"))
    grown = extend(held, more)
    assert grown.entries == {"mbpo": entry(), "sac": entry("sac", steps=30, seeds=5), "pets": entry("pets")}
    fewer = extend(held, asked(sac=entry("sac", seeds=1)))
    assert fewer.entries["sac"].seeds == 2  # What is there stays in table and figure.
    assert names(fewer, asked(sac=entry("sac", seeds=1))) == ["sac seed 0"]


def test_the_file_says_what_and_with_what(held):
    values = json.loads((held / "compare.json").read_text())
    assert list(values) == ["algorithms", "versions", "commit"]
    assert values["algorithms"]["sac"]["seeds"] == 2
    config = values["algorithms"]["sac"]["config"]
    assert (config["env_id"], config["steps"], config["sac"]["sac"]["gamma"]) == ("Pendulum-v1", 20, 0.99)
    assert "seed" not in config
    assert {"python", "jax"} <= values["versions"].keys()


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"mbpo": entry(env_id="Hopper-v5")}, "env_id is Pendulum-v1 there and Hopper-v5 now"),
        ({"pets": entry("pets", env_id="Hopper-v5")}, "env_id is Pendulum-v1 there and Hopper-v5 now"),
        ({"pets": entry("pets", termination="never")}, "termination is auto there and never now"),
        ({"mbpo": entry(eval_freq=7)}, "mbpo's eval_freq is 1000 there and 7 now"),
        ({"sac": entry("sac", sac={"sac": {"gamma": 0.5}})}, "sac.sac.gamma is 0.99 there and 0.5 now"),
        ({"mbpo": entry(steps=19)}, "mbpo has 20 steps there and 19 now"),
    ],
)
def test_anything_else_is_refused(held, entries, words):
    before = (held / "compare.json").read_bytes()
    with pytest.raises(RunFolderError) as caught:
        extend(held, entries)
    message = one_paragraph(str(caught.value))
    assert words in message
    assert "--out" in message
    assert (held / "compare.json").read_bytes() == before


def test_an_older_comparison_goes_on_as_it_was(tmp_path):
    """Its file does not name a setting whose default has changed since."""
    old, setting = tmp_path / "old", "mbpo_dh.learner.actor_average_rate"
    as_then = {"mbpo-dh": entry("mbpo-dh", mbpo_dh={"learner": {"actor_average_rate": 1.0}})}
    old.mkdir()
    extend(old, as_then).write()
    file = old / "compare.json"
    values = json.loads(file.read_text())
    del values["algorithms"]["mbpo-dh"]["config"]["mbpo_dh"]["learner"]["actor_average_rate"]
    file.write_text(json.dumps(values))
    assert extend(old, as_then).entries == as_then
    with pytest.raises(RunFolderError, match=f"{setting} is 1.0 there and 0.001 now"):
        extend(old, {"mbpo-dh": entry("mbpo-dh")})


def test_many_differences_are_cut_short(held):
    changes = {"random_steps": 10, "utd_ratio": 1, "epoch_length": 2, "real_ratio": 0.5, "model_train_freq": 1}
    with pytest.raises(RunFolderError) as caught:
        extend(held, {"mbpo": entry(eval_freq=3, mbpo=changes)})
    assert "; …" in one_paragraph(str(caught.value))


def test_folders_of_something_else(tmp_path):
    def complaint(folder) -> str:
        with pytest.raises(RunFolderError) as caught:
            extend(folder, asked())
        return one_paragraph(str(caught.value))

    (tmp_path / "thesis.tex").write_text("precious")
    assert "thesis.tex" in complaint(tmp_path)
    assert "is a file" in complaint(tmp_path / "thesis.tex")
    for text in ("{", "[]", '{"algorithms": 3}', '{"algorithms": {"mbpo": {"seeds": 2}}}'):
        (tmp_path / "compare.json").write_text(text)
        assert "damaged" in complaint(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_settings_of_another_version(held):
    path = held / "compare.json"
    path.write_text(path.read_text().replace('"utd_ratio"', '"utd_ration"'))
    with pytest.raises(ConfigError, match="utd_ration"):
        extend(held, asked())


def test_two_commands_in_one_folder(tmp_path):
    with locked(tmp_path / "out"), pytest.raises(RunFolderError, match="at work in"), locked(tmp_path / "out"):
        pass
    with locked(tmp_path / "out"):  # Free again.
        assert extend(tmp_path / "out", asked()).entries == asked()  # The lock is nothing else's file.


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="Cannot write"), locked(tmp_path / "file" / "out"):
        pass


def test_what_cannot_be_trained_is_found_before():
    with pytest.raises(UnsupportedEnvironment, match=r"^sac cannot be compared here\. CartPole-v1 .*Discrete"):
        check_trainable({"sac": entry("sac", env_id="CartPole-v1")})
    with pytest.raises(ConfigError, match=r"^mbpo cannot be compared here\. The termination 'nevr'"):
        # SAC imagines nothing and does not look at it.
        check_trainable({algo: entry(algo, termination="nevr") for algo in ("sac", "mbpo")})
    with pytest.raises(UnsupportedEnvironment, match="'Pendulm-v1'"):
        check_trainable({"sac": entry("sac", env_id="Pendulm-v1")})
