"""Ends that meet: code that stops while its workflow is cancelled, resumed, deleted or recovered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.store.acts import (
    KEYED,
    cancel,
    claim,
    come,
    end,
    forget,
    hand_back,
    meanwhile,
    on,
    options_of,
    resume,
    rows,
    seqs_of,
    status,
)
from tests.store.holding import SCHEMA, held, until_locked
from towpath.domain.ids import Seq, WorkerId
from towpath.domain.queue import UNLIMITED, QueueSettings
from towpath.store import workers
from towpath.store.session import AsyncSession, Session

Verb = Callable[[Session], Awaitable[Any]]
QUEUES = pytest.mark.parametrize("settings", [UNLIMITED, KEYED], ids=["free", "keyed"])
ENDS = pytest.mark.parametrize("how", ["completes", "is handed back", "stops with its worker"])
UNDO = pytest.mark.parametrize("undo", [False, True])


def end_of(how: str, who: WorkerId, seq: Seq) -> Verb:
    """Return the way in which an attempt ends."""
    verbs: dict[str, Verb] = {
        "completes": lambda s: end(s, who, (seq, 1)),
        "is handed back": lambda s: hand_back(s, who, (seq, 1)),
        "stops with its worker": lambda s: workers.end_own_lease(s, SCHEMA, who),
    }
    return verbs[how]


async def begun(session: AsyncSession, settings: QueueSettings) -> tuple[WorkerId, Seq]:
    """Return a worker and the one workflow that it runs."""
    who = await come(session)
    (seq,) = await seqs_of(session, options_of(settings))
    assert await claim(session, who, 1) == [seq]
    return who, seq


async def attempts(session: AsyncSession) -> list[tuple[Seq, int]]:
    """Claim all there is, by a new worker, and return the attempts."""
    await claim(session, await come(session), 9)
    return [(s, n) for s, n in await rows(session, "SELECT seq, attempt FROM towpath.running")]


@QUEUES
@ENDS
@UNDO
def test_resume_while_fenced_code_ends(
    database_url: str, settings: QueueSettings, how: str, *, undo: bool
) -> None:
    """It waits for the end, and puts the workflow in line itself; or the place, where it stays, does."""

    async def body(session: AsyncSession) -> None:
        who, seq = await begun(session, settings)
        assert await cancel(session, seq) == "PENDING"
        async with held(database_url, end_of(how, who, seq), undo=undo):
            resuming = meanwhile(resume(session, seq))
            await until_locked(database_url)
        assert await resuming is None
        assert await status(session, seq) == "ENQUEUED"
        if undo:
            assert await attempts(session) == [(seq, 1)]
            await end_of(how, who, seq)(session)
        assert await attempts(session) == [(seq, 2)]

    on(database_url, settings, body)


@QUEUES
@ENDS
@UNDO
def test_fenced_code_ends_while_it_is_resumed(
    database_url: str, settings: QueueSettings, how: str, *, undo: bool
) -> None:
    """The end waits for the resume, and puts the workflow in line; or leaves it cancelled."""

    async def body(session: AsyncSession) -> None:
        who, seq = await begun(session, settings)
        assert await cancel(session, seq) == "PENDING"
        async with held(database_url, lambda s: resume(s, seq), undo=undo):
            ending = meanwhile(end_of(how, who, seq)(session))
            await until_locked(database_url)
        await ending
        assert await status(session, seq) == ("CANCELLED" if undo else "ENQUEUED")
        assert await attempts(session) == ([] if undo else [(seq, 2)])

    on(database_url, settings, body)


@QUEUES
@ENDS
@UNDO
def test_cancel_while_code_ends(
    database_url: str, settings: QueueSettings, how: str, *, undo: bool
) -> None:
    """It waits for the end, and cancels what has not ended."""

    async def body(session: AsyncSession) -> None:
        who, seq = await begun(session, settings)
        async with held(database_url, end_of(how, who, seq), undo=undo):
            cancelling = meanwhile(cancel(session, seq))
            await until_locked(database_url)
        was = "PENDING" if undo else None if how == "completes" else "ENQUEUED"
        assert await cancelling == was
        assert await status(session, seq) == ("CANCELLED" if was else "SUCCESS")
        assert await attempts(session) == ([(seq, 1)] if undo else [])

    on(database_url, settings, body)


@QUEUES
@ENDS
@UNDO
def test_code_ends_while_it_is_cancelled(
    database_url: str, settings: QueueSettings, how: str, *, undo: bool
) -> None:
    """The end waits, and writes nothing where the workflow was cancelled."""

    async def body(session: AsyncSession) -> None:
        who, seq = await begun(session, settings)
        async with held(database_url, lambda s: cancel(s, seq), undo=undo):
            ending = meanwhile(end_of(how, who, seq)(session))
            await until_locked(database_url)
        await ending
        kept = "SUCCESS" if how == "completes" else "ENQUEUED"
        assert await status(session, seq) == (kept if undo else "CANCELLED")
        left = undo and how != "completes"
        assert await attempts(session) == ([(seq, 2)] if left else [])

    on(database_url, settings, body)


@QUEUES
@UNDO
def test_delete_while_it_is_resumed(
    database_url: str, settings: QueueSettings, *, undo: bool
) -> None:
    """It waits for the resume; nothing of the workflow is left in any line or place."""

    async def body(session: AsyncSession) -> None:
        (seq,) = await seqs_of(session, options_of(settings))
        await cancel(session, seq)
        async with held(database_url, lambda s: resume(s, seq), undo=undo):
            deleting = meanwhile(forget(session, seq))
            await until_locked(database_url)
        assert await deleting
        await nothing_is_left(session)

    on(database_url, settings, body)


@QUEUES
@UNDO
def test_resume_while_it_is_deleted(
    database_url: str, settings: QueueSettings, *, undo: bool
) -> None:
    """It waits, and says that there is no such workflow."""

    async def body(session: AsyncSession) -> None:
        (seq,) = await seqs_of(session, options_of(settings))
        await cancel(session, seq)
        async with held(database_url, lambda s: forget(s, seq), undo=undo):
            resuming = meanwhile(resume(session, seq))
            await until_locked(database_url)
        assert await resuming == (None if undo else "gone")
        if undo:
            assert await attempts(session) == [(seq, 1)]
        else:
            await nothing_is_left(session)

    on(database_url, settings, body)


@QUEUES
@ENDS
@pytest.mark.parametrize("resumed", [False, True])
def test_delete_while_fenced_code_ends(
    database_url: str, settings: QueueSettings, how: str, *, resumed: bool
) -> None:
    """Either way nothing of the workflow is left."""

    async def body(session: AsyncSession) -> None:
        who, seq = await begun(session, settings)
        await cancel(session, seq)
        if resumed:
            await resume(session, seq)
        async with held(database_url, end_of(how, who, seq)):
            deleting = meanwhile(forget(session, seq))
            if resumed:
                await until_locked(database_url)
        assert await deleting
        await nothing_is_left(session)

    on(database_url, settings, body)


@QUEUES
@ENDS
def test_code_ends_while_its_workflow_is_deleted(
    database_url: str, settings: QueueSettings, how: str
) -> None:
    """Its place is free afterwards, and nothing is left."""

    async def body(session: AsyncSession) -> None:
        who, seq = await begun(session, settings)
        async with held(database_url, lambda s: forget(s, seq)):
            ending = meanwhile(end_of(how, who, seq)(session))
            await until_locked(database_url)
        await ending
        await nothing_is_left(session)

    on(database_url, settings, body)


async def nothing_is_left(session: AsyncSession) -> None:
    """No line, no place, no result, no held id."""
    for table in ("workflow", "parked", "ready", "running", "result", "deduplication"):
        assert await rows(session, f"SELECT * FROM towpath.{table}") == [], table  # noqa: S608 - ours
