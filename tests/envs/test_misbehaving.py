"""Environments that misbehave: each is told apart in a sentence, and costs no data."""

import signal
import threading
import time
from contextlib import nullcontext

import numpy as np
import pytest
from misbehaving import CASES, FAULT_STEP, GOOD_OBS, Case, Misbehaving, changed, hanging, raising
from spy_runs import make_run, train
from tiny_tasks import one_paragraph

from mbpo.envs.spec import spec_of
from mbpo.envs.watched import Misbehaviour, WatchedEnv
from mbpo.errors import EnvironmentFault, UnsupportedEnvironment
from mbpo.training.checkpoint import read_checkpoint
from mbpo.training.restore import restore_run, resume_episode

ACTION = np.float32([0.5])
IDS = [case.name for case in CASES]
TIMEOUT = 0.2


def test_there_are_thirty_and_more():
    assert len(CASES) >= 30
    assert len(set(IDS)) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_told_in_a_sentence_and_everything_before_is_kept(case: Case, tmp_path):
    env = Misbehaving(case.fault, at_reset=case.at_reset)
    env.faults = 0  # Well until it is told otherwise, and so are the copies that evaluations get.
    run = train(make_run(env, folder=tmp_path, timeout=TIMEOUT), 4)
    run.episodes._watched.env.faults = 10**9
    with pytest.raises(EnvironmentFault) as caught:
        train(run, 100)
    message = one_paragraph(str(caught.value))
    # Step 4 is past the fault's step, so the next episode is the one that fails.
    where = "step 0" if case.at_reset else f"step {FAULT_STEP - 1}"
    assert f"Misbehaving failed at {where} of episode 1: " in message
    assert case.sentence in message
    good = 5 if case.at_reset else 5 + FAULT_STEP - 1
    assert run.env_step == int(run.state.improved) == good
    checkpoint = read_checkpoint(tmp_path / "checkpoint")
    assert checkpoint.progress["env_step"] == good
    assert checkpoint.progress["episode"] == 2  # The one that failed is given up.


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_retried_with_a_fresh_episode(case: Case):
    env = Misbehaving(case.fault, at_reset=case.at_reset)
    env.faults = 0
    run = train(make_run(env, env_retries=2, timeout=TIMEOUT), 4)
    run.episodes._watched.env.faults = 2  # Where it hangs, a new environment takes its place, which is well.
    with pytest.warns(UserWarning, match="A fresh episode begins") as warned:
        train(run, 20)
    assert run.env_step == int(run.state.improved) == 20
    times = 1 if "hangs" in case.name else 2
    assert [case.sentence.rstrip(".") in str(w.message) for w in warned] == [True] * times
    assert run.logbook.records[-1]["env_faults"] == times


def test_too_many_faults_in_a_row():
    case = CASES[0]
    run = make_run(lambda: Misbehaving(case.fault), env_retries=3)
    with pytest.warns(UserWarning, match="of at most 3 in a row") as warned, pytest.raises(EnvironmentFault) as caught:
        train(run, 100)
    assert len(warned) == 3
    assert "episode 3" in str(caught.value)
    assert run.env_step == 4 * (FAULT_STEP - 1)


def test_an_episode_that_ends_well_ends_the_row():
    class Every(Misbehaving):
        """Fails in every second episode."""

        def reset(self, **kwargs):
            self.faults = 1 - getattr(self, "faults_before", 0)
            self.faults_before = self.faults
            return super().reset(**kwargs)

    run = make_run(lambda: Every(CASES[0].fault), env_retries=1, eval_freq=10**6)
    run.evaluate = lambda episodes: make_run().evaluate(1)
    with pytest.warns(UserWarning, match="fault 1 of at most 1"):
        train(run, 60)
    assert run.env_step == 60


def test_an_evaluation_is_repeated_in_fresh_environments():
    env = Misbehaving(CASES[0].fault)
    env.faults = 1
    made = []

    def make():
        made.append(Misbehaving(CASES[0].fault))
        made[-1].faults = 1 if len(made) == 3 else 0  # One is made to learn its name, one to train in.
        return made[-1]

    run = make_run(make, env_retries=1)
    with pytest.warns(UserWarning, match="during an evaluation at environment step 4.*repeated"):
        train(run, 4)
    assert run.logbook.records[-1]["eval_return_mean"] == 5.0


@pytest.mark.parametrize("case", [case for case in CASES if not case.at_reset][:12], ids=lambda case: case.name)
def test_the_same_sentence_in_an_evaluation(case: Case):
    run = make_run(lambda: Misbehaving(case.fault), timeout=TIMEOUT)
    with pytest.raises(EnvironmentFault) as caught:
        run.evaluate(2)
    message = one_paragraph(str(caught.value))
    assert "Misbehaving failed during an evaluation at environment step 0: " in message
    assert case.sentence in message


def test_bounds_may_be_left_unchecked():
    env = WatchedEnv(Misbehaving(changed(0, np.float32([0, 1.5]))), check_bounds=False)
    env.reset(0)
    assert [env.step(ACTION)[0].tolist() for _ in range(3)][-1] == [0, 1.5]


@pytest.mark.parametrize("obs", [np.float64([1.0000001, -1]), np.float32([1.0009, 0]), np.array([1, 0]), [0.5, 0.25]])
def test_what_is_no_fault(obs):
    env = WatchedEnv(Misbehaving(changed(0, obs)))
    env.reset(0)
    for _ in range(2):
        env.step(ACTION)
    found = env.step(ACTION)[0]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.float32(obs))


@pytest.mark.parametrize("value", [np.bool_(True), np.array(True), 1, np.int64(1), True])
def test_what_is_true(value):
    env = WatchedEnv(Misbehaving(changed(2, value)))
    env.reset(0)
    assert [env.step(ACTION)[2] for _ in range(3)] == [False, False, True]


def test_arrays_that_are_changed_after_they_were_handed_out_change_nothing():
    class Mutating(Misbehaving):
        """Writes into what it handed out, and into what it was given."""

        handed = np.zeros(2, np.float32)

        def step(self, action):
            self.handed[:] = 0.25 * (self.clock + 1)
            action[:] = 0
            return self.handed, *super().step(action)[1:]

    env = Mutating(CASES[0].fault, length=2)
    run = train(make_run(env, eval_freq=10**6), 2)
    rows = [transition for verb, _, transition in run.agent.calls if verb == "improve"]
    np.testing.assert_array_equal([row.next_obs for row in rows], [[0.25, 0.25], [0.5, 0.5]])
    np.testing.assert_array_equal(rows[0].obs, GOOD_OBS)
    np.testing.assert_array_equal(rows[1].obs, rows[0].next_obs)
    assert [float(row.action[0]) for row in rows] == [0.5, 0.5]


def test_a_watched_environment_that_hung_is_left_alone():
    env = WatchedEnv(Misbehaving(hanging), timeout=0.05)
    env.reset(0)
    for _ in range(2):
        env.step(ACTION)
    with pytest.raises(Misbehaviour, match=r"did not come back within 0\.05 seconds"):
        env.step(ACTION)
    with pytest.raises(Misbehaviour, match="an earlier call had not come back"):
        env.step(ACTION)
    env.close()


def test_the_answer_to_an_interrupted_call_is_not_taken_for_the_next_ones():
    def step(self, action):
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        time.sleep(0.3)

    watched = WatchedEnv(well(step=step), timeout=30)
    watched.reset(0)
    with pytest.raises(KeyboardInterrupt):
        watched.step(ACTION)
    np.testing.assert_array_equal(watched.reset(1), GOOD_OBS)
    watched.close()


# --- beside steps and resets -------------------------------------------------------------------


def well(**methods) -> Misbehaving:
    """An environment without a fault but in the methods given."""
    env = type("Nearly", (Misbehaving,), methods)(CASES[0].fault)
    env.faults = 0
    return env


def test_an_environment_that_does_not_close_costs_a_warning():
    def close(self):
        raise RuntimeError("cannot close the serial port")

    env = WatchedEnv(well(close=close))
    with pytest.warns(UserWarning, match=r"\(Nearly\) was not closed well: its close raised RuntimeError: cannot"):
        env.close()
    with pytest.warns(UserWarning, match="its close did not come back within 0.05 seconds"):
        WatchedEnv(well(close=hanging), timeout=0.05).close()


@pytest.mark.parametrize("method", [lambda self, step: 1 / 0, lambda self, one, other: None])
def test_a_set_env_step_that_fails_or_is_another(method):
    run = make_run(lambda: well(set_env_step=method))
    with pytest.raises(EnvironmentFault, match=r"its set_env_step\(env_step\) raised (ZeroDivision|Type)Error"):
        train(run, 1)


def test_an_environment_that_asks_for_an_end_by_the_keyboard_gets_it():
    with pytest.raises(KeyboardInterrupt):
        WatchedEnv(Misbehaving(raising(KeyboardInterrupt()), at_reset=True)).reset(0)


@pytest.mark.parametrize("name", ["observation_space", "action_space", "unwrapped"])
def test_a_property_that_fails(name):
    class Failing(Misbehaving):
        pass

    def fail(self):
        raise RuntimeError("not connected")

    env = Failing(CASES[0].fault)
    setattr(Failing, name, property(fail))
    with pytest.raises(UnsupportedEnvironment) as caught:
        spec_of(env)
    assert "RuntimeError: not connected" in one_paragraph(str(caught.value))


@pytest.mark.parametrize("at_reset", [True, False])
def test_what_was_interrupted_is_returned_to_once_more(tmp_path, at_reset):
    def fresh_run(**settings):
        return make_run(Misbehaving(raising(RuntimeError("motor not ready")), at_reset=at_reset), **settings)

    first = fresh_run(folder=tmp_path)
    first.episodes._watched.env.faults = 0
    first.evaluate = lambda episodes: make_run().evaluate(1)
    train(first, 4)
    again = fresh_run(env_retries=1)
    checkpoint = read_checkpoint(tmp_path / "checkpoint")
    unfinished = restore_run(again, checkpoint, [{"env_step": 4}])
    for faults, env_retries in ((1, 1), (2, 1), (1, 0)):
        again.episodes._watched.env.faults, again.env_retries = faults, env_retries
        with pytest.warns(UserWarning) if env_retries else nullcontext():
            if faults > env_retries:
                with pytest.raises(EnvironmentFault, match="motor not ready"):
                    resume_episode(again, unfinished)
            else:
                resume_episode(again, unfinished)
                assert (again.episodes.log.index, again.episodes.log.length) == (0, 4)
