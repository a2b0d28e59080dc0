"""Tables of the plan: a schema's migrations, the rights of the workers' login, the default retention."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.unit.operator.builders import (
    MIGRATED,
    NOW,
    OPERATOR,
    TARGET,
    condition,
    database,
    reason,
)
from towpath.domain.queue import Retention
from towpath_operator.model.conditions import Reason
from towpath_operator.model.database import QueueDatabase
from towpath_operator.plan.actions import GrantWorkers, MigrateSchema, Plan, SetDefaultRetention
from towpath_operator.plan.database import database_trouble, plan_queue_database
from towpath_operator.plan.observed import (
    DatabaseState,
    DatabaseTarget,
    QueueDatabaseObserved,
)
from towpath_operator.plan.schema_facts import SchemaFacts, SchemaPhase, WorkerRights

MANUAL = replace(TARGET, migration="Manual")
WORKERS = replace(TARGET, worker_role="shop_worker")
OLDER = DatabaseState(schema_version=2, needed_version=3)
TO_COME = SchemaPhase(state="Pending", message="0011_post_take is to be applied")
WAITS = SchemaPhase(
    state="Waits",
    message="0011_post_take waits until the older workers of pool shop/mail (towpath 0.1.0) are gone",
)


def planned(
    target: DatabaseTarget = TARGET,
    state: DatabaseState = MIGRATED,
    declared: QueueDatabase | None = None,
    **facts: Any,
) -> Plan:
    """Plan for a database whose schema was found so."""
    observed = QueueDatabaseObserved(
        operator=OPERATOR,
        target=target,
        state=replace(state, schema=SchemaFacts(**facts)),
        queue_uids=frozenset(),
    )
    return plan_queue_database(declared or database(), observed, NOW)


def message(plan: Plan, kind: str = "Ready") -> str:
    """Return a condition's message."""
    return str(condition(plan, kind).get("message"))


# Migrations.


def test_a_migration_that_is_under_way_is_not_begun_again_and_is_said() -> None:
    plan = planned(state=OLDER, migrating=True)
    assert plan.actions == ()
    assert message(plan).endswith("has 2, wanted is version 3; it is being migrated.")
    assert plan.status_changed
    assert plan.requeue_after is not None
    assert plan.requeue_after > timedelta(0)


def test_a_migration_that_has_failed_is_begun_again_and_the_failure_is_said() -> None:
    failure = (Reason.CREDENTIALS_REJECTED, "Postgres refuses it.")
    plan = planned(state=OLDER, failure=failure)
    assert plan.actions == (MigrateSchema(target=TARGET),)
    assert reason(plan) == "CredentialsRejected"
    assert message(plan).endswith("Postgres refuses it. The migration is tried again.")


@pytest.mark.parametrize("version", [None, 2])
def test_a_manual_schema_is_left_to_a_person_who_is_told_the_command(version: int | None) -> None:
    plan = planned(MANUAL, DatabaseState(schema_version=version, needed_version=3))
    assert plan.actions == ()
    assert reason(plan) == "SchemaPending"
    assert "towpath db migrate --schema towpath" in message(plan)
    assert condition(plan, "DatabaseReachable")["status"] == "True"
    assert plan.requeue_after is not None


def test_queues_and_pools_of_a_manual_schema_are_told_the_same_command() -> None:
    trouble = database_trouble(MANUAL, OLDER)
    assert trouble is not None
    assert trouble.reason is Reason.SCHEMA_PENDING
    assert "towpath db migrate --schema towpath" in trouble.message
    assert database_trouble(MANUAL, MIGRATED) is None


def test_a_post_phase_that_waits_is_no_obstacle_and_names_the_pool() -> None:
    plan = planned(post=WAITS)
    assert plan.actions == ()
    assert reason(plan) == "InForce"
    assert message(plan) == f"Schema towpath is at version 3. {WAITS.message}."
    assert plan.status["schema"]["post"] == {"state": "Waits", "message": WAITS.message}


@pytest.mark.parametrize("phase", ["pre", "post"])
def test_what_may_be_migrated_is_migrated_beside_what_is_in_force(phase: str) -> None:
    given: dict[str, Any] = {phase: TO_COME}
    plan = planned(**given)
    assert plan.actions == (MigrateSchema(target=TARGET),)
    assert reason(plan) == "InForce"


@pytest.mark.parametrize("phase", ["pre", "post"])
def test_a_manual_phase_that_may_be_migrated_says_the_command(phase: str) -> None:
    given: dict[str, Any] = {phase: TO_COME}
    plan = planned(MANUAL, **given)
    assert plan.actions == ()
    assert reason(plan) == "InForce"
    assert message(plan).endswith(
        "0011_post_take is to be applied: towpath db migrate --schema towpath."
    )
    assert plan.status["schema"][phase] == {"state": "Pending", "message": TO_COME.message}


# The workers' login.


def test_a_login_that_misses_a_right_is_granted_it_and_that_alone_is_no_status() -> None:
    rights = WorkerRights(missing=("INSERT on queue", "USAGE on the schema", "a", "b", "c"))
    plan = planned(WORKERS, rights=rights)
    assert plan.actions == (GrantWorkers(target=WORKERS),)
    assert not plan.status_changed
    assert "INSERT on queue, USAGE on the schema, a and 2 more" in message(plan)


def test_a_login_that_does_not_exist_is_said_with_how_it_is_made() -> None:
    plan = planned(WORKERS, rights=WorkerRights(exists=False))
    assert plan.actions == ()
    assert reason(plan) == "CredentialsRejected"
    assert condition(plan, "Stalled")["status"] == "True"
    assert "no role shop_worker" in message(plan)
    assert "CREATE ROLE" in message(plan)


@pytest.mark.parametrize(
    ("target", "rights", "said"),
    [
        (TARGET, None, ("False", "SharedLogin")),
        (WORKERS, WorkerRights(), ("True", "OwnLogin")),
        (WORKERS, WorkerRights(excess=("is a superuser",)), ("False", "MoreThanNeeded")),
    ],
)
def test_least_privilege_says_whose_login_the_pods_have_and_what_is_too_much(
    target: DatabaseTarget, rights: WorkerRights | None, said: tuple[str, str]
) -> None:
    plan = planned(target, rights=rights)
    found = condition(plan, "LeastPrivilege")
    assert (found["status"], found["reason"]) == said
    assert reason(plan) == "InForce"
    if rights is not None and rights.excess:
        assert "is a superuser" in found["message"]


# The default retention.

WEEK, MONTH = timedelta(days=7), timedelta(days=30)


@pytest.mark.parametrize(
    ("declared", "found", "wanted"),
    [
        (None, Retention(WEEK, None), None),
        ({"succeeded": "168h"}, Retention(WEEK, MONTH), None),
        ({"succeeded": "168h"}, Retention(None, MONTH), Retention(WEEK, MONTH)),
        ({"succeeded": "168h", "failed": "720h"}, Retention(), Retention(WEEK, MONTH)),
        ({"failed": "720h"}, Retention(WEEK, WEEK), Retention(WEEK, MONTH)),
        ({"failed": "720h"}, None, None),
    ],
)
def test_the_default_retention_is_as_declared_and_what_is_not_declared_is_left(
    declared: dict[str, str] | None, found: Retention | None, wanted: Retention | None
) -> None:
    spec = None if declared is None else {"retention": declared}
    plan = planned(declared=database(spec=spec), retention=found)
    expected = () if wanted is None else (SetDefaultRetention(target=TARGET, retention=wanted),)
    assert plan.actions == expected
    assert reason(plan) == "InForce"
