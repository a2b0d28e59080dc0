"""Runs a plan: its actions in order, then its status, then its events. It decides nothing."""

from __future__ import annotations

import logging
from dataclasses import replace

from towpath_operator.declarations import Subject
from towpath_operator.plan.actions import (
    Action,
    ApplyObject,
    CreateObject,
    DeclareQueue,
    DeleteObject,
    Failure,
    MigrateSchema,
    Plan,
    ReleaseQueue,
)
from towpath_operator.plan.failures import explain
from towpath_operator.ports.cluster import ClusterError, Manifest
from towpath_operator.ports.database import DatabaseError
from towpath_operator.services import Services

logger = logging.getLogger(__name__)


async def run_actions(plan: Plan, subject: Subject, services: Services) -> Failure | None:
    """Run the actions in order; the first that fails ends them and is returned."""
    for action in plan.actions:
        try:
            await _run(action, services)
        except ClusterError as error:
            failure = replace(explain(action, error), retry_after=error.retry_after)
        except DatabaseError as error:
            failure = Failure(reason=error.blocked.reason, message=error.blocked.message)
        else:
            logger.info("action done", extra=_described(action, subject))
            continue
        logger.warning(
            "action failed", extra=_described(action, subject) | {"error": failure.message}
        )
        return failure
    return None


async def write_status(
    plan: Plan, manifest: Manifest, subject: Subject, services: Services
) -> None:
    """Write the plan's status, if it is worth a write, and publish its events."""
    if plan.status_changed:
        await services.pace.wait()
        await services.cluster.apply_status(subject.kind, subject.key, plan.status)
    if plan.numbers_changed:
        services.memory.numbers_written_at[subject] = services.clock()
    for event in plan.events:
        await services.cluster.event(
            manifest, reason=event.reason, message=event.message, warning=event.warning
        )


async def _run(action: Action, services: Services) -> None:
    match action:
        case CreateObject():
            live = await services.cluster.create(action.manifest)
            services.memory.answered(action.kind, action.key, live, action.applied)
        case ApplyObject():
            live = await services.cluster.apply(action.manifest)
            services.memory.answered(action.kind, action.key, live, action.applied)
        case DeleteObject():
            await services.cluster.delete(action.kind, action.key, uid=action.uid)
        case MigrateSchema():
            await services.databases.migrate(action.target)
            services.desk.expire(action.target.key)
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
        case ReleaseQueue():
            await services.databases.release(
                action.target, queue_name=action.queue_name, owner=action.owner
            )
            services.desk.note_release(action.target.key, action.queue_name)


def _described(action: Action, subject: Subject) -> dict[str, str]:
    """Name an action for the log; manifests stay out of it."""
    match action:
        case CreateObject() | ApplyObject() | DeleteObject():
            about = f"{action.kind.name} {action.key}"
        case DeclareQueue() | ReleaseQueue():
            about = f"queue {action.queue_name}"
        case MigrateSchema():
            about = f"schema {action.target.schema}"
    return {"object": str(subject), "action": type(action).__name__, "about": about}
