"""A claim takes what the limits allow, in order; outcomes and leases change only what they hold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from towpath.domain.errors import QueueNotFoundError, WorkflowIdConflictError
from towpath.domain.ids import QueueName, WorkerId, WorkflowId, WorkflowName
from towpath.domain.queue import QueueSettings
from towpath.domain.status import WorkflowStatus
from towpath.store import claims, enqueue, queues, steps, workers, workflows
from towpath.store.connect import Endpoint, open_async
from towpath.store.session import AsyncSession
from towpath.store.statements import Statements

SCHEMA = Statements("towpath")
MAIL = QueueName("mail")
SEND = WorkflowName("send")
LEASE = timedelta(seconds=10)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[AsyncSession]:
    """Lend a session of its own."""
    async with await open_async(Endpoint.at(url)) as connection:
        yield AsyncSession(connection)


def on_database(url: str, body: Callable[[AsyncSession], Coroutine[Any, Any, None]]) -> None:
    """Run a test's body with one session."""

    async def run() -> None:
        async with opened(url) as session:
            await body(session)

    asyncio.run(run())


def new_mail(
    number: int = 1, *, name: str = SEND, chosen: str | None = None, queue: QueueName = MAIL
) -> enqueue.NewWorkflows:
    """Return one workflow that is to be enqueued."""
    item = enqueue.NewItem(
        input=f'{{"args": [{number}], "kwargs": {{}}}}',
        secret=-number,
        chosen_id=WorkflowId(chosen) if chosen else None,
    )
    return enqueue.NewWorkflows(queue=queue, name=WorkflowName(name), codec="json", items=[item])


async def put(
    session: AsyncSession, number: int = 1, *, name: str = SEND, chosen: str | None = None
) -> enqueue.Enqueued:
    """Enqueue into `mail`, which exists."""
    done = await enqueue.enqueue(session, SCHEMA, new_mail(number, name=name, chosen=chosen))
    assert not isinstance(done, enqueue.Refused)
    return done[0]


async def refused(session: AsyncSession, new: enqueue.NewWorkflows) -> Exception:
    """Return why an enqueue is refused."""
    done = await enqueue.enqueue(session, SCHEMA, new)
    assert isinstance(done, enqueue.Refused)
    assert done.error is not None
    return done.error


async def worker(
    session: AsyncSession,
    *,
    lease: timedelta = LEASE,
    names: tuple[str, ...] = (SEND,),
    max_recoveries: int | None = 100,
) -> WorkerId:
    """Register a worker of `mail`."""
    who = workers.WorkerIdentity(
        name="w",
        pool=None,
        pod_uid=None,
        node=None,
        version="",
        library="0",
        code_hash="",
        slots=10,
        queues=[MAIL],
        names=[WorkflowName(n) for n in names],
        max_recoveries=[max_recoveries for _ in names],
    )
    return await workers.register(session, SCHEMA, who, lease=lease)


async def claim(
    session: AsyncSession,
    who: WorkerId,
    limit: int,
    *,
    names: tuple[str, ...] = (SEND,),
    outcomes: tuple[claims.Outcome, ...] = (),
) -> list[claims.Claimed]:
    """Take one turn on `mail` under its settings of this moment."""
    (stored,) = await queues.settings_of(session, SCHEMA, [MAIL])
    way = claims.way_of(stored.settings)
    request = claims.ClaimRequest(queue=MAIL, limit=limit, revision=stored.revision, way=way)
    turn = claims.Turn(
        worker=who, names=[WorkflowName(n) for n in names], claims=[request], outcomes=outcomes
    )
    return (await claims.take_turn(session, SCHEMA, turn)).claimed[MAIL]


def success(claimed: claims.Claimed) -> claims.Outcome:
    """Return the outcome of an attempt that returned null."""
    return claims.Outcome(
        claimed.seq, claimed.attempt, claimed.queue, WorkflowStatus.SUCCESS, "null"
    )


def test_a_claim_takes_the_oldest_first_across_names(database_url: str) -> None:
    """Order is by enqueue, whatever the names; names not known here cost nothing and wait."""

    async def body(session: AsyncSession) -> None:
        await queues.declare(session, SCHEMA, MAIL, None)
        names = ["send", "other", "strange", "send", "other"]
        seqs = [(await put(session, n, name=name)).seq for n, name in enumerate(names)]
        who = await worker(session, names=("send", "other"))
        taken = await claim(session, who, 3, names=("send", "other"))
        assert [c.seq for c in taken] == [seqs[0], seqs[1], seqs[3]]
        rest = await claim(session, who, 10, names=("send", "other"))
        assert [c.seq for c in rest] == [seqs[4]]
        row = await workflows.get(
            session, SCHEMA, f"wf-{seqs[2]}-{-2 & 0xFFFF_FFFF_FFFF_FFFF:016x}"
        )
        assert row.status is WorkflowStatus.ENQUEUED

    on_database(database_url, body)


def test_racing_claimers_never_hold_more_than_the_limit(database_url: str) -> None:
    """Eight sessions claim and complete at once under concurrency 3: never a fourth place."""

    async def body(session: AsyncSession) -> None:
        await queues.declare(session, SCHEMA, MAIL, QueueSettings(concurrency=3))
        for n in range(300):
            await put(session, n)
        ended: list[int] = []

        async def work() -> None:
            async with opened(database_url) as own:
                who = await worker(own)
                outcomes: tuple[claims.Outcome, ...] = ()
                while len(ended) < 300:
                    taken = await claim(own, who, 2, outcomes=outcomes)
                    (places,) = await own.run((b"SELECT count(*) FROM towpath.running", {}))
                    assert places[0][0] <= 3
                    outcomes = tuple(success(c) for c in taken)
                    ended.extend(c.seq for c in taken)
                await claim(own, who, 0, outcomes=outcomes)

        await asyncio.gather(*(work() for _ in range(8)))
        assert len(set(ended)) == len(ended) == 300

    on_database(database_url, body)


def test_a_limit_per_worker_holds_beside_the_global_one(database_url: str) -> None:
    """Two workers, perWorker 2, global 3: two and one."""

    async def body(session: AsyncSession) -> None:
        await queues.declare(
            session, SCHEMA, MAIL, QueueSettings(concurrency=3, worker_concurrency=2)
        )
        for n in range(9):
            await put(session, n)
        first, second = await worker(session), await worker(session)
        assert len(await claim(session, first, 9)) == 2
        assert len(await claim(session, first, 9)) == 0
        assert len(await claim(session, second, 9)) == 1

    on_database(database_url, body)


def test_a_claim_under_an_old_revision_takes_nothing(database_url: str) -> None:
    """A worker that has not yet seen a new limit cannot claim past it."""

    async def body(session: AsyncSession) -> None:
        before = await queues.declare(session, SCHEMA, MAIL, None)
        await put(session)
        who = await worker(session)
        await queues.declare(session, SCHEMA, MAIL, QueueSettings(concurrency=1))
        request = claims.ClaimRequest(queue=MAIL, limit=5, revision=before.revision)
        turn = claims.Turn(worker=who, names=[SEND], claims=[request])
        assert (await claims.take_turn(session, SCHEMA, turn)).claimed == {MAIL: []}
        assert len(await claim(session, who, 5)) == 1

    on_database(database_url, body)


def test_the_same_chosen_id_is_one_workflow_also_when_racing(database_url: str) -> None:
    """Sixteen enqueuers of one id: one row, one creator, the same seq for all, also after its end."""

    async def body(session: AsyncSession) -> None:
        await queues.declare(session, SCHEMA, MAIL, None)

        async def one() -> enqueue.Enqueued:
            async with opened(database_url) as own:
                return await put(own, chosen="order-1")

        found = await asyncio.gather(*(one() for _ in range(16)))
        assert len({f.seq for f in found}) == 1
        assert sum(f.created for f in found) == 1
        who = await worker(session)
        (taken,) = await claim(session, who, 5)
        await claim(session, who, 0, outcomes=(success(taken),))
        again = await put(session, chosen="order-1")
        assert (again.seq, again.created) == (found[0].seq, False)

    on_database(database_url, body)


def test_an_id_in_use_by_another_name_is_an_error(database_url: str) -> None:
    """The error names both; nothing is written."""

    async def body(session: AsyncSession) -> None:
        await queues.declare(session, SCHEMA, MAIL, None)
        await put(session, chosen="order-1")
        error = await refused(session, new_mail(name="other", chosen="order-1"))
        assert isinstance(error, WorkflowIdConflictError)
        assert "'send' on queue 'mail'" in str(error)
        assert len(await workflows.list_workflows(session, SCHEMA)) == 1

    on_database(database_url, body)


def test_a_queue_without_a_row_is_refused_with_the_nearest_names(database_url: str) -> None:
    """A typo is told; nothing is written."""

    async def body(session: AsyncSession) -> None:
        await queues.declare(session, SCHEMA, MAIL, None)
        error = await refused(session, new_mail(queue=QueueName("mial")))
        assert isinstance(error, QueueNotFoundError)
        assert error.nearest == ["mail"]

    on_database(database_url, body)


def test_a_dead_workers_workflows_return_to_their_place_and_its_writes_are_stale(
    database_url: str,
) -> None:
    """Recovery moves the row back with its attempt; the old attempt's step and outcome change nothing."""

    async def body(session: AsyncSession) -> None:
        await queues.declare(session, SCHEMA, MAIL, None)
        seqs = [(await put(session, n)).seq for n in range(3)]
        dead = await worker(session, lease=timedelta(0))
        alive = await worker(session)
        await session.run(
            (
                b"UPDATE towpath.worker SET lease_until = clock_timestamp() + '1 h' WHERE id = %(w)s",
                {"w": dead},
            )
        )
        taken = await claim(session, dead, 2)
        await session.run(
            (
                b"UPDATE towpath.worker SET lease_until = clock_timestamp() - '1 s'::interval WHERE id = %(w)s",
                {"w": dead},
            )
        )
        assert await claim(session, dead, 1) == []
        recovery = await workers.end_dead_leases(session, SCHEMA, me=alive)
        assert ([w for w, _ in recovery.workers], recovery.returned) == ([dead], 2)
        stale = steps.NewStep(taken[0].seq, 1, "1", "charge", "1", None, timedelta(0))
        assert await steps.record(session, SCHEMA, [stale]) == {}
        turn = claims.Turn(worker=dead, names=[SEND], outcomes=[success(taken[0])])
        assert (await claims.take_turn(session, SCHEMA, turn)).stale == {(taken[0].seq, 1)}
        again = await claim(session, alive, 5)
        assert [(c.seq, c.attempt) for c in again] == [(seqs[0], 2), (seqs[1], 2), (seqs[2], 1)]

    on_database(database_url, body)


@pytest.mark.parametrize("progress", [False, True])
def test_a_workflow_that_kills_its_workers_is_given_up(
    database_url: str, *, progress: bool
) -> None:
    """With N = 1 it runs twice, unless each attempt records a step: progress begins the count anew."""

    async def body(session: AsyncSession) -> None:
        await queues.declare(session, SCHEMA, MAIL, None)
        await put(session, chosen="poison")
        for attempt in (1, 2, 3):
            who = await worker(session, max_recoveries=1)
            taken = await claim(session, who, 1)
            if not taken:
                break
            assert taken[0].attempt == attempt
            if progress:
                step = steps.NewStep(
                    taken[0].seq, attempt, str(attempt), "s", "1", None, timedelta(0)
                )
                await steps.record(session, SCHEMA, [step])
            await session.run(
                (
                    b"UPDATE towpath.worker SET lease_until = '-infinity' WHERE id = %(w)s",
                    {"w": who},
                )
            )
            await workers.end_dead_leases(session, SCHEMA, me=WorkerId(0))
        row = await workflows.get(session, SCHEMA, "poison")
        expected = (
            WorkflowStatus.ENQUEUED if progress else WorkflowStatus.MAX_RECOVERY_ATTEMPTS_EXCEEDED
        )
        assert row.status is expected

    on_database(database_url, body)


def test_handing_back_keeps_the_place_in_line_and_counts_no_recovery(database_url: str) -> None:
    """A hand-back is not a recovery; the head of the line stays the head."""

    async def body(session: AsyncSession) -> None:
        await queues.declare(session, SCHEMA, MAIL, None)
        for n in range(3):
            await put(session, n)
        who = await worker(session)
        first = (await claim(session, who, 1))[0]
        turn = claims.Turn(worker=who, names=[SEND], hand_back=[(first.seq, first.attempt)])
        await claims.take_turn(session, SCHEMA, turn)
        (rows,) = await session.run(
            (b"SELECT attempt, recoveries FROM towpath.ready WHERE seq = %(s)s", {"s": first.seq})
        )
        assert rows == [(1, 0)]
        assert (await claim(session, who, 1))[0].seq == first.seq

    on_database(database_url, body)


def test_what_a_lost_answer_claimed_is_found(database_url: str) -> None:
    """After a broken connection the worker learns which places it holds unknowingly."""

    async def body(session: AsyncSession) -> None:
        await queues.declare(session, SCHEMA, MAIL, None)
        for n in range(4):
            await put(session, n)
        who = await worker(session)
        known = await claim(session, who, 2)
        lost = await claim(session, who, 2)
        found = await claims.find_unknown(
            session, SCHEMA, worker=who, known=[(c.seq, c.attempt) for c in known]
        )
        assert found == lost

    on_database(database_url, body)


@pytest.mark.parametrize("how", ["reconnects", "stops"])
def test_a_turn_that_was_cut_off_is_waited_for(database_url: str, how: str) -> None:
    """Its claim waits at the gate while the worker connects again, or goes: no place is left to nobody."""

    async def body(session: AsyncSession) -> None:
        await queues.declare(session, SCHEMA, MAIL, QueueSettings(concurrency=3))
        await put(session)
        who = await worker(session)
        async with opened(database_url) as blocker, opened(database_url) as cut_off:
            await blocker.run((b"BEGIN", {}))
            await blocker.run((SCHEMA["lock_gate"], {"queue": MAIL}))
            claiming = asyncio.create_task(claim(cut_off, who, 1))
            waits = b"SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            await until_count(session, waits, 1)
            if how == "reconnects":
                ending: Coroutine[Any, Any, Any] = claims.find_unknown(
                    session, SCHEMA, worker=who, known=[]
                )
            else:
                ending = workers.end_own_lease(session, SCHEMA, who)
            gone = asyncio.create_task(ending)
            async with opened(database_url) as watch:
                await until_count(watch, waits, 2)
                await blocker.run((b"COMMIT", {}))
            unheard = await claiming
            found = await gone
        (ready,) = await session.run((b"SELECT attempt FROM towpath.ready", {}))
        assert len(unheard) == 1
        if how == "reconnects":
            assert (found, ready) == (unheard, [])
        else:
            assert ready == [(1,)]

    on_database(database_url, body)


async def until_count(session: AsyncSession, query: bytes, least: int) -> None:
    """Wait until a count is reached."""
    async with asyncio.timeout(20):
        while (await session.run((query, {})))[0][0][0] < least:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.005)


def test_a_place_of_another_attempt_is_unknown(database_url: str) -> None:
    """A worker that still runs a stale attempt does not take its successor's lost claim for it."""

    async def body(session: AsyncSession) -> None:
        await queues.declare(session, SCHEMA, MAIL, None)
        await put(session)
        who = await worker(session)
        (stale,) = await claim(session, who, 1)
        turn = claims.Turn(worker=who, names=[SEND], hand_back=[(stale.seq, stale.attempt)])
        await claims.take_turn(session, SCHEMA, turn)
        (lost,) = await claim(session, who, 1)
        assert (lost.seq, lost.attempt) == (stale.seq, 2)
        found = await claims.find_unknown(
            session, SCHEMA, worker=who, known=[(stale.seq, stale.attempt)]
        )
        assert found == [lost]

    on_database(database_url, body)


def test_two_attempts_that_end_in_one_turn_are_told_apart(database_url: str) -> None:
    """The stale one is reported as stale, though its workflow has ended in the same breath."""

    async def body(session: AsyncSession) -> None:
        await queues.declare(session, SCHEMA, MAIL, None)
        await put(session)
        who = await worker(session)
        (first,) = await claim(session, who, 1)
        turn = claims.Turn(worker=who, names=[SEND], hand_back=[(first.seq, first.attempt)])
        await claims.take_turn(session, SCHEMA, turn)
        (second,) = await claim(session, who, 1)
        turn = claims.Turn(worker=who, names=[SEND], outcomes=[success(first), success(second)])
        assert (await claims.take_turn(session, SCHEMA, turn)).stale == {(first.seq, 1)}

    on_database(database_url, body)


def test_only_a_queue_that_has_a_sleeper_is_notified(database_url: str) -> None:
    """An enqueue calls NOTIFY where somebody sleeps, with the queue's name, and nowhere else."""

    async def body(session: AsyncSession) -> None:
        await queues.declare(session, SCHEMA, MAIL, None)
        who = await worker(session)
        async with await open_async(Endpoint.at(database_url)) as listener:
            await listener.execute(
                psycopg.sql.SQL("LISTEN {}").format(psycopg.sql.Identifier(SCHEMA.channel))
            )
            await put(session, 1)
            turn = claims.Turn(worker=who, names=[SEND], fall_asleep=[MAIL])
            await claims.take_turn(session, SCHEMA, turn)
            await put(session, 2)
            heard = [n.payload async for n in listener.notifies(timeout=5, stop_after=1)]
            assert heard == ["mail"]
            turn = claims.Turn(worker=who, names=[SEND], wake_up=[MAIL])
            await claims.take_turn(session, SCHEMA, turn)
            await put(session, 3)
            await session.run((b"SELECT pg_notify(%(c)s, 'end')", {"c": SCHEMA.channel}))
            heard = [n.payload async for n in listener.notifies(timeout=5, stop_after=1)]
            assert heard == ["end"]

    on_database(database_url, body)
