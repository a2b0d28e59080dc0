"""Plans a WorkerPool: the Secret with its database's URI, and the Deployment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from towpath.domain.queue import QueueSettings
from towpath_operator.model.conditions import ConditionType, Reason
from towpath_operator.model.queue import Queue
from towpath_operator.model.workerpool import WorkerPool
from towpath_operator.plan.actions import Action, Event, Plan
from towpath_operator.plan.autoscaling import Decision, decide
from towpath_operator.plan.children import plan_child
from towpath_operator.plan.database import database_trouble
from towpath_operator.plan.observed import Blocked, DatabaseObserved, WorkerPoolObserved
from towpath_operator.plan.rollout import rollout_obstacle
from towpath_operator.plan.status import (
    RETRY_AFTER,
    Draft,
    Verdict,
    no,
    ready_condition,
    settle,
    yes,
)
from towpath_operator.ports.cluster import DEPLOYMENT, SECRET, Kind
from towpath_operator.render.environment import PodDatabase
from towpath_operator.render.pool import render_deployment, render_secret
from towpath_operator.render.template import TemplateError


def plan_worker_pool(pool: WorkerPool, observed: WorkerPoolObserved, now: datetime) -> Plan:
    """Say what brings a WorkerPool into force, and what its status is.

    While its database cannot be used, nothing is made, and what runs goes on at its size.
    """
    if pool.metadata.being_deleted:
        return Plan()
    database = observed.database
    if isinstance(database, Blocked):
        return settle(_draft(pool, observed, no(database)), now, requeue_after=RETRY_AFTER)
    trouble = database_trouble(database.target, database.state)
    served = _served(pool, observed, database)
    decision = _decide(pool, observed, served, now, usable=trouble is None)
    missing = _missing(pool, observed, served)
    if observed.deployment is None and (trouble is not None or not served):
        ready = no(trouble or missing or _no_queue())
        return settle(_draft(pool, observed, ready), now, requeue_after=RETRY_AFTER)
    try:
        children = _children(pool, observed, database, served, decision)
    except TemplateError as error:
        return settle(_rejected(pool, observed, error), now)
    plan = _Planned(children=children, decision=decision, obstacle=trouble or missing)
    return _settled(pool, observed, plan, now)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Planned:
    """The children's actions or what keeps from them, the size, and what stands in the way."""

    children: list[Action] | Blocked
    decision: Decision
    obstacle: Blocked | None


def _settled(pool: WorkerPool, observed: WorkerPoolObserved, plan: _Planned, now: datetime) -> Plan:
    if isinstance(plan.children, Blocked):
        draft = _draft(pool, observed, no(plan.children))
        return settle(draft, now, requeue_after=RETRY_AFTER)
    wanted = plan.decision.desired
    rollout = rollout_obstacle(observed.deployment, observed.pods, wanted)
    obstacle = plan.obstacle or rollout
    ready = no(obstacle) if obstacle else yes(Reason.IN_FORCE, _available(wanted))
    draft = _draft(pool, observed, ready, plan.decision)
    if plan.children:
        # What an apply brings about is said when it has been seen: the first one after a start of the
        # operator most often changes nothing, and must not make a pool that is well look otherwise.
        return settle(
            draft,
            now,
            actions=plan.children,
            events=_scaling_events(pool, observed, plan.decision),
            requeue_after=timedelta(0),
            silent=True,
        )
    return settle(
        draft, now, requeue_after=RETRY_AFTER if plan.obstacle else plan.decision.look_again
    )


def _served(
    pool: WorkerPool, observed: WorkerPoolObserved, database: DatabaseObserved
) -> dict[str, QueueSettings]:
    """Return the limits of the queues that the pool may serve, by queueName."""
    queues = (observed.queues.get(entry.name) for entry in pool.spec.queues)
    return {
        queue.queue_name: queue.settings
        for queue in queues
        if queue is not None and _same_database(pool, queue, database) and not _lost_its_name(queue)
    }


def _same_database(pool: WorkerPool, queue: Queue, database: DatabaseObserved) -> bool:
    found = queue.status.get("database")
    if found:
        return dict(found) == database.target.to_status()
    return queue.spec.database_ref == pool.spec.database_ref


def _lost_its_name(queue: Queue) -> bool:
    ready = ready_condition(queue.status) or {}
    return ready.get("reason") == Reason.QUEUE_CONFLICT


def _missing(
    pool: WorkerPool, observed: WorkerPoolObserved, served: Mapping[str, QueueSettings]
) -> Blocked | None:
    """Name the queues that the pool lists and does not serve."""
    for entry in pool.spec.queues:
        queue = observed.queues.get(entry.name)
        place = f"Queue {pool.metadata.namespace}/{entry.name}"
        if queue is None:
            return Blocked(reason=Reason.QUEUE_NOT_FOUND, message=f"{place} does not exist.")
        if _lost_its_name(queue):
            message = f"{place} does not hold its queueName {queue.queue_name!r}; see its status."
            return Blocked(reason=Reason.QUEUE_CONFLICT, message=message)
        if queue.queue_name not in served:
            message = f"{place} is of another database than this pool."
            return Blocked(reason=Reason.QUEUE_NOT_FOUND, message=message)
    return None


def _no_queue() -> Blocked:
    return Blocked(reason=Reason.QUEUE_NOT_FOUND, message="There is no queue to serve.")


def _decide(
    pool: WorkerPool,
    observed: WorkerPoolObserved,
    served: Mapping[str, QueueSettings],
    now: datetime,
    *,
    usable: bool,
) -> Decision:
    return decide(
        pool.spec.autoscaling,
        slots=pool.spec.slots,
        queues=served,
        current=_current(pool, observed),
        sample=observed.sample,
        database_usable=usable,
        now=now,
    )


def _current(pool: WorkerPool, observed: WorkerPoolObserved) -> int | None:
    """Return the size that was decided last.

    Our own status, where it has one: a number that somebody else wrote into the Deployment is drift.
    """
    decided = (pool.status.get("autoscaling") or {}).get("desired")
    if decided is not None or observed.deployment is None:
        return decided if observed.deployment is not None else None
    return int((observed.deployment.live.get("spec") or {}).get("replicas", 1))


def _children(
    pool: WorkerPool,
    observed: WorkerPoolObserved,
    database: DatabaseObserved,
    served: Mapping[str, QueueSettings],
    decision: Decision,
) -> list[Action] | Blocked:
    target = database.target
    wanted: tuple[tuple[Kind, Any, dict[str, Any]], ...] = (
        (SECRET, observed.secret, render_secret(pool, uri=target.pods_uri, ca=target.ca)),
        (
            DEPLOYMENT,
            observed.deployment,
            render_deployment(
                pool,
                queue_names=list(served),
                database=PodDatabase(
                    schema=target.schema,
                    pooled=target.pooled,
                    connections=target.connections_per_pod,
                ),
                replicas=decision.desired,
                default_image=observed.operator.default_image,
            ),
        ),
    )
    actions: list[Action] = []
    for kind, child, manifest in wanted:
        action = plan_child(kind, child, manifest, pool.metadata.uid)
        if isinstance(action, Blocked):
            return action
        if action is not None:
            actions.append(action)
    return actions


def _available(wanted: int) -> str:
    return "No pods are wanted now." if wanted == 0 else f"All {wanted} wanted pods are available."


def _scaling_events(
    pool: WorkerPool, observed: WorkerPoolObserved, decision: Decision
) -> list[Event]:
    before = _current(pool, observed)
    if before is None or before == decision.desired:
        return []
    message = f"From {before} to {decision.desired} pods."
    return [Event(reason="Scaled", message=message, warning=False)]


def _rejected(pool: WorkerPool, observed: WorkerPoolObserved, error: TemplateError) -> Draft:
    return _draft(pool, observed, no(Blocked(reason=Reason.TEMPLATE_REJECTED, message=f"{error}.")))


def _draft(
    pool: WorkerPool,
    observed: WorkerPoolObserved,
    ready: Verdict,
    decision: Decision | None = None,
) -> Draft:
    database = observed.database
    found = pool.status.get("database")
    if isinstance(database, DatabaseObserved):
        found = database.target.to_status()
    live = observed.deployment.live if observed.deployment is not None else {}
    status = live.get("status") or {}
    return Draft(
        subject=pool,
        ready=ready,
        informational=_informational(ready, decision),
        facts={
            "database": found,
            "replicas": int(status.get("replicas") or 0),
            "readyReplicas": int(status.get("readyReplicas") or 0),
            "autoscaling": _autoscaling_status(pool, decision),
        },
        numbers=_numbers(pool, observed),
        numbers_written_at=observed.numbers_written_at,
    )


def _informational(ready: Verdict, decision: Decision | None) -> dict[ConditionType, Verdict]:
    verdicts = {}
    if ready.reason is Reason.TEMPLATE_REJECTED:
        verdicts[ConditionType.TEMPLATE_VALID] = ready
    elif decision is not None:
        verdicts[ConditionType.TEMPLATE_VALID] = yes(Reason.IN_FORCE, "The template is accepted.")
    if decision is None:
        return verdicts
    if decision.limited_by is not None and decision.limited_by.blind:
        message = f"The size is held ({decision.limited_by}), since the work is not known."
        active = no(Blocked(reason=Reason.NOT_SAMPLED, message=message))
    else:
        active = yes(Reason.IN_FORCE, "The number of pods follows the work.")
    return {**verdicts, ConditionType.AUTOSCALING_ACTIVE: active}


def _autoscaling_status(pool: WorkerPool, decision: Decision | None) -> dict[str, Any] | None:
    if decision is None:
        return pool.status.get("autoscaling")
    status: dict[str, Any] = {"desired": decision.desired}
    if decision.limited_by is not None:
        status["limitedBy"] = str(decision.limited_by)
    return status


def _numbers(pool: WorkerPool, observed: WorkerPoolObserved) -> dict[str, Any]:
    if observed.sample is None:
        return {name: pool.status.get(name) for name in ("waiting", "running")}
    counts = observed.sample.queues.values()
    return {
        "waiting": sum(queue.waiting for queue in counts),
        "running": sum(queue.running for queue in counts),
    }
