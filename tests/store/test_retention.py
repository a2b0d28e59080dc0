"""Retention: what goes, what stays, and that looking costs little and holds nobody up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from tests.store.acts import MAIL, claim, come, end, on, put, rows, seqs_of, status
from tests.store.holding import SCHEMA, held, opened
from tests.store.test_costs import touched
from towpath.domain.ids import QueueName
from towpath.domain.queue import UNLIMITED, QueueSettings, Retention
from towpath.domain.status import WorkflowStatus
from towpath.store import claims, managing, queues
from towpath.store.session import AsyncSession, Session

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
KEPT_A_DAY = QueueSettings(retention=Retention(succeeded=DAY, failed=7 * DAY))
RECORDS = ("step", "message", "sent", "event", "stream", "wait", "deadline", "result", "workflow")
FILL = """
WITH written AS (
    INSERT INTO towpath.workflow (secret, queue, name, codec, input, created_at, id)
    SELECT n, %(queue)s, 'send', 'json', '{}', now() - %(age)s::interval, %(prefix)s || n
    FROM generate_series(1, %(n)s) AS n RETURNING seq)
INSERT INTO towpath.result SELECT seq, %(status)s, 1, now() - %(age)s::interval, 'null' FROM written
RETURNING seq
"""


async def ended(
    session: Session,
    n: int = 1,
    *,
    age: timedelta,
    status: str = "SUCCESS",
    queue: str = MAIL,
    prefix: str | None = None,
) -> list[int]:
    """Write workflows that were enqueued and ended so long ago."""
    found = await rows(session, FILL, n=n, age=age, status=status, queue=queue, prefix=prefix)
    return [seq for (seq,) in found]


async def look(session: Session, limit: int = 1000) -> managing.Deleted:
    """Look once, also where a round has just ended."""
    await rows(session, "UPDATE towpath.retention SET next_round = '-infinity' RETURNING 1")
    return await managing.delete_kept_long_enough(session, SCHEMA, limit)


async def left(session: Session) -> set[int]:
    """Return the seqs of the workflows that are there."""
    return {seq for (seq,) in await rows(session, "SELECT seq FROM towpath.workflow")}


def test_each_end_has_its_retention_and_everything_recorded_goes(database_url: str) -> None:
    """Counted from the end; the failed longer; what a queue does not say, the default does, or nothing."""

    async def body(session: AsyncSession) -> None:
        other = QueueSettings(retention=Retention(succeeded=HOUR))
        await queues.declare(session, SCHEMA, QueueName("other"), other)
        await queues.declare(session, SCHEMA, QueueName("silent"), UNLIMITED)
        gone = [
            *await ended(session, age=2 * DAY),
            *await ended(session, age=8 * DAY, status="ERROR"),
            *await ended(session, age=8 * DAY, status="CANCELLED"),
            *await ended(session, age=2 * HOUR, queue="other"),
        ]
        stays = [
            *await ended(session, age=HOUR),
            *await ended(session, age=2 * DAY, status="ERROR"),
            *await ended(session, age=2 * DAY, status="MAX_RECOVERY_ATTEMPTS_EXCEEDED"),
            *await ended(session, age=100 * DAY, status="ERROR", queue="other"),
            *await ended(session, age=100 * DAY, queue="silent"),
        ]
        for seq in (gone[0], stays[0]):
            await rows(session, EVERY_RECORD, seq=seq)
        assert (await look(session)).deleted == 4
        assert await left(session) == set(stays)
        counted = {table: await count(session, table) for table in RECORDS}
        assert counted == {**dict.fromkeys(RECORDS, 1), "result": 5, "workflow": 5}
        await managing.set_default_retention(session, SCHEMA, Retention(succeeded=9 * DAY))
        assert (await look(session)).deleted == 1
        assert await left(session) == set(stays[:4])

    on(database_url, KEPT_A_DAY, body)


EVERY_RECORD = """
WITH step AS (
    INSERT INTO towpath.step (seq, position, attempt, name, started_at, completed_at)
    VALUES (%(seq)s, '1', 1, 's', now(), now())
), message AS (
    INSERT INTO towpath.message (seq, sent_at, codec, value) VALUES (%(seq)s, now(), 'json', '1')
), sent AS (
    INSERT INTO towpath.sent (seq, key) VALUES (%(seq)s, 'k')
), event AS (
    INSERT INTO towpath.event (seq, key, position, set_at, codec, value)
    VALUES (%(seq)s, 'k', '1', now(), 'json', '1')
), stream AS (
    INSERT INTO towpath.stream (seq, key, position, written_at, codec, value)
    VALUES (%(seq)s, 'k', '1', now(), 'json', '1')
), wait AS (
    INSERT INTO towpath.wait (seq, position, verb, kind, queue, name, version)
    VALUES (%(seq)s, '1', 'v', 'time', 'mail', 'send', '')
)
INSERT INTO towpath.deadline (seq, due) VALUES (%(seq)s, now()) RETURNING 1
"""


async def count(session: Session, table: str) -> int:
    """Count a table's rows."""
    return int((await rows(session, f"SELECT count(*) FROM towpath.{table}"))[0][0])  # noqa: S608 - ours


def test_nothing_goes_unless_it_is_asked_for(database_url: str) -> None:
    """Retention is off, and looking writes nothing."""

    async def body(session: AsyncSession) -> None:
        seqs = await ended(session, age=3650 * DAY)
        assert await look(session) == managing.Deleted(0, 0)
        assert await left(session) == set(seqs)

    on(database_url, UNLIMITED, body)


def test_a_child_stays_as_long_as_its_parent_may_ask_for_it(database_url: str) -> None:
    """A parent that waits, runs or is delayed keeps its children; one that has ended or is gone does not."""

    async def body(session: AsyncSession) -> None:
        delayed, waits, runs, over = await seqs_of(
            session, {"delay_seconds": 9e6}, {}, {"priority": None}, {}
        )
        who = await come(session)
        taken = await claim(session, who, 3)
        await end(session, who, *[(seq, 1) for seq in taken if seq == over])
        await claims.take_turn(
            session,
            SCHEMA,
            claims.Turn(worker=who, names=(), hand_back=[(s, 1) for s in taken if s == waits]),
        )
        assert [await status(session, s) for s in (delayed, waits, runs, over)] == [
            WorkflowStatus.DELAYED, "ENQUEUED", "PENDING", "SUCCESS"
        ]  # fmt: skip
        parents = [delayed, waits, runs, over, 10**9]
        children = [(await ended(session, age=2 * DAY))[0] for _ in parents]
        for child, parent in zip(children, parents, strict=True):
            await rows(
                session,
                "UPDATE towpath.workflow SET parent = %(parent)s, created_at = now() - interval '3 d' "
                "WHERE seq = %(child)s RETURNING 1",
                child=child,
                parent=parent,
            )
        await rows(
            session, "UPDATE towpath.workflow SET created_at = now() - interval '3 d' RETURNING 1"
        )
        assert (await look(session)).deleted == 2
        assert set(children) & await left(session) == set(children[:3])

    on(database_url, KEPT_A_DAY, body)


def test_a_deleted_workflows_id_is_free(database_url: str) -> None:
    """The same chosen id starts a new workflow."""

    async def body(session: AsyncSession) -> None:
        (old,) = await ended(session, age=2 * DAY, prefix="order-")
        (same,) = await put(session, {"chosen_id": "order-1"})
        assert (same.seq, same.created) == (old, False)
        await look(session)
        (new,) = await put(session, {"chosen_id": "order-1"})
        assert new.created

    on(database_url, KEPT_A_DAY, body)


def test_a_round_goes_on_where_the_last_batch_stopped(database_url: str) -> None:
    """Whoever looks; what stays is passed, and after the last batch there is a pause."""

    async def body(session: AsyncSession) -> None:
        kept = await ended(session, 5, age=2 * DAY, status="ERROR")
        await ended(session, 12, age=2 * DAY)
        await ended(session, 5, age=HOUR)
        found = [await managing.delete_kept_long_enough(session, SCHEMA, 8) for _ in range(4)]
        assert [(d.looked_at, d.deleted) for d in found] == [(8, 3), (8, 8), (1, 1), (0, 0)]
        assert set(kept) <= await left(session)
        pauses = await rows(
            session, "SELECT next_round > now(), looked_until FROM towpath.retention"
        )
        assert pauses == [(True, 0)]

    on(database_url, KEPT_A_DAY, body)


@pytest.mark.parametrize("verb", ["resume", "retry", "forget"])
def test_a_verb_that_is_faster_keeps_retention_off(database_url: str, verb: str) -> None:
    """Retention waits for nobody; afterwards the workflow is in line, or gone, and nothing is half there."""

    async def body(session: AsyncSession) -> None:
        state = "ERROR" if verb == "retry" else "CANCELLED"
        (seq,) = await ended(session, age=8 * DAY, status=state)

        async def act(own: Session) -> None:
            arguments = (
                "ARRAY[%(s)s::bigint], '{1}', '{}', '{}'" if verb == "retry" else "%(s)s::bigint"
            )
            await own.run((f"SELECT towpath.{verb}({arguments})".encode(), {"s": seq}))

        async with held(database_url, act):
            assert (await look(session)).deleted == 0
        assert await left(session) == (set() if verb == "forget" else {seq})
        assert await count(session, "result") == 0
        assert await count(session, "ready") == (0 if verb == "forget" else 1)

    on(database_url, KEPT_A_DAY, body)


def test_one_looks_and_the_others_pass_by(database_url: str) -> None:
    """A look that hangs holds nobody up: no other look, no enqueue, no claim, no end."""

    async def body(session: AsyncSession) -> None:
        await ended(session, 3, age=2 * DAY)
        who = await come(session)
        async with held(database_url, look) as hangs, opened(database_url) as second:
            looked = await asyncio.wait_for(
                managing.delete_kept_long_enough(second, SCHEMA, 1000), timeout=10
            )
            assert looked == managing.Deleted(0, 0)
            (seq,) = await seqs_of(session, {})
            assert await claim(session, who, 1) == [seq]
            assert await end(session, who, (seq, 1)) == frozenset()
        assert (await hangs).deleted == 3

    on(database_url, KEPT_A_DAY, body)


def test_looking_costs_by_what_is_looked_at(database_url: str) -> None:
    """Not by what was enqueued since, nor by what is kept behind the batch."""

    async def body(session: AsyncSession) -> None:
        found = []
        for more in (1_000, 50_000):
            await ended(session, more, age=2 * DAY, status="ERROR")
            await ended(session, more, age=HOUR)
            await session.run((b"ANALYZE", {}))
            found.append(await _pages(database_url, session, lambda: look(session, 100)))
        few, many = found
        assert many < few * 1.5, found

    on(database_url, KEPT_A_DAY, body)


async def _pages(url: str, session: AsyncSession, verb: Callable[[], Awaitable[Any]]) -> int:
    counted = []
    for _ in range(3):
        await rows(session, "UPDATE towpath.retention SET looked_until = 0 RETURNING 1")
        counted.append(await touched(url, session, verb))
    return sorted(counted)[1]
