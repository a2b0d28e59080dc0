"""Asks what holds queues back, of a few at a time: one statement a queue, and none for what is at rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from towpath_operator.declarations import Subject
from towpath_operator.model.queue import Queue
from towpath_operator.plan.observed import DatabaseTarget, HeldBack, QueueCounts
from towpath_operator.ports.cluster import QUEUE
from towpath_operator.services import Services

ASKED_AGAIN_AFTER: Final = timedelta(seconds=10)

AT_A_TIME: Final = 2
BETWEEN_LOOKS: Final = timedelta(seconds=1)
"""A statement takes the server some 12 ms: two a second are a fortieth of one of its cores."""


_NEVER: Final = datetime.min.replace(tzinfo=UTC)


class Explainer:
    """Keeps `memory.held_back` for the queues of one database in which something waits."""

    def __init__(self, services: Services, changed: Callable[[Subject], None]) -> None:
        """Begin with nothing known.

        Args:
            services: Where the database is, and the memory.
            changed: Called with a Queue that something else holds back than before.
        """
        self._services = services
        self._changed = changed
        self._asked_at: dict[Subject, datetime] = {}
        self._next_look: datetime | None = None

    async def look(
        self, target: DatabaseTarget, queues: Iterable[Queue], counts: Mapping[str, QueueCounts]
    ) -> None:
        """Ask of those that were asked about longest ago. Raises `DatabaseError`."""
        waiting = {
            Subject(QUEUE, queue.metadata.key): queue.queue_name
            for queue in queues
            if queue.queue_name in counts and counts[queue.queue_name].waiting
        }
        for subject in set(self._asked_at) - set(waiting):
            del self._asked_at[subject]
            self._services.memory.held_back.pop(subject, None)
        now = self._services.clock()
        due = sorted((one for one in waiting if self._is_due(one, now)), key=self._last_asked)
        if not due or (self._next_look is not None and now < self._next_look):
            return
        self._next_look = now + BETWEEN_LOOKS
        names = {subject: waiting[subject] for subject in due[:AT_A_TIME]}
        # Also of those about which the database does not answer: the others have their turn.
        self._asked_at |= dict.fromkeys(names, now)
        found = await self._services.databases.explain(target, sorted(set(names.values())))
        for subject, name in names.items():
            self._note(subject, found.get(name))

    def _is_due(self, subject: Subject, now: datetime) -> bool:
        return now - self._last_asked(subject) >= ASKED_AGAIN_AFTER

    def _last_asked(self, subject: Subject) -> datetime:
        return self._asked_at.get(subject, _NEVER)

    def _note(self, subject: Subject, found: HeldBack | None) -> None:
        known = self._services.memory.held_back
        before = known.pop(subject, None)
        if found is not None:
            known[subject] = found
        if (before and before.limited_by) != (found and found.limited_by):
            self._changed(subject)
