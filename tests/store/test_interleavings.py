"""Verbs that meet: one's transaction is held open between its own statements while another goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.store.acts import (
    MAIL,
    SEND,
    cancel,
    chosen,
    claim,
    come,
    end,
    forget,
    put,
    resume,
    rows,
    seqs_of,
    status,
    take,
    turn_of,
)
from tests.store.holding import COMMIT, SCHEMA, held, opened, until_locked
from towpath.domain.ids import Seq
from towpath.domain.queue import UNLIMITED, Limiter, QueueSettings
from towpath.store import claims, enqueue, queues
from towpath.store.session import AsyncSession, Session

KEYED = QueueSettings(partition_queue=True, priority_enabled=True)
WAYS = {
    "free": UNLIMITED,
    "gated": QueueSettings(concurrency=1),
    "limited": QueueSettings(limiter=Limiter(1, timedelta(days=1))),
    "keyed": KEYED,
}


def on(
    url: str,
    settings: QueueSettings,
    body: Callable[[AsyncSession], Coroutine[Any, Any, None]],
) -> None:
    """Run a test's body with one session and a queue; whatever waits for ever is an error."""

    async def run() -> None:
        async with opened(url) as session, asyncio.timeout(60):
            await queues.declare(session, SCHEMA, MAIL, settings)
            await body(session)

    asyncio.run(run())


def options_of(settings: QueueSettings) -> dict[str, Any]:
    """Return the options that an enqueue must have."""
    return {"partition_key": "a"} if settings.partition_queue else {}


def meanwhile(verb: Awaitable[Any]) -> asyncio.Future[Any]:
    """Begin a verb that will wait."""
    return asyncio.ensure_future(verb)


# -- claims that meet


@pytest.mark.parametrize("undo", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_two_claimers_never_take_one_head(database_url: str, way: str, *, undo: bool) -> None:
    """The second takes what the first leaves, and the head too where the first is undone."""

    async def body(session: AsyncSession) -> None:
        first, second = await seqs_of(session, *[options_of(WAYS[way])] * 2)
        turns = [await turn_of(session, await come(session), 1) for _ in range(2)]
        async with held(database_url, lambda s: take(s, turns[0]), undo=undo) as earlier:
            other = meanwhile(take(session, turns[1]))
            if way == "free":
                assert await other == [second]
            else:
                await until_locked(database_url)
        assert await earlier == [first]
        if way != "free":
            assert await other == ([first] if undo else [])
        left = [second] if way != "free" else []
        kept = [(seq,) for seq in (second, first) if seq not in left and (way != "free" or seq == second or not undo)]
        assert sorted(kept) == await rows(session, "SELECT seq FROM towpath.running ORDER BY seq")

    on(database_url, WAYS[way], body)


@pytest.mark.parametrize("key", ["a", "b", "c"])
def test_a_more_urgent_row_that_arrives_between_fold_and_claim(database_url: str, key: str) -> None:
    """Within its key it goes first, since it is committed when the claim looks; elsewhere it is next."""

    async def body(session: AsyncSession) -> None:
        first, second = await seqs_of(
            session, {"partition_key": "a", "priority": 2}, {"partition_key": "b", "priority": 1}
        )
        who = await come(session)
        turn = await turn_of(session, who, 1)
        async with held(
            database_url, lambda s: take(s, turn), before="claim_partitioned"
        ) as earlier:
            (urgent,) = await seqs_of(session, {"partition_key": key, "priority": 9})
        assert await earlier == [{"a": urgent, "b": urgent, "c": first}[key]] or (
            key == "b" and await earlier == [first]
        )
        begun = (await earlier)[0]
        rest = [s for s in (urgent, first, second) if s != begun]
        if key == "a":
            rest.remove(first)
        if key == "b" and begun == urgent:
            rest.remove(second)
        taken = []
        while more := await claim(session, who, 1):
            taken += more
        assert set(taken) <= set(rest)
        assert taken[0] == rest[0]

    on(database_url, KEYED, body)


@pytest.mark.parametrize("way", ["free", "keyed"])
def test_a_claim_of_one_version_does_not_wait_for_anothers(database_url: str, way: str) -> None:
    """Each takes what carries its own version; in a partition another version's head closes the key."""

    async def body(session: AsyncSession) -> None:
        option = options_of(WAYS[way])
        (old,) = await seqs_of(session, option, version="v1")
        (new,) = await seqs_of(session, option, version="v2")
        (apart,) = await seqs_of(session, {**option, **({"partition_key": "b"} if option else {})}, version="v2")
        ones, twos = [await turn_of(session, await come(session, version=v), 9, versions=(v,)) for v in ("v1", "v2")]
        async with held(database_url, lambda s: take(s, ones)) as earlier:
            later = meanwhile(take(session, twos))
            if way == "keyed":
                await until_locked(database_url)
            else:
                assert await later == [new, apart]
        assert await earlier == [old]
        assert await later == ([new, apart] if way == "free" else [apart])

    on(database_url, WAYS[way], body)


@pytest.mark.parametrize("undo", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_a_cancel_that_meets_a_claim(database_url: str, way: str, *, undo: bool) -> None:
    """It waits for the claim, and finds the workflow where the claim has put it."""

    async def body(session: AsyncSession) -> None:
        (seq,) = await seqs_of(session, options_of(WAYS[way]))
        who = await come(session)
        turn = await turn_of(session, who, 1)
        async with held(database_url, lambda s: take(s, turn), undo=undo) as claiming:
            cancelling = meanwhile(cancel(session, seq))
            await until_locked(database_url)
        assert await claiming == [seq]
        assert await cancelling == ("ENQUEUED" if undo else "PENDING")
        assert await status(session, seq) == "CANCELLED"
        assert await rows(session, "SELECT fenced FROM towpath.running") == ([] if undo else [(True,)])
        if not undo:
            assert await end(session, who, (seq, 1)) == {(seq, 1)}
        assert await rows(session, "SELECT seq FROM towpath.running") == []
        assert await status(session, seq) == "CANCELLED"

    on(database_url, WAYS[way], body)


@pytest.mark.parametrize("undo", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_a_claim_that_meets_a_cancel(database_url: str, way: str, *, undo: bool) -> None:
    """It passes over what is being cancelled, and waits for nobody; a key whose head that is stays shut."""

    async def body(session: AsyncSession) -> None:
        first, second = await seqs_of(session, *[options_of(WAYS[way])] * 2)
        who = await come(session)
        async with held(database_url, lambda s: cancel(s, first), undo=undo) as cancelling:
            began = await claim(session, who, 1)
            assert began == ([] if way == "keyed" else [second])
        assert await cancelling == "ENQUEUED"
        for seq in began:
            await end(session, who, (seq, 1))
        expected = {False: [second], True: [first]}[undo] if way in ("keyed", "free", "gated") else []
        if way in ("free", "gated") and not undo:
            expected = []
        assert await claim(session, who, 1) == expected

    on(database_url, WAYS[way], body)


def test_a_head_that_is_being_changed_closes_its_key_and_stalls_nobody(database_url: str) -> None:
    """Forty keys whose heads a caller's open transaction moves; the key behind them all is served."""

    async def body(session: AsyncSession) -> None:
        keys = [f"k{n:02}" for n in range(40)]
        heads = await seqs_of(session, *[{"partition_key": k, "priority": 5} for k in keys])
        await seqs_of(session, *[{"partition_key": k} for k in keys])
        (free,) = await seqs_of(session, {"partition_key": "z"})
        who = await come(session)

        async def move(own: Session) -> None:
            calls = [(SCHEMA["set_priority"], {"seq": seq, "priority": 6}) for seq in heads]
            await own.run(*calls)

        async with held(database_url, move):
            assert await claim(session, who, 1) == [free]
        assert await claim(session, who, 40) == heads

    on(database_url, KEYED, body)


# -- settings


@pytest.mark.parametrize("wanted", [WAYS["gated"], WAYS["limited"], QueueSettings(worker_concurrency=1)])
def test_a_limit_that_comes_while_a_claim_is_under_way(
    database_url: str, wanted: QueueSettings
) -> None:
    """It waits for the claim; whoever claims next sees the places and the settings."""

    async def body(session: AsyncSession) -> None:
        await seqs_of(session, *[{}] * 9)
        who = await come(session)
        turn = await turn_of(session, who, 3)
        async with held(database_url, lambda s: take(s, turn)) as claiming:
            async with opened(database_url) as other:
                declaring = meanwhile(queues.declare(other, SCHEMA, MAIL, wanted))
                await until_locked(database_url)
                late = meanwhile(take(session, turn))
                await until_locked(database_url, 2)
                claiming.get_loop().call_soon(lambda: None)
                assert not declaring.done()
                held_open = (declaring, late)
                # what waits goes on in the order in which it came
                await asyncio.shield(_let_go(claiming, held_open))
        assert len(await claiming) == 3

    on(database_url, UNLIMITED, body)
