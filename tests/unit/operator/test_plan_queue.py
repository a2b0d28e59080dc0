"""What a Queue's plan does and says."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.operator.builders import (
    CLUSTER,
    DATABASE,
    FOUND,
    NOW,
    OPERATOR,
    TARGET,
    TEMPLATE,
    condition,
    live,
    owner,
    queue,
    reason,
    row,
)
from towpath.domain.queue import Limiter, QueueSettings, Retention
from towpath_operator.model.conditions import Reason
from towpath_operator.model.queue import Queue
from towpath_operator.plan.actions import (
    ApplyObject,
    CreateObject,
    DeclareQueue,
    DeleteObject,
    Plan,
)
from towpath_operator.plan.observed import (
    Blocked,
    Child,
    DatabaseState,
    QueueCounts,
    QueueObserved,
)
from towpath_operator.plan.queue import plan_queue

MAIL = queue()
WORKERS = {"workers": {"application": "shop.work", "template": TEMPLATE}}
SERVED = queue(spec=WORKERS)
IDLE = QueueCounts(workers=0)


def observed(**facts: Any) -> QueueObserved:
    least: dict[str, Any] = {
        "operator": OPERATOR,
        "database": DATABASE,
        "queue_uids": frozenset({"uid-mail"}),
        "counts": IDLE,
    }
    return QueueObserved(**{**least, **facts})


def with_row(declared: Queue = MAIL, **facts: Any) -> QueueObserved:
    return observed(row=row(owner(declared)), **facts)


def made_pool() -> CreateObject:
    (action,) = plan_queue(SERVED, with_row(), NOW).actions
    assert isinstance(action, CreateObject)
    return action


def pool_child(ready: str = "True", why: str = "InForce", generation: int = 1) -> Child:
    stated = {
        "type": "Ready",
        "status": ready,
        "reason": why,
        "message": "said",
        "observedGeneration": generation,
    }
    return live(made_pool(), status={"conditions": [stated]})


def test_a_new_queue_is_written_to_its_database_and_looked_at_again_at_once() -> None:
    declared = queue(spec={"queueName": "letters", "concurrency": {"global": 3, "perWorker": 2}})
    plan = plan_queue(declared, observed(), NOW)
    assert plan.actions == (
        DeclareQueue(
            target=TARGET,
            queue_name="letters",
            settings=QueueSettings(concurrency=3, worker_concurrency=2),
            paused=None,
            closed=None,
            owner=owner(declared),
            replaces=None,
        ),
    )
    assert plan.requeue_after == timedelta(0)
    assert not plan.status_changed
    assert reason(plan) == "RowPending"


def test_a_queue_whose_row_is_as_declared_is_ready_and_asks_for_nothing() -> None:
    plan = plan_queue(MAIL, with_row(), NOW)
    assert plan.actions == ()
    assert plan.requeue_after is None
    assert condition(plan)["status"] == "True"
    assert reason(plan) == "InForce"
    assert condition(plan, "Reconciling") == {}
    assert condition(plan, "Stalled") == {}
    assert plan.status["database"] == FOUND
    assert plan.status["queueName"] == "mail"
    assert plan.status["observedGeneration"] == 1


def test_a_changed_limit_is_written() -> None:
    changed = queue(spec={"concurrency": {"global": 7}})
    (action,) = plan_queue(changed, with_row(), NOW).actions
    assert isinstance(action, DeclareQueue)
    assert action.settings == QueueSettings(concurrency=7)
    assert action.replaces == "uid-mail"


def test_a_queue_that_is_being_deleted_asks_for_nothing() -> None:
    gone = queue(spec=WORKERS, deletionTimestamp="2026-03-01T11:59:00Z")
    assert plan_queue(gone, with_row(), NOW) == Plan()


@pytest.mark.parametrize(
    ("facts", "why", "kind"),
    [
        (
            {"database": Blocked(reason=Reason.DATABASE_NOT_FOUND, message="none")},
            "DatabaseNotFound",
            "Reconciling",
        ),
        (
            {"database": Blocked(reason=Reason.DATABASE_MOVED, message="moved")},
            "DatabaseMoved",
            "Stalled",
        ),
        (
            {"database": replace(DATABASE, state=DatabaseState(needed_version=3))},
            "SchemaPending",
            "Reconciling",
        ),
        (
            {
                "database": replace(
                    DATABASE,
                    state=DatabaseState(
                        needed_version=3,
                        problem=Blocked(reason=Reason.CREDENTIALS_REJECTED, message="no"),
                    ),
                )
            },
            "CredentialsRejected",
            "Stalled",
        ),
    ],
)
def test_what_stands_in_the_way_is_said_and_tried_again(
    facts: dict[str, Any], why: str, kind: str
) -> None:
    plan = plan_queue(MAIL, observed(**facts), NOW)
    assert plan.actions == ()
    assert reason(plan) == why
    assert condition(plan)["status"] == "False"
    assert condition(plan, kind)["status"] == "True"
    assert condition(plan, kind)["reason"] == why
    assert plan.requeue_after is not None
    assert plan.status_changed


def test_a_database_that_was_found_stays_in_the_status_while_it_is_away() -> None:
    known = queue(status={"database": FOUND})
    away = Blocked(reason=Reason.DATABASE_NOT_FOUND, message="gone")
    assert plan_queue(known, observed(database=away), NOW).status["database"] == FOUND


# What the row says, and who decides it.

LIMITS: dict[str, Any] = {
    "concurrency": {"global": 9, "perWorker": 4, "perPartition": 2, "releaseWhileWaiting": True},
    "limiter": {"limit": 5, "period": "1m30s"},
    "partitionLimiter": {"limit": 1, "period": "500ms"},
    "priority": {"enabled": True},
    "partitioning": {"enabled": True},
    "pollingInterval": "250ms",
    "retention": {"succeeded": "24h", "failed": "720h"},
}
IN_THE_ROW: dict[str, Any] = {
    "concurrency": 9,
    "worker_concurrency": 4,
    "partition_concurrency": 2,
    "limiter": Limiter(5, timedelta(seconds=90)),
    "partition_limiter": Limiter(1, timedelta(milliseconds=500)),
    "priority_enabled": True,
    "partition_queue": True,
    "polling_interval": timedelta(milliseconds=250),
    "release_while_waiting": True,
    "retention": Retention(succeeded=timedelta(days=1), failed=timedelta(days=30)),
}


def test_every_limit_of_the_manifest_is_written() -> None:
    (action,) = plan_queue(queue(spec=LIMITS), observed(), NOW).actions
    assert isinstance(action, DeclareQueue)
    assert action.settings == QueueSettings(**IN_THE_ROW)


def test_a_row_as_declared_is_what_the_status_says_is_effective() -> None:
    declared = queue(spec={**LIMITS, "paused": True})
    found = row(owner(declared), paused=True, **IN_THE_ROW)
    plan = plan_queue(declared, observed(row=found), NOW)
    assert plan.actions == ()
    assert plan.status["effective"] == {**LIMITS, "paused": True, "closed": False}


@pytest.mark.parametrize("name", IN_THE_ROW)
def test_a_row_that_a_hand_has_changed_is_written_again(name: str) -> None:
    declared, default = queue(spec=LIMITS), getattr(QueueSettings(), name)
    drifted = row(owner(declared), **{**IN_THE_ROW, name: default})
    (action,) = plan_queue(declared, observed(row=drifted), NOW).actions
    assert isinstance(action, DeclareQueue)
    assert action.settings == QueueSettings(**IN_THE_ROW)


@pytest.mark.parametrize("switch", ["paused", "closed"])
@pytest.mark.parametrize("says", [True, False])
@pytest.mark.parametrize("is_", [True, False])
def test_a_manifest_that_says_paused_or_closed_decides_it(
    switch: str, *, says: bool, is_: bool
) -> None:
    declared = queue(spec={switch: says})
    is_now: dict[str, Any] = {switch: is_}
    actions = plan_queue(declared, observed(row=row(owner(declared), **is_now)), NOW).actions
    assert bool(actions) == (says != is_)
    for action in actions:
        assert isinstance(action, DeclareQueue)
        other = "closed" if switch == "paused" else "paused"
        assert (getattr(action, switch), getattr(action, other)) == (says, None)


def test_a_manifest_that_says_neither_leaves_it_to_people_and_is_ready() -> None:
    plan = plan_queue(MAIL, observed(row=row(owner(MAIL), paused=True, closed=True)), NOW)
    assert plan.actions == ()
    assert reason(plan) == "InForce"
    assert plan.status["effective"]["paused"] is True
    assert plan.status["effective"]["closed"] is True


@pytest.mark.parametrize(
    ("says", "is_paused", "status", "why", "said"),
    [
        (None, False, "False", "NotPaused", "start as the limits allow"),
        (False, False, "False", "NotPaused", "start as the limits allow"),
        (True, True, "True", "PausedByManifest", "the manifest says paused: true"),
        (None, True, "True", "PausedByHand", "towpath queue resume mail"),
    ],
)
def test_a_queue_says_whether_it_is_paused_and_by_whom(
    *, says: bool | None, is_paused: bool, status: str, why: str, said: str
) -> None:
    declared = queue(spec={"paused": says})
    for closed in (False, True):
        found = row(owner(declared), paused=is_paused, closed=closed)
        stated = condition(plan_queue(declared, observed(row=found), NOW), "Paused")
        assert (stated["status"], stated["reason"]) == (status, why)
        assert said in stated["message"]
        assert ("enqueueing is refused" in stated["message"]) == closed


def test_what_is_in_force_stays_in_the_status_while_the_database_is_away() -> None:
    first = plan_queue(MAIL, with_row(), NOW)
    away = Blocked(reason=Reason.DATABASE_UNREACHABLE, message="gone")
    plan = plan_queue(queue(status=first.status), observed(database=away, counts=None), NOW)
    assert plan.status["effective"] == first.status["effective"]
    assert condition(plan, "Paused")["status"] == "Unknown"


def test_nothing_is_said_of_a_row_that_another_queue_holds() -> None:
    other = queue("post")
    facts = observed(row=row(owner(other)), queue_uids=frozenset({"uid-mail", "uid-post"}))
    plan = plan_queue(MAIL, facts, NOW)
    assert "effective" not in plan.status
    assert condition(plan, "Paused") == {}


# Who has the row.


def test_a_row_that_another_queue_holds_is_a_conflict_that_names_the_holder() -> None:
    other = queue("post")
    facts = observed(row=row(owner(other)), queue_uids=frozenset({"uid-mail", "uid-post"}))
    plan = plan_queue(MAIL, facts, NOW)
    assert plan.actions == ()
    assert reason(plan) == "QueueConflict"
    assert "shop/post" in condition(plan)["message"]
    assert [event.reason for event in plan.events] == ["QueueConflict"]


def test_a_row_whose_queue_this_cluster_lists_no_more_is_free() -> None:
    (action,) = plan_queue(MAIL, observed(row=row(owner(queue("post")))), NOW).actions
    assert isinstance(action, DeclareQueue)
    assert action.replaces == "uid-post"


def test_a_row_is_not_free_while_the_list_of_queues_is_incomplete() -> None:
    facts = observed(row=row(owner(queue("post"))), queue_uids=None)
    plan = plan_queue(MAIL, facts, NOW)
    assert plan.actions == ()
    assert reason(plan) == "RowPending"


def test_a_row_of_another_cluster_is_never_taken() -> None:
    plan = plan_queue(MAIL, observed(row=row(owner(queue("post"), cluster="elsewhere"))), NOW)
    assert plan.actions == ()
    assert reason(plan) == "QueueConflict"
    assert "elsewhere" in condition(plan)["message"]


def test_a_row_of_another_cluster_is_not_taken_for_a_copy_of_the_same_uid_either() -> None:
    plan = plan_queue(MAIL, observed(row=row(owner(MAIL, cluster="elsewhere"))), NOW)
    assert plan.actions == ()
    assert reason(plan) == "QueueConflict"


def test_a_row_that_code_declared_is_taken() -> None:
    (action,) = plan_queue(MAIL, observed(row=row(None, concurrency=9)), NOW).actions
    assert isinstance(action, DeclareQueue)
    assert action.settings == QueueSettings()


def test_of_two_queues_that_find_a_row_free_the_older_gets_it() -> None:
    older = queue("post", {"queueName": "mail"}, creationTimestamp="2026-03-01T10:00:00Z")
    younger = plan_queue(MAIL, observed(rivals=(older,)), NOW)
    assert reason(younger) == "QueueConflict"
    assert "shop/post" in condition(younger)["message"]
    assert plan_queue(older, observed(rivals=(MAIL,)), NOW).actions


def test_of_two_queues_of_one_moment_the_lower_uid_gets_the_row() -> None:
    twin = queue("aaa", {"queueName": "mail"})
    assert reason(plan_queue(MAIL, observed(rivals=(twin,)), NOW)) == "QueueConflict"
    assert plan_queue(twin, observed(rivals=(MAIL,)), NOW).actions


def test_a_queue_that_holds_its_row_keeps_it_from_an_older_rival() -> None:
    older = queue("post", {"queueName": "mail"}, creationTimestamp="2026-03-01T10:00:00Z")
    assert reason(plan_queue(MAIL, with_row(rivals=(older,)), NOW)) == "InForce"


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), min_size=2, max_size=5, unique=True)
)
def test_exactly_one_of_any_rivals_takes_a_free_row(born: list[tuple[int, int]]) -> None:
    rivals = [
        queue(
            f"q{index}",
            {"queueName": "mail"},
            uid=f"{number}-{index}",
            creationTimestamp=f"2026-03-01T1{hour}:00:00Z",
        )
        for index, (hour, number) in enumerate(born)
    ]
    takers = [
        one
        for one in rivals
        if plan_queue(one, observed(rivals=tuple(r for r in rivals if r is not one)), NOW).actions
    ]
    assert len(takers) == 1


# The pool of a Queue with workers.


def test_workers_become_a_pool_once_the_row_is_written() -> None:
    action = made_pool()
    assert action.kind.name == "WorkerPool"
    assert str(action.key) == "shop/mail"
    assert action.manifest["spec"]["queues"] == [{"name": "mail"}]
    assert reason(plan_queue(SERVED, with_row(), NOW)) == "PoolNotReady"


def test_a_queue_with_workers_is_ready_when_its_pool_is() -> None:
    plan = plan_queue(SERVED, with_row(pool=pool_child()), NOW)
    assert plan.actions == ()
    assert reason(plan) == "InForce"


def test_a_pools_trouble_is_the_queues_with_the_pools_name() -> None:
    plan = plan_queue(SERVED, with_row(pool=pool_child("False", "ImagePull")), NOW)
    assert reason(plan) == "ImagePull"
    assert condition(plan)["message"] == "WorkerPool mail: said"
    assert condition(plan, "Stalled")["reason"] == "ImagePull"


def test_a_conflict_that_is_over_is_not_kept_alive_by_the_pool_that_still_tells_of_it() -> None:
    plan = plan_queue(SERVED, with_row(pool=pool_child("False", "QueueConflict")), NOW)
    assert reason(plan) == "PoolNotReady"


def test_a_pool_that_was_not_looked_at_since_its_last_change_is_not_ready() -> None:
    plan = plan_queue(SERVED, with_row(pool=pool_child(generation=0)), NOW)
    assert reason(plan) == "PoolNotReady"


def test_a_pool_as_it_was_before_our_last_apply_proves_nothing() -> None:
    child = pool_child()
    assert child.last is not None
    plan = plan_queue(
        SERVED, with_row(pool=replace(child, last=replace(child.last, generation=2))), NOW
    )
    assert plan.actions == ()
    assert reason(plan) == "PoolNotReady"


def test_a_ready_pool_that_is_just_being_deleted_is_no_pool_any_more() -> None:
    child = pool_child()
    going = {**child.live["metadata"], "deletionTimestamp": "2026-03-01T12:00:00Z"}
    child = replace(child, live={**child.live, "metadata": going})
    plan = plan_queue(SERVED, with_row(pool=child), NOW)
    assert plan.actions == ()
    assert reason(plan) == "PoolNotReady"
    assert "being deleted" in condition(plan)["message"]


def test_a_pool_of_that_name_that_is_not_ours_is_left_alone() -> None:
    theirs = live(made_pool(), ownerReferences=[])
    plan = plan_queue(SERVED, with_row(pool=theirs), NOW)
    assert plan.actions == ()
    assert reason(plan) == "NameTaken"


def test_changed_workers_are_applied_to_the_pool() -> None:
    changed = queue(spec={"workers": {**WORKERS["workers"], "slots": 3}})
    (action,) = plan_queue(changed, with_row(pool=pool_child()), NOW).actions
    assert isinstance(action, ApplyObject)
    assert action.manifest["spec"]["slots"] == 3


def test_a_hand_edited_pool_is_applied_again() -> None:
    edited = live(made_pool(), generation=2)
    (action,) = plan_queue(SERVED, with_row(pool=edited), NOW).actions
    assert isinstance(action, ApplyObject)


def test_after_a_start_a_pool_is_applied_if_it_lacks_something() -> None:
    unknown = replace(pool_child(), last=None)
    assert plan_queue(SERVED, with_row(pool=unknown), NOW).actions == ()
    edited = {**unknown.live, "spec": {**unknown.live["spec"], "slots": 99}}
    (action,) = plan_queue(SERVED, with_row(pool=replace(unknown, live=edited)), NOW).actions
    assert isinstance(action, ApplyObject)


def test_a_pool_whose_workers_were_removed_is_deleted() -> None:
    plan = plan_queue(MAIL, with_row(pool=pool_child()), NOW)
    (action,) = plan.actions
    assert isinstance(action, DeleteObject)
    assert (str(action.key), action.uid) == ("shop/mail", "uid-of-mail")


def test_a_pool_of_the_same_name_beside_a_queue_without_workers_is_left_alone() -> None:
    theirs = live(made_pool(), ownerReferences=[])
    plan = plan_queue(MAIL, with_row(pool=theirs), NOW)
    assert plan.actions == ()
    assert reason(plan) == "InForce"


def test_while_the_database_is_away_a_pool_that_exists_is_still_kept_as_declared() -> None:
    changed = queue(spec={"workers": {**WORKERS["workers"], "slots": 3}})
    away = Blocked(reason=Reason.DATABASE_UNREACHABLE, message="gone")
    plan = plan_queue(changed, observed(database=away, pool=pool_child()), NOW)
    assert [type(action) for action in plan.actions] == [ApplyObject]
    assert plan_queue(changed, observed(database=away), NOW).actions == ()


# What the status says.


def test_the_counts_are_in_the_status() -> None:
    counts = QueueCounts(waiting=10_000, waiting_capped=True, running=3, workers=2)
    status = plan_queue(MAIL, with_row(counts=counts), NOW).status
    assert (status["waiting"], status["waitingCapped"], status["running"]) == (10_000, True, 3)


def test_the_last_counts_stay_while_the_database_is_away() -> None:
    known = queue(status={"waiting": 5, "waitingCapped": False, "running": 2})
    away = Blocked(reason=Reason.DATABASE_UNREACHABLE, message="gone")
    status = plan_queue(known, observed(database=away, counts=None), NOW).status
    assert (status["waiting"], status["running"]) == (5, 2)


@pytest.mark.parametrize(
    ("counts", "serving", "status", "said"),
    [
        (QueueCounts(workers=1), (), "True", "live worker"),
        (QueueCounts(workers=0), (), "False", "no WorkerPool lists it"),
        (QueueCounts(workers=0), ("mailers",), "False", "WorkerPool mailers"),
        (None, (), "Unknown", "could not be asked"),
    ],
)
def test_a_queue_says_whether_anybody_serves_it_and_is_ready_all_the_same(
    counts: QueueCounts | None, serving: tuple[str, ...], status: str, said: str
) -> None:
    plan = plan_queue(MAIL, with_row(counts=counts, serving=serving), NOW)
    assert condition(plan, "WorkersAvailable")["status"] == status
    assert said in condition(plan, "WorkersAvailable")["message"]
    assert reason(plan) == "InForce"


def test_the_status_that_was_written_is_not_written_again() -> None:
    first = plan_queue(MAIL, with_row(), NOW)
    again = plan_queue(queue(status=first.status), with_row(), NOW + timedelta(hours=1))
    assert first.status_changed
    assert not again.status_changed
    assert again.events == ()
    assert again.status == first.status


def test_nothing_secret_shows_in_a_plan() -> None:
    text = repr(plan_queue(MAIL, observed(), NOW)) + repr(observed())
    assert "hunter2" not in text


def test_the_owner_in_a_row_names_this_cluster() -> None:
    (action,) = plan_queue(MAIL, observed(), NOW).actions
    assert isinstance(action, DeclareQueue)
    assert action.owner.cluster == CLUSTER
