"""What tests of the store do with one queue, `mail`, in short."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from tests.store.holding import SCHEMA
from towpath.domain.ids import QueueName, Seq, WorkerId, WorkflowId, WorkflowName
from towpath.domain.status import WorkflowStatus
from towpath.store import claims, enqueue, queues, workers
from towpath.store.session import Session

MAIL, SEND = QueueName("mail"), WorkflowName("send")


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
    """Register a worker of `mail` that knows `send` alone."""
    who = workers.WorkerIdentity(
        name="w", pool=None, pod_uid=None, node=None, version=version, library="0", code_hash="",
        slots=10, queues=[MAIL], names=[SEND], max_recoveries=[100],
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
    return claims.Turn(worker=who, names=[SEND], versions=versions, claims=[request])


async def take(session: Session, turn: claims.Turn) -> list[Seq]:
    """Take a turn and return the seqs that it claimed."""
    result = await claims.take_turn(session, SCHEMA, turn)
    return [c.seq for c in result.claimed[MAIL]]


async def claim(
    session: Session, who: WorkerId, limit: int, *, versions: Sequence[str] = ("",)
) -> list[Seq]:
    """Claim under the settings of this moment."""
    return await take(session, await turn_of(session, who, limit, versions=versions))


async def end(session: Session, who: WorkerId, *ended: tuple[Seq, int]) -> frozenset[tuple[Seq, int]]:
    """Write that attempts succeeded; return the stale ones."""
    outcomes = [claims.Outcome(s, n, MAIL, WorkflowStatus.SUCCESS, "null") for s, n in ended]
    turn = claims.Turn(worker=who, names=[SEND], outcomes=outcomes)
    return (await claims.take_turn(session, SCHEMA, turn)).stale


async def rows(session: Session, statement: str, **parameters: Any) -> list[tuple[Any, ...]]:
    """Run a statement of the test's own."""
    return list((await session.run((statement.encode(), parameters)))[0])


async def status(session: Session, seq: Seq) -> str | None:
    """Return a workflow's status."""
    ((found,),) = await rows(session, "SELECT towpath.status_of(%(seq)s)", seq=seq)
    return found


async def cancel(session: Session, seq: Seq) -> str | None:
    """Cancel; return the status that it had."""
    (answer,) = await session.run((SCHEMA["cancel"], {"seqs": [seq]}))
    return answer[0][1]


async def resume(session: Session, seq: Seq) -> str | None:
    """Resume; return None, or the status that is left as it is."""
    (answer,) = await session.run((SCHEMA["resume"], {"seq": seq}))
    return answer[0][0]


async def forget(session: Session, seq: Seq) -> bool:
    """Delete."""
    (answer,) = await session.run((SCHEMA["forget"], {"seq": seq}))
    return bool(answer[0][0])


def chosen(name: str) -> dict[str, Any]:
    """Return the option of a chosen id."""
    return {"chosen_id": WorkflowId(name)}
