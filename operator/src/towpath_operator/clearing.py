"""Runs one batch of a queue's deletion, and remembers how far that has come."""

from __future__ import annotations

from towpath.domain.deletion import Clearing
from towpath_operator.declarations import Subject
from towpath_operator.plan.actions import ClearQueue, DeleteEmptyQueue
from towpath_operator.services import Services


async def clear(
    action: ClearQueue | DeleteEmptyQueue, subject: Subject, services: Services
) -> None:
    """Do one batch; whatever keeps it from being done counts as the database being away."""
    databases, target = services.databases, action.target
    try:
        if isinstance(action, ClearQueue):
            done = await databases.clear(
                target,
                queue_name=action.queue_name,
                owner=action.owner,
                walk=action.walk,
                cancels_running=action.cancels_running,
            )
        else:
            done = await databases.delete_if_empty(
                target,
                queue_name=action.queue_name,
                owner=action.owner,
                walk=action.walk,
                reopens=action.reopens,
            )
    except Exception:
        services.memory.not_cleared(subject, services.clock())
        raise
    services.memory.cleared(subject, done)
    if done.state in (Clearing.GONE, Clearing.KEPT):
        await services.desk.finish(target)
