"""Ids that meet: enqueuers, holders that end, and callers' transactions that stay open."""

from __future__ import annotations

from typing import Any

import pytest

from tests.store.acts import (
    KEYED,
    WAYS,
    cancel,
    chosen,
    claim,
    come,
    end,
    forget,
    meanwhile,
    on,
    put,
    rows,
    seqs_of,
    status,
)
from tests.store.holding import held, opened, until_locked
from towpath.domain.queue import UNLIMITED, QueueSettings
from towpath.store.session import AsyncSession

HELD: dict[str, Any] = {"deduplication_id": "d"}


@pytest.mark.parametrize("undo", [False, True])
@pytest.mark.parametrize("how", ["completes", "is cancelled", "is deleted"])
def test_an_enqueue_while_the_holder_of_its_deduplication_id_ends(
    database_url: str, how: str, *, undo: bool
) -> None:
    """It waits, and is a duplicate where the holder stays; else it holds the id itself."""

    async def body(session: AsyncSession) -> None:
        who = await come(session)
        (holder,) = await seqs_of(session, HELD)
        assert await claim(session, who, 1) == [holder]
        verbs = {
            "completes": lambda s: end(s, who, (holder, 1)),
            "is cancelled": lambda s: cancel(s, holder),
            "is deleted": lambda s: forget(s, holder),
        }
        async with held(database_url, verbs[how], undo=undo):
            enqueuing = meanwhile(put(session, HELD))
            await until_locked(database_url)
        (done,) = await enqueuing
        assert (done.created, done.seq == holder) == (not undo, undo)
        ((_, _, held_by),) = await rows(session, "SELECT * FROM towpath.deduplication")
        assert held_by == done.seq

    on(database_url, UNLIMITED, body)


@pytest.mark.parametrize("undo", [False, True])
def test_the_holder_ends_while_a_duplicate_is_enqueued(database_url: str, *, undo: bool) -> None:
    """Its completion does not wait for the caller's transaction, whose answer was right when it came."""

    async def body(session: AsyncSession) -> None:
        who = await come(session)
        (holder,) = await seqs_of(session, HELD)
        assert await claim(session, who, 1) == [holder]
        async with held(database_url, lambda s: put(s, HELD), undo=undo) as enqueuing:
            await session.run((b"SET lock_timeout = '2s'", {}))
            assert await end(session, who, (holder, 1)) == frozenset()
        assert [(d.seq, d.created) for d in await enqueuing] == [(holder, False)]
        assert [d.created for d in await put(session, HELD)] == [True]

    on(database_url, UNLIMITED, body)


@pytest.mark.parametrize("undo", [False, True])
@pytest.mark.parametrize("option", [HELD, chosen("order-1")])
def test_two_enqueuers_of_one_id(database_url: str, option: dict[str, Any], *, undo: bool) -> None:
    """The second waits for the first, and is its duplicate or takes its place."""

    async def body(session: AsyncSession) -> None:
        async with held(database_url, lambda s: put(s, option), undo=undo) as first:
            second = meanwhile(put(session, option))
            await until_locked(database_url)
        assert (await second)[0].created == undo
        assert ((await second)[0].seq == (await first)[0].seq) == (not undo)
        ((count,),) = await rows(session, "SELECT count(*) FROM towpath.workflow")
        assert count == 1

    on(database_url, UNLIMITED, body)


@pytest.mark.parametrize("undo", [False, True])
@pytest.mark.parametrize("first", ["enqueue", "completion"])
def test_a_chosen_id_at_the_moment_of_its_completion(
    database_url: str, first: str, *, undo: bool
) -> None:
    """The id is its workflow's before, at and after its end; neither waits for the other."""

    async def body(session: AsyncSession) -> None:
        who = await come(session)
        (seq,) = await seqs_of(session, chosen("order-1"))
        assert await claim(session, who, 1) == [seq]
        await session.run((b"SET lock_timeout = '2s'", {}))
        if first == "completion":
            async with held(database_url, lambda s: end(s, who, (seq, 1)), undo=undo):
                (done,) = await put(session, chosen("order-1"))
        else:
            async with held(
                database_url, lambda s: put(s, chosen("order-1")), undo=undo
            ) as enqueuing:
                assert await end(session, who, (seq, 1)) == frozenset()
            (done,) = await enqueuing
        assert (done.seq, done.created) == (seq, False)
        ended = first == "enqueue" or not undo
        assert await status(session, seq) == ("SUCCESS" if ended else "PENDING")

    on(database_url, UNLIMITED, body)


@pytest.mark.parametrize("undo", [False, True])
def test_a_chosen_id_while_its_workflow_is_deleted(database_url: str, *, undo: bool) -> None:
    """The enqueue waits, and makes a new workflow only where the old one is gone."""

    async def body(session: AsyncSession) -> None:
        (seq,) = await seqs_of(session, chosen("order-1"))
        async with held(database_url, lambda s: forget(s, seq), undo=undo):
            enqueuing = meanwhile(put(session, chosen("order-1")))
            await until_locked(database_url)
        (done,) = await enqueuing
        assert (done.created, done.seq == seq) == (not undo, undo)

    on(database_url, UNLIMITED, body)


@pytest.mark.parametrize("settings", [WAYS["free"], WAYS["gated"], KEYED])
def test_an_open_transaction_of_an_enqueuer_makes_nobody_wait(
    database_url: str, settings: QueueSettings
) -> None:
    """Claim, completion and hand-back of the same key, and of the ids that it named, go on."""

    async def body(session: AsyncSession) -> None:
        key = {"partition_key": "a"} if settings.partition_queue else {}
        who = await come(session)
        first, second = await seqs_of(session, {**key, **HELD, **chosen("order-1")}, key)
        more = [{**key, **HELD}, {**key, **chosen("order-1")}, {**key, **chosen("new")}, key]
        async with held(database_url, lambda s: put(s, *more)) as enqueuing:
            await session.run((b"SET lock_timeout = '2s'", {}))
            assert await claim(session, who, 1) == [first]
            assert await end(session, who, (first, 1)) == frozenset()
            assert await claim(session, who, 1) == [second]
            assert await end(session, who, (second, 1)) == frozenset()
            assert await claim(session, who, 9) == []
        created = [d.seq for d in await enqueuing if d.created]
        assert len(created) == 2
        assert await claim(session, who, 1) == created[:1]

    on(database_url, settings, body)


@pytest.mark.parametrize("by", ["chosen_id", "deduplication_id"])
def test_two_bulk_enqueuers_in_opposite_orders_do_not_deadlock(database_url: str, by: str) -> None:
    """Both have written some of their ids when they meet at one in the middle that is held open."""

    async def body(session: AsyncSession) -> None:
        items = [{by: f"id-{n}"} for n in range(9)]
        async with opened(database_url) as other:
            async with held(database_url, lambda s: put(s, items[4]), undo=True):
                one = meanwhile(put(session, *items))
                two = meanwhile(put(other, *reversed(items)))
                await until_locked(database_url, 2)
            created = [sum(d.created for d in await done) for done in (one, two)]
        assert sorted(created) == [0, 9]
        assert {d.seq for d in await one} == {d.seq for d in await two}

    on(database_url, UNLIMITED, body)
