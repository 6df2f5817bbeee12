"""The runner of this machine: order, cores, failures, and that nothing is left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_tasks import one_paragraph

from mbpo.errors import ConfigError
from mbpo.training import runner as runner_module
from mbpo.training.runner import Event, Job, LocalRunner, usable_cores
from mbpo.training.signals import Interrupted

WAIT = "import time; print('up', flush=True); time.sleep(60)"
SAVE = """
import signal, sys, time
def save(number, frame):
    print("saved", flush=True); sys.exit(130)
signal.signal(signal.SIGTERM, save); signal.signal(signal.SIGINT, save)
print("up", flush=True); time.sleep(60)
"""


@pytest.fixture
def job(tmp_path):
    """Makes jobs of Python source."""

    def make(name: str, source: str, *arguments: str) -> Job:
        return Job(name, (sys.executable, "-c", source, *arguments), tmp_path / "logs" / f"{name}.log")

    return make


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr(runner_module, "POLL_SECONDS", 0.01)


class Seen:
    """Remembers events; may act on them."""

    def __init__(self, act=lambda event: None) -> None:
        self.events: list[tuple[str, str]] = []
        self.act = act

    def __call__(self, event: Event) -> None:
        if event.kind != "running":
            self.events.append((event.kind, event.job.name))
        self.act(event)

    def of(self, kind: str) -> list[str]:
        return [name for seen, name in self.events if seen == kind]


def is_up(job: Job) -> bool:
    return job.log.exists() and b"up\n" in job.log.read_bytes()


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.fixture
def started(monkeypatch):
    """The processes that were started."""
    processes = []
    popen = subprocess.Popen

    def watched(*args, **kwargs):
        processes.append(popen(*args, **kwargs))
        return processes[-1]

    monkeypatch.setattr(subprocess, "Popen", watched)
    return processes


def test_jobs_run_in_order_and_print_to_their_logs(job):
    seen = Seen()
    jobs = [job(name, f"print('I am {name}')") for name in "abc"]
    outcomes = LocalRunner(1).run(jobs, seen)
    assert seen.events == [(kind, name) for name in "abc" for kind in ("started", "ended")]
    assert all(outcome.ok and outcome.message == "" and outcome.seconds > 0 for outcome in outcomes.values())
    assert [j.log.read_text() for j in jobs] == ["I am a\n", "I am b\n", "I am c\n"]


def test_so_many_at_a_time(job):
    most, now = 0, 0

    def count(event: Event) -> None:
        nonlocal most, now
        now += {"started": 1, "ended": -1, "running": 0}[event.kind]
        most = max(most, now)

    LocalRunner(2, cores=[0]).run([job(str(n), "") for n in range(5)], count)
    assert (most, now) == (2, 0)


def test_a_failure_is_told_in_the_jobs_own_words_and_the_others_go_on(job):
    ours = "import sys; print('mbpo: earlier', file=sys.stderr); print('mbpo: The disk is full.\\nFree some.')"
    jobs = [
        job("ours", f"{ours}; sys.exit(1)"),
        job("trace", "1 / 0"),
        job("killed", "import os, signal; print('step 5', flush=True); os.kill(os.getpid(), signal.SIGKILL)"),
        job("silent", "import sys; sys.exit(3)"),
        Job("absent", ("/no/such/program",), job("absent", "").log),
        job("well", ""),
    ]
    seen = Seen()
    outcomes = LocalRunner(1).run(jobs, seen)
    assert {name: outcome.exit_code for name, outcome in outcomes.items()} == {
        "ours": 1,
        "trace": 1,
        "killed": -9,
        "silent": 3,
        "absent": 127,
        "well": 0,
    }
    assert outcomes["ours"].message == "The disk is full. Free some."
    assert outcomes["trace"].message == "ZeroDivisionError: division by zero"
    assert "SIGKILL" in outcomes["killed"].message
    assert "status 3" in outcomes["silent"].message
    assert "/no/such/program" in one_paragraph(outcomes["absent"].message)
    assert seen.of("ended") == list(outcomes)


def test_only_the_last_attempt_speaks(job):
    failing = job("a", "import sys; sys.exit('mbpo: ' + sys.argv[1])", "first")
    again = Job("a", (*failing.command[:-1], "second"), failing.log)
    LocalRunner(1).run([failing], Seen())
    assert LocalRunner(1).run([again], Seen())["a"].message == "second"
    assert failing.log.read_text() == "mbpo: first\nmbpo: second\n"  # The log keeps both.


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="cores cannot be chosen here")
def test_one_core_and_one_thread(job):
    # The core is chosen from outside as the process begins, so it looks twice.
    source = "import os, time; time.sleep(0.2); print(*os.sched_getaffinity(0), os.environ['OMP_NUM_THREADS'])"
    core = usable_cores()[-1]
    jobs = [job("a", source), job("b", source)]
    LocalRunner(2, cores=[core]).run(jobs, Seen())
    assert [j.log.read_text() for j in jobs] == [f"{core} 1\n"] * 2


def test_the_users_own_settings_stay(job, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    show = job("a", "import os; print(os.environ['OMP_NUM_THREADS'])")
    LocalRunner(1).run([show], Seen())
    assert show.log.read_text() == "3\n"


def test_where_cores_cannot_be_chosen_xla_gets_one_thread(job, monkeypatch):
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    monkeypatch.setenv("XLA_FLAGS", "--xla_some=1")
    show = job("a", "import os; print(os.environ['XLA_FLAGS'])")
    LocalRunner(1).run([show], Seen())
    assert show.log.read_text() == "--xla_some=1 --xla_cpu_multi_thread_eigen=false\n"


@pytest.mark.usefixtures("at_a_terminal")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_asked_to_stop_once_all_save_and_end(job, started, number):
    jobs = [job(name, SAVE) for name in "abc"]

    def act(event: Event) -> None:
        if event.kind == "running" and event.job.name == "b" and all(map(is_up, jobs[:2])) and not asked:
            asked.append(True)
            os.kill(os.getpid(), number)

    asked: list[bool] = []
    seen = Seen(act)
    with pytest.raises(Interrupted, match=signal.Signals(number).name):
        LocalRunner(2).run(jobs, seen)
    assert [j.log.read_text() for j in jobs[:2]] == ["up\nsaved\n"] * 2  # Told once.
    assert seen.of("stopping") == ["a", "b"]
    assert sorted(seen.of("ended")) == ["a", "b"]
    assert seen.of("started") == ["a", "b"]  # The third never began.
    assert all(gone(process.pid) for process in started)


def test_a_second_time_ends_them_at_once(job, started):
    deaf = job("deaf", "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + WAIT)
    asked: list[float] = []

    def act(event: Event) -> None:
        if is_up(deaf) and (not asked or (len(asked) == 1 and time.monotonic() > asked[0] + 0.1)):
            asked.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        LocalRunner(1).run([deaf], act)
    assert len(asked) == 2
    assert gone(started[0].pid)


def test_nothing_is_left_when_the_display_fails(job, started):
    saving = job("a", SAVE)

    def act(event: Event) -> None:
        if is_up(saving):
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        LocalRunner(1).run([saving], act)
    assert saving.log.read_text() == "up\nsaved\n"
    assert gone(started[0].pid)


def test_a_ctrl_c_at_the_terminal_reaches_jobs_only_through_the_runner(job, started):
    jobs = [job("a", "")]
    groups = []
    seen = Seen(lambda event: groups.append(os.getpgid(started[0].pid)) if event.kind == "started" else None)
    LocalRunner(1).run(jobs, seen)
    assert groups == [started[0].pid] != [os.getpgid(0)]


def test_jobs_keep_a_descriptor_open(job, tmp_path):
    with (tmp_path / "lock").open("w") as file:
        source = "import os, sys; os.fstat(int(sys.argv[1]))"
        number = str(file.fileno())
        assert LocalRunner(1, keep_open=[file.fileno()]).run([job("a", source, number)], Seen())["a"].ok
        assert not LocalRunner(1).run([job("a", source, number)], Seen())["a"].ok


def test_defaults_and_impossible_numbers():
    assert set(usable_cores()) <= set(range(os.cpu_count() or 1))
    for jobs in (0, -1):
        with pytest.raises(ConfigError, match="At least 1 job"):
            LocalRunner(jobs)


def test_no_jobs():
    assert LocalRunner(1).run([], Seen()) == {}


def test_a_log_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    broken = Job("a", (sys.executable, "-c", ""), Path(tmp_path / "file" / "a.log"))
    outcome = LocalRunner(1).run([broken], Seen())["a"]
    assert outcome.exit_code == 127
    assert "could not be started" in outcome.message
