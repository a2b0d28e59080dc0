"""Messages to workflows, and the events and streams that they publish."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from towpath.domain.ids import Seq
from towpath.store.session import Session
from towpath.store.statements import Statements


@dataclass(frozen=True, slots=True)
class Act:
    """Where a workflow does something: at a position of an attempt, or in a step (no position)."""

    seq: Seq
    attempt: int
    position: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMessage:
    """A message that is encoded. `idempotency_key`: a second one with the same is dropped."""

    workflow_id: str
    topic: str
    codec: str
    value: str
    idempotency_key: str | None


@dataclass(frozen=True, slots=True)
class StreamPart:
    """What was written to a stream after a place.

    `values` ends with None where the stream was closed; `ended`: the workflow has ended, nothing more
    comes after what is here.
    """

    last: int
    values: Sequence[str | None]
    ended: bool


async def send(
    session: Session, statements: Statements, message: NewMessage, *, at_commit: bool
) -> str:
    """Put a message before a workflow: `sent`, `duplicate`, or `gone`.

    `at_commit`: in a transaction of the caller's, which may stay open.
    """
    parameters = {**_message(message), "at_commit": at_commit}
    (rows,) = await session.run((statements["send"], parameters))
    return rows[0][0] or "gone"


async def send_from_workflow(
    session: Session, statements: Statements, act: Act, message: NewMessage
) -> str:
    """As `send`, once, with the record of the step; also `stale`, or `done` (the answer was lost)."""
    parameters = {**_message(message), **_act(act)}
    (rows,) = await session.run((statements["send_from_workflow"], parameters))
    return rows[0][0] or "gone"


async def set_event(
    session: Session, statements: Statements, act: Act, key: str, codec: str, value: str
) -> str | None:
    """Set an event once, with the record of the step; None, `stale` or `done`."""
    parameters = {**_act(act), "key": key, "codec": codec, "value": value}
    (rows,) = await session.run((statements["set_event"], parameters))
    outcome: str | None = rows[0][0]
    return outcome


async def write_stream(
    session: Session, statements: Statements, act: Act, key: str, codec: str, value: str | None
) -> str | None:
    """Write to a stream, or close it where the value is None; None, `stale`, `done` or `closed`."""
    parameters = {**_act(act), "key": key, "codec": codec, "value": value}
    (rows,) = await session.run((statements["write_stream"], parameters))
    outcome: str | None = rows[0][0]
    return outcome


async def read_stream(
    session: Session, statements: Statements, seq: Seq, key: str, after: int
) -> StreamPart | None:
    """Return what was written after a place, of at most 1,000 values; None where there is no workflow."""
    parameters = {"seq": seq, "key": key, "after": after}
    (rows,) = await session.run((statements["read_stream"], parameters))
    if not rows:
        return None
    values = [row for row in rows if row[0] is not None]
    return StreamPart(values[-1][0] if values else after, [v[1] for v in values], rows[0][2])


def _act(act: Act) -> dict[str, object]:
    return {"seq": act.seq, "attempt": act.attempt, "position": act.position}


def _message(message: NewMessage) -> dict[str, object]:
    return {
        "id": message.workflow_id,
        "topic": message.topic,
        "codec": message.codec,
        "value": message.value,
        "idempotency_key": message.idempotency_key,
    }
