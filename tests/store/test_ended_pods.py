"""Leases that end on proof: which workers of a pod, and what becomes of their workflows."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import psycopg

from tests.store.acts import MAIL, NAMES, claim, end, meanwhile, on, rows, seqs_of, turn_of
from tests.store.holding import SCHEMA, held, until_locked
from towpath.domain.ids import WorkerId
from towpath.domain.queue import UNLIMITED, QueueSettings
from towpath.store import claims, workers
from towpath.store.session import AsyncSession
from towpath.store.workers import EndedInPod

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LATER = NOON + timedelta(seconds=30)


async def come(
    session: AsyncSession, pod_uid: str | None, node_time: datetime | None = NOON
) -> WorkerId:
    """Register a worker of a pod, at a time of its node."""
    who = workers.WorkerIdentity(
        name=f"in-{pod_uid}", pool=None, pod_uid=pod_uid, node=None, version="", library="0",
        code_hash="", slots=10, queues=[MAIL], names=NAMES, max_recoveries=[100, 100],
    )  # fmt: skip
    lease = timedelta(hours=1)
    return await workers.register(session, SCHEMA, who, lease=lease, node_time=node_time)


async def ended(session: AsyncSession, *which: EndedInPod) -> set[WorkerId]:
    """End leases and return whose."""
    recovery = await workers.end_pod_leases(session, SCHEMA, which)
    return {worker_id for worker_id, _ in recovery.workers}


def test_of_a_restarted_container_only_those_end_that_began_before_the_moment(
    database_url: str,
) -> None:
    """Neither its own next worker nor another pod's; one of an older library has no time to compare."""

    async def body(session: AsyncSession) -> None:
        first, second = await come(session, "a"), await come(session, "a", LATER)
        await come(session, "b")
        await come(session, None)
        old = await come(session, "a", None)
        assert await ended(session, EndedInPod("a", NOON)) == set()
        assert await ended(session, EndedInPod("a", LATER)) == {first}
        assert await ended(session, EndedInPod("a", LATER)) == set()
        assert await ended(session, EndedInPod("a", None)) == {second, old}
        assert len(await workers.list_workers(session, SCHEMA)) == 2

    on(database_url, UNLIMITED, body)


def test_several_pods_end_in_one_transaction(database_url: str) -> None:
    """Each by its own moment."""

    async def body(session: AsyncSession) -> None:
        a, b, c = await come(session, "a"), await come(session, "b"), await come(session, "c")
        which = [EndedInPod("a", None), EndedInPod("b", LATER), EndedInPod("c", NOON)]
        assert await ended(session, *which) == {a, b}
        assert [row.worker_id for row in await workers.list_workers(session, SCHEMA)] == [c]

    on(database_url, UNLIMITED, body)


def test_its_workflows_go_back_at_once_with_one_recovery_and_the_others_are_told(
    database_url: str,
) -> None:
    """Its place is free for another, once; what the dead attempt still says changes nothing."""

    async def body(session: AsyncSession) -> None:
        seqs = await seqs_of(session, {}, {})
        dead, other = await come(session, "a"), await come(session, "b")
        assert await claim(session, dead, 2) == seqs[:1]
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as ear:
            await ear.execute(f'LISTEN "{SCHEMA.channel}"'.encode())
            recovery = await workers.end_pod_leases(session, SCHEMA, [EndedInPod("a", None)])
            assert (recovery.workers, recovery.returned) == ([(dead, "in-a")], 1)
            async for told in ear.notifies(timeout=10, stop_after=1):
                assert told.payload == MAIL
        assert await rows(session, "SELECT recoveries FROM towpath.ready ORDER BY seq") == [
            (1,),
            (0,),
        ]
        assert await claim(session, other, 2) == seqs[:1]
        assert await end(session, dead, (seqs[0], 1)) == {(seqs[0], 1)}

    on(database_url, QueueSettings(concurrency=1), body)


def test_one_that_said_it_drains_counts_none(database_url: str) -> None:
    """A step that outlasts the grace of its pod dies with it, and nobody is to blame."""

    async def body(session: AsyncSession) -> None:
        await seqs_of(session, {})
        dead = await come(session, "a")
        await claim(session, dead, 1)
        await workers.begin_draining(session, SCHEMA, dead)
        assert await ended(session, EndedInPod("a", None)) == {dead}
        assert await rows(session, "SELECT recoveries FROM towpath.ready") == [(0,)]

    on(database_url, UNLIMITED, body)


def test_what_a_turn_claims_that_the_dead_left_behind_is_given_back_too(database_url: str) -> None:
    """The server may work on for a client that is gone: the end waits for that turn."""

    async def body(session: AsyncSession) -> None:
        (seq,) = await seqs_of(session, {})
        dead = await come(session, "a")
        turn = await turn_of(session, dead, 1)
        async with held(database_url, lambda own: claims.take_turn(own, SCHEMA, turn)):
            ending = meanwhile(workers.end_pod_leases(session, SCHEMA, [EndedInPod("a", None)]))
            await until_locked(database_url)
        async with asyncio.timeout(20):
            assert (await ending).returned == 1
        assert await rows(session, "SELECT seq FROM towpath.ready") == [(seq,)]

    on(database_url, UNLIMITED, body)
