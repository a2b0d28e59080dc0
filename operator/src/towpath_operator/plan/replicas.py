"""Decides which number goes into the Deployment's spec.replicas when others write it too.

Another's number is overwritten. A manager that writes it again within five minutes is not fought: an
HPA would scale up and down thousands of times a day. Its number stays, and the pool says so, until it
has been quiet for five minutes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from towpath_operator.model.conditions import ConditionType, Reason
from towpath_operator.model.metadata import read_time
from towpath_operator.model.workerpool import WorkerPool
from towpath_operator.plan.observed import Blocked, Child, WorkerPoolObserved
from towpath_operator.ports.cluster import FIELD_MANAGER, Manifest

QUIET: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicas:
    """The number to apply.

    Attributes:
        number: How many pods the Deployment is to have.
        contested_by: Whose number that undoes or leaves; None where nobody's.
        conflict: Why it is not the number that was decided; None where it is.
        look_again: When that may have ended.
    """

    number: int
    contested_by: str | None = None
    conflict: Blocked | None = None
    look_again: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Writer:
    manager: str
    at: datetime


def choose_replicas(
    pool: WorkerPool, observed: WorkerPoolObserved, decided: int, now: datetime
) -> Replicas:
    """Return the decided number, or another's where its writer is not to be fought."""
    deployment = observed.deployment
    if deployment is None or _is_old(deployment):
        return Replicas(number=decided)
    writer = _other_writer(observed, deployment.live, now)
    live = replicas_of(deployment.live)
    if writer is None or live == decided:
        return Replicas(number=decided)
    quiet_at = writer.at + QUIET
    if now < quiet_at and (_yields(pool) or _wrote_again(writer, observed)):
        message = (
            f"{writer.manager} keeps writing spec.replicas of Deployment {pool.metadata.key}; "
            f"{live} stays, where {decided} is wanted. Have it scale the WorkerPool, with "
            "autoscaling.mode: External, or remove it."
        )
        conflict = Blocked(reason=Reason.REPLICAS_CONFLICT, message=message)
        return Replicas(
            number=live,
            contested_by=writer.manager,
            conflict=conflict,
            look_again=quiet_at - now,
        )
    return Replicas(number=decided, contested_by=writer.manager)


def _is_old(deployment: Child) -> bool:
    """Tell whether the Deployment was read as it was before our last apply."""
    generation = int((deployment.live.get("metadata") or {}).get("generation", 0))
    return deployment.last is not None and generation < deployment.last.generation


def _yields(pool: WorkerPool) -> bool:
    """Tell whether another's number was left to it when the pool was planned last."""
    return any(
        one.get("type") == ConditionType.AUTOSCALING_ACTIVE
        and one.get("reason") == Reason.REPLICAS_CONFLICT
        for one in pool.status.get("conditions") or ()
    )


def _wrote_again(writer: _Writer, observed: WorkerPoolObserved) -> bool:
    before = observed.contested
    if before is None or before.manager != writer.manager:
        return False
    return writer.at < before.at + QUIET


def _other_writer(observed: WorkerPoolObserved, live: Manifest, now: datetime) -> _Writer | None:
    """Return who else owns spec.replicas, the last one of several."""
    before = observed.contested
    writers = []
    for entry in _entries(live):
        manager = str(entry.get("manager", ""))
        # What is written by /scale has no time: it is as old as our last answer to it, or new.
        answered = before.at if before is not None and before.manager == manager else now
        if manager != FIELD_MANAGER:
            writers.append(_Writer(manager=manager, at=read_time(entry.get("time")) or answered))
    return max(writers, key=lambda writer: writer.at, default=None)


def replicas_of(live: Manifest) -> int:
    """Return how many pods a Deployment asks for."""
    return int((live.get("spec") or {}).get("replicas", 1))


def owners_of_replicas(live: Manifest) -> set[str]:
    """Return the field managers that spec.replicas of an object belongs to."""
    return {str(entry.get("manager", "")) for entry in _entries(live)}


def _entries(live: Manifest) -> Iterator[Mapping[str, Any]]:
    """Yield the managedFields that have spec.replicas; by /scale it is written under another entry."""
    for entry in (live.get("metadata") or {}).get("managedFields") or ():
        spec = (entry.get("fieldsV1") or {}).get("f:spec") or {}
        if "f:replicas" in spec:
            yield entry
