"""What is said of a pool: its conditions, its size, its template, its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from towpath_operator.model.conditions import ConditionType, Reason
from towpath_operator.model.workerpool import WorkerPool
from towpath_operator.plan.autoscaling import Decision
from towpath_operator.plan.children import is_current
from towpath_operator.plan.observed import Blocked, DatabaseObserved, WorkerPoolObserved
from towpath_operator.plan.rendering import template_hash
from towpath_operator.plan.replicas import Replicas
from towpath_operator.plan.status import Draft, Verdict, no, yes
from towpath_operator.render.metadata import pod_selector
from towpath_operator.render.revision import Revision

BUILTIN: Final = "Builtin"
_OF_THE_TEMPLATE: Final = ("buildId", "revision", "templateHash")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizing:
    """How many pods were decided, and which number is applied."""

    decision: Decision
    replicas: Replicas


def pool_draft(
    pool: WorkerPool,
    observed: WorkerPoolObserved,
    ready: Verdict,
    sizing: Sizing | None = None,
    revision: Revision | None = None,
) -> Draft:
    """Return what is to be said; without a sizing or a revision, what was said of these is kept."""
    database = observed.database
    found = pool.status.get("database")
    if isinstance(database, DatabaseObserved):
        found = database.target.to_status()
    live = observed.deployment.live if observed.deployment is not None else {}
    status = live.get("status") or {}
    return Draft(
        subject=pool,
        ready=ready,
        informational=_informational(pool, ready, sizing, status),
        facts={
            "database": found,
            "replicas": int(status.get("replicas") or 0),
            "selector": pod_selector(pool),
            "readyReplicas": int(status.get("readyReplicas") or 0),
            "autoscaling": _autoscaling_status(pool, sizing),
            **_template_status(pool, observed, revision),
        },
        numbers=_numbers(pool, observed),
        numbers_written_at=observed.numbers_written_at,
    )


def _informational(
    pool: WorkerPool, ready: Verdict, sizing: Sizing | None, status: Mapping[str, Any]
) -> dict[ConditionType, Verdict]:
    verdicts = {ConditionType.WORKERS_AVAILABLE: _workers(int(status.get("readyReplicas") or 0))}
    if ready.reason is Reason.TEMPLATE_REJECTED:
        verdicts[ConditionType.TEMPLATE_VALID] = ready
    elif sizing is not None:
        verdicts[ConditionType.TEMPLATE_VALID] = yes(Reason.IN_FORCE, "The template is accepted.")
    if sizing is not None:
        verdicts[ConditionType.AUTOSCALING_ACTIVE] = _active(pool, sizing)
    return verdicts


def _workers(ready: int) -> Verdict:
    if ready:
        return yes(Reason.SERVED, "At least one pod of the pool is ready.")
    message = "No pod of the pool is ready now."
    return Verdict(status="False", reason=Reason.NOT_SERVED, message=message)


def _active(pool: WorkerPool, sizing: Sizing) -> Verdict:
    limited_by = sizing.decision.limited_by
    if sizing.replicas.conflict is not None:
        return no(sizing.replicas.conflict)
    mode = pool.spec.autoscaling.mode
    if mode != BUILTIN:
        message = f"autoscaling.mode is {mode}: the number of pods is spec.replicas."
        return no(Blocked(reason=Reason.SIZE_DECLARED, message=message))
    if limited_by is not None and limited_by.blind:
        message = f"The size is held ({limited_by}), since the work is not known."
        return no(Blocked(reason=Reason.NOT_SAMPLED, message=message))
    return yes(Reason.IN_FORCE, "The number of pods follows the work.")


def _autoscaling_status(pool: WorkerPool, sizing: Sizing | None) -> dict[str, Any] | None:
    if sizing is None:
        return pool.status.get("autoscaling")
    decision = sizing.decision
    status: dict[str, Any] = {"desired": decision.desired}
    if decision.limited_by is not None:
        status["limitedBy"] = str(decision.limited_by)
    return status


def _template_status(
    pool: WorkerPool, observed: WorkerPoolObserved, revision: Revision | None
) -> dict[str, Any]:
    deployment = observed.deployment
    if deployment is None or revision is None:
        return {name: pool.status.get(name) for name in _OF_THE_TEMPLATE}
    # Only right after an answer of ours is it certain that the Deployment has what we applied.
    generation = int(deployment.live["metadata"].get("generation", 0))
    ours = is_current(deployment) and deployment.last is not None
    known = ours and deployment.last is not None and deployment.last.generation == generation
    return {
        "buildId": revision.build_id,
        "revision": revision.name(pool),
        "templateHash": template_hash(deployment) if known else pool.status.get("templateHash"),
    }


def _numbers(pool: WorkerPool, observed: WorkerPoolObserved) -> dict[str, Any]:
    if observed.sample is None:
        return {name: pool.status.get(name) for name in ("waiting", "running")}
    counts = observed.sample.queues.values()
    return {
        "waiting": sum(queue.waiting for queue in counts),
        "running": sum(queue.running for queue in counts),
    }
