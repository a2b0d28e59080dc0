"""The queues that a worker serves, as it sees them, and what makes it look at one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence

from towpath.domain.ids import QueueName
from towpath.executor.due_timers import DueTimers
from towpath.executor.queue_view import ROWS_A_TURN, QueueView
from towpath.store.claims import Turn, TurnResult
from towpath.store.queues import StoredSettings
from towpath.store.workers import QueueSight

# An enqueue in one statement is over within a few milliseconds; the second look is for a slow disk.
SECOND_LOOKS_SECONDS = (0.005, 0.05)


class QueueViews:
    """Every queue of a worker. Called on the library's loop.

    Args:
        stamp: The worker's version, which it gives to what has none; empty for none.
        wake: Called when there is something to look at.

    Attributes:
        versions: The versions of waiting workflows that the worker takes: its own, and whether what
            carries none.
    """

    def __init__(self, stamp: str, wake: Callable[[], None]) -> None:
        self.stamp = stamp
        self.versions: Sequence[str] = tuple(dict.fromkeys(("", stamp)))
        self._wake = wake
        self._loop = asyncio.get_running_loop()
        self._views: dict[QueueName, QueueView] = {}
        self._timers = DueTimers(self._loop, self.due)

    def __iter__(self) -> Iterator[QueueView]:
        return iter(list(self._views.values()))

    def find(self, name: QueueName) -> QueueView | None:
        """Return a queue that is served."""
        return self._views.get(name)

    # -- what may call for a look

    def look(self, name: QueueName) -> None:
        """Look at a queue: a NOTIFY named it, or this process has put something there."""
        view = self._views.get(name)
        if view is not None and not view.hot:
            view.passed = {}
            view.has_room()
            self._wake()

    def rouse(self, name: QueueName) -> None:
        """Somebody waits no more in a queue, and no worker has it in memory."""
        view = self._views.get(name)
        if view is not None:
            view.awake = True
            self._wake()

    def ask_outlook(self, name: QueueName) -> None:
        """Something delayed was put into a queue, or its time was changed."""
        view = self._views.get(name)
        if view is not None:
            view.wants_outlook = True
            self._wake()

    def due(self, name: QueueName) -> None:
        """Something may have become due in a queue."""
        view = self._views.get(name)
        if view is not None:
            view.hot = view.ripen = view.awake = True
            self._wake()

    def time_moved(self) -> None:
        """The database's clock was set: something may be due in any queue."""
        for name in list(self._views):
            self.due(name)

    def call_anew(self) -> None:
        """The worker has a new row: nobody calls it yet, and every queue deserves a look."""
        for view in self:
            view.asleep = view.wants_wake = False
            view.hot = True
        self._wake()

    def begins(self, current: str | None) -> None:
        """Learn which version begins what carries none: this one, unless another is current.

        An unversioned worker runs whatever carries no version.
        """
        others = bool(self.stamp) and current not in (None, self.stamp)
        versions = (self.stamp,) if others else tuple(dict.fromkeys(("", self.stamp)))
        if versions != self.versions:
            self.versions = versions
            for view in self:  # the poll that tells so has looked for the others
                view.hot, view.awake, view.passed = True, True, {}

    # -- what polls and settings say

    def saw(self, sights: Sequence[QueueSight]) -> list[QueueName]:
        """Take what a poll saw, and return the queues whose settings are to be read."""
        now = self._loop.time()
        for name in self._views.keys() - {sight.name for sight in sights}:
            del self._views[name]
        changed = []
        for sight in sights:
            view = self._views.get(sight.name)
            if view is None or view.revision != sight.revision:
                changed.append(sight.name)
                continue
            if sight.waiting and now - view.polled_at >= _poll_interval(view):
                view.hot, view.polled_at = True, now
            view.stray = sight.stray
            view.awake |= sight.awake
            view.forgive(now)
            self._timers.set(view.name, sight.due_seconds)
        self._wake()
        return changed

    def configure(self, stored: StoredSettings) -> QueueView:
        """Take the settings of a queue; a new one is served from now on."""
        view = self._views.get(stored.name)
        if view is None:
            view = QueueView(stored.name, stored.revision, stored.settings, stored.paused)
            self._views[stored.name] = view
        else:
            view.revision, view.settings = stored.revision, stored.settings
            view.paused = stored.paused
            view.hot, view.ripen, view.passed = True, True, {}
        self._wake()
        return view

    @property
    def shortest_poll(self) -> float:
        """The shortest polling interval of the queues, in seconds."""
        intervals = (v.settings.polling_interval.total_seconds() for v in self._views.values())
        return min(intervals, default=1.0)

    # -- what a turn did

    def settle(self, turn: Turn, result: TurnResult) -> None:
        """Believe what a turn has committed of what it said and gathered."""
        for name in turn.fall_asleep:
            self._fall_asleep(name)
        for name in turn.wake_up:
            if (view := self._views.get(name)) is not None:
                view.asleep = view.wants_wake = False
        for name in turn.gather:
            if (view := self._views.get(name)) is not None:
                view.stray = result.gathered[name] == ROWS_A_TURN
                view.hot |= result.gathered[name] > 0

    def look_ahead(self, result: TurnResult) -> None:
        """Take when something becomes due, and who was left; wake where there is more to do at once."""
        for name, left in result.left_awake.items():
            if (view := self._views.get(name)) is not None:
                view.went_on(left)
        for name, outlook in result.outlook.items():
            view = self._views.get(name)
            if view is None:
                continue
            self._timers.set(view.name, outlook.seconds)
            if outlook.unfolded and view.settings.partition_queue and not view.paused:
                view.hot = True
        if any(v.hot or v.awake or v.wants_sleep or v.wants_wake for v in self._views.values()):
            self._wake()

    def _fall_asleep(self, name: QueueName) -> None:
        view = self._views.get(name)
        if view is None:
            return
        view.asleep, view.wants_sleep = True, False
        for seconds in SECOND_LOOKS_SECONDS:
            self._loop.call_later(seconds, self.look, name)


def _poll_interval(view: QueueView) -> float:
    """Return how long a poll leaves a queue alone, a little less than its interval."""
    return 0.8 * view.settings.polling_interval.total_seconds()
