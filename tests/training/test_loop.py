"""The one loop, driven with an agent that writes down what it is asked."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from spy_runs import make_run, train
from tiny_tasks import Script, SpyAgent, SpyState, final_file, one_paragraph, same_weights, without_time

from mbpo.errors import EnvironmentFault, TrainingError
from mbpo.training import loop
from mbpo.training.checkpoint import read_checkpoint
from mbpo.training.loop import Run
from mbpo.training.restore import restore_progress
from mbpo.training.seeding import Stream, episode_seed
from mbpo.training.signals import Interrupted, StopRequest


def improved(run: Run) -> list:
    """The transitions that were learned from, in order."""
    return [transition for verb, _, transition in run.agent.calls if verb == "improve"]


def progress_of(folder) -> dict:
    return read_checkpoint(folder / "checkpoint").progress


# --- the order of things ----------------------------------------------------------------------


def test_verbs_come_in_order_once_each_step():
    run = train(make_run(), 12)
    expected = [(verb, step) for step in range(12) for verb in ("learn_model", "act", "improve")]
    assert [(verb, step) for verb, step, _ in run.agent.calls] == expected
    assert run.env_step == int(run.state.improved) == 12


def test_each_transition_is_what_the_action_led_to():
    run = train(make_run(Script(length=5)), 12)
    seen = [obs for verb, _, obs in run.agent.calls if verb == "act"]
    rows = improved(run)
    assert [int(row.next_obs[1]) for row in rows] == [1, 2, 3, 4, 5] * 2 + [1, 2]
    assert [float(row.reward) for row in rows] == [1, 2, 3, 4, 5] * 2 + [1, 2]
    for i, row in enumerate(rows):
        np.testing.assert_array_equal(row.obs, seen[i])
        np.testing.assert_array_equal(row.action, np.float32([0.5]))
        # The last observation of an episode belongs to it, the first to the next reset.
        assert row.next_obs[0] == row.obs[0]
    assert rows[5].obs[0] != rows[4].next_obs[0]
    assert rows[5].obs[1] == 0


@pytest.mark.parametrize("ending", ["truncated", "terminated"])
def test_a_time_limit_never_reaches_the_learner_as_an_ending(ending):
    # Regression: truncation stored as termination is fatal where values do not vanish at the limit.
    run = train(make_run(Script(length=5, ending=ending)), 15)
    ends = [bool(row.terminated) for row in improved(run)]
    assert ends == [ending == "terminated" and i % 5 == 4 for i in range(15)]
    assert all(row.terminated.dtype == np.bool_ for row in improved(run))


def test_episodes_are_reset_with_their_own_seeds():
    env = Script(length=5)
    train(make_run(env, seed=9), 15)
    assert env.resets == [episode_seed(9, Stream.TRAINING_EPISODE, index) for index in range(4)]


def test_keys_are_a_function_of_seed_and_step_alone():
    one, other = train(make_run(seed=1), 12), train(make_run(seed=1), 12)
    assert same_weights(one.state, other.state)
    assert not same_weights(one.state, train(make_run(seed=2), 12).state)
    halves = make_run(seed=1)
    train(halves, 7)
    train(halves, 12)
    assert same_weights(one.state, halves.state)


# --- records ----------------------------------------------------------------------------------


def test_records():
    run = make_run(Script(length=5), eval_freq=4, eval_episodes=3)
    run.agent.metrics = {"critic_loss": 0.5}
    train(run, 11)
    assert [record["env_step"] for record in run.logbook.records] == [4, 5, 8, 10, 11]
    evaluation = {
        "eval_return_mean": 15.0,
        "eval_return_std": 0.0,
        "eval_length_mean": 5.0,
        "eval_episodes": 3,
        "critic_loss": 0.5,
    }
    episode = {"train_return": 15.0, "train_length": 5, "critic_loss": 0.5}
    assert without_time(run.logbook.records) == [
        {"env_step": 4, "episode": 0} | evaluation,
        {"env_step": 5, "episode": 0} | episode,
        {"env_step": 8, "episode": 1} | evaluation,
        {"env_step": 10, "episode": 1} | episode,
        {"env_step": 11, "episode": 2} | evaluation,  # The end is always evaluated.
    ]
    times = [record["wall_time"] for record in run.logbook.records]
    assert times == sorted(times)
    assert times[0] >= 0


def test_an_episode_that_ends_where_an_evaluation_is_due_makes_one_record():
    run = train(make_run(Script(length=5), eval_freq=5), 10)
    assert [record["env_step"] for record in run.logbook.records] == [5, 10]
    assert all("train_return" in record and "eval_return_mean" in record for record in run.logbook.records)


def test_evaluation_takes_the_mean_action_and_leaves_training_alone():
    class Rewarding(Script):
        def step(self, action):
            obs, _, terminated, truncated, info = super().step(action)
            return obs, float(action[0]), terminated, truncated, info

    env = Rewarding(length=5)
    run = train(make_run(env, eval_freq=3), 12)
    # predict() says 0.25 and act() 0.5.
    assert {r["eval_return_mean"] for r in run.logbook.records if "eval_return_mean" in r} == {1.25}
    assert {r["train_return"] for r in run.logbook.records if "train_return" in r} == {2.5}
    assert len(env.resets) == 3
    assert same_weights(run.state, train(make_run(Rewarding(length=5)), 12).state)


def test_callback_sees_copies_of_the_records_and_can_stop():
    run, seen = make_run(Script(length=5), eval_freq=3), []

    def callback(record):
        seen.append(dict(record))
        record.clear()
        return record if len(seen) < 3 else False  # Only False stops, not every falsy answer.

    train(run, 100, callback=callback)
    assert run.env_step == 6
    assert run.logbook.records == seen
    train(run, 8)
    assert run.env_step == 8
    assert [int(row.next_obs[1]) for row in improved(run)] == [1, 2, 3, 4, 5, 1, 2, 3]


def test_callback_that_stops_at_the_end_of_an_episode():
    run = train(make_run(Script(length=5)), 100, callback=lambda record: False)
    assert run.env_step == 5
    assert (run.episodes.log.index, run.episodes.log.length) == (1, 0)


def test_progress_is_called_after_every_step():
    steps = []
    train(make_run(), 7, progress=lambda run: steps.append(run.env_step))
    assert steps == [1, 2, 3, 4, 5, 6, 7]


# --- checkpoints ------------------------------------------------------------------------------


def saves(run: Run, monkeypatch) -> list[int]:
    """The steps at which the run writes checkpoints, from now on."""
    steps: list[int] = []
    write = loop.write_checkpoint

    def spy(folder, tensors, progress, *args, **kwargs):
        steps.append(progress["env_step"])
        return write(folder, tensors, progress, *args, **kwargs)

    monkeypatch.setattr(loop, "write_checkpoint", spy)
    return steps


def test_checkpoints_at_the_ends_of_episodes(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SHARE", float("inf"))
    run = make_run(Script(length=5), folder=tmp_path, eval_freq=3)
    steps = saves(run, monkeypatch)
    train(run, 12)
    assert steps == [5, 10, 12]
    assert progress_of(tmp_path)["env_step"] == 12


def test_checkpoints_inside_episodes_that_never_end(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SHARE", float("inf"))
    monkeypatch.setattr(loop, "MAX_STEPS_BETWEEN_CHECKPOINTS", 7)
    run = make_run(Script(length=10**9), folder=tmp_path, eval_freq=1000)
    steps = saves(run, monkeypatch)
    run.evaluate = lambda *args, **kwargs: make_run().evaluate(1)
    train(run, 16)
    assert steps == [7, 14, 16]


def test_checkpoints_that_take_too_long_are_left_out_but_for_the_last(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SHARE", -1.0)
    run = make_run(Script(length=5), folder=tmp_path)
    steps = saves(run, monkeypatch)
    train(run, 12)
    assert steps == [12]


def test_a_checkpoint_holds_what_a_resumed_run_needs(tmp_path):
    run = train(make_run(Script(length=5), folder=tmp_path), 12)
    checkpoint = read_checkpoint(tmp_path / "checkpoint")
    assert {k: v for k, v in checkpoint.progress.items() if k != "wall_time"} == {
        "env_step": 12,
        "episode": 2,
        "records": 3,
        "latest": {},
        "model_learned_at": 11,
    }
    assert set(checkpoint.keys()) == {"improved", "weight", "episode.actions", "episode.obs"}
    np.testing.assert_array_equal(checkpoint.read("episode.actions"), [[0.5], [0.5]])
    np.testing.assert_array_equal(checkpoint.read("episode.obs"), run.episodes.obs)


def test_a_signal_stops_after_the_step_and_saves(tmp_path):
    run, stop = make_run(Script(length=5), folder=tmp_path), StopRequest()

    def signal(run: Run) -> None:
        stop.signal_name = "SIGTERM" if run.env_step == 7 else None

    with pytest.raises(Interrupted, match="SIGTERM"):
        train(run, 100, stop=stop, progress=signal)
    assert run.env_step == 7
    assert (progress_of(tmp_path)["env_step"], progress_of(tmp_path)["episode"]) == (7, 1)
    train(run, 9)
    assert [int(row.next_obs[1]) for row in improved(run)] == [1, 2, 3, 4, 5, 1, 2, 3, 4]


def test_a_signal_at_the_very_end_is_no_interruption():
    stop = StopRequest()
    stop.signal_name = "SIGINT"
    assert train(make_run(), 1, stop=stop).env_step == 1


# --- things that go wrong ---------------------------------------------------------------------


class Diverging(SpyAgent):
    """Goes wrong at step 7, as it is told."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def act(self, state, obs, env_step, key):
        action, state = super().act(state, obs, env_step, key)
        return (action * np.float32(np.nan) if self.how == "action" and env_step == 7 else action), state

    def improve(self, state, transition, env_step, key):
        state, metrics = super().improve(state, transition, env_step, key)
        if env_step == 7 and self.how == "weights":
            state = SpyState(state.improved, state.weight.at[1].set(jnp.nan))
        if env_step == 7 and self.how == "metric":
            metrics["critic_loss"] = jnp.inf
        return state, metrics


@pytest.mark.parametrize(
    ("how", "what", "step"),
    [
        ("action", "the policy's action", 7),
        ("metric", "'critic_loss' is inf", 10),  # Noticed at the next record.
        ("weights", "'weight'", 10),  # Noticed at the next checkpoint, at the latest.
    ],
)
def test_divergence_keeps_the_last_good_checkpoint(tmp_path, monkeypatch, how, what, step):
    monkeypatch.setattr(loop, "CHECKPOINT_SHARE", float("inf"))
    run = make_run(Script(length=5), agent=Diverging(how), folder=tmp_path)
    with pytest.raises(TrainingError) as caught:
        train(run, 100)
    message = one_paragraph(str(caught.value))
    assert what in message
    assert f"step {step}" in message
    assert "a smaller weight" in message  # The agent's own advice.
    assert "checkpoint of step 5 is kept" in message
    assert progress_of(tmp_path)["env_step"] == 5
    assert b"nan" not in json.dumps(progress_of(tmp_path)).encode()


@pytest.mark.parametrize("fault", ["raises", "obs nan", "obs shape", "reward inf"])
def test_a_fault_of_the_environment_keeps_what_was_learned(tmp_path, fault):
    env = Script(length=5, fault_step=3)
    run = make_run(env, folder=tmp_path)
    train(run, 5)
    env.fault = fault
    with pytest.raises(EnvironmentFault) as caught:
        train(run, 100)
    message = one_paragraph(str(caught.value))
    assert "Script" in message
    assert "step 2 of episode 1" in message
    assert run.env_step == progress_of(tmp_path)["env_step"] == int(run.state.improved) == 7
    # The interrupted episode is given up.
    assert progress_of(tmp_path)["episode"] == 2
    assert read_checkpoint(tmp_path / "checkpoint").shape("episode.actions") == (0, 1)


def test_an_episode_that_always_fails_is_not_returned_to(tmp_path, monkeypatch):
    # Its beginning is on the disk already, at the very step at which it fails.
    monkeypatch.setattr(loop, "CHECKPOINT_SHARE", float("inf"))
    env = Script(length=5, fault_step=1)
    run = make_run(env, folder=tmp_path)
    train(run, 5)
    assert progress_of(tmp_path)["episode"] == 1
    env.fault = "raises"
    with pytest.raises(EnvironmentFault):
        train(run, 100)
    assert (progress_of(tmp_path)["env_step"], progress_of(tmp_path)["episode"]) == (5, 2)


def test_training_goes_on_after_a_fault_with_a_fresh_episode():
    env = Script(length=5, fault_step=3)
    run = make_run(env)
    train(run, 5)
    env.fault = "raises"
    with pytest.raises(EnvironmentFault):
        train(run, 100)
    env.fault = ""
    train(run, 10)
    assert [int(row.next_obs[1]) for row in improved(run)] == [1, 2, 3, 4, 5, 1, 2, 1, 2, 3]
    assert env.resets[-1] == episode_seed(5, Stream.TRAINING_EPISODE, 2)


@pytest.mark.parametrize("again", ["here", "from the folder"])
def test_a_model_is_not_learned_twice_for_a_step_that_a_fault_cut_short(tmp_path, again):
    env = Script(length=5, fault_step=3)
    run = make_run(env, folder=tmp_path)
    train(run, 5)
    env.fault = "raises"
    with pytest.raises(EnvironmentFault):
        train(run, 100)
    env.fault = ""
    assert [(verb, step) for verb, step, _ in run.agent.calls[-2:]] == [("learn_model", 7), ("act", 7)]
    if again == "from the folder":
        records, run = run.logbook.records, make_run(env, folder=tmp_path)
        restore_progress(run, read_checkpoint(tmp_path / "checkpoint"), records)
    count = len(run.agent.calls)
    train(run, 9)
    after = [(verb, step) for verb, step, _ in run.agent.calls[count:]]
    assert after == [("act", 7), ("improve", 7), ("learn_model", 8), ("act", 8), ("improve", 8)]


def test_a_fault_in_a_reset(tmp_path):
    env = Script(length=5)
    run = make_run(env, folder=tmp_path)
    train(run, 3)
    env.fault = "reset raises"
    with pytest.raises(EnvironmentFault, match="episode 1"):
        train(run, 100)
    assert progress_of(tmp_path)["env_step"] == 5


def test_a_fault_in_an_evaluation_keeps_what_was_learned(tmp_path):
    env = Script(length=5, fault="raises", fault_step=4)  # Evaluations get copies of it as it is now.
    run = make_run(env, folder=tmp_path, eval_freq=3)
    env.fault = ""
    with pytest.raises(EnvironmentFault, match="evaluation"):
        train(run, 100)
    assert progress_of(tmp_path)["env_step"] == 3


def test_a_full_disk_leaves_the_run_able_to_go_on(tmp_path, monkeypatch):
    run = train(make_run(Script(length=5), folder=tmp_path), 5)
    before = final_file(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", lambda descriptor: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(TrainingError, match="No space left on device"):
            train(run, 10)
    assert final_file(tmp_path) == before
    train(run, 15)
    assert progress_of(tmp_path)["env_step"] == 15


def test_metrics_are_fetched_only_when_a_record_needs_them():
    # Fetching waits for the device; between records the loop must not.
    run = make_run(Script(length=5))
    run.agent.metrics = {"alpha": jnp.float32(0.5)}
    kinds = []
    train(run, 5, progress=lambda run: kinds.append(type(run.latest["alpha"])))
    assert all(issubclass(kind, jax.Array) for kind in kinds[:4])
    assert kinds[4] is float
