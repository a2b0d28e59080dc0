"""Plans a QueueDatabase: its schema, and rows whose Queue is gone."""

from __future__ import annotations

from datetime import datetime, timedelta

from towpath_operator.model.conditions import ConditionType, Reason
from towpath_operator.model.database import QueueDatabase
from towpath_operator.plan.actions import MigrateSchema, Plan, ReleaseQueue
from towpath_operator.plan.observed import (
    Blocked,
    DatabaseState,
    DatabaseTarget,
    QueueDatabaseObserved,
)
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
    if not state.migrated:
        draft = _draft(database, target, no(schema_pending(target, state)), state)
        migration = MigrateSchema(target=target)
        return settle(draft, now, actions=[migration], requeue_after=timedelta(0))
    ready = yes(Reason.IN_FORCE, f"Schema {target.schema} is at version {state.schema_version}.")
    return settle(_draft(database, target, ready, state), now, actions=_releases(target, observed))


def database_trouble(target: DatabaseTarget, state: DatabaseState) -> Blocked | None:
    """Return what keeps Queues and WorkerPools from using a database that they found."""
    if state.problem is not None:
        return state.problem
    return None if state.migrated else schema_pending(target, state)


def schema_pending(target: DatabaseTarget, state: DatabaseState) -> Blocked:
    """Say that the schema is still to be migrated."""
    found = "is not there" if state.schema_version is None else f"has {state.schema_version}"
    return Blocked(
        reason=Reason.SCHEMA_PENDING,
        message=f"Schema {target.schema} of QueueDatabase {target.key} {found}, wanted is version "
        f"{state.needed_version}; it is being migrated.",
    )


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


def _least_privilege(target: DatabaseTarget) -> Verdict:
    if target.worker_role is not None:
        message = f"The pods log in as {target.worker_role}, not as the operator does."
        return yes(Reason.OWN_LOGIN, message)
    return no(
        Blocked(
            reason=Reason.SHARED_LOGIN,
            message="The pods use the operator's login, which may change and drop the schema. Name a "
            "login of their own in workerCredentialsSecretRef.",
        )
    )


def _draft(
    database: QueueDatabase, target: DatabaseTarget, ready: Verdict, state: DatabaseState | None
) -> Draft:
    reachable = ready
    if state is not None and _answered(state):
        reachable = yes(Reason.IN_FORCE, "Postgres answers.")
    version = state.schema_version if state is not None else None
    wanted = state.needed_version if state is not None else None
    schema = {k: v for k, v in (("version", version), ("target", wanted)) if v is not None}
    return Draft(
        subject=database,
        ready=ready,
        informational={
            ConditionType.DATABASE_REACHABLE: reachable,
            ConditionType.LEAST_PRIVILEGE: _least_privilege(target),
        },
        # What is not known now is not forgotten: the last version stays while the server is away.
        facts={"schema": {**(database.status.get("schema") or {}), **schema} or None},
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
