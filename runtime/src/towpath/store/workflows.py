"""Reading workflows: where one stands, what it returned, which there are."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from datetime import datetime

from psycopg.types.json import Jsonb

from towpath.domain.errors import InvalidWorkflowIdError, WorkflowNotFoundError
from towpath.domain.ids import (
    QueueName,
    Seq,
    WorkflowId,
    WorkflowName,
    format_generated_id,
    parse_generated_id,
    storable_text,
)
from towpath.domain.status import WorkflowStatus
from towpath.domain.workflow_filter import EVERY_WORKFLOW, Page, WorkflowFilter
from towpath.store.insights import SeenWait, read_waits
from towpath.store.session import Call, Row, Session
from towpath.store.statements import Statements

_FIRST_PAGE = Page()


@dataclass(frozen=True, slots=True)
class Located:
    """A workflow that is there."""

    seq: Seq
    workflow_id: WorkflowId
    codec: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowRow:
    """A workflow as people look at it; `input` and `output` are encoded, and None where not asked for."""

    seq: Seq
    workflow_id: WorkflowId
    queue: QueueName
    name: WorkflowName
    status: WorkflowStatus
    codec: str
    input: str | None
    output: str | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    attempt: int
    worker: str | None
    parent: WorkflowId | None
    forked_from: WorkflowId | None
    priority: int | None
    partition_key: str | None
    deduplication_id: str | None
    due: datetime | None
    version: str
    deadline: datetime | None
    waits: tuple[SeenWait, ...]
    asleep: bool


async def locate(session: Session, statements: Statements, workflow_id: str) -> Located:
    """Find a workflow by its id, generated or chosen.

    Raises:
        WorkflowNotFoundError: there is none.
        InvalidWorkflowIdError: it is not a str.
    """
    if not isinstance(workflow_id, str):
        raise InvalidWorkflowIdError(workflow_id=workflow_id, reason="it is not a str.")
    generated = parse_generated_id(workflow_id)
    call: Call
    if generated is not None:
        call = statements["locate_generated"], {"seq": generated.seq, "secret": generated.secret}
    elif storable_text(workflow_id):
        call = statements["locate_chosen"], {"id": workflow_id}
    else:
        raise WorkflowNotFoundError(workflow_id=workflow_id)
    (rows,) = await session.run(call)
    if not rows:
        raise WorkflowNotFoundError(workflow_id=workflow_id)
    seq, _, _, codec = rows[0]
    return Located(seq, WorkflowId(workflow_id), codec)


async def get(session: Session, statements: Statements, workflow_id: str) -> WorkflowRow:
    """Return where a workflow stands.

    Raises:
        WorkflowNotFoundError: there is none of that id.
    """
    located = await locate(session, statements, workflow_id)
    named = {"seqs": [located.seq], "filter": None, "limit": None}
    parameters = {**named, "load_input": True, "load_output": True}
    (rows,) = await session.run((statements["workflow_status"], parameters))
    if not rows:
        raise WorkflowNotFoundError(workflow_id=workflow_id)
    return _row(rows[0])


async def list_workflows(
    session: Session,
    statements: Statements,
    asked: WorkflowFilter = EVERY_WORKFLOW,
    page: Page = _FIRST_PAGE,
) -> list[WorkflowRow]:
    """Return a page of the workflows that a filter lets through.

    Raises:
        WorkflowNotFoundError: the one that the page follows is not there any more.
    """
    beyond = None
    if page.after is not None:
        generated = parse_generated_id(page.after)
        beyond = generated.seq if generated else (await locate(session, statements, page.after)).seq
    parameters = {
        "seqs": None,
        "filter": to_json(asked, beyond=beyond, oldest_first=page.order == "oldest"),
        "limit": page.limit,
        "load_input": page.load_input,
        "load_output": page.load_output,
    }
    (rows,) = await session.run((statements["workflow_status"], parameters))
    return [_row(row) for row in rows]


def to_json(asked: WorkflowFilter, *, beyond: Seq | None, oldest_first: bool) -> Jsonb:
    """Write a filter as the schema's `find_workflows` reads it, from behind a seq on."""
    written: dict[str, object] = {"beyond": beyond, "oldest_first": oldest_first}
    for name in (f.name for f in fields(asked)):
        value = getattr(asked, name)
        written[name] = value.isoformat() if isinstance(value, datetime) else value
    prefix = written.pop("workflow_id_prefix")
    if isinstance(prefix, str):
        literal = re.sub(r"([\\%_])", r"\\\1", prefix)
        # generated ids are in no index: they are looked through only for a prefix that they may have
        written["id_pattern"], written["any_id"] = f"{literal}%", prefix[:3] == "wf-"[: len(prefix)]
    return Jsonb(written)


def _row(row: Row) -> WorkflowRow:
    (
        seq, chosen_id, secret, queue, name, codec, text, created_at,
        status, output, completed_at, started_at, attempt, worker, parent, forked_from,
        priority, key, deduplication_id, due, version, deadline, waits, asleep,
    ) = row  # fmt: skip
    return WorkflowRow(
        seq=seq,
        workflow_id=chosen_id or format_generated_id(seq, secret),
        queue=queue,
        name=name,
        status=WorkflowStatus(status),
        codec=codec,
        input=text,
        output=output,
        created_at=created_at,
        started_at=started_at,
        completed_at=completed_at,
        attempt=attempt,
        worker=worker,
        parent=parent,
        forked_from=forked_from,
        priority=priority,
        partition_key=key,
        deduplication_id=deduplication_id,
        due=due,
        version=version,
        deadline=deadline,
        waits=read_waits(waits or ()),
        asleep=asleep,
    )
