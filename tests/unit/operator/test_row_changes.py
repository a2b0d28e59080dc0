"""What is told when a row that was there already is written: by whom it was changed, and what."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.unit.operator.builders import DATABASE, NOW, OPERATOR, owner, queue, row
from towpath.domain.queue import Limiter, QueueSettings, Retention
from towpath_operator.declarations import Subject
from towpath_operator.memory import TOLD_AGAIN_AFTER, Memory
from towpath_operator.model.queue import Queue
from towpath_operator.model.queue_status import effective_configuration
from towpath_operator.plan.actions import Event
from towpath_operator.plan.observed import Owner, QueueCounts, QueueObserved, QueueRow
from towpath_operator.plan.queue import plan_queue
from towpath_operator.ports.cluster import QUEUE, ObjectKey

SPEC: dict[str, Any] = {
    "concurrency": {"global": 3},
    "limiter": {"limit": 5, "period": "10s"},
    "paused": False,
    "retention": {"succeeded": "24h"},
}
SETTINGS = QueueSettings(
    concurrency=3,
    limiter=Limiter(5, timedelta(seconds=10)),
    retention=Retention(succeeded=timedelta(hours=24)),
)
IN_FORCE = {
    "observedGeneration": 1,
    "effective": effective_configuration(SETTINGS, paused=False, closed=False),
}


def declared(**extra: Any) -> Queue:
    """Return a Queue whose row was as declared when its status was written."""
    return queue(spec=SPEC, **{"status": IN_FORCE, **extra})


def stored(of: Owner | None, settings: QueueSettings = SETTINGS, **switches: Any) -> QueueRow:
    """Return a row."""
    return replace(row(of, **switches), settings=settings)


def told(
    declared: Queue, found: QueueRow | None, uids: frozenset[str] | None = None
) -> list[Event]:
    """Return the events of a plan that writes the row."""
    observed = QueueObserved(
        operator=OPERATOR,
        database=DATABASE,
        row=found,
        queue_uids=uids or frozenset({"uid-mail"}),
        counts=QueueCounts(),
    )
    plan = plan_queue(declared, observed, NOW)
    assert plan.actions
    assert not plan.status_changed
    return list(plan.events)


def test_a_hand_that_changed_a_row_is_told_field_by_field() -> None:
    """Old and new value of each, in the manifest's words."""
    by_hand = replace(SETTINGS, concurrency=9, limiter=None, retention=Retention())
    (event,) = told(declared(), stored(owner(queue()), by_hand, paused=True))
    assert event.reason == "DriftRepaired"
    assert not event.warning
    assert (
        "concurrency.global 9 -> 3, limiter.limit none -> 5, limiter.period none -> 10s, "
        "paused true -> false, retention.succeeded none -> 24h" in event.message
    )


def test_what_the_manifest_leaves_open_is_no_drift() -> None:
    """Beside a field that is put back, one that people may change is not told of."""
    by_hand = replace(SETTINGS, concurrency=9)
    (event,) = told(declared(), stored(owner(queue()), by_hand, closed=True))
    assert "concurrency.global 9 -> 3." in event.message
    assert "closed" not in event.message


@pytest.mark.parametrize(
    "edited",
    [
        declared(generation=2),
        declared(status={"observedGeneration": 1}),
        declared(status={**IN_FORCE, "effective": effective_configuration(
            replace(SETTINGS, concurrency=9), paused=False, closed=False)}),
    ],
)  # fmt: skip
def test_a_changed_spec_is_written_without_an_event(edited: Queue) -> None:
    """The row is as this operator left it, or the status does not speak of this spec yet."""
    assert told(edited, stored(owner(queue()), replace(SETTINGS, concurrency=9))) == []


def test_a_row_that_was_deleted_by_hand_is_told_and_a_new_one_is_not() -> None:
    (event,) = told(declared(), None)
    assert event.reason == "DriftRepaired"
    assert event.warning
    assert told(declared(status={}), None) == []


def test_a_row_that_code_declared_is_told_with_the_settings_that_change() -> None:
    (event,) = told(declared(status={}), stored(None, QueueSettings(concurrency=7)))
    assert event.reason == "RowAdopted"
    assert "was declared by code" in event.message
    assert "concurrency.global 7 -> 3" in event.message
    (event,) = told(declared(status={}), stored(None))
    assert "no setting has changed" in event.message


def test_a_row_of_a_queue_that_is_gone_is_told_with_its_name() -> None:
    before = replace(owner(queue()), uid="uid-before", name="letters")
    (event,) = told(declared(status={}), stored(before))
    assert event.reason == "RowAdopted"
    assert "was of Queue shop/letters, now gone" in event.message


SUBJECT = Subject(QUEUE, ObjectKey("shop", "mail"))


def test_the_same_event_is_told_again_only_after_a_while() -> None:
    """Two that write the same row in turn are one event, however long they go on."""
    memory = Memory()
    event = Event(reason="DriftRepaired", message="a 1 -> 2", warning=False)
    other = replace(event, message="a 3 -> 2")
    assert memory.news(SUBJECT, (event, event), NOW) == [event]
    assert memory.news(SUBJECT, (event,), NOW + timedelta(minutes=1)) == []
    assert memory.news(SUBJECT, (event, other), NOW + timedelta(minutes=2)) == [other]
    assert memory.news(SUBJECT, (event,), NOW + TOLD_AGAIN_AFTER) == [event]
    memory.forget(SUBJECT)
    assert memory.news(SUBJECT, (event,), NOW + TOLD_AGAIN_AFTER) == [event]
