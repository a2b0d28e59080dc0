"""Runs a plan: its actions in order, then its status, then its events. It decides nothing."""

from __future__ import annotations

import logging
from dataclasses import replace

from towpath_operator.clearing import clear
from towpath_operator.declarations import Subject
from towpath_operator.plan.actions import (
    Action,
    ApplyObject,
    CheckObject,
    ClearQueue,
    ClusterAction,
    CreateObject,
    DeclareQueue,
    DeleteEmptyQueue,
    DeleteObject,
    Failure,
    GrantWorkers,
    LeaveFields,
    MigrateSchema,
    Plan,
    QueueAction,
    ReleaseQueue,
    SchemaAction,
    SetDefaultRetention,
    SetFinalizers,
)
from towpath_operator.plan.failures import explain
from towpath_operator.plan.observed import DatabaseTarget
from towpath_operator.plan.ownership import taken_meanwhile
from towpath_operator.ports.cluster import ClusterError, Manifest
from towpath_operator.ports.database import DatabaseError
from towpath_operator.services import Services

logger = logging.getLogger(__name__)


async def run_actions(plan: Plan, subject: Subject, services: Services) -> Failure | None:
    """Run the actions in order; the first that fails ends them and is returned."""
    for action in plan.actions:
        try:
            await _run(action, subject, services)
        except ClusterError as error:
            failure = replace(explain(action, error), retry_after=error.retry_after)
        except DatabaseError as error:
            failure = Failure(reason=error.blocked.reason, message=error.blocked.message)
            _look_again(action, services)
        else:
            if not services.foretells:
                logger.info("action done", extra=_described(action, subject))
            continue
        if not services.foretells:
            told = _described(action, subject) | {"error": failure.message}
            logger.warning("action failed", extra=told)
        return failure
    return None


def _look_again(action: Action, services: Services) -> None:
    """Have the Secrets read and the server looked at anew: a password may have been rotated."""
    target = getattr(action, "target", None)
    if isinstance(target, DatabaseTarget):
        services.desk.expire(target.key)


async def write_status(
    plan: Plan, manifest: Manifest, subject: Subject, services: Services
) -> None:
    """Write the plan's status, if it is worth a write, and publish its events."""
    if plan.status_changed:
        await services.pace.wait()
        await services.cluster.apply_status(subject.kind, subject.key, plan.status)
    if plan.numbers_changed:
        services.memory.numbers_written_at[subject] = services.clock()
    for event in services.memory.news(subject, plan.events, services.clock()):
        await services.cluster.event(
            manifest, reason=event.reason, message=event.message, warning=event.warning
        )


async def _run(action: Action, subject: Subject, services: Services) -> None:
    if isinstance(action, ClusterAction):
        await _change_cluster(action, services)
    elif isinstance(action, SchemaAction):
        await _change_schema(action, services)
        services.desk.expire(action.target.key)
    else:
        await _change_queue(action, subject, services)


async def _change_cluster(action: ClusterAction, services: Services) -> None:
    match action:
        case CreateObject():
            live = await services.cluster.create(action.manifest)
            services.memory.answered(action.kind, action.key, live, action.applied)
        case ApplyObject():
            live = await services.cluster.apply(action.manifest)
            services.memory.answered(action.kind, action.key, live, action.applied)
            if action.contested_by is not None:
                services.memory.contest(action.key, action.contested_by, services.clock())
        case CheckObject():
            await services.cluster.check(action.manifest)
        case LeaveFields():
            await services.cluster.leave(action.manifest)
        case DeleteObject():
            await services.cluster.delete(action.kind, action.key, uid=action.uid)
        case SetFinalizers():
            await services.cluster.set_finalizers(
                action.kind, action.key, uid=action.uid, before=action.before, after=action.after
            )


async def _change_schema(action: SchemaAction, services: Services) -> None:
    match action:
        case MigrateSchema():
            await services.databases.migrate(action.target)
        case GrantWorkers():
            await services.databases.grant(action.target)
        case SetDefaultRetention():
            await services.databases.set_retention(action.target, action.retention)


async def _change_queue(action: QueueAction, subject: Subject, services: Services) -> None:
    match action:
        case DeclareQueue():
            row = await services.databases.declare(
                action.target,
                queue_name=action.queue_name,
                settings=action.settings,
                paused=action.paused,
                closed=action.closed,
                owner=action.owner,
                replaces=action.replaces,
            )
            services.desk.note_row(action.target.key, row)
            if row.owner != action.owner:
                raise DatabaseError(taken_meanwhile(row))
        case ReleaseQueue():
            await services.databases.release(
                action.target, queue_name=action.queue_name, owner=action.owner
            )
            services.desk.note_release(action.target.key, action.queue_name)
        case ClearQueue() | DeleteEmptyQueue():
            await clear(action, subject, services)


def _described(action: Action, subject: Subject) -> dict[str, str]:
    """Name an action for the log; manifests stay out of it."""
    if isinstance(action, ClusterAction):
        about = f"{action.kind.name} {action.key}"
    elif isinstance(action, SchemaAction):
        about = f"schema {action.target.schema}"
    else:
        about = f"queue {action.queue_name}"
    return {"object": str(subject), "action": type(action).__name__, "about": about}
