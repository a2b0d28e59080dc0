"""How many connections may be open at once, over all lenders that share one budget."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

DEFAULT_CONNECTIONS = 20
LEAST_CONNECTIONS = 6
MOST_VERBS = 4
"""More connections than this make no verb faster: what comes together is written together."""

_TURNS_AND_LEASE = 2


@dataclass(frozen=True, slots=True)
class Shares:
    """How a process's connections are shared out beside a worker's own and the one that listens.

    Attributes:
        verbs: For calls of Towpath: so many on the library's loop, and so many in callers' threads.
        transactions: For the transactions of users' functions.
    """

    verbs: int
    transactions: int


def share_connections(total: int, *, listens: bool) -> Shares:
    """Share out `total` connections, at least `LEAST_CONNECTIONS`.

    >>> share_connections(20, listens=True)
    Shares(verbs=4, transactions=9)
    >>> share_connections(6, listens=True)
    Shares(verbs=1, transactions=1)
    """
    left = total - _TURNS_AND_LEASE - listens
    verbs = max(1, min(MOST_VERBS, left // 4))
    return Shares(verbs, left - 2 * verbs)


class Budget:
    """Grants connections, from any thread and on any loop.

    Invariant: an idle connection counts like one in use, and whoever needs one has an idle one of
    another lender closed. So nobody waits but for connections that somebody works with.
    """

    def __init__(self, size: int) -> None:
        self._free = size
        self._lock = threading.Lock()
        self._waiting: deque[Future[None]] = deque()
        self._closers: list[Callable[[], bool]] = []

    def closes_idle(self, closer: Callable[[], bool]) -> None:
        """Know a lender's way to close an idle connection; it tells whether there was one."""
        with self._lock:
            self._closers.append(closer)

    @property
    def wanted(self) -> bool:
        """Whether somebody waits."""
        return bool(self._waiting)

    def take(self) -> None:
        """Block until one more may be opened."""
        self._ask().result()

    async def take_async(self) -> None:
        """As `take`, on a loop."""
        granted = self._ask()
        try:
            await asyncio.wrap_future(granted)
        except asyncio.CancelledError:
            if not granted.cancel():  # granted meanwhile, to nobody
                self.give()
            raise

    def give(self) -> None:
        """Say that one has been closed, or could not be opened."""
        with self._lock:
            while self._waiting:
                granted = self._waiting.popleft()
                if granted.set_running_or_notify_cancel():
                    granted.set_result(None)
                    return
            self._free += 1

    def make_room(self) -> None:
        """Close an idle connection for somebody who waits."""
        for close in tuple(self._closers):
            if not self.wanted or close():
                return

    def _ask(self) -> Future[None]:
        granted: Future[None] = Future()
        with self._lock:
            if self._free > 0:
                self._free -= 1
                granted.set_running_or_notify_cancel()
                granted.set_result(None)
                return granted
            self._waiting.append(granted)
        self.make_room()
        return granted
