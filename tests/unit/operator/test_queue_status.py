"""What a Queue's status says of its work, and how seldom."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tests.unit.operator.builders import DATABASE, NOW, OPERATOR, owner, queue, row
from towpath_operator.plan.actions import Plan
from towpath_operator.plan.observed import HeldBack, QueueCounts, QueueObserved
from towpath_operator.plan.queue import plan_queue

FULL = HeldBack(limited_by="Concurrency", sentence="7 wait; concurrency: 3 of 3 places are taken")


def plan(status: dict[str, Any] | None = None, *, written_ago: int = 60, **facts: Any) -> Plan:
    """Plan for a Queue that has its row and some work."""
    counts = facts.pop("counts", QueueCounts(waiting=7, running=3, workers=1, oldest_wait=100.9))
    observed = QueueObserved(
        operator=OPERATOR,
        database=DATABASE,
        row=row(owner(queue())),
        counts=counts,
        numbers_written_at=NOW - timedelta(seconds=written_ago),
        **facts,
    )
    return plan_queue(queue(status=status), observed, NOW)


def test_a_status_says_how_long_the_first_waits_and_what_holds_it_back() -> None:
    """One word for programs, one sentence for people."""
    status = plan(held_back=FULL).status
    assert status["oldestWaitSeconds"] == 100
    assert status["limitedBy"] == "Concurrency"
    assert status["why"] == FULL.sentence


def test_where_nothing_waits_nothing_is_said_of_it() -> None:
    """The fields go, so that an alert on them ends."""
    status = plan(plan(held_back=FULL).status, counts=QueueCounts(workers=1)).status
    assert {"oldestWaitSeconds", "limitedBy", "why"}.isdisjoint(status)
    assert status["waiting"] == 0


def test_another_sentence_alone_is_not_written() -> None:
    """It changes with every look; it is as old as the numbers beside it."""
    said = plan(held_back=FULL).status
    other = HeldBack(limited_by="Concurrency", sentence="8 wait; the next start is in 2 s")
    again = plan(said, held_back=other)
    assert not again.status_changed
    assert again.status == said


def test_another_limit_is_written_with_its_sentence_but_not_before_ten_seconds() -> None:
    """What holds a queue back is news as a number is."""
    said = plan(held_back=FULL).status
    other = HeldBack(limited_by="Limiter", sentence="7 wait; limiter: 5 of 5 starts")
    soon = plan(said, held_back=other, written_ago=4)
    assert not soon.status_changed
    assert soon.requeue_after == timedelta(seconds=6)
    later = plan(said, held_back=other, written_ago=10)
    assert later.status_changed
    assert later.numbers_changed
    assert (later.status["limitedBy"], later.status["why"]) == ("Limiter", other.sentence)


def test_the_oldest_wait_is_written_when_it_has_grown_by_a_tenth() -> None:
    """A wait of an hour is written every few minutes, not every second."""
    said = plan(held_back=FULL).status
    for wait, worth in ((109.0, False), (110.0, True), (0.2, True)):
        counts = QueueCounts(waiting=7, running=3, workers=1, oldest_wait=wait)
        assert plan(said, held_back=FULL, counts=counts).status_changed is worth


def test_the_last_known_work_stays_while_the_database_is_away() -> None:
    """With its sentence: it is as old as the numbers."""
    said = plan(held_back=FULL).status
    status = plan(said, counts=None).status
    for name in ("waiting", "running", "oldestWaitSeconds", "limitedBy", "why"):
        assert status[name] == said[name]
