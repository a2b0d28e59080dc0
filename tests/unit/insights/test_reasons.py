"""Why does it wait: a table of what was seen at a moment, and what is said of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from towpath.domain.queue import Limiter, QueueSettings
from towpath.domain.status import WorkflowStatus
from towpath.insights.reasons import Kind, why_queue, why_workflow
from towpath.store.insights import (
    HEADS_LOOKED_AT,
    Seen,
    SeenHead,
    SeenWait,
    SeenWorker,
    SeenWorkflow,
)

FIVE_IN_TEN = Limiter(5, timedelta(seconds=10))
FREE = QueueSettings()
THREE = QueueSettings(concurrency=3)
GIVES_BACK = QueueSettings(concurrency=3, release_while_waiting=True)
LIMITED = QueueSettings(limiter=FIVE_IN_TEN)
KEYED = QueueSettings(partition_queue=True)
KEYED_LIMITED = QueueSettings(partition_queue=True, partition_limiter=FIVE_IN_TEN)
ONE_EACH = QueueSettings(worker_concurrency=1)

HEAD = SeenHead(workflow_id="w", name="send")
KEY = SeenHead(workflow_id="w", name="send", key="a")
BUSY_KEY = replace(KEY, key_running=1, key_holders=("w0",))
IDLE = SeenWorker(name="one", names=frozenset({"send"}))
SHORT = replace(IDLE, slots=2, slots_taken=2)
FULL = replace(IDLE, running_here=1, slots_taken=1)
DEAD = replace(IDLE, lease_seconds=-3.0)
DRAINING = replace(IDLE, draining=True)

WAITS = Seen(queue="mail", settings=FREE, waiting=2, workers=(IDLE,), heads=(HEAD,))
NO_NAME = "the one live worker of queue 'mail' has not registered a workflow named 'send'"


def seen(settings: QueueSettings = FREE, **changes: object) -> Seen:
    """Return a queue in which two wait, with one idle worker that takes them, but for the changes."""
    return replace(WAITS, settings=settings, **changes)  # type: ignore[arg-type]


QUEUES = [
    # what is there to wait
    (seen(waiting=0, heads=()), Kind.NOTHING_WAITS, "nothing waits"),
    (seen(waiting=0, heads=(), running=2), Kind.NOTHING_WAITS, "nothing waits; 2 run"),
    (
        seen(waiting=0, heads=(), closed=True, running=1),
        Kind.NOTHING_WAITS,
        "nothing waits; 1 runs; the queue is closed and takes no new ones",
    ),
    (
        seen(waiting=0, heads=(), delayed=1, due_seconds=4.13),
        Kind.DELAYED,
        "nothing waits but 1 delayed workflow: it is due in 4.2 s",
    ),
    (
        seen(waiting=0, heads=(), delayed=10_001, due_seconds=4000.0),
        Kind.DELAYED,
        "nothing waits but more than 10,000 delayed workflows: the first is due in 1h06m",
    ),
    (
        seen(waiting=0, heads=(), delayed=1, due_seconds=-0.2),
        Kind.IN_LINE,
        "what is due joins the line at a worker's next look",
    ),
    # who may start it
    (
        seen(paused=True, workers=()),
        Kind.PAUSED,
        "paused: nothing starts until it is resumed (towpath queue resume mail)",
    ),
    (seen(workers=()), Kind.NO_WORKER, "no live worker serves queue 'mail'"),
    (
        seen(workers=(DEAD, DRAINING, DEAD)),
        Kind.NO_WORKER,
        "no live worker serves queue 'mail' (1 draining, 2 dead)",
    ),
    (
        seen(waiting=0, heads=(), delayed=1, due_seconds=-9.0, workers=()),
        Kind.NO_WORKER,
        "no live worker serves queue 'mail'",
    ),
    (seen(queue="_towpath", workers=()), Kind.NO_WORKER, "no live worker serves direct calls"),
    (seen(workers=(replace(IDLE, names=frozenset()),)), Kind.NAME_NOT_REGISTERED, NO_NAME),
    (
        seen(workers=(replace(IDLE, names=frozenset()), replace(IDLE, names=frozenset()))),
        Kind.NAME_NOT_REGISTERED,
        "none of the 2 live workers of queue 'mail' has registered a workflow named 'send'",
    ),
    (
        seen(heads=(replace(HEAD, version="v2"),)),
        Kind.OTHER_VERSION,
        "workflow 'send' is for application version 'v2'; its live workers have no version",
    ),
    (
        seen(
            heads=(replace(HEAD, version="v2"),),
            workers=(replace(IDLE, version="v3"), replace(IDLE, version="v1"), IDLE),
        ),
        Kind.OTHER_VERSION,
        "workflow 'send' is for application version 'v2'; its live workers run 'v1', 'v3'",
    ),
    # the queue's limits
    (seen(THREE, running=3), Kind.CONCURRENCY, "concurrency: 3 of 3 places are taken"),
    (seen(THREE, running=7), Kind.CONCURRENCY, "concurrency: 7 of 3 places are taken"),
    (
        seen(THREE, running=3, fenced=2),
        Kind.CANCELLED_CODE,
        "concurrency: 3 of 3 places are taken, 2 of them by cancelled workflows whose code has not ended",
    ),
    (
        seen(THREE, running=3, waiting_loaded=1),
        Kind.CONCURRENCY,
        "concurrency: 3 of 3 places are taken: 2 run, 1 waits in a worker",
    ),
    (
        seen(THREE, running=1, sleeping=2, tied=2, tied_to=(("a", "b"), ("c", "d"))),
        Kind.CONCURRENCY,
        "concurrency: 3 of 3 places are taken: 1 runs, 2 are asleep",
    ),
    (
        seen(
            THREE,
            running=2,
            waiting_loaded=2,
            sleeping=1,
            tied=3,
            tied_to=(("a", "x"), ("b", "y"), ("c", "z")),
        ),
        Kind.OWN_CHILDREN,
        (
            "concurrency: 3 of 3 places are taken, all by workflows that wait for others of this queue "
            "('a' for 'x', 'b' for 'y', 'c' for 'z'), so it stands still for ever: raise its concurrency, "
            "set release_while_waiting=True, or give those that are waited for a queue of their own"
        ),
    ),
    (
        seen(
            QueueSettings(concurrency=2000),
            sleeping=2000,
            tied=1000,
            tied_seconds=59.5,
            tied_to=(("a", "x"), ("b", "y"), ("c", "z")),
        ),
        Kind.OWN_CHILDREN,
        (
            "concurrency: 2000 of 2000 places are taken, all by workflows that wait for others of this "
            "queue ('a' for 'x', 'b' for 'y', 'c' for 'z', ...), so it stands still until the first gives "
            "up in 1m00s: raise its concurrency"
        ),
    ),
    (seen(GIVES_BACK, running=1, sleeping=10_001), Kind.IN_LINE, "nothing holds them back"),
    (
        seen(GIVES_BACK, running=3, sleeping=7),
        Kind.CONCURRENCY,
        "concurrency: 3 of 3 places are taken: 3 run, 7 are asleep",
    ),
    # those whose wait is over go before all others
    (
        seen(waiting=0, heads=(), running=2, waiting_loaded=2, sleeping=10_001),
        Kind.NOTHING_WAITS,
        "nothing waits; 2 wait in a worker, more than 10,000 are asleep",
    ),
    (
        seen(THREE, waiting=0, heads=(), sleeping=3, awake=1, paused=True),
        Kind.WAITS,
        "workers go on with them now",
    ),
    (
        seen(waiting=0, heads=(), sleeping=3, awake=1, workers=(DEAD,)),
        Kind.NO_WORKER,
        "no live worker serves queue 'mail' (1 dead)",
    ),
    (
        seen(GIVES_BACK, waiting=0, heads=(), running=3, sleeping=3, awake=1),
        Kind.CONCURRENCY,
        "concurrency: 3 of 3 places are taken: 3 run, 3 are asleep",
    ),
    (
        seen(LIMITED, tokens=0, opens_seconds=3.14),
        Kind.LIMITER,
        "limiter: 5 of 5 started in the last 10 s, next start in 3.2 s",
    ),
    (
        seen(LIMITED, tokens=0, opens_seconds=-0.001),
        Kind.LIMITER,
        "limiter: 5 of 5 started in the last 10 s, next start in 0 s",
    ),
    (seen(LIMITED, tokens=1, opens_seconds=3.0), Kind.IN_LINE, "nothing holds them back"),
    (
        seen(
            QueueSettings(concurrency=3, limiter=FIVE_IN_TEN), running=3, tokens=0, opens_seconds=2
        ),
        Kind.CONCURRENCY,
        "concurrency: 3 of 3 places are taken",
    ),
    # partitions
    (
        seen(KEYED, heads=(BUSY_KEY,)),
        Kind.PARTITION,
        "partition 'a': 1 of 1 running: workflow 'w0'",
    ),
    (
        seen(KEYED, heads=(replace(BUSY_KEY, key_fenced=1),)),
        Kind.PARTITION,
        "partition 'a': 1 of 1 running: workflow 'w0' (cancelled, its code has not ended)",
    ),
    (
        seen(KEYED, heads=(replace(BUSY_KEY, key_waiting=1),)),
        Kind.PARTITION,
        "partition 'a': 1 of 1 running: workflow 'w0', which waits and keeps its place",
    ),
    (
        seen(KEYED, heads=(replace(BUSY_KEY, key_waiting=1, key_tied=1),)),
        Kind.PARTITION,
        (
            "partition 'a': 1 of 1 running: workflow 'w0', which waits for others of this partition, so it "
            "stands still: raise partition_concurrency, or give those that are waited for another key"
        ),
    ),
    (
        seen(
            QueueSettings(partition_queue=True, partition_concurrency=2),
            heads=(replace(KEY, key_running=2, key_waiting=1, key_holders=("x", "y")),),
        ),
        Kind.PARTITION,
        "partition 'a': 2 of 2 running: workflows 'x', 'y' (1 waits and keeps its place)",
    ),
    (
        seen(
            QueueSettings(partition_queue=True, partition_concurrency=4),
            heads=(replace(KEY, key_running=4, key_holders=("x", "y", "z")),),
        ),
        Kind.PARTITION,
        "partition 'a': 4 of 4 running: workflows 'x', 'y', 'z', ...",
    ),
    (
        seen(KEYED_LIMITED, heads=(replace(KEY, key_tokens=0, key_opens_seconds=1.0),)),
        Kind.PARTITION_LIMITER,
        "partition 'a': limiter: 5 of 5 started in the last 10 s, next start in 1 s",
    ),
    (
        seen(
            KEYED_LIMITED,
            heads=(BUSY_KEY, replace(KEY, key="b", key_tokens=0, key_opens_seconds=2.0)),
        ),
        Kind.PARTITION_LIMITER,
        (
            "all 2 partitions that wait are held back: partition 'b': limiter: 5 of 5 started in the last "
            "10 s, next start in 2 s"
        ),
    ),
    (seen(KEYED, heads=(BUSY_KEY, replace(KEY, key="b"))), Kind.IN_LINE, "nothing holds them back"),
    (
        seen(KEYED, heads=(BUSY_KEY,) * HEADS_LOOKED_AT, tickets=True),
        Kind.IN_LINE,
        "nothing holds them back",
    ),
    (
        seen(KEYED, heads=(replace(KEY, name="strange"), BUSY_KEY)),
        Kind.PARTITION,
        "partition 'a': 1 of 1 running: workflow 'w0'",
    ),
    (seen(KEYED, heads=()), Kind.IN_LINE, "partitioning was switched"),
    # workers
    (
        seen(ONE_EACH, workers=(FULL,)),
        Kind.WORKER_CONCURRENCY,
        "worker_concurrency: the live worker runs 1 of 1",
    ),
    (
        seen(ONE_EACH, workers=(FULL, FULL, DRAINING)),
        Kind.WORKER_CONCURRENCY,
        "worker_concurrency: each of 2 live workers runs 1 of 1",
    ),
    (seen(ONE_EACH, workers=(FULL, IDLE)), Kind.IN_LINE, "nothing holds them back"),
    (seen(workers=(SHORT,)), Kind.SLOTS, "slots: 2 of 2 slots of the live worker are taken"),
    (
        seen(workers=(SHORT, replace(SHORT, slots_taken=9), replace(IDLE, names=frozenset()))),
        Kind.SLOTS,
        "slots: 4 of 4 slots of 2 live workers are taken",
    ),
    (
        seen(ONE_EACH, workers=(SHORT, FULL)),
        Kind.SLOTS,
        "slots: 2 of 2 slots of 1 live worker are taken; 1 more run 1 of 1 (worker_concurrency)",
    ),
    (seen(), Kind.IN_LINE, "nothing holds them back: workers take them now"),
]


@pytest.mark.parametrize(("at", "kind", "sentence"), QUEUES, ids=[str(q[1]) for q in QUEUES])
def test_a_queue_waits_for_what_is_said(at: Seen, kind: Kind, sentence: str) -> None:
    """The first reason has the kind; the sentence begins as it is written."""
    first = why_queue(at)[0]
    assert first.kind is kind
    assert first.sentence.startswith(sentence)


def test_all_limits_that_hold_are_told() -> None:
    """The second one tells when it may change, the first one cannot."""
    settings = QueueSettings(concurrency=3, worker_concurrency=1, limiter=FIVE_IN_TEN)
    at = seen(settings, running=3, tokens=0, opens_seconds=2.5, workers=(FULL,))
    found = why_queue(at)
    assert [r.kind for r in found] == [Kind.CONCURRENCY, Kind.LIMITER, Kind.WORKER_CONCURRENCY]
    assert [(r.used, r.limit, r.seconds) for r in found] == [
        (3, 3, None),
        (5, 5, 2.5),
        (1, 1, None),
    ]


def test_who_holds_a_partition_is_data() -> None:
    """A program finds the key and the holders without reading the sentence."""
    (found,) = why_queue(seen(KEYED, heads=(BUSY_KEY,)))
    assert (found.partition_key, found.holders) == ("a", ("w0",))
    assert (found.used, found.limit, found.seconds) == (1, 1, None)


def test_while_nothing_can_start_no_limit_is_told() -> None:
    """Paused and without a worker: the limits of the queue are not what it waits for."""
    at = seen(THREE, running=3, paused=True, workers=())
    assert [r.kind for r in why_queue(at)] == [Kind.PAUSED, Kind.NO_WORKER]


def test_a_paused_queue_says_so_though_nothing_waits() -> None:
    """Whoever asks wants to know before the next enqueue."""
    found = why_queue(seen(paused=True, waiting=0, heads=()))
    assert [r.kind for r in found] == [Kind.PAUSED, Kind.NOTHING_WAITS]


LINE = SeenWorkflow(workflow_id="w", name="send", status=WorkflowStatus.ENQUEUED, ready=True)
RUNS = replace(
    LINE, status=WorkflowStatus.PENDING, ready=False, attempt=2, worker="one",
    started_seconds=61.0, worker_lease_seconds=9.0,
)  # fmt: skip
DUE = datetime(2026, 11, 24, 12, 0, 4, 200_000, tzinfo=UTC)
DELAYED = replace(LINE, status=WorkflowStatus.DELAYED, ready=False, due=DUE, due_seconds=4.2)

ASLEEP = replace(RUNS, asleep=True, worker=None, worker_lease_seconds=None)

WORKFLOWS = [
    (seen(), replace(LINE, status=WorkflowStatus.SUCCESS), Kind.ENDED, "it has ended: SUCCESS"),
    (
        seen(),
        replace(LINE, status=WorkflowStatus.CANCELLED, fenced=True),
        Kind.ENDED,
        "it has ended: CANCELLED; its code has not ended yet and keeps its place",
    ),
    (seen(), RUNS, Kind.RUNNING, "it runs: attempt 2 on worker 'one', for 1m01s"),
    (
        seen(),
        replace(RUNS, waits=(SeenWait(kind="event", topic="stage", of="order-7"),)),
        Kind.WAITS,
        "attempt 2 on worker 'one' waits for event 'stage' of workflow 'order-7'",
    ),
    (
        seen(),
        replace(ASLEEP, waits=(SeenWait(kind="time", due=DUE, due_seconds=3.2),)),
        Kind.WAITS,
        (
            "it sleeps until 2026-11-24T12:00:04+00:00, for 3.2 s more; until then it is in no worker's "
            "memory"
        ),
    ),
    (
        seen(workers=()),
        replace(ASLEEP, waits=(SeenWait(kind="message"), SeenWait(kind="end", due_seconds=60.0))),
        Kind.WAITS,
        "it waits for a message, and for the end of a workflow that was deleted, for 1m00s more",
    ),
    (
        seen(),
        replace(RUNS, waits=(SeenWait(kind="message", topic="go"),) * 4),
        Kind.WAITS,
        (
            "attempt 2 on worker 'one' waits for a message on topic 'go', and for a message on topic 'go', "
            "and for a message on topic 'go', and for more"
        ),
    ),
    (seen(), ASLEEP, Kind.WAITS, "its wait is over"),
    (
        seen(),
        replace(RUNS, worker_draining=True),
        Kind.RUNNING,
        "it runs: attempt 2 on worker 'one', which drains, for 1m01s",
    ),
    (
        seen(),
        replace(RUNS, worker_lease_seconds=-1.0),
        Kind.LEASE_ENDED,
        "attempt 2 on worker 'one' has lost its worker: a live worker puts the workflow back in line",
    ),
    (
        seen(workers=(DEAD,)),
        replace(RUNS, worker_lease_seconds=-1.0),
        Kind.LEASE_ENDED,
        "attempt 2 on worker 'one' has lost its worker, and no live worker serves queue 'mail' (1 dead)",
    ),
    (
        seen(),
        replace(LINE, ready=False, fenced=True),
        Kind.CANCELLED_CODE,
        "it was resumed, and joins the line when the code of its cancelled attempt has ended",
    ),
    (
        seen(),
        DELAYED,
        Kind.DELAYED,
        "delayed: due in 4.2 s, at 2026-11-24T12:00:04.200+00:00",
    ),
    (
        seen(),
        replace(DELAYED, due_seconds=-0.1),
        Kind.IN_LINE,
        "it is due and joins the line at a worker's next look",
    ),
    (seen(paused=True), LINE, Kind.PAUSED, "paused: nothing starts"),
    (seen(workers=()), LINE, Kind.NO_WORKER, "no live worker serves queue 'mail'"),
    (seen(heads=(replace(HEAD, name="x"),)), LINE, Kind.NAME_NOT_REGISTERED, "the one live worker"),
    (seen(), LINE, Kind.IN_LINE, "it is the first in line: a worker takes it now"),
    (seen(), replace(LINE, before=41), Kind.IN_LINE, "it is in line: 41 are before it"),
    (seen(), replace(LINE, before=1), Kind.IN_LINE, "it is in line: 1 is before it"),
    (
        seen(),
        replace(LINE, before=10_001),
        Kind.IN_LINE,
        "it is in line: more than 10,000 are before it",
    ),
    (
        seen(KEYED, heads=(KEY,)),
        replace(LINE, key="a", before=2),
        Kind.IN_LINE,
        "it is in line in partition 'a': 2 are before it",
    ),
    (seen(KEYED), LINE, Kind.IN_LINE, "partitioning was switched"),
    (
        seen(KEYED, heads=(replace(KEY, workflow_id="w9", name="strange"),)),
        replace(LINE, key="a", before=1),
        Kind.NAME_NOT_REGISTERED,
        (
            "partition 'a': workflow 'w9' is before it, and the one live worker of queue 'mail' has not "
            "registered a workflow named 'strange'"
        ),
    ),
]


@pytest.mark.parametrize(
    ("at", "workflow", "kind", "sentence"), WORKFLOWS, ids=[str(w[2]) for w in WORKFLOWS]
)
def test_a_workflow_waits_for_what_is_said(
    at: Seen, workflow: SeenWorkflow, kind: Kind, sentence: str
) -> None:
    """As of queues."""
    first = why_workflow(replace(at, workflow=workflow), workflow)[0]
    assert first.kind is kind
    assert first.sentence.startswith(sentence)


OVER = replace(ASLEEP, waits=(SeenWait(kind="end", of="x", over=True), SeenWait(kind="message")))
OVERS = [
    (seen(paused=True), Kind.WAITS, "a worker goes on with it now"),
    (seen(workers=()), Kind.NO_WORKER, "no live worker serves queue 'mail'"),
    (seen(workers=(replace(IDLE, names=frozenset()),)), Kind.NAME_NOT_REGISTERED, NO_NAME),
    (
        seen(GIVES_BACK, running=3, sleeping=1),
        Kind.CONCURRENCY,
        "concurrency: 3 of 3 places are taken: 3 run, 1 is asleep",
    ),
    (seen(THREE, running=2, sleeping=1), Kind.WAITS, "a worker goes on with it now"),
]


@pytest.mark.parametrize(("at", "kind", "sentence"), OVERS, ids=[str(o[1]) for o in OVERS])
def test_a_workflow_whose_wait_is_over_says_what_keeps_it(
    at: Seen, kind: Kind, sentence: str
) -> None:
    """Going on is no start: neither a pause nor a kept place is in its way."""
    over, found = why_workflow(at, OVER)
    assert (over.kind, over.sentence) == (Kind.WAITS, "its wait is over")
    assert (found.kind, found.sentence) == (kind, sentence)


def test_an_asleep_workflow_of_a_version_waits_for_its_version() -> None:
    """Only workers of the version that began it go on with it."""
    _, found = why_workflow(seen(), replace(OVER, version="v1"))
    assert found.kind is Kind.OTHER_VERSION
    assert "'v1'" in found.sentence


def test_who_waits_for_its_own_queue_is_data() -> None:
    """A program finds the holders, and when the first of them gives up."""
    at = seen(
        QueueSettings(concurrency=1), running=1, waiting_loaded=1, tied=1, tied_seconds=4.0,
        tied_to=(("a", "b"),),
    )  # fmt: skip
    (found,) = why_queue(at)
    assert (found.kind, found.holders, found.seconds) == (Kind.OWN_CHILDREN, ("a",), 4.0)


def test_a_workflow_in_a_line_that_is_held_back_has_a_position_too() -> None:
    """The limit first, then how many are before it."""
    workflow = replace(LINE, before=3)
    found = why_workflow(seen(THREE, running=3, workflow=workflow), workflow)
    assert [r.kind for r in found] == [Kind.CONCURRENCY, Kind.IN_LINE]
    assert found[1].used == 3
