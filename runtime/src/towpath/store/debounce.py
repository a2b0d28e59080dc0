"""Debouncing: one workflow a key that waits, whose input each call replaces and whose start it puts off."""

from __future__ import annotations

from dataclasses import dataclass

from towpath.domain.errors import EnqueueOptionError
from towpath.store.enqueue import Enqueued, NewItem, NewWorkflows, ParentStep, Refused, answer_of
from towpath.store.session import Session
from towpath.store.statements import Statements


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounce:
    """How an enqueue is debounced.

    Attributes:
        key: Of one queue and one workflow name.
        delay_seconds: How long after the last call the workflow joins the line.
        at_most_seconds: How long after the first call at the latest.
    """

    key: str
    delay_seconds: float
    at_most_seconds: float


def check_alone(item: NewItem, connection: object) -> None:
    """Raise where an option says otherwise which workflow it is, when it starts, or where it commits.

    Raises:
        EnqueueOptionError: naming the option.
    """
    options = {
        "workflow_id": item.chosen_id,
        "deduplication_id": item.deduplication_id,
        "delay_seconds": item.delay_seconds,
        "start_at": item.start_at,
        "connection": connection,
    }
    for field, value in options.items():
        if value is not None:
            raise EnqueueOptionError(
                queue_name=None, field=field, value=value, allowed="none beside debounce"
            )


async def bounce(
    session: Session,
    statements: Statements,
    new: NewWorkflows,
    how: Bounce,
    *,
    parent: ParentStep | None = None,
) -> list[Enqueued] | Refused:
    """Give the one new item to the key's workflow that is DELAYED, or make one of it.

    With a parent, this and the parent's step record are one transaction.
    """
    (item,) = new.items
    parameters = {
        "queue": new.queue,
        "name": new.name,
        "codec": new.codec,
        "version": new.version,
        "input": item.input,
        "secret": item.secret,
        "priority": item.priority,
        "key": item.partition_key,
        "bounce_key": how.key,
        "delay": how.delay_seconds,
        "at_most": how.at_most_seconds,
        "parent": parent and parent.seq,
        "attempt": parent and parent.attempt,
        "position": parent and parent.position,
        "timeout": item.timeout_seconds,
    }
    (rows,) = await session.run((statements["bounce"], parameters))
    return answer_of(new, rows)
