"""What tests of the store do with one queue, `mail`, in short."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import timedelta
from typing import Any

from tests.store.holding import SCHEMA, opened
from towpath.domain.ids import QueueName, Seq, WorkerId, WorkflowId, WorkflowName
from towpath.domain.queue import UNLIMITED, Limiter, QueueSettings
from towpath.domain.status import WorkflowStatus
from towpath.store import claims, enqueue, queues, workers
from towpath.store.session import AsyncSession, Session

MAIL, SEND = QueueName("mail"), WorkflowName("send")
NAMES = (SEND, WorkflowName("other"))
KEYED = QueueSettings(partition_queue=True, priority_enabled=True)
LIMITED = QueueSettings(limiter=Limiter(1, timedelta(days=1)))
WAYS = {
    "free": UNLIMITED,
    "gated": QueueSettings(concurrency=1),
    "limited": LIMITED,
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


def meanwhile(verb: Awaitable[Any]) -> asyncio.Future[Any]:
    """Begin a verb that will wait."""
    return asyncio.ensure_future(verb)


def new(*items: dict[str, Any], name: str = SEND, version: str = "") -> enqueue.NewWorkflows:
    """Return workflows that are to be enqueued, by their options."""
    return enqueue.NewWorkflows(
        queue=MAIL,
        name=WorkflowName(name),
        version=version,
        codec="json",
        items=[
            enqueue.NewItem(**{"input": "{}", "secret": n, "refuse_duplicate": False, **item})
            for n, item in enumerate(items)
        ],
    )


async def put(session: Session, *items: dict[str, Any], **of_all: str) -> list[enqueue.Enqueued]:
    """Enqueue; a duplicate is reported."""
    done = await enqueue.enqueue(session, SCHEMA, new(*items, **of_all))
    assert isinstance(done, list)
    return done


async def seqs_of(session: Session, *items: dict[str, Any], **of_all: str) -> list[Seq]:
    """Enqueue and return the seqs."""
    return [done.seq for done in await put(session, *items, **of_all)]


async def come(session: Session, *, version: str = "") -> WorkerId:
    """Register a worker of `mail`."""
    who = workers.WorkerIdentity(
        name="w", pool=None, pod_uid=None, node=None, version=version, library="0", code_hash="",
        slots=10, queues=[MAIL], names=NAMES, max_recoveries=[100, 100],
    )  # fmt: skip
    return await workers.register(session, SCHEMA, who, lease=timedelta(hours=1))


async def turn_of(
    session: Session, who: WorkerId, limit: int, *, versions: Sequence[str] = ("",)
) -> claims.Turn:
    """Return a turn that claims under the settings of this moment."""
    (stored,) = await queues.settings_of(session, SCHEMA, [MAIL])
    request = claims.ClaimRequest(
        queue=MAIL,
        limit=limit,
        revision=stored.revision,
        way=claims.way_of(stored.settings),
        ripen=True,
    )
    return claims.Turn(worker=who, names=NAMES, versions=versions, claims=[request])


async def take(session: Session, turn: claims.Turn) -> list[Seq]:
    """Take a turn and return the seqs that it claimed."""
    result = await claims.take_turn(session, SCHEMA, turn)
    return [c.seq for c in result.claimed[MAIL]]


async def claim(
    session: Session, who: WorkerId, limit: int, *, versions: Sequence[str] = ("",)
) -> list[Seq]:
    """Claim under the settings of this moment."""
    return await take(session, await turn_of(session, who, limit, versions=versions))


async def end(
    session: Session, who: WorkerId, *ended: tuple[Seq, int]
) -> frozenset[tuple[Seq, int]]:
    """Write that attempts succeeded; return the stale ones."""
    outcomes = [claims.Outcome(s, n, MAIL, WorkflowStatus.SUCCESS, "null") for s, n in ended]
    turn = claims.Turn(worker=who, names=NAMES, outcomes=outcomes)
    return (await claims.take_turn(session, SCHEMA, turn)).stale


async def rows(session: Session, statement: str, **parameters: Any) -> list[tuple[Any, ...]]:
    """Run a statement of the test's own."""
    return list((await session.run((statement.encode(), parameters)))[0])


async def answer(session: Session, statement: str, **parameters: Any) -> str | None:
    """Run a statement that returns one text, or null."""
    ((found,),) = await rows(session, statement, **parameters)
    return None if found is None else str(found)


async def status(session: Session, seq: Seq) -> str | None:
    """Return a workflow's status."""
    return await answer(session, "SELECT towpath.status_of(%(seq)s)", seq=seq)


async def cancel(session: Session, seq: Seq) -> str | None:
    """Cancel; return the status that it had."""
    return await answer(session, "SELECT was FROM towpath.cancel(ARRAY[%(seq)s::bigint])", seq=seq)


async def resume(session: Session, seq: Seq) -> str | None:
    """Resume; return None, or the status that is left as it is."""
    return await answer(session, "SELECT towpath.resume(%(seq)s)", seq=seq)


async def forget(session: Session, seq: Seq) -> bool:
    """Delete; tell whether it was there."""
    return await answer(session, "SELECT towpath.forget(%(seq)s)::text", seq=seq) == "true"


async def hand_back(session: Session, who: WorkerId, *given: tuple[Seq, int]) -> None:
    """Give attempts back."""
    await claims.take_turn(session, SCHEMA, claims.Turn(worker=who, names=NAMES, hand_back=given))


def chosen(name: str) -> dict[str, Any]:
    """Return the option of a chosen id."""
    return {"chosen_id": WorkflowId(name)}


def options_of(settings: QueueSettings) -> dict[str, Any]:
    """Return the options that an enqueue into a queue of these settings must have."""
    return {"partition_key": "a"} if settings.partition_queue else {}
