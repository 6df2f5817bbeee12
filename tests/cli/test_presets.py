"""`mbpo presets`, and `mbpo train` with a preset, with arguments of the environment."""

import json

import pytest
from tiny_tasks import SHORT, flags, one_paragraph

from mbpo.cli.arguments import read_pairs, spell_pairs
from mbpo.cli.main import main
from mbpo.errors import ConfigError
from mbpo.training.presets import presets

TINY = [*flags(), "--steps", "5", "--final-episodes", "0"]


def config_of(folder) -> dict:
    return json.loads((folder / "config.json").read_text())["config"]


def test_the_table_names_every_preset(capsys):
    assert main(["presets"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["name", "algorithm", "environments", "steps", "what"]
    assert [row.split()[0] for row in rows] == list(presets())
    hopper = next(row for row in rows if row.split()[0] == "hopper")
    for words in ("mbpo", "Hopper", "125,000"):
        assert words in hopper


@pytest.mark.parametrize(
    ("name", "found"), [("hopper", ["hopper"]), ("Hopper-v4", ["hopper-dh", "hopper"]), ("ant-v5", ["ant-v5"])]
)
def test_a_preset_is_printed_as_it_is(capsys, name, found):
    assert main(["presets", name]) == 0
    assert capsys.readouterr().out == "\n".join(presets()[one].text for one in found)


def test_an_environment_with_presets_of_several_algorithms(capsys):
    assert main(["presets", "Pendulum-v1"]) == 0
    said = capsys.readouterr().out
    assert all(presets()[name].text in said for name in ("pendulum", "pendulum-sac", "pendulum-pets"))


def test_an_unknown_preset(capsys):
    assert main(["presets", "hoper"]) == 2
    assert "Did you mean 'hopper'" in one_paragraph(capsys.readouterr().err)


@pytest.fixture
def mine(tmp_path):
    """A preset of a user's own."""
    settings = "[sac]\nrandom_steps = 5\n[sac.sac]\ngamma = 0.5\nhidden_sizes = [4]\n"
    (tmp_path / "mine.toml").write_text(f'algo = "sac"\neval_freq = 4\n{settings}')
    return str(tmp_path / "mine.toml")


def test_train_with_a_preset_of_ones_own(mine, tmp_path):
    arguments = ["train", SHORT, "--preset", mine, "--sac.tau", "0.5", "--steps", "5", "--final-episodes", "0"]
    assert main([*arguments, "--out", str(tmp_path / "run")]) == 0
    config = config_of(tmp_path / "run")
    assert (config["algo"], config["eval_freq"], config["steps"]) == ("sac", 4, 5)
    assert (config["sac"]["sac"]["gamma"], config["sac"]["sac"]["tau"]) == (0.5, 0.5)


def test_what_does_not_go_with_a_preset(mine, tmp_path, capsys):
    for arguments, words in (
        ([SHORT, "--preset", mine, "--algo", "mbpo"], "is one of sac, which is not --algo mbpo"),
        ([SHORT, "--preset", "hoper"], "Did you mean 'hopper'"),
        (["--resume", str(tmp_path), "--preset", mine], "--preset cannot be given"),
    ):
        assert main(["train", *arguments]) == 2
        assert words in one_paragraph(capsys.readouterr().err)


def test_arguments_of_the_environment(tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["train", SHORT, *TINY, "--out", str(out), "--env-kwargs", "g=5.5", "render_mode=None"]) == 0
    assert config_of(out)["env_kwargs"] == {"g": 5.5, "render_mode": None}
    assert "made with g=5.5, render_mode=None" in capsys.readouterr().out


def test_wrong_arguments_of_the_environment(capsys):
    assert main(["train", SHORT, "--env-kwargs", "gravity"]) == 2
    assert "takes NAME=VALUE" in one_paragraph(capsys.readouterr().err)
    assert main(["train", SHORT, *TINY, "--env-kwargs", "gravity=5"]) == 2
    assert "Its arguments are: render_mode, g" in one_paragraph(capsys.readouterr().err)


def test_arguments_are_added_to_those_of_the_preset(tmp_path, capsys):
    pytest.importorskip("mujoco")
    out = str(tmp_path / "run")
    small = ["--sac.hidden-sizes", "4", "--model.hidden-sizes", "4", "--eval-episodes", "1", "--eval-max-steps", "2"]
    small += ["--rollout-batch-size", "4", "--replay-capacity", "5000"]
    arguments = ["Ant-v5", *small, "--steps", "3", "--final-episodes", "0", "--out", out]
    assert main(["train", *arguments, "--env-kwargs", "reset_noise_scale=0.2"]) == 0
    expected = {"include_cfrc_ext_in_observation": False, "reset_noise_scale": 0.2}
    assert config_of(tmp_path / "run")["env_kwargs"] == expected
    assert main(["eval", out, "--episodes", "1"]) == 0  # The environment is made again with them.


def test_help_shows_the_arguments_of_the_environment_named_first(capsys):
    with pytest.raises(SystemExit):
        main(["train", "Ant-v5", "--help"])
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "(default: include_cfrc_ext_in_observation=false)" in said


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (True, "a=true"),
        (None, "a=null"),
        (0.1, "a=0.1"),
        ([0.7, 2], "a=[0.7, 2]"),
        ("x.xml", "a=x.xml"),
        ("3", 'a="3"'),
    ],
)
def test_pairs_by_hand(value, word):
    assert spell_pairs({"a": value}) == (word,)
    assert read_pairs([word], "--env-kwargs") == {"a": value}


def test_pairs_as_python_writes_them():
    words = ["a=True", "b=(0.7, 2.0)", "c=None", "d='x y'", "e=x=y", "f=", "g=-1e3"]
    found = {"a": True, "b": (0.7, 2.0), "c": None, "d": "x y", "e": "x=y", "f": "", "g": -1000.0}
    assert read_pairs(words, "--env-kwargs") == found
    for wrong in ("a", "=3", "1a=3", "a b=3"):
        with pytest.raises(ConfigError, match="NAME=VALUE"):
            read_pairs([wrong], "--env-kwargs")
