"""A queue that its manifest deletes: what goes with it, what is waited for, and whom it holds up."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.store.acts import KEYED, MAIL, cancel, claim, come, end, on, put, resume, rows, seqs_of
from tests.store.holding import SCHEMA, opened
from towpath.domain.deletion import Cleared, Clearing, Walk
from towpath.domain.errors import QueueClosedError, QueueNotFoundError
from towpath.domain.ids import QueueName, WorkflowName
from towpath.domain.queue import UNLIMITED, QueueSettings
from towpath.store import deletion, enqueue, queues, workers
from towpath.store.deletion import QueueClearing
from towpath.store.manifests import RowOwner, declare_manifest
from towpath.store.session import AsyncSession, Session

OURS = RowOwner(cluster="here", namespace="shop", name="mail", uid="uid-1")
BY_NAME = (
    "ready",
    "parked",
    "running",
    "deduplication",
    "wake",
    "ticket",
    "start",
    "gate",
    "queue",
)


async def own(session: Session, settings: QueueSettings = UNLIMITED) -> None:
    """Let the manifest have the row."""
    await declare_manifest(
        session, SCHEMA, queue_name=MAIL, settings=settings, owner=OURS, replaces=None
    )


def clearing(session: Session, owner_uid: str = OURS.uid) -> QueueClearing:
    """Return the deletion of the queue."""
    return QueueClearing(session, SCHEMA, MAIL, owner_uid)


async def clear(
    session: Session, walk: Walk | None = None, *, cancels_running: bool = False
) -> tuple[Cleared, int]:
    """Call until there is no more to do at once; return the last answer, and how many were deleted."""
    done = Cleared(state=Clearing.GOES_ON, walk=walk or Walk())
    deleted = 0
    while done.state is Clearing.GOES_ON:
        done = await clearing(session).clear(done.walk, cancels_running=cancels_running)
        deleted += done.deleted
    return done, deleted


async def counts(session: Session, *tables: str) -> dict[str, int]:
    """Count the rows of the queue's that are left in tables that name it."""
    found = {}
    for table in tables:
        column = "name" if table == "queue" else "queue"
        statement = f"SELECT count(*) FROM towpath.{table} WHERE {column} = 'mail'"  # noqa: S608
        found[table] = int((await rows(session, statement))[0][0])
    return found


async def of_another_queue(session: Session, n: int) -> None:
    """Enqueue on a queue of another's."""
    other = QueueName("other")
    await queues.declare(session, SCHEMA, other, UNLIMITED)
    items = [enqueue.NewItem(input="{}", secret=number) for number in range(n)]
    asked = enqueue.NewWorkflows(queue=other, name=WorkflowName("send"), codec="json", items=items)
    assert isinstance(await enqueue.enqueue(session, SCHEMA, asked), list)


def test_everything_of_the_queue_goes_and_nothing_of_another(database_url: str) -> None:
    """Ended, waiting, delayed, begun and given back, cancelled; and what the limits keep by its name."""
    keyed = QueueSettings(partition_queue=True, priority_enabled=True, concurrency=9)

    async def body(session: AsyncSession) -> None:
        await own(session, keyed)
        await of_another_queue(session, 3)
        who = await come(session)
        await seqs_of(
            session,
            *({"partition_key": str(n), "deduplication_id": str(n)} for n in range(5)),
            {"partition_key": "later", "delay_seconds": 1000.0},
        )
        over, back, cut = await claim(session, who, 3)
        await end(session, who, (over, 1))
        await cancel(session, cut)
        await workers.end_pod_leases(session, SCHEMA, [])
        await rows(session, "UPDATE towpath.worker SET lease_until = now() RETURNING 1")
        assert back
        done, deleted = await clear(session)
        assert (done.state, deleted) == (Clearing.GONE, 6)
        assert await counts(session, *BY_NAME) == dict.fromkeys(BY_NAME, 0)
        kept = await rows(session, "SELECT queue, count(*) FROM towpath.workflow GROUP BY queue")
        assert kept == [("other", 3)]
        assert await rows(session, "SELECT count(*) FROM towpath.ready") == [(3,)]

    on(database_url, keyed, body)


def test_what_a_live_worker_has_in_memory_ends_first_and_then_goes(database_url: str) -> None:
    """Nothing begins meanwhile, nothing is taken, and the end is written as ever."""

    async def body(session: AsyncSession) -> None:
        await own(session)
        who = await come(session)
        await seqs_of(session, {}, {}, {})
        (runs,) = await claim(session, who, 1)
        done, deleted = await clear(session)
        assert (done, deleted) == (Cleared(state=Clearing.WAITS, walk=Walk(3, (runs,))), 2)  # type: ignore[arg-type]
        assert await claim(session, who, 5) == []
        refused = await enqueue.enqueue(session, SCHEMA, one())
        assert isinstance(refused, enqueue.Refused)
        assert isinstance(refused.error, QueueClosedError)
        assert await end(session, who, (runs, 1)) == frozenset()
        done, deleted = await clear(session, done.walk)
        assert (done.state, deleted) == (Clearing.GONE, 1)
        refused = await enqueue.enqueue(session, SCHEMA, one())
        assert isinstance(refused, enqueue.Refused)
        assert isinstance(refused.error, QueueNotFoundError)

    on(database_url, UNLIMITED, body)


def one() -> enqueue.NewWorkflows:
    """Return one more workflow."""
    return enqueue.NewWorkflows(
        queue=MAIL,
        name=WorkflowName("send"),
        codec="json",
        items=[enqueue.NewItem(input="{}", secret=7)],
    )


def test_what_runs_too_long_is_cancelled_and_deleted(database_url: str) -> None:
    """Its code is told, and what it brings later is stale."""

    async def body(session: AsyncSession) -> None:
        await own(session)
        who = await come(session)
        await seqs_of(session, {})
        (runs,) = await claim(session, who, 1)
        done, deleted = await clear(session, cancels_running=True)
        assert (done.state, deleted) == (Clearing.GONE, 1)
        assert await end(session, who, (runs, 1)) == {(runs, 1)}
        assert await rows(session, "SELECT count(*) FROM towpath.result") == [(0,)]

    on(database_url, UNLIMITED, body)


def test_a_row_of_another_owner_is_not_touched(database_url: str) -> None:
    """Neither closed nor paused, and none of its workflows is deleted."""

    async def body(session: AsyncSession) -> None:
        await own(session)
        await seqs_of(session, {}, {})
        for verb in (
            clearing(session, "uid-2").clear(Walk(), cancels_running=True),
            clearing(session, "uid-2").delete_if_empty(Walk(), reopens=True),
        ):
            assert (await verb).state is Clearing.NOT_OURS
        assert await counts(session, "ready") == {"ready": 2}
        switches = "SELECT paused, closed FROM towpath.queue WHERE name = 'mail'"
        assert await rows(session, switches) == [(False, False)]

    on(database_url, UNLIMITED, body)


def test_a_queue_that_has_any_workflow_is_not_empty_and_is_open_again(database_url: str) -> None:
    """One that waits or is delayed, and one that ended long ago and is only kept."""

    async def body(session: AsyncSession) -> None:
        await own(session)
        await of_another_queue(session, 3)
        who = await come(session)
        for item in ({}, {"delay_seconds": 1000.0}):
            (seq,) = await seqs_of(session, item)
            assert await if_empty(session, reopens=True) is Clearing.KEPT
            if not item:
                await claim(session, who, 1)
                assert await if_empty(session, reopens=True) is Clearing.KEPT
                await end(session, who, (seq, 1))
                assert await if_empty(session, reopens=True) is Clearing.KEPT
            await rows(session, "SELECT towpath.forget(%(seq)s)", seq=seq)
        switches = "SELECT paused, closed FROM towpath.queue WHERE name = 'mail'"
        assert await rows(session, switches) == [(False, False)]
        assert await if_empty(session, reopens=True) is Clearing.GONE
        assert await counts(session, "queue") == {"queue": 0}

    on(database_url, UNLIMITED, body)


async def if_empty(session: Session, *, reopens: bool) -> Clearing:
    """Delete the queue if it is empty."""
    done = Cleared(state=Clearing.GOES_ON, walk=Walk())
    while done.state is Clearing.GOES_ON:
        done = await clearing(session).delete_if_empty(done.walk, reopens=reopens)
    return done.state


def test_a_queue_that_was_closed_before_stays_closed_where_it_is_kept(database_url: str) -> None:
    """Nothing but the row's going was asked for."""

    async def body(session: AsyncSession) -> None:
        await own(session)
        await seqs_of(session, {})
        await queues.set_closed(session, SCHEMA, MAIL, closed=True)
        assert await if_empty(session, reopens=False) is Clearing.KEPT
        closed = "SELECT closed FROM towpath.queue WHERE name = 'mail'"
        assert await rows(session, closed) == [(True,)]

    on(database_url, UNLIMITED, body)


def test_who_enqueues_in_a_transaction_of_before_is_waited_for(database_url: str) -> None:
    """What it commits goes too, or keeps the queue that was to be empty: no workflow outlives its queue."""

    async def body(session: AsyncSession) -> None:
        await own(session)
        async with opened(database_url) as other:
            async with other.connection.transaction():
                await put(other, {})
                done, _ = await clear(session)
                assert done.state is Clearing.WAITS
            done, deleted = await clear(session, done.walk)
        assert (done.state, deleted) == (Clearing.GONE, 1)

    on(database_url, UNLIMITED, body)


def test_an_ended_workflow_that_is_resumed_meanwhile_goes_all_the_same(database_url: str) -> None:
    """It is in line again when the walk has passed it, and is found there."""

    async def body(session: AsyncSession) -> None:
        await own(session, KEYED)
        first, _ = await seqs_of(session, {"partition_key": "a"}, {"partition_key": "b"})
        await cancel(session, first)
        async with opened(database_url) as other:
            async with other.connection.transaction():
                await resume(other, first)
                done = await clearing(session).clear(Walk(), cancels_running=False)
                assert (done.state, done.deleted) == (Clearing.GOES_ON, 1)
            done, deleted = await clear(session, done.walk)
        assert (done.state, deleted) == (Clearing.GONE, 1)
        assert await counts(session, *BY_NAME) == dict.fromkeys(BY_NAME, 0)

    on(database_url, KEYED, body)


def test_a_parent_that_waits_for_a_deleted_workflow_is_told(database_url: str) -> None:
    """It learns that the workflow is gone as after any delete, and waits for ever for none."""

    async def body(session: AsyncSession) -> None:
        await own(session)
        (seq,) = await seqs_of(session, {})
        await rows(
            session,
            "INSERT INTO towpath.wait (seq, position, verb, kind, target, queue, name, version)"
            " VALUES (999, '1', 'get_result', 'end', %(seq)s, 'other', 'send', '') RETURNING 1",
            seq=seq,
        )
        async with opened(database_url) as other:
            await other.connection.execute('LISTEN "towpath-waits.towpath"')
            await clear(session)
            told = [n.payload async for n in other.connection.notifies(timeout=5, stop_after=1)]
        assert told == [f"end,{seq},"]

    on(database_url, UNLIMITED, body)


def test_a_huge_queue_goes_in_batches_that_hold_nobody_up(database_url: str) -> None:
    """While ten thousand are deleted another queue is claimed from, and no statement takes long."""
    fill = """
        WITH w AS (
            INSERT INTO towpath.workflow (secret, queue, name, codec, input, created_at)
            SELECT n, CASE WHEN n %% 10 = 0 THEN 'other' ELSE 'mail' END, 'send', 'json', '{}', now()
            FROM generate_series(1, %(n)s) AS n RETURNING seq, queue
        ), r AS (
            INSERT INTO towpath.ready (seq, rank, line, queue, name, version)
            SELECT seq, 0, seq, queue, 'send', '' FROM w WHERE seq %% 2 = 0
        )
        INSERT INTO towpath.result SELECT seq, 'SUCCESS', 1, now(), 'null' FROM w WHERE seq %% 2 = 1
        RETURNING 1
    """

    async def body(session: AsyncSession) -> None:
        await own(session)
        await queues.declare(session, SCHEMA, QueueName("other"), UNLIMITED)
        await rows(session, fill, n=10_000)
        longest, over = 0.0, asyncio.Event()

        async def work_elsewhere() -> int:
            nonlocal longest
            turns = 0
            async with opened(database_url) as other:
                while not over.is_set():
                    began = asyncio.get_running_loop().time()
                    await other.run((SCHEMA["queue_demand"], {"queues": ["mail", "other"]}))
                    await rows(other, "SELECT towpath.enqueue('other', 'send')")
                    longest = max(longest, asyncio.get_running_loop().time() - began)
                    turns += 1
            return turns

        elsewhere = asyncio.create_task(work_elsewhere())
        done, deleted = await clear(session)
        over.set()
        turns = await elsewhere
        assert (done.state, deleted) == (Clearing.GONE, 9_000)
        assert turns > 5
        assert longest < 1
        kept: list[tuple[Any, ...]] = await rows(
            session, "SELECT DISTINCT queue FROM towpath.workflow"
        )
        assert kept == [("other",)]

    on(database_url, UNLIMITED, body)


def test_a_walk_looks_at_each_workflow_of_others_once(database_url: str) -> None:
    """However many there are, a call walks through a bounded part of them, and the next goes on there."""

    async def body(session: AsyncSession) -> None:
        await own(session)
        await of_another_queue(session, 10)
        window, windows = deletion.WINDOW, deletion.WINDOWS
        try:
            deletion.WINDOW, deletion.WINDOWS = 2, 3  # type: ignore[misc]
            done = await clearing(session).clear(Walk(), cancels_running=False)
            assert done == Cleared(state=Clearing.GOES_ON, walk=Walk(6))  # type: ignore[arg-type]
            done = await clearing(session).clear(done.walk, cancels_running=False)
            assert done.state is Clearing.GONE
        finally:
            deletion.WINDOW, deletion.WINDOWS = window, windows  # type: ignore[misc]

    on(database_url, UNLIMITED, body)


def test_a_worker_that_serves_the_queue_outlives_its_row(database_url: str) -> None:
    """Its poll finds one queue less; a queue of that name that comes again is served again."""

    async def body(session: AsyncSession) -> None:
        await own(session)
        who = await come(session)
        await clear(session)
        poll = {
            "worker": who, "queues": [MAIL], "names": ["send"], "versions": [""], "lease_seconds": 60,
        }  # fmt: skip
        (found,) = await session.run((SCHEMA["poll"], poll))
        assert found[0][0] == 1
        await queues.declare(session, SCHEMA, MAIL, UNLIMITED)
        (seq,) = await seqs_of(session, {})
        assert await claim(session, who, 1) == [seq]

    on(database_url, UNLIMITED, body)
