"""Runs that begin where another stands: the same under the same settings, and others under others."""

import json
import shutil

import gymnasium
import pytest
from tiny_tasks import SHORT, final_file, one_paragraph, read_lines, without_time

from mbpo import MBPO, SAC
from mbpo.errors import CheckpointError, ConfigError, RunFolderError
from mbpo.training import reopen
from mbpo.training.config import RunConfig, to_dict
from mbpo.training.reopen import check_kept
from mbpo.training.run_folder import read_description

MORE = 30


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def forked(folder, out=None, steps=MORE, **settings):
    agent = MBPO.fork(folder, out=out, **settings)
    agent.learn(steps)
    agent.close()
    return agent


def test_under_the_same_settings_it_is_the_run_that_goes_on(tiny_run, tmp_path):
    before = files(tiny_run)
    forked(tiny_run, tmp_path / "fork")
    assert files(tiny_run) == before
    shutil.copytree(tiny_run, tmp_path / "resumed")
    resumed = MBPO.load(tmp_path / "resumed", resume=True)
    resumed.learn(MORE)
    resumed.close()
    fork, other = tmp_path / "fork", tmp_path / "resumed"
    assert without_time(read_lines(fork)) == without_time(read_lines(other))
    assert [record["env_step"] for record in read_lines(fork)][:3] == [20, 25, 40]  # The run's own records are there.
    assert len(final_file(fork)) == len(final_file(other))
    assert MBPO.load(fork).env_step == 80 + MORE


def test_another_setting_holds_from_there_on_and_where_it_began_is_told(tiny_run, tmp_path):
    out = tmp_path / "fork"
    other = forked(tiny_run, out, utd_ratio=5)
    same = forked(tiny_run)
    last = [without_time(agent.records)[-1] for agent in (other, same)]
    assert last[0]["env_step"] == last[1]["env_step"] == 80 + MORE
    assert last[0]["critic_loss"] != last[1]["critic_loss"]
    assert without_time(other.records)[:3] == without_time(same.records)[:3]
    description = json.loads((out / "config.json").read_text())
    assert description["origin"] == {
        "run": str(tiny_run),
        "env_step": 80,
        "config_sha256": read_description(tiny_run).sha256,
    }
    had, has = to_dict(read_description(tiny_run).config), to_dict(read_description(out).config)
    assert (had["mbpo"].pop("utd_ratio"), has["mbpo"].pop("utd_ratio")) == (2, 5)
    assert had == has
    again = MBPO.load(out, resume=True)  # A run like any other.
    again.learn(5)
    again.close()
    assert again.env_step == 85 + MORE


def test_it_can_be_gone_on_with_from_its_first_moment(tiny_run, tmp_path):
    """The folder is whole before a step is taken: a run that is killed in its first refit is not lost."""
    out = tmp_path / "fork"
    agent = MBPO.fork(tiny_run, out=out)
    agent._home.open(agent._run, agent._describe)
    agent.close()
    assert MBPO.load(out).env_step == 80
    resumed = MBPO.load(out, resume=True)
    resumed.learn(MORE)
    resumed.close()
    assert without_time(resumed.records) == without_time(forked(tiny_run).records)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"seed": 1}, "that one's seed, which is 0, not 1"),
        ({"replay_capacity": 300}, "replay_capacity"),
        ({"model": {"holdout_ratio": 0.4}}, "holdout_ratio"),
        ({"model": {"residual": False}}, "that one's residual, which is True, not False"),
        ({"sac": {"critic_layer_norm": True}}, "critic_layer_norm"),
        ({"model": {"hidden_sizes": [9]}}, r"under these settings \(mbpo.model.hidden_sizes\)"),
        ({"env_kwargs": {"length": 9}}, "env_kwargs.length, which is None, not 9"),
        ({"no_such": 1}, "no_such"),
        ({"env_id": "CartPole-v1"}, "env_id and algo are not settings here"),
    ],
)
def test_what_has_to_stay(tiny_run, tmp_path, settings, words):
    with pytest.raises((ConfigError, CheckpointError), match=words) as caught:
        MBPO.fork(tiny_run, out=tmp_path / "fork", **settings)
    one_paragraph(str(caught.value))
    assert not (tmp_path / "fork").exists()


def test_bounds_of_critics_may_move_and_stay_bounds():
    check_kept({"mbpo_dh.learner.bound_quantile": (0.01, 0.05)})
    for was, now in ((0.01, None), (None, 0.01)):
        with pytest.raises(ConfigError, match="bound_quantile"):
            check_kept({"mbpo_dh.learner.bound_quantile": (was, now)})


def test_other_folders_and_algorithms_are_refused(tiny_run, tmp_path):
    with pytest.raises(RunFolderError, match="already holds a run"):
        MBPO.fork(tiny_run, out=tiny_run)
    with pytest.raises(RunFolderError, match="There is no folder"):
        MBPO.fork(tmp_path / "nothing")
    with pytest.raises(RunFolderError, match="is inside of"):
        MBPO.fork(tiny_run, out=tiny_run / "checkpoint" / "fork")
    for config in (None, RunConfig(env_id=SHORT, algo="sac")):
        with pytest.raises(ConfigError, match="of mbpo, not of sac"):
            SAC.fork(tiny_run, config=config)
    with pytest.raises((ConfigError, CheckpointError), match=r"env_id|observation numbers"):
        MBPO.fork(tiny_run, env=gymnasium.make("Pendulum-v1"))
    with pytest.raises(ConfigError, match="env_id"):
        MBPO.fork(tiny_run, config=read_description(tiny_run).config.__class__(env_id="Pendulum-v1"))
    assert read_description(tiny_run).config.env_id == SHORT


def test_a_run_whose_settings_were_edited_is_not_branched_off(tiny_run, tmp_path):
    """With another seed other rows would be held out, and the model has learned from them."""
    edited = shutil.copytree(tiny_run, tmp_path / "edited")
    text = (edited / "config.json").read_text()
    (edited / "config.json").write_text(text.replace('"seed": 0', '"seed": 7'))
    with pytest.raises(CheckpointError, match="not the file that the checkpoint was written with"):
        MBPO.fork(edited, out=tmp_path / "fork")
    assert not (tmp_path / "fork").exists()


def test_a_run_that_goes_on_meanwhile(tiny_run, tmp_path, monkeypatch):
    """Its checkpoint is replaced twice between being found and being read: the next one is taken."""
    parent = shutil.copytree(tiny_run, tmp_path / "parent")
    running = MBPO.load(parent, resume=True)
    made = reopen._made

    def late(*args, **given):
        algorithm = made(*args, **given)
        for _ in range(2):
            running.learn(20)
            running._run.save()
        return algorithm

    monkeypatch.setattr(reopen, "_made", late)
    fork = MBPO.fork(parent)
    running.close()
    assert fork.env_step == 80 + 2 * 20


def test_saved_by_hand_it_still_tells_where_it_began(tiny_run, tmp_path):
    agent = forked(tiny_run)
    agent.save(tmp_path / "saved")
    assert read_description(tmp_path / "saved").origin.env_step == 80
