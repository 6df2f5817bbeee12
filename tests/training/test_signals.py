"""Ctrl-C and SIGTERM ask for a stop; asking twice insists."""

import os
import signal
import threading

import pytest

from mbpo.training.signals import stop_on_signals


@pytest.mark.usefixtures("at_a_terminal")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_remembered(number):
    with stop_on_signals() as stop:
        assert stop.signal_name is None
        os.kill(os.getpid(), number)
        assert stop.signal_name == signal.Signals(number).name


def test_a_second_signal_insists():
    with pytest.raises(KeyboardInterrupt), stop_on_signals():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)


def test_a_hangup_stays_ignored_where_it_is():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_on_signals() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
        assert stop.signal_name is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_handlers_are_put_back():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    for error in (None, ValueError):
        try:
            with stop_on_signals():
                assert signal.getsignal(signal.SIGINT) is not before[0]
                if error:
                    raise error
        except ValueError:
            pass
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_each_use_begins_without_a_request():
    with stop_on_signals():
        os.kill(os.getpid(), signal.SIGTERM)
    with stop_on_signals() as stop:
        assert stop.signal_name is None


def test_outside_the_main_thread_nothing_changes():
    seen = []

    def work():
        before = signal.getsignal(signal.SIGINT)
        with stop_on_signals() as stop:
            seen.append((stop.signal_name, signal.getsignal(signal.SIGINT) is before))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(None, True)]
