"""What is known of declared objects: from events, from lists, and from both at once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from tests.operator.fakes import FakeCluster
from towpath_operator.declarations import Change, Declarations, Subject
from towpath_operator.model.queue import DELETE_ROWS
from towpath_operator.ports.cluster import QUEUE, WORKER_POOL, Kind, Manifest, ObjectKey


def queue(name: str, *, generation: int = 1, **spec: Any) -> dict[str, Any]:
    """Return a live Queue."""
    metadata = {"name": name, "namespace": "shop", "uid": f"uid-{name}", "generation": generation}
    return {"apiVersion": QUEUE.api_version, "kind": "Queue", "metadata": metadata, "spec": spec}


def subject(name: str, kind: Kind = QUEUE) -> Subject:
    """Return the name of an object."""
    return Subject(kind, ObjectKey("shop", name))


class Listing(FakeCluster):
    """A cluster whose list is what the test says, and in whose midst something may happen."""

    def __init__(self, *queues: Manifest) -> None:
        super().__init__()
        self.queues = list(queues)
        self.meanwhile: Any = lambda: None

    async def list(
        self, kind: Kind, *, namespace: str | None = None, labels: Mapping[str, str] | None = None
    ) -> Sequence[Manifest]:
        """Return the test's list."""
        del namespace, labels
        if kind == QUEUE:
            self.meanwhile()
        return self.queues if kind == QUEUE else []


def test_a_status_alone_is_no_news_and_a_verdict_is_for_others() -> None:
    """Our own status write must not wake its object again."""
    declared = Declarations()
    live = queue("mail")
    assert declared.note(QUEUE, live) is Change.OBJECT
    assert declared.note(QUEUE, {**live, "status": {"waiting": 7}}) is Change.NOTHING
    ready = {"conditions": [{"type": "Ready", "status": "False", "reason": "CrashLoop"}]}
    assert declared.note(QUEUE, {**live, "status": ready}) is Change.VERDICT
    assert declared.note(QUEUE, {**live, "status": ready}) is Change.NOTHING
    newer = {"conditions": [{**ready["conditions"][0], "observedGeneration": 2}]}
    assert declared.note(QUEUE, {**live, "status": newer}) is Change.VERDICT
    assert declared.note(QUEUE, queue("mail", generation=2)) is Change.OBJECT


def test_our_finalizer_that_comes_or_goes_is_news_and_anothers_is_not() -> None:
    """Who takes it off by hand is noticed at once, and what is known of the Queue has it."""
    declared, live = Declarations(), queue("mail")
    declared.note(QUEUE, live)
    for finalizers, news in (
        (["a.b/c"], Change.NOTHING),
        (["a.b/c", DELETE_ROWS], Change.OBJECT),
        ([DELETE_ROWS], Change.NOTHING),
        ([], Change.OBJECT),
    ):
        live["metadata"]["finalizers"] = finalizers
        assert declared.note(QUEUE, live) is news


def test_a_queue_whose_spec_breaks_a_rule_is_known_to_exist() -> None:
    """Else its row would be given to somebody else."""
    declared = Declarations()
    asyncio.run(declared.refresh(Listing(queue("mail"), queue("odd", concurrency={"global": 0}))))
    assert set(declared.queues) == {ObjectKey("shop", "mail")}
    assert declared.queue_uids == frozenset({"uid-mail", "uid-odd"})


def test_before_the_first_list_nobody_is_known_to_be_gone() -> None:
    """A row is freed only by who has seen the whole list."""
    declared = Declarations()
    declared.note(QUEUE, queue("mail"))
    assert declared.queue_uids is None


def test_a_list_tells_what_no_event_has_told() -> None:
    """A deletion that a broken watch has missed is found by the next list."""
    declared = Declarations()
    declared.note(QUEUE, queue("gone"))
    declared.note(QUEUE, queue("kept"))
    declared.note(WORKER_POOL, {**queue("pool"), "kind": "WorkerPool"})
    changes = asyncio.run(declared.refresh(Listing(queue("kept"), queue("new"))))
    assert changes == {
        subject("gone"): Change.OBJECT,
        subject("new"): Change.OBJECT,
        subject("pool", WORKER_POOL): Change.OBJECT,
    }


def test_an_event_that_comes_during_a_list_is_newer_than_the_list() -> None:
    """What the list still had, or had not yet, is as the event said."""
    declared = Declarations()
    listing = Listing(queue("gone"), queue("changed"))

    def meanwhile() -> None:
        declared.note(QUEUE, queue("changed", generation=2))
        declared.note(QUEUE, queue("made"))
        declared.note(QUEUE, queue("gone"))
        declared.remove(subject("gone"))

    listing.meanwhile = meanwhile
    asyncio.run(declared.refresh(listing))
    assert set(declared.queues) == {ObjectKey("shop", "changed"), ObjectKey("shop", "made")}
    assert declared.queues[ObjectKey("shop", "changed")].metadata.generation == 2
