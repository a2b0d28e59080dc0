"""What is declared in the cluster: our three kinds, parsed, as far as events and lists have told.

It answers what needs more than one object (who else names this queue, which pools serve it). It may
lag behind the cluster by a moment; the object that is reconciled is always read anew.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from towpath_operator.index import Index
from towpath_operator.model.annotations import asked
from towpath_operator.model.database import QueueDatabase
from towpath_operator.model.errors import ManifestError
from towpath_operator.model.parse import PARSERS
from towpath_operator.model.queue import DELETE_ROWS, Queue
from towpath_operator.model.workerpool import WorkerPool
from towpath_operator.plan.observed import Declared
from towpath_operator.ports.cluster import (
    OUR_KINDS,
    QUEUE,
    QUEUE_DATABASE,
    WORKER_POOL,
    Cluster,
    Kind,
    Manifest,
    ObjectKey,
    key_of,
)

logger = logging.getLogger(__name__)


class Change(IntEnum):
    """What an event or a list has told about an object."""

    NOTHING = 0
    VERDICT = 1
    """Only its status says Ready or not Ready in another way: news for who depends on it."""
    OBJECT = 2
    """It came, went, or its spec or metadata changed: news for itself too."""


@dataclass(frozen=True, slots=True, order=True)
class Subject:
    """Names one object of our kinds: the key of the work queue."""

    kind: Kind
    key: ObjectKey

    def __str__(self) -> str:
        return f"{self.kind.name} {self.key}"


def parse(kind: Kind, manifest: Manifest) -> Declared:
    """Parse an object of one of our kinds; raises `ManifestError`."""
    return PARSERS[kind.name](manifest)


def subject_of_declared(declared: Declared) -> Subject:
    """Return the name of a parsed object."""
    for kind, parsed in ((QUEUE, Queue), (WORKER_POOL, WorkerPool)):
        if isinstance(declared, parsed):
            return Subject(kind, declared.metadata.key)
    return Subject(QUEUE_DATABASE, declared.metadata.key)


def subject_of(kind: Kind, manifest: Manifest) -> Subject:
    """Return the name of a live object."""
    return Subject(kind, key_of(manifest))


class Declarations:
    """The declared objects by key; an object whose spec breaks a rule is left out."""

    def __init__(self) -> None:
        self.queues: dict[ObjectKey, Queue] = {}
        self.pools: dict[ObjectKey, WorkerPool] = {}
        self.databases: dict[ObjectKey, QueueDatabase] = {}
        self.complete = False
        self._by_queue_name: Index[ObjectKey, str] = Index()
        self._by_served: Index[ObjectKey, ObjectKey] = Index()
        self._queue_uids: frozenset[str] | None = None
        self._signatures: dict[Subject, tuple[object, object]] = {}
        self._uids: dict[Subject, str] = {}
        self._statuses: dict[Subject, Mapping[str, Any]] = {}
        self._noted: dict[Subject, int] = {}
        self._serial = itertools.count(1)

    def __contains__(self, subject: Subject) -> bool:
        return subject in self._signatures

    @property
    def queue_uids(self) -> frozenset[str] | None:
        """The uid of every Queue that the cluster lists; None before it was listed once."""
        if not self.complete:
            return None
        if self._queue_uids is None:
            # Also of those whose spec breaks a rule: they exist, and keep what is theirs.
            uids = (uid for subject, uid in self._uids.items() if subject.kind == QUEUE)
            self._queue_uids = frozenset(uids)
        return self._queue_uids

    def queues_named(self, queue_name: str) -> list[Queue]:
        """Return the Queues that name a row so, in whatever database."""
        return [self.queues[key] for key in self._by_queue_name.find(queue_name)]

    def pools_serving(self, queue: ObjectKey) -> list[WorkerPool]:
        """Return the WorkerPools that list a Queue."""
        return [self.pools[key] for key in self._by_served.find(queue)]

    def status(self, subject: Subject) -> Mapping[str, Any]:
        """Return an object's status as it was last told, of invalid objects too; empty where none is."""
        return self._statuses.get(subject, {})

    def statuses(self) -> Iterable[tuple[Subject, Mapping[str, Any]]]:
        """Return the last told status of every object."""
        return self._statuses.items()

    def note(self, kind: Kind, manifest: Manifest) -> Change:
        """Take in an object as it is now, and tell what that changes."""
        subject = subject_of(kind, manifest)
        self._noted[subject] = next(self._serial)
        return self._take(subject, manifest)

    def remove(self, subject: Subject) -> bool:
        """Forget an object that is gone; tell whether it was known."""
        self._noted[subject] = next(self._serial)
        return self._drop(subject)

    async def refresh(self, cluster: Cluster) -> dict[Subject, Change]:
        """List everything anew and return what had changed without an event having told."""
        changes: dict[Subject, Change] = {}
        for kind in OUR_KINDS:
            began = next(self._serial)
            listed = {subject_of(kind, item): item for item in await cluster.list(kind)}
            # What an event has told since the list began is newer than the list.
            newer = {subject for subject, serial in self._noted.items() if serial > began}
            for subject, manifest in listed.items():
                if subject not in newer:
                    changes[subject] = self._take(subject, manifest)
            known = {subject for subject in self._signatures if subject.kind == kind}
            for subject in known - set(listed) - newer:
                self._drop(subject)
                changes[subject] = Change.OBJECT
        self._noted.clear()
        self.complete = True
        return {subject: change for subject, change in changes.items() if change}

    def _take(self, subject: Subject, manifest: Manifest) -> Change:
        signature, verdict = _signature(manifest), _verdict(manifest)
        before = self._signatures.get(subject, (None, None))
        self._signatures[subject] = (signature, verdict)
        self._note_uid(subject, manifest["metadata"]["uid"])
        self._statuses[subject] = manifest.get("status") or {}
        if (signature, verdict) == before:
            return Change.NOTHING
        change = Change.VERDICT if before[0] == signature else Change.OBJECT
        try:
            self._put(subject.key, parse(subject.kind, manifest))
        except ManifestError as error:
            self._forget(subject)
            if change is Change.OBJECT:
                logger.warning(
                    "manifest invalid", extra={"object": str(subject), "error": str(error)}
                )
        return change

    def _drop(self, subject: Subject) -> bool:
        self._forget(subject)
        self._note_uid(subject, None)
        self._statuses.pop(subject, None)
        return self._signatures.pop(subject, None) is not None

    def _note_uid(self, subject: Subject, uid: str | None) -> None:
        if self._uids.get(subject) == uid:
            return
        self._queue_uids = None
        if uid is None:
            del self._uids[subject]
        else:
            self._uids[subject] = uid

    def _put(self, key: ObjectKey, declared: Declared) -> None:
        match declared:
            case Queue():
                self.queues[key] = declared
                self._by_queue_name.put(key, [declared.queue_name])
            case WorkerPool():
                self.pools[key] = declared
                served = (ObjectKey(key.namespace, one.name) for one in declared.spec.queues)
                self._by_served.put(key, served)
            case QueueDatabase():
                self.databases[key] = declared

    def _forget(self, subject: Subject) -> None:
        if subject.kind == QUEUE:
            self.queues.pop(subject.key, None)
            self._by_queue_name.drop(subject.key)
        elif subject.kind == WORKER_POOL:
            self.pools.pop(subject.key, None)
            self._by_served.drop(subject.key)
        else:
            self.databases.pop(subject.key, None)


def _signature(manifest: Manifest) -> object:
    """Return what an object is, without its status and resourceVersion."""
    metadata = manifest["metadata"]
    return (
        metadata.get("uid"),
        metadata.get("generation"),
        metadata.get("deletionTimestamp"),
        tuple(reference.get("uid") for reference in metadata.get("ownerReferences", ())),
        asked(metadata.get("annotations")),
        DELETE_ROWS in (metadata.get("finalizers") or ()),
    )


def _verdict(manifest: Manifest) -> object:
    """Return what its status says of Ready, and of which generation."""
    return tuple(
        (one.get("status"), one.get("reason"), one.get("message"), one.get("observedGeneration"))
        for one in manifest.get("status", {}).get("conditions", ())
        if one.get("type") == "Ready"
    )
