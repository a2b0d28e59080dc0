"""Plans a WorkerPool: which queues its pods serve, how many there are, and whether all is in force."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from towpath.domain.queue import QueueSettings
from towpath_operator.model.conditions import Reason
from towpath_operator.model.workerpool import WorkerPool
from towpath_operator.plan.actions import Action, Event, Plan
from towpath_operator.plan.autoscaling import Decision, decide, within_room
from towpath_operator.plan.database import database_trouble
from towpath_operator.plan.observed import Blocked, WorkerPoolObserved
from towpath_operator.plan.pool_children import ChildBlockedError, ChildrenPlanner
from towpath_operator.plan.pool_queues import NO_QUEUE, missing_queue, served_queues
from towpath_operator.plan.pool_status import BUILTIN, Sizing, pool_draft
from towpath_operator.plan.rendering import choose_rendering
from towpath_operator.plan.replicas import choose_replicas, owners_of_replicas, replicas_of
from towpath_operator.plan.rollout import rollout_obstacle
from towpath_operator.plan.status import RETRY_AFTER, no, settle, yes
from towpath_operator.ports.cluster import FIELD_MANAGER
from towpath_operator.render.environment import PodDatabase
from towpath_operator.render.facts import PodFacts
from towpath_operator.render.revision import Revision
from towpath_operator.render.shapes import TemplateError


def plan_worker_pool(pool: WorkerPool, observed: WorkerPoolObserved, now: datetime) -> Plan:
    """Say what brings a WorkerPool into force, and what its status is.

    While its database cannot be used, or none of its queues is there, nothing is made, and what runs
    goes on at its size.
    """
    if pool.metadata.being_deleted:
        return Plan()
    database = observed.database
    if isinstance(database, Blocked):
        draft = pool_draft(pool, observed, no(database))
        return settle(draft, now, requeue_after=RETRY_AFTER)
    trouble = database_trouble(database.target, database.state)
    served = served_queues(pool, observed, database)
    missing = missing_queue(pool, observed, served)
    if observed.deployment is None and (trouble is not None or not served):
        draft = pool_draft(pool, observed, no(trouble or missing or NO_QUEUE))
        return settle(draft, now, requeue_after=RETRY_AFTER)
    decision = _decide(pool, observed, served, now, usable=trouble is None)
    replicas = choose_replicas(pool, observed, decision.desired, now)
    sizing = Sizing(decision=decision, replicas=replicas)
    planner = ChildrenPlanner(
        pool=pool, observed=observed, target=database.target, replicas=replicas
    )
    try:
        if not served:
            return _as_before(planner, sizing, trouble or missing or NO_QUEUE, now)
        return _with_children(planner, sizing, trouble or missing, list(served), now)
    except ChildBlockedError as error:
        draft = pool_draft(pool, observed, no(error.blocked))
        return settle(draft, now, requeue_after=RETRY_AFTER)


def _with_children(
    planner: ChildrenPlanner,
    sizing: Sizing,
    obstacle: Blocked | None,
    queue_names: Sequence[str],
    now: datetime,
) -> Plan:
    pool, observed = planner.pool, planner.observed
    try:
        rendering = choose_rendering(pool, observed, _facts(planner, queue_names))
    except TemplateError as error:
        rejected = Blocked(reason=Reason.TEMPLATE_REJECTED, message=f"{error}.")
        return _as_before(planner, sizing, rejected, now)
    planned = _Planned(
        actions=planner.plan(rendering),
        sizing=sizing,
        obstacle=obstacle,
        revision=rendering.revision,
    )
    return _settled(pool, observed, planned, now)


def _as_before(planner: ChildrenPlanner, sizing: Sizing, obstacle: Blocked, now: datetime) -> Plan:
    """Leave the pods the template that they have, and keep the rest up to date."""
    return settle(
        pool_draft(planner.pool, planner.observed, no(obstacle), sizing),
        now,
        actions=planner.plan_as_before(),
        requeue_after=sizing.decision.look_again,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Planned:
    """The children's actions, the size, what stands in the way, and the template."""

    actions: Sequence[Action]
    sizing: Sizing
    obstacle: Blocked | None
    revision: Revision


def _settled(pool: WorkerPool, observed: WorkerPoolObserved, plan: _Planned, now: datetime) -> Plan:
    decision, replicas = plan.sizing.decision, plan.sizing.replicas
    rollout = rollout_obstacle(observed.deployment, observed.pods, replicas.number)
    obstacle = plan.obstacle or replicas.conflict or rollout
    ready = no(obstacle) if obstacle else yes(Reason.IN_FORCE, _available(replicas.number))
    draft = pool_draft(pool, observed, ready, plan.sizing, plan.revision)
    if plan.actions:
        # What an apply brings about is said when it has been seen: the first one after a start of the
        # operator most often changes nothing, and must not make a pool that is well look otherwise.
        return settle(
            draft,
            now,
            actions=plan.actions,
            events=_scaling_events(pool, observed, decision),
            requeue_after=timedelta(0),
            silent=True,
        )
    soon = [one for one in (decision.look_again, replicas.look_again) if one is not None]
    look_again = RETRY_AFTER if plan.obstacle else min(soon, default=None)
    return settle(draft, now, requeue_after=look_again)


def _facts(planner: ChildrenPlanner, queue_names: Sequence[str]) -> PodFacts:
    target = planner.target
    return PodFacts(
        queue_names=tuple(queue_names),
        database=PodDatabase(
            schema=target.schema, pooled=target.pooled, connections=target.connections_per_pod
        ),
        default_image=planner.observed.operator.default_image,
    )


def _decide(
    pool: WorkerPool,
    observed: WorkerPoolObserved,
    served: Mapping[str, QueueSettings],
    now: datetime,
    *,
    usable: bool,
) -> Decision:
    current = _current(pool, observed)
    decision = Decision(desired=pool.spec.replicas)
    if pool.spec.autoscaling.mode == BUILTIN:
        decision = decide(
            pool.spec.autoscaling,
            slots=pool.spec.slots,
            queues=served,
            current=current,
            sample=observed.sample,
            database_usable=usable,
            now=now,
        )
    return within_room(decision, observed.room, current)


def _current(pool: WorkerPool, observed: WorkerPoolObserved) -> int | None:
    """Return the size that was decided last.

    The Deployment's own number where nobody but us has written it: whoever led before may have had no
    time to say it in the status. Else our status: a number that somebody else wrote is drift.
    """
    if observed.deployment is None:
        return None
    live = replicas_of(observed.deployment.live)
    if owners_of_replicas(observed.deployment.live) == {FIELD_MANAGER}:
        return live
    decided = (pool.status.get("autoscaling") or {}).get("desired")
    return live if decided is None else int(decided)


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
