"""What this process remembers between two reconciles of an object. Losing it costs a few requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from towpath.domain.deletion import Cleared
from towpath_operator.declarations import Subject
from towpath_operator.model.workerpool import WorkerPool
from towpath_operator.plan.actions import Event, Plan
from towpath_operator.plan.observed import (
    Child,
    Contested,
    DemandSample,
    HeldBack,
    LastAnswer,
    QueueDeletion,
)
from towpath_operator.ports.cluster import (
    CONTROLLER_REVISION,
    DEPLOYMENT,
    POD_DISRUPTION_BUDGET,
    SECRET,
    WORKER_POOL,
    Kind,
    Manifest,
    ObjectKey,
)

TOLD_AGAIN_AFTER: Final = timedelta(minutes=10)
"""Before that, an event about an object that says the same as an earlier one is no news."""


@dataclass(slots=True)
class Memory:
    """Last answers about children, when numbers were written, and the samples of pools."""

    answers: dict[tuple[Kind, ObjectKey], LastAnswer] = field(default_factory=dict)
    numbers_written_at: dict[Subject, datetime] = field(default_factory=dict)
    samples: dict[ObjectKey, DemandSample] = field(default_factory=dict)
    traced: dict[Subject, str] = field(default_factory=dict)
    """The value of each object's trace annotation for which a trace was written."""
    contested: dict[ObjectKey, Contested] = field(default_factory=dict)
    sizes: dict[ObjectKey, int] = field(default_factory=dict)
    """How many pods each pool was to have when it was planned last."""

    deletions: dict[Subject, tuple[str, QueueDeletion]] = field(default_factory=dict)
    """How far the deletions of Queues are, each with the uid of the Queue."""
    held_back: dict[Subject, HeldBack] = field(default_factory=dict)
    told: dict[Subject, dict[Event, datetime]] = field(default_factory=dict)

    def child(self, kind: Kind, key: ObjectKey, live: Manifest | None) -> Child | None:
        """Join a live child with what was last answered about it."""
        if live is None:
            self.answers.pop((kind, key), None)
            return None
        last = self.answers.get((kind, key))
        if last is not None and last.uid != live["metadata"]["uid"]:
            last = None
        return Child(live=live, last=last)

    def answered(self, kind: Kind, key: ObjectKey, live: Manifest, applied: str) -> None:
        """Remember what the cluster answered to a create or an apply."""
        if kind == CONTROLLER_REVISION:
            return  # many a pool, and what one holds never changes
        metadata = live["metadata"]
        self.answers[kind, key] = LastAnswer(
            uid=metadata["uid"], generation=int(metadata.get("generation", 0)), applied=applied
        )

    def contest(self, pool: ObjectKey, manager: str, at: datetime) -> None:
        """Remember whose number in a Deployment was undone, or left for a while."""
        self.contested[pool] = Contested(manager=manager, at=at)

    def planned(self, pool: ObjectKey, plan: Plan) -> None:
        """Remember the size that was decided for a pool, before another one is planned."""
        desired = (plan.status.get("autoscaling") or {}).get("desired")
        if desired is not None:
            self.sizes[pool] = desired

    def size_of(self, pool: WorkerPool) -> int:
        """Return the size that was decided last, as its status has it since before our start."""
        said = (pool.status.get("autoscaling") or {}).get("desired") or 0
        return self.sizes.get(pool.metadata.key, int(said))

    def deletion(
        self, subject: Subject, uid: str, *, reachable: bool, now: datetime
    ) -> QueueDeletion:
        """Return how far a deletion is; since when its database cannot be used is noted here."""
        known, done = self.deletions.get(subject, (uid, QueueDeletion()))
        if known != uid:
            done = QueueDeletion()
        if not reachable and done.failing_since is None:
            done = replace(done, failing_since=now)
        self.deletions[subject] = (uid, done)
        return done

    def cleared(self, subject: Subject, done: Cleared) -> None:
        """Remember what a batch of a deletion has done."""
        uid, before = self.deletions[subject]
        after = QueueDeletion(
            state=done.state, walk=done.walk, deleted=before.deleted + done.deleted
        )
        self.deletions[subject] = (uid, after)

    def not_cleared(self, subject: Subject, now: datetime) -> None:
        """Remember that a batch of a deletion has failed, if the one before it had not."""
        uid, before = self.deletions[subject]
        self.deletions[subject] = (
            uid,
            replace(before, failing_since=before.failing_since or now),
        )

    def news(self, subject: Subject, events: Sequence[Event], now: datetime) -> list[Event]:
        """Return those of some events that were not told of the object a while ago."""
        told = self.told.get(subject, {})
        recent = {event: at for event, at in told.items() if now - at < TOLD_AGAIN_AFTER}
        fresh = [event for event in dict.fromkeys(events) if event not in recent]
        if fresh or recent != told:
            self.told[subject] = {**recent, **dict.fromkeys(fresh, now)}
        return fresh

    def forget(self, subject: Subject) -> None:
        """Forget an object that is gone."""
        self.numbers_written_at.pop(subject, None)
        self.traced.pop(subject, None)
        for of_subject in (self.deletions, self.held_back, self.told):
            of_subject.pop(subject, None)
        if subject.kind != WORKER_POOL:
            return
        place = subject.key
        for known in (self.samples, self.contested, self.sizes):
            known.pop(place, None)
        for kind, name in (
            (DEPLOYMENT, place.name),
            (POD_DISRUPTION_BUDGET, place.name),
            (SECRET, f"{place.name}-database"),
        ):
            self.answers.pop((kind, ObjectKey(place.namespace, name)), None)
