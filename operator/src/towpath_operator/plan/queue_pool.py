"""Plans the WorkerPool that a Queue's `workers` stand for."""

from __future__ import annotations

from towpath_operator.model.metadata import read_metadata
from towpath_operator.model.queue import Queue
from towpath_operator.model.workerpool import PoolTemplate
from towpath_operator.plan.actions import Action, ApplyObject, DeleteObject, LeaveFields
from towpath_operator.plan.children import plan_child
from towpath_operator.plan.observed import Blocked, Child
from towpath_operator.plan.replicas import owners_of_replicas
from towpath_operator.ports.cluster import FIELD_MANAGER, WORKER_POOL
from towpath_operator.render.names import applied_hash
from towpath_operator.render.queue import render_replicas, render_worker_pool, without_replicas

EXTERNAL = "External"


def plan_queue_pool(queue: Queue, child: Child | None) -> Action | Blocked | None:
    """Return what brings the Queue's own pool to what `workers` says; None where nothing does."""
    workers = queue.spec.workers
    if workers is not None:
        return _plan_pool(queue, workers, child)
    if child is None:
        return None
    live = read_metadata(child.live)
    if live.controller_uid != queue.metadata.uid or live.being_deleted:
        return None
    return DeleteObject(kind=WORKER_POOL, key=live.key, uid=live.uid)


def _plan_pool(queue: Queue, workers: PoolTemplate, child: Child | None) -> Action | Blocked | None:
    """Leave the number to whoever scales where the mode is External; it begins at `workers.replicas`.

    An apply that simply left the number out would take it away, and so put it back to its default.
    """
    manifest = render_worker_pool(queue, workers)
    uid = queue.metadata.uid
    if workers.autoscaling.mode != EXTERNAL or child is None:
        return plan_child(WORKER_POOL, child, manifest, uid)
    open_manifest = without_replicas(manifest)
    planned = plan_child(WORKER_POOL, child, open_manifest, uid)
    live = read_metadata(child.live)
    owners = owners_of_replicas(child.live)
    if isinstance(planned, Blocked) or live.being_deleted or FIELD_MANAGER not in owners:
        return planned
    if owners == {FIELD_MANAGER}:
        number = int(child.live["spec"]["replicas"])
        kept = render_replicas(queue, number)
        return LeaveFields(kind=WORKER_POOL, key=live.key, manifest=kept)
    return ApplyObject(
        kind=WORKER_POOL,
        key=live.key,
        manifest=open_manifest,
        applied=applied_hash(open_manifest),
    )
