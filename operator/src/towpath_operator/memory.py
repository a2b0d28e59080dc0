"""What this process remembers between two reconciles of an object. Losing it costs a few requests."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from towpath_operator.declarations import Subject
from towpath_operator.plan.observed import Child, DemandSample, LastAnswer
from towpath_operator.ports.cluster import (
    DEPLOYMENT,
    SECRET,
    WORKER_POOL,
    Kind,
    Manifest,
    ObjectKey,
)


@dataclass(slots=True)
class Memory:
    """Last answers about children, when numbers were written, and the samples of pools."""

    answers: dict[tuple[Kind, ObjectKey], LastAnswer] = field(default_factory=dict)
    numbers_written_at: dict[Subject, datetime] = field(default_factory=dict)
    samples: dict[ObjectKey, DemandSample] = field(default_factory=dict)

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
        metadata = live["metadata"]
        self.answers[kind, key] = LastAnswer(
            uid=metadata["uid"], generation=int(metadata.get("generation", 0)), applied=applied
        )

    def forget(self, subject: Subject) -> None:
        """Forget an object that is gone."""
        self.numbers_written_at.pop(subject, None)
        if subject.kind != WORKER_POOL:
            return
        place = subject.key
        self.samples.pop(place, None)
        for kind, name in ((DEPLOYMENT, place.name), (SECRET, f"{place.name}-database")):
            self.answers.pop((kind, ObjectKey(place.namespace, name)), None)
