"""Which queues it is asked of what holds them back: few at a time, seldom, and none at rest."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from tests.operator.fakes import FakeDatabases
from towpath_operator.declarations import Subject
from towpath_operator.explaining import AT_A_TIME, Explainer
from towpath_operator.memory import Memory
from towpath_operator.model.parse import parse_queue
from towpath_operator.model.queue import Queue
from towpath_operator.plan.observed import DatabaseTarget, QueueCounts
from towpath_operator.ports.cluster import QUEUE, ObjectKey
from towpath_operator.services import Services

TARGET = DatabaseTarget(key=ObjectKey("shop", "default"), schema="towpath", uri="")
BEGIN = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Desk:
    """What an explainer is given, with a clock that the test moves."""

    def __init__(self, number: int) -> None:
        self.databases, self.memory, self.now = FakeDatabases(), Memory(), BEGIN
        self.changed: list[Subject] = []
        self.queues = [_queue(f"q{n}") for n in range(number)]
        self.counts = {queue.queue_name: QueueCounts(waiting=1) for queue in self.queues}
        self.explainer = Explainer(cast("Services", self), self.changed.append)

    def clock(self) -> datetime:
        """Return the test's time."""
        return self.now

    def look(self, *, after: float = 0) -> int:
        """Look once, so many seconds later; return how many statements that took."""
        self.now += timedelta(seconds=after)
        before = self.databases.statements["explain"]
        asyncio.run(self.explainer.look(TARGET, self.queues, self.counts))
        return self.databases.statements["explain"] - before


def _queue(name: str) -> Queue:
    metadata: dict[str, Any] = {"name": name, "namespace": "shop", "uid": name}
    kind = {"apiVersion": QUEUE.api_version, "kind": QUEUE.name}
    return parse_queue({**kind, "metadata": metadata, "spec": {}})


def subject(name: str) -> Subject:
    """Return the name of a Queue."""
    return Subject(QUEUE, ObjectKey("shop", name))


def test_nothing_is_asked_where_nothing_waits() -> None:
    """At rest there is no statement for this, however many queues there are."""
    desk = Desk(500)
    desk.counts = {queue.queue_name: QueueCounts() for queue in desk.queues}
    assert desk.look() == 0
    assert desk.memory.held_back == {}


def test_a_queue_is_asked_about_every_ten_seconds_and_what_has_changed_is_told() -> None:
    """The same answer again wakes nobody."""
    desk = Desk(1)
    assert desk.look() == 1
    assert desk.changed == [subject("q0")]
    assert desk.look(after=9) == 0
    assert desk.look(after=1) == 1
    assert desk.changed == [subject("q0")]


def test_of_many_those_are_asked_about_that_waited_longest_for_it() -> None:
    """A second takes a bounded number of statements, and every queue has its turn."""
    desk = Desk(2 * AT_A_TIME + 1)
    assert [desk.look(after=0.5) for _ in range(4)] == [AT_A_TIME, 0, AT_A_TIME, 0]
    assert [desk.look(after=1) for _ in range(2)] == [1, 0]
    assert len(desk.memory.held_back) == 2 * AT_A_TIME + 1


def test_what_held_a_queue_back_is_forgotten_when_nothing_waits() -> None:
    """And asked anew at once when something does again."""
    desk = Desk(1)
    desk.look()
    waiting, desk.counts = desk.counts, {"q0": QueueCounts(running=1)}
    assert desk.look(after=1) == 0
    assert desk.memory.held_back == {}
    desk.counts = waiting
    assert desk.look(after=1) == 1
