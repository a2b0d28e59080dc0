"""Where workflows stand, as values that people and programs read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from towpath.codec import (
    Codec,
    ValueNotDecodableError,
    as_recorded,
    codec_for,
    decode_failure,
)
from towpath.domain.status import WorkflowStatus
from towpath.domain.workflow_filter import Page, WorkflowFilter
from towpath.insights.waits import what_for
from towpath.store import workflows
from towpath.store.insights import SeenWait
from towpath.store.session import Session
from towpath.store.statements import Statements
from towpath.store.waits import WaitKind


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitInfo:
    """Something that a workflow waits for.

    Attributes:
        kind: `time`, `message`, `event` or `end`.
        topic: The topic of a message, the key of an event; None for others.
        workflow_id: The workflow whose event or end it is; None for others, and where that was deleted.
        until: When the wait is over in any case; None: never.
    """

    kind: str
    topic: str | None
    workflow_id: str | None
    until: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowInfo:
    """A workflow at one moment.

    Attributes:
        status: A str that prints `ENQUEUED`, `PENDING`, `SUCCESS`, ...
        args: The positional arguments.
        kwargs: The keyword arguments.
        result: What it returned; None until it has.
        error: What it raised, as `Type: message`, or why it was cancelled or given up.
        attempt: How often it was handed to a worker; 0 before the first time.
        worker: The worker that has it in memory now, to run or to wait.
        waits: What a PENDING one waits for, of several branches the first four; empty where it runs.
        waits_for: The same in words; None where it runs.
        asleep: Whether it waits and no worker has it in memory.
        priority: Higher is more urgent; None is least urgent.
        due_at: When a DELAYED one joins the line.
        app_version: The application version that alone may run it; empty for any.
        deadline: When it is cancelled unless it has ended; None before its first start.
        parent_workflow_id: The workflow that started it; None also where that was deleted.
        forked_from: The workflow that it was forked from; None also where that was deleted.
    """

    workflow_id: str
    name: str
    queue_name: str
    status: WorkflowStatus
    args: Sequence[Any]
    kwargs: dict[str, Any]
    result: Any
    error: str | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    attempt: int
    worker: str | None
    waits: Sequence[WaitInfo]
    waits_for: str | None
    asleep: bool
    priority: int | None
    queue_partition_key: str | None
    deduplication_id: str | None
    due_at: datetime | None
    app_version: str
    deadline: datetime | None
    parent_workflow_id: str | None
    forked_from: str | None


async def get(
    session: Session, statements: Statements, codec: Codec, workflow_id: str
) -> WorkflowInfo:
    """Return where a workflow stands.

    Raises:
        WorkflowNotFoundError: there is none of that id.
    """
    return _info(codec, await workflows.get(session, statements, workflow_id))


async def list_workflows(
    session: Session,
    statements: Statements,
    codec: Codec,
    asked: WorkflowFilter,
    page: Page,
) -> list[WorkflowInfo]:
    """Return a page of the workflows that a filter lets through.

    What is not asked to be read is empty: no arguments, no result and no error.

    Raises:
        WorkflowNotFoundError: the one that the page follows is not there any more.
    """
    rows = await workflows.list_workflows(session, statements, asked, page)
    return [_info(codec, row) for row in rows]


def _info(codec: Codec, row: workflows.WorkflowRow) -> WorkflowInfo:
    args, kwargs = _input(codec, row)
    result, error = _ending(codec, row)
    return WorkflowInfo(
        workflow_id=row.workflow_id,
        name=row.name,
        queue_name=row.queue,
        status=row.status,
        args=args,
        kwargs=kwargs,
        result=result,
        error=error,
        created_at=row.created_at,
        started_at=row.started_at,
        completed_at=row.completed_at,
        attempt=row.attempt,
        worker=row.worker,
        waits=[_wait(wait) for wait in row.waits],
        waits_for=what_for(row.waits) if row.waits else None,
        asleep=row.asleep,
        priority=row.priority,
        queue_partition_key=row.partition_key,
        deduplication_id=row.deduplication_id,
        due_at=row.due,
        app_version=row.version,
        deadline=row.deadline,
        parent_workflow_id=row.parent,
        forked_from=row.forked_from,
    )


def _wait(wait: SeenWait) -> WaitInfo:
    of_others = wait.kind in (WaitKind.EVENT.value, WaitKind.END.value)
    has_topic = wait.kind in (WaitKind.EVENT.value, WaitKind.MESSAGE.value)
    return WaitInfo(
        kind=wait.kind,
        topic=wait.topic if has_topic else None,
        workflow_id=wait.of if of_others else None,
        until=wait.due,
    )


def _input(codec: Codec, row: workflows.WorkflowRow) -> tuple[list[Any], dict[str, Any]]:
    if row.input is None:
        return [], {}
    try:
        return codec_for(row.codec, codec).decode_input(row.input)
    except ValueNotDecodableError:
        shown = as_recorded(row.input)
        if isinstance(shown, dict) and shown.keys() == {"args", "kwargs"}:
            return shown["args"], shown["kwargs"]
        return [shown], {}


def _ending(codec: Codec, row: workflows.WorkflowRow) -> tuple[Any, str | None]:
    if row.output is None:
        return None, None
    if row.status is WorkflowStatus.ERROR:
        error = decode_failure(row.output)
        return None, f"{type(error).__name__}: {error}"
    if row.status is not WorkflowStatus.SUCCESS:
        return None, json.loads(row.output)
    try:
        return codec.decode(row.output), None
    except ValueNotDecodableError:
        return as_recorded(row.output), None
