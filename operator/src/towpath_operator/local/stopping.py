"""Turns signals into a graceful stop, and a second one into an immediate stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stop:
    """Whether this process was asked to stop, and how urgently."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.urgent = False
        self._when_asked: Callable[[], None] = lambda: None
        self._when_urgent: Callable[[], None] = lambda: None

    def listen(self) -> None:
        """Take the signals from now on."""
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue  # nohup: it is to outlive its terminal
            loop.add_signal_handler(number, self._take)

    def then(self, *, when_asked: Callable[[], None], when_urgent: Callable[[], None]) -> None:
        """Call the first at the first signal, the second at each later one."""
        self._when_asked, self._when_urgent = when_asked, when_urgent

    def _take(self) -> None:
        if not self.asked.is_set():
            self.asked.set()
            self._when_asked()
            return
        self.urgent = True
        self._when_urgent()
