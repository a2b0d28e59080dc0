"""Plans a QueueDatabase: its schema, and rows whose Queue is gone."""

from __future__ import annotations

from datetime import datetime, timedelta

from towpath_operator.model.conditions import ConditionType, Reason
from towpath_operator.model.database import QueueDatabase
from towpath_operator.plan.actions import Plan, ReleaseQueue
from towpath_operator.plan.observed import (
    Blocked,
    DatabaseState,
    DatabaseTarget,
    QueueDatabaseObserved,
)
from towpath_operator.plan.schema import (
    least_privilege,
    schema_migrations,
    schema_pending,
    schema_repairs,
    schema_status,
    schema_verdict,
)
from towpath_operator.plan.schema_facts import SchemaFacts
from towpath_operator.plan.status import RETRY_AFTER, Draft, Verdict, no, settle, yes


def plan_queue_database(
    database: QueueDatabase, observed: QueueDatabaseObserved, now: datetime
) -> Plan:
    """Say what brings a QueueDatabase into force, and what its status is."""
    if database.metadata.being_deleted:
        return Plan()
    target, state = observed.target, observed.state
    if isinstance(target, Blocked):
        return settle(Draft(subject=database, ready=no(target)), now, requeue_after=RETRY_AFTER)
    if state is None:
        return settle(
            _draft(database, target, _unknown(target), None), now, requeue_after=RETRY_AFTER
        )
    if state.problem is not None:
        draft = _draft(database, target, no(state.problem), state)
        return settle(draft, now, requeue_after=RETRY_AFTER)
    migrations = schema_migrations(target, state)
    if not state.migrated:
        draft = _draft(database, target, no(schema_pending(target, state)), state)
        again = timedelta(0) if migrations else RETRY_AFTER
        return settle(draft, now, actions=migrations, requeue_after=again)
    repairs = schema_repairs(database, target, state.schema)
    return settle(
        _draft(database, target, schema_verdict(target, state), state),
        now,
        actions=[*migrations, *repairs, *_releases(target, observed)],
        silent=bool(repairs),
    )


def database_trouble(target: DatabaseTarget, state: DatabaseState) -> Blocked | None:
    """Return what keeps Queues and WorkerPools from using a database that they found."""
    if state.problem is not None:
        return state.problem
    return None if state.migrated else schema_pending(target, state)


def _releases(target: DatabaseTarget, observed: QueueDatabaseObserved) -> list[ReleaseQueue]:
    """Free the rows of deleted Queues, for code and for other Queues.

    This is seen from the rows: a Queue has no finalizer, so nobody may have been there to see it go.
    """
    known = observed.queue_uids
    if known is None:
        return []
    return [
        ReleaseQueue(target=target, queue_name=row.queue_name, owner=row.owner)
        for row in observed.owned
        if row.owner is not None
        and row.owner.cluster == observed.operator.cluster_uid
        and row.owner.uid not in known
        and observed.operator.watches(row.owner.namespace)
    ]


def _draft(
    database: QueueDatabase, target: DatabaseTarget, ready: Verdict, state: DatabaseState | None
) -> Draft:
    reachable = ready
    if state is not None and _answered(state):
        reachable = yes(Reason.IN_FORCE, "Postgres answers.")
    facts = state.schema if state is not None else SchemaFacts()
    return Draft(
        subject=database,
        ready=ready,
        informational={
            ConditionType.DATABASE_REACHABLE: reachable,
            ConditionType.LEAST_PRIVILEGE: least_privilege(target, facts),
        },
        facts={"schema": schema_status(database, state)},
    )


def _answered(state: DatabaseState) -> bool:
    problem = state.problem
    return problem is None or problem.reason in (Reason.SCHEMA_TOO_NEW, Reason.SERVER_TOO_OLD)


def _unknown(target: DatabaseTarget) -> Verdict:
    return no(
        Blocked(
            reason=Reason.RETRYING,
            message=f"QueueDatabase {target.key} has not been looked at yet.",
        )
    )
