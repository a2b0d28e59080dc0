"""What a QueueDatabase's plan does and says, and how an object finds its database."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.unit.operator.builders import (
    FOUND,
    MIGRATED,
    NOW,
    OPERATOR,
    TARGET,
    condition,
    database,
    owner,
    pool,
    queue,
    reason,
    row,
)
from towpath_operator.model.conditions import Reason
from towpath_operator.model.database import QueueDatabase
from towpath_operator.plan.actions import MigrateSchema, Plan, ReleaseQueue
from towpath_operator.plan.database import database_trouble, plan_queue_database
from towpath_operator.plan.observed import (
    Blocked,
    DatabaseState,
    QueueDatabaseObserved,
)
from towpath_operator.plan.resolution import find_database


def planned(declared: QueueDatabase | None = None, **facts: Any) -> Plan:
    least: dict[str, Any] = {"operator": OPERATOR, "target": TARGET, "state": MIGRATED}
    observed = QueueDatabaseObserved(**{**least, **facts})
    return plan_queue_database(declared or database(), observed, NOW)


def test_a_migrated_database_is_ready_and_asks_for_nothing() -> None:
    plan = planned()
    assert plan.actions == ()
    assert reason(plan) == "InForce"
    applied = {"state": "Applied"}
    assert plan.status["schema"] == {"version": 3, "target": 3, "pre": applied, "post": applied}
    assert condition(plan, "DatabaseReachable")["status"] == "True"
    assert plan.requeue_after is None


@pytest.mark.parametrize("version", [None, 2])
def test_a_missing_or_older_schema_is_migrated_and_looked_at_again(version: int | None) -> None:
    plan = planned(state=DatabaseState(schema_version=version, needed_version=3))
    assert plan.actions == (MigrateSchema(target=TARGET),)
    assert reason(plan) == "SchemaPending"
    assert condition(plan, "Reconciling")["status"] == "True"
    assert condition(plan, "DatabaseReachable")["status"] == "True"
    assert plan.status_changed
    assert plan.requeue_after == timedelta(0)


def test_a_newer_schema_that_serves_this_operator_is_left_alone() -> None:
    assert planned(state=DatabaseState(schema_version=4, needed_version=3)).actions == ()


@pytest.mark.parametrize(
    ("why", "kind", "reachable"),
    [
        (Reason.DATABASE_UNREACHABLE, "Reconciling", "False"),
        (Reason.CREDENTIALS_REJECTED, "Stalled", "False"),
        (Reason.SCHEMA_TOO_NEW, "Stalled", "True"),
        (Reason.SERVER_TOO_OLD, "Stalled", "True"),
    ],
)
def test_a_server_that_cannot_be_used_is_said_and_tried_again(
    why: Reason, kind: str, reachable: str
) -> None:
    state = DatabaseState(needed_version=3, problem=Blocked(reason=why, message="said"))
    plan = planned(state=state)
    assert plan.actions == ()
    assert reason(plan) == why
    assert condition(plan, kind)["status"] == "True"
    assert condition(plan, "DatabaseReachable")["status"] == reachable
    assert plan.requeue_after is not None


def test_the_last_version_stays_in_the_status_while_the_server_is_away() -> None:
    known = database(status={"schema": {"version": 3, "target": 3}})
    gone = Blocked(reason=Reason.DATABASE_UNREACHABLE, message="gone")
    plan = planned(known, state=DatabaseState(needed_version=4, problem=gone))
    assert plan.status["schema"] == {"version": 3, "target": 4}


def test_a_bad_secret_is_said_and_tried_again() -> None:
    plan = planned(target=Blocked(reason=Reason.SECRET_NOT_FOUND, message="none"), state=None)
    assert reason(plan) == "SecretNotFound"
    assert plan.requeue_after is not None


def test_rows_whose_queue_is_gone_are_freed() -> None:
    mail, post = queue("mail"), queue("post")
    rows = (row(owner(mail)), row(owner(post), "post"), row(None, "code"))
    plan = planned(owned=rows, queue_uids=frozenset({"uid-mail"}))
    assert plan.actions == (ReleaseQueue(target=TARGET, queue_name="post", owner=owner(post)),)


def test_no_row_is_freed_while_the_list_of_queues_is_incomplete_or_of_another_cluster() -> None:
    gone = owner(queue("post"))
    assert planned(owned=(row(gone),), queue_uids=None).actions == ()
    elsewhere = owner(queue("post"), cluster="elsewhere")
    assert planned(owned=(row(elsewhere),), queue_uids=frozenset()).actions == ()


def test_a_database_that_is_being_deleted_asks_for_nothing() -> None:
    gone = database(deletionTimestamp="2026-03-01T11:59:00Z")
    assert planned(gone, state=DatabaseState(needed_version=3)) == Plan()


# Which database an object is in.


def found(subject: Any, *databases: QueueDatabase) -> str:
    by_key = {one.metadata.key: one for one in databases}
    answer = find_database(subject, by_key, "towpath")
    return str(answer.reason if isinstance(answer, Blocked) else answer.metadata.key)


ALL = {"allowedNamespaces": ["*"]}


def test_a_database_is_looked_for_in_the_own_namespace_and_then_in_the_operators() -> None:
    own, central = database(namespace="shop"), database(spec=ALL)
    assert found(queue(), own, central) == "shop/default"
    assert found(queue(), central) == "towpath/default"
    assert found(pool(), central) == "towpath/default"
    assert found(queue()) == "DatabaseNotFound"


def test_a_database_of_a_named_namespace_is_looked_for_there_alone() -> None:
    named = queue(spec={"databaseRef": {"name": "main", "namespace": "data"}})
    there = database("main", "data", ALL)
    assert found(named, there, database("main", "shop")) == "data/main"
    assert found(named, database("main", "shop")) == "DatabaseNotFound"


@pytest.mark.parametrize(
    ("allowed", "answer"),
    [
        ([], "DatabaseNotGranted"),
        (["mail"], "DatabaseNotGranted"),
        (["mail", "shop"], "towpath/default"),
        (["*"], "towpath/default"),
    ],
)
def test_a_database_of_another_namespace_must_grant_this_one(
    allowed: list[str], answer: str
) -> None:
    assert found(queue(), database(spec={"allowedNamespaces": allowed})) == answer


def test_the_own_namespace_needs_no_grant() -> None:
    own = database(namespace="shop", spec={"allowedNamespaces": ["mail"]})
    assert found(queue(), own) == "shop/default"


def test_a_database_once_found_is_kept() -> None:
    settled = queue(status={"database": FOUND})
    central = database(spec=ALL)
    assert found(settled, central) == "towpath/default"
    assert found(settled, database(namespace="shop"), central) == "DatabaseMoved"
    assert found(settled, database(spec={**ALL, "schema": "team"})) == "DatabaseMoved"
    assert found(settled) == "DatabaseNotFound"


# Whose login the pods have.


def test_pods_that_use_the_operators_login_are_said_to_and_told_what_to_do() -> None:
    shared = condition(planned(), "LeastPrivilege")
    assert (shared["status"], shared["reason"]) == ("False", "SharedLogin")
    assert "workerCredentialsSecretRef" in shared["message"]
    assert reason(planned()) == "InForce"


def test_pods_with_a_login_of_their_own_have_the_least_privilege() -> None:
    own = condition(planned(target=replace(TARGET, worker_role="worker")), "LeastPrivilege")
    assert (own["status"], own["reason"]) == ("True", "OwnLogin")
    assert "worker" in own["message"]


def test_a_login_that_postgres_refuses_the_pods_is_said_and_keeps_no_queue_from_its_row() -> None:
    refused = Blocked(reason=Reason.CREDENTIALS_REJECTED, message="refused.")
    state = replace(MIGRATED, workers_refused=refused)
    target = replace(TARGET, worker_role="worker")
    plan = planned(target=target, state=state)
    assert reason(plan) == "CredentialsRejected"
    assert condition(plan)["message"] == "To the workers: refused."
    assert condition(plan, "DatabaseReachable")["status"] == "True"
    assert database_trouble(target, state) is None
