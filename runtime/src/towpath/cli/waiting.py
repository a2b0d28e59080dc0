"""Waits for a workflow's end, and says meanwhile why it does not begin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from towpath.cli.exits import CommandError
from towpath.domain.errors import (
    MaxRecoveryAttemptsExceededError,
    ResultTimeoutError,
    WorkflowCancelledError,
)
from towpath.domain.status import WorkflowStatus
from towpath.executor.outside_waits import wait_outside
from towpath.insights import workflows
from towpath.insights.explain import why_it_waits

if TYPE_CHECKING:
    from towpath.api.app import App
    from towpath.insights.workflows import WorkflowInfo

PATIENCE_SECONDS: Final = 2.0
"""After so long it is told why the workflow waits."""


def wait_for_end(app: App, workflow_id: str, timeout_seconds: float | None) -> WorkflowInfo:
    """Return a workflow that has ended.

    Raises:
        WorkflowNotFoundError: there is none of that id.
        ResultTimeoutError: it did not end in time.
    """
    info = _look(app, workflow_id)
    if info.status.ended:
        return info
    if timeout_seconds == 0:
        raise ResultTimeoutError(workflow_id=workflow_id, timeout_seconds=0)
    if timeout_seconds is not None and timeout_seconds <= PATIENCE_SECONDS:
        _wait(app, info, timeout_seconds, timeout_seconds)
        return _look(app, workflow_id)
    try:
        _wait(app, info, PATIENCE_SECONDS, timeout_seconds)
    except ResultTimeoutError:
        _say_why(app, workflow_id)
        rest = None if timeout_seconds is None else timeout_seconds - PATIENCE_SECONDS
        _wait(app, info, rest, timeout_seconds)
    return _look(app, workflow_id)


def raise_failure(info: WorkflowInfo) -> None:
    """Raise where a workflow ended in any way but success."""
    if info.status is WorkflowStatus.CANCELLED:
        raise WorkflowCancelledError(workflow_id=info.workflow_id, reason=info.error)
    if info.status is WorkflowStatus.MAX_RECOVERY_ATTEMPTS_EXCEEDED:
        raise MaxRecoveryAttemptsExceededError(workflow_id=info.workflow_id, reason=info.error)
    if info.status is WorkflowStatus.ERROR:
        raise CommandError(
            f"workflow {info.workflow_id!r} failed: {(info.error or '').rstrip('.')}. "
            f"Try: towpath workflow get {info.workflow_id}"
        )


def _wait(app: App, info: WorkflowInfo, seconds: float | None, asked: float | None) -> None:
    from towpath.store.waits import WaitKind
    from towpath.store.workflows import locate

    engine = app.engine
    found = engine.run(lambda session: locate(session, engine.statements, info.workflow_id))
    ending = wait_outside(engine, WaitKind.END, found.seq, "", seconds)
    if engine.io.submit(ending).result() is None:
        raise ResultTimeoutError(workflow_id=info.workflow_id, timeout_seconds=asked or 0)


def _say_why(app: App, workflow_id: str) -> None:
    engine = app.engine
    why = engine.run(lambda session: why_it_waits(session, engine.statements, workflow_id))
    if why is not None:
        click.echo(f"workflow {workflow_id!r} waits: {why}", err=True)


def _look(app: App, workflow_id: str) -> WorkflowInfo:
    engine = app.engine
    return engine.run(
        lambda session: workflows.get(session, engine.statements, engine.codec, workflow_id)
    )
