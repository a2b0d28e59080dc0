"""A Queue whose deletion is to delete its row: the finalizer, the batches, and when it is let go."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.unit.operator.builders import (
    DATABASE,
    MIGRATED,
    NOW,
    OPERATOR,
    TARGET,
    TEMPLATE,
    condition,
    metadata,
    owner,
    queue,
    reason,
    row,
)
from towpath.domain.deletion import Cleared, Clearing, Walk
from towpath.domain.ids import Seq
from towpath_operator.declarations import Subject
from towpath_operator.memory import Memory
from towpath_operator.model.conditions import Reason
from towpath_operator.model.queue import DELETE_ROWS, Queue
from towpath_operator.plan.actions import (
    Action,
    ClearQueue,
    DeclareQueue,
    DeleteEmptyQueue,
    Event,
    Plan,
    SetFinalizers,
)
from towpath_operator.plan.deletion import let_go_unread
from towpath_operator.plan.observed import (
    Blocked,
    DatabaseObserved,
    QueueCounts,
    QueueDeletion,
    QueueObserved,
)
from towpath_operator.plan.queue import plan_queue
from towpath_operator.ports.cluster import QUEUE, ObjectKey

DELETED_AT = "2026-03-01T11:59:59Z"
CONFIRMED = {"towpath.dev/confirm-delete": "mail"}
AWAY = Blocked(reason=Reason.DATABASE_UNREACHABLE, message="Postgres cannot be used: it is off.")
MINUTE = timedelta(minutes=1)


def declared(policy: str = "Delete", **extra: Any) -> Queue:
    """Return a Queue with a policy that is confirmed."""
    return queue(spec={"deletionPolicy": policy}, **{"annotations": CONFIRMED, **extra})


def deleted(policy: str = "Delete", **extra: Any) -> Queue:
    """Return one whose deletion began a second ago, and that the finalizer keeps."""
    kept = {"finalizers": [DELETE_ROWS], "deletionTimestamp": DELETED_AT}
    return declared(policy, **{**kept, **extra})


def observed(**facts: Any) -> QueueObserved:
    """Return what is seen of a Queue that has its row."""
    least = {
        "operator": OPERATOR,
        "database": DATABASE,
        "row": row(owner(queue())),
        "queue_uids": frozenset({"uid-mail"}),
        "counts": QueueCounts(workers=0),
    }
    return QueueObserved(**{**least, **facts})


def far(state: Clearing | None = None, **rest: Any) -> QueueObserved:
    """Return what is seen while the deletion is so far."""
    return observed(deletion=QueueDeletion(state=state, **rest))


def finalizers(*after: str, before: tuple[str, ...] = (DELETE_ROWS,)) -> SetFinalizers:
    """Return the action that makes the list another."""
    return SetFinalizers(
        kind=QUEUE, key=ObjectKey("shop", "mail"), uid="uid-mail", before=before, after=after
    )


RELEASED = finalizers()


def only(plan: Plan) -> Action:
    """Return a plan's only action."""
    (action,) = plan.actions
    return action


def event_of(plan: Plan) -> Event:
    """Return a plan's only event."""
    (event,) = plan.events
    return event


@pytest.mark.parametrize("policy", ["Delete", "DeleteIfEmpty"])
def test_a_confirmed_policy_has_the_finalizer_and_its_row_at_once(policy: str) -> None:
    plan = plan_queue(declared(policy), observed(row=None), NOW)
    first, second = plan.actions
    assert first == finalizers(DELETE_ROWS, before=())
    assert isinstance(second, DeclareQueue)


def test_the_finalizer_is_there_also_while_the_database_is_not() -> None:
    plan = plan_queue(declared(), observed(database=AWAY, row=None), NOW)
    assert plan.actions == (finalizers(DELETE_ROWS, before=()),)
    assert reason(plan) == "DatabaseUnreachable"


def test_other_finalizers_are_kept_in_their_order() -> None:
    plan = plan_queue(declared(finalizers=["a/b"]), observed(), NOW)
    assert only(plan) == finalizers("a/b", DELETE_ROWS, before=("a/b",))
    held = ["a/b", DELETE_ROWS, "c/d"]
    plan = plan_queue(deleted(finalizers=held), far(Clearing.GONE), NOW)
    assert only(plan) == finalizers("a/b", "c/d", before=("a/b", DELETE_ROWS, "c/d"))


@pytest.mark.parametrize(
    "kept",
    [
        queue(),
        queue(annotations=CONFIRMED),
        queue(spec={"deletionPolicy": "Delete"}),
        queue(spec={"deletionPolicy": "DeleteIfEmpty"}),
        declared(annotations={"towpath.dev/confirm-delete": "true"}),
        declared("Retain"),
        queue(spec={"deletionPolicy": "Delete", "queueName": "letters"}, annotations=CONFIRMED),
    ],
)
def test_no_other_queue_has_it(kept: Queue) -> None:
    its = replace(row(owner(kept)), queue_name=kept.queue_name)
    assert plan_queue(kept, observed(row=its), NOW).actions == ()
    had = replace(kept, metadata=replace(kept.metadata, finalizers=(DELETE_ROWS,)))
    assert only(plan_queue(had, observed(row=its), NOW)) == RELEASED


def test_an_unconfirmed_policy_says_what_it_waits_for_and_is_ready() -> None:
    plan = plan_queue(queue(spec={"deletionPolicy": "Delete"}), observed(), NOW)
    assert condition(plan)["status"] == "True"
    assert "towpath.dev/confirm-delete: mail" in condition(plan)["message"]
    plan = plan_queue(declared(finalizers=[DELETE_ROWS]), observed(), NOW)
    assert "confirm" not in condition(plan)["message"]


def test_a_deletion_that_is_confirmed_no_more_keeps_the_row_and_lets_the_queue_go() -> None:
    plan = plan_queue(deleted(annotations={}), observed(), NOW)
    assert plan == Plan(actions=(RELEASED,))


def test_delete_goes_batch_by_batch_from_where_the_last_has_come_to() -> None:
    plan = plan_queue(deleted(), far(), NOW)
    first = ClearQueue(
        target=TARGET,
        queue_name="mail",
        owner=owner(queue()),
        walk=Walk(),
        cancels_running=False,
    )
    assert only(plan) == first
    assert plan.requeue_after == timedelta(0)
    assert not plan.status_changed
    walk = Walk(Seq(4000), (Seq(7),))
    plan = plan_queue(deleted(), far(Clearing.GOES_ON, walk=walk), NOW)
    assert only(plan) == replace(first, walk=walk)
    assert plan.status_changed
    assert reason(plan) == "Deleting"
    assert plan.events == ()


def test_what_runs_is_waited_for_by_looks_and_is_cancelled_after_five_minutes() -> None:
    plan = plan_queue(deleted(), far(Clearing.WAITS), NOW)
    assert plan.requeue_after == timedelta(seconds=1)
    later = plan_queue(deleted(), far(Clearing.WAITS), NOW + 5 * MINUTE)
    action = only(later)
    assert isinstance(action, ClearQueue)
    assert action.cancels_running


@pytest.mark.parametrize("closed", [False, True])
def test_delete_if_empty_looks_first_and_leaves_the_queue_as_open_as_it_was(closed: bool) -> None:  # noqa: FBT001
    effective = {"effective": {"closed": closed}}
    plan = plan_queue(deleted("DeleteIfEmpty", status=effective), far(), NOW)
    assert only(plan) == DeleteEmptyQueue(
        target=TARGET, queue_name="mail", owner=owner(queue()), walk=Walk(), reopens=not closed
    )


def test_what_was_in_force_stays_in_the_status_while_the_queue_is_closed_to_be_deleted() -> None:
    status = {"effective": {"closed": False}}
    shut = row(owner(queue()), closed=True, paused=True)
    plan = plan_queue(deleted(status=status), observed(row=shut), NOW)
    assert plan.status["effective"] == {"closed": False}
    assert condition(plan, "Paused")["reason"] == "PausedToDelete"


@pytest.mark.parametrize(
    ("state", "told", "warning"),
    [
        (Clearing.GONE, "with 12 workflows", False),
        (Clearing.KEPT, "is not empty", True),
        (Clearing.NOT_OURS, "no row of this Queue's", False),
    ],
)
def test_when_there_is_nothing_more_to_do_the_queue_goes_and_an_event_says_what_was_done(
    state: Clearing,
    told: str,
    warning: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    plan = plan_queue(deleted(), far(state, deleted=12), NOW)
    assert only(plan) == RELEASED
    assert told in event_of(plan).message
    assert event_of(plan).warning is warning


@pytest.mark.parametrize(
    "database",
    [
        AWAY,
        Blocked(reason=Reason.DATABASE_NOT_FOUND, message="there is no QueueDatabase"),
        Blocked(reason=Reason.SECRET_NOT_FOUND, message="there is no Secret"),
        DatabaseObserved(target=TARGET, state=replace(MIGRATED, problem=AWAY)),
        DatabaseObserved(target=TARGET, state=replace(MIGRATED, schema_version=None)),
    ],
)
def test_a_database_that_is_away_holds_the_queue_for_a_minute_and_is_named_then(
    database: Any,
) -> None:
    since = QueueDeletion(failing_since=NOW - timedelta(seconds=58))
    plan = plan_queue(deleted(), observed(database=database, deletion=since), NOW)
    assert plan.actions == ()
    assert plan.requeue_after == timedelta(seconds=2)
    since = QueueDeletion(failing_since=NOW - MINUTE, deleted=3)
    plan = plan_queue(deleted(), observed(database=database, deletion=since), NOW)
    assert only(plan) == RELEASED
    event = event_of(plan)
    assert event.warning
    assert event.reason == "RowsKept"
    assert "3 workflows deleted" in event.message


@pytest.mark.parametrize("why", [Reason.DATABASE_NOT_FOUND, Reason.SECRET_NOT_FOUND])
def test_a_database_that_goes_with_the_same_namespace_is_used_as_it_was(why: Reason) -> None:
    gone = Blocked(reason=why, message="it is gone")
    plan = plan_queue(deleted(), observed(database=gone, last_target=TARGET), NOW)
    assert isinstance(only(plan), ClearQueue)


def test_a_database_that_grants_the_namespace_nothing_any_more_is_not_used() -> None:
    gone = Blocked(reason=Reason.DATABASE_NOT_GRANTED, message="it is not granted")
    plan = plan_queue(deleted(), observed(database=gone, last_target=TARGET), NOW)
    assert plan.actions == ()


def test_a_database_that_answers_and_refuses_holds_it_no_longer_either() -> None:
    since = QueueDeletion(failing_since=NOW - MINUTE)
    plan = plan_queue(deleted(), observed(deletion=since), NOW)
    assert only(plan) == RELEASED


def test_a_queue_without_the_finalizer_asks_for_nothing() -> None:
    assert plan_queue(deleted(finalizers=[]), observed(), NOW) == Plan()
    spec = {"workers": {"application": "shop.work", "template": TEMPLATE}}
    gone = queue(spec=spec, deletionTimestamp=DELETED_AT)
    assert plan_queue(gone, observed(), NOW) == Plan()


def test_a_queue_that_cannot_be_read_is_let_go_when_it_is_deleted_and_keeps_its_row() -> None:
    manifest = {
        "metadata": metadata("mail", finalizers=[DELETE_ROWS], deletionTimestamp=DELETED_AT),
        "spec": {"concurrency": 3},
    }
    plan = let_go_unread(manifest, Plan(status_changed=True))
    assert only(plan) == RELEASED
    assert event_of(plan).reason == "RowsKept"
    assert not plan.status_changed
    alive = {"metadata": metadata("mail", finalizers=[DELETE_ROWS])}
    assert let_go_unread(alive, Plan()) == Plan()


def test_an_elder_that_is_being_deleted_is_no_rival_of_who_holds_the_row() -> None:
    """The row is the deleted one's until it is gone: whoever comes next says that it is held."""
    younger = queue("second", spec={"queueName": "mail"})
    facts = observed(queue_uids=frozenset({"uid-mail", "uid-second"}))
    plan = plan_queue(younger, facts, NOW)
    assert reason(plan) == "QueueConflict"
    assert plan_queue(younger, replace(facts, row=None), NOW).actions != ()


SUBJECT = Subject(QUEUE, ObjectKey("shop", "mail"))


def test_what_is_remembered_of_a_deletion_is_that_of_one_object_alone() -> None:
    """A Queue of the same name that is made anew and deleted begins from the start."""
    memory = Memory()
    memory.deletion(SUBJECT, "uid-1", reachable=True, now=NOW)
    memory.cleared(SUBJECT, Cleared(state=Clearing.GOES_ON, walk=Walk(Seq(9)), deleted=5))
    memory.cleared(SUBJECT, Cleared(state=Clearing.GONE, walk=Walk(Seq(9)), deleted=2))
    known = memory.deletion(SUBJECT, "uid-1", reachable=True, now=NOW)
    assert known == QueueDeletion(state=Clearing.GONE, walk=Walk(Seq(9)), deleted=7)
    assert memory.deletion(SUBJECT, "uid-2", reachable=True, now=NOW) == QueueDeletion()


def test_a_database_counts_as_away_from_its_first_failure_until_a_batch_succeeds() -> None:
    memory, later = Memory(), NOW + MINUTE
    assert memory.deletion(SUBJECT, "u", reachable=False, now=NOW).failing_since == NOW
    memory.not_cleared(SUBJECT, later)
    assert memory.deletion(SUBJECT, "u", reachable=True, now=later).failing_since == NOW
    memory.cleared(SUBJECT, Cleared(state=Clearing.GOES_ON, walk=Walk()))
    assert memory.deletion(SUBJECT, "u", reachable=True, now=later).failing_since is None
    memory.not_cleared(SUBJECT, later)
    assert memory.deletion(SUBJECT, "u", reachable=True, now=later).failing_since == later
