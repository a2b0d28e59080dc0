"""A worker's process is told to stop by a signal, whichever of its threads the kernel gives it to."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from towpath.cli.worker_process import Signals, _Call, _Phase


@pytest.fixture
def signals() -> Iterator[Signals]:
    """Take the signals of this process for one test."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    wakeup = signal.set_wakeup_fd(-1)
    one = Signals()
    one.install()
    one.phase = _Phase.SERVING
    yield one
    signal.set_wakeup_fd(wakeup)
    for number, handler in before.items():
        signal.signal(number, handler)
    one.close()


@pytest.mark.timeout(20)
def test_a_signal_that_reaches_another_thread_wakes_the_main_thread(signals: Signals) -> None:
    """A thread that starts, or that changes its mask, may be the one to take it."""
    asleep, done = threading.Event(), threading.Event()

    def sleep() -> None:
        asleep.set()
        done.wait()

    def tell() -> None:
        asleep.wait()
        assert sleeper.ident is not None
        signal.pthread_kill(sleeper.ident, signal.SIGTERM)

    sleeper, teller = threading.Thread(target=sleep), threading.Thread(target=tell)
    sleeper.start()
    teller.start()
    assert signals.wait() is _Call.STOP
    done.set()
    sleeper.join()
    teller.join()


def test_what_is_called_from_another_thread_wakes_the_main_thread(signals: Signals) -> None:
    """As the end of the worker itself is."""
    teller = threading.Thread(target=lambda: signals.call(_Call.WORKER_ENDED))
    teller.start()
    assert signals.wait() is _Call.WORKER_ENDED
    teller.join()
