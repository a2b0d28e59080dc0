"""Managing workflows by their ids: cancel, resume, retry, fork, delete, change what waits."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any, Unpack

from towpath.api.handle import WorkflowHandle, WorkflowHandleAsync
from towpath.api.listing import ListsWorkflows
from towpath.api.options import EnqueueOptions, check_delay, check_options, check_priority
from towpath.domain.errors import ConfigurationError, WorkflowFilterError, WorkflowStatusError
from towpath.domain.ids import check_chosen_id
from towpath.domain.queue import check_queue_name
from towpath.domain.status import WorkflowStatus
from towpath.domain.workflow_filter import FilterOptions, make_filter
from towpath.executor.context import refuse_blocking
from towpath.executor.engine import Engine
from towpath.insights import forking, retrying
from towpath.insights.forking import Fork
from towpath.store import managing, workflows
from towpath.store.enqueue import Enqueued
from towpath.store.lending import Verb
from towpath.store.managing import Cancelled
from towpath.store.session import Session

logger = logging.getLogger("towpath.api")

_ENDED_FOR_GOOD = (WorkflowStatus.SUCCESS, WorkflowStatus.ERROR)


class ManagesWorkflows(ListsWorkflows):
    """What may be done to workflows by their ids; an App and a Client do it."""

    def cancel_workflow(self, workflow_id: str, *, cascade: bool = False) -> Cancelled:
        """Cancel a workflow: one that waits never starts, running code ends at its next step boundary.

        Its place in the queue's concurrency is kept until the code has really ended.

        Args:
            workflow_id: Its id.
            cascade: Also cancel all that it has started, and they have, in the same transaction;
                those of them that have ended stay as they are.

        Returns:
            What was done: the status that it had, and how many children were cancelled. One that was
            cancelled, or given up, before is left as it is.

        Raises:
            WorkflowNotFoundError: there is none of this id.
            WorkflowStatusError: it ended with SUCCESS or ERROR; nothing is changed.
        """
        refuse_blocking("cancel_workflow", "cancel_workflow_async(...)")
        return self.engine.run(_cancel(self.engine, workflow_id, cascade=cascade))

    async def cancel_workflow_async(self, workflow_id: str, *, cascade: bool = False) -> Cancelled:
        """As `cancel_workflow`, awaited from any loop."""
        return await self.engine.run_async(_cancel(self.engine, workflow_id, cascade=cascade))

    def resume_workflow(self, workflow_id: str) -> WorkflowHandle[Any]:
        """Put a cancelled or given-up workflow at the end of its queue's line; its steps are kept.

        One that has not ended is left as it is.

        Raises:
            WorkflowNotFoundError: there is none of this id.
            WorkflowStatusError: it ended with SUCCESS or ERROR.
        """
        refuse_blocking("resume_workflow", "resume_workflow_async(...)")
        return self._handle(self.engine.run(_resume(self.engine, workflow_id)))

    async def resume_workflow_async(self, workflow_id: str) -> WorkflowHandleAsync[Any]:
        """As `resume_workflow`, awaited from any loop."""
        return self._handle_async(await self.engine.run_async(_resume(self.engine, workflow_id)))

    def retry_workflow(self, workflow_id: str) -> WorkflowHandle[Any]:
        """Put a failed workflow at the end of its queue's line: it goes on from the step that failed.

        Its id and its recorded successes stay; the record of the step whose error it ended with is
        dropped. An error that it raised anew from a step's stays recorded with that step: fork it from
        there. One that has not ended is left as it is.

        Raises:
            WorkflowNotFoundError: there is none of this id.
            WorkflowStatusError: it ended otherwise.
        """
        refuse_blocking("retry_workflow", "retry_workflow_async(...)")
        return self._handle(self.engine.run(_retry(self.engine, workflow_id)))

    async def retry_workflow_async(self, workflow_id: str) -> WorkflowHandleAsync[Any]:
        """As `retry_workflow`, awaited from any loop."""
        return self._handle_async(await self.engine.run_async(_retry(self.engine, workflow_id)))

    def retry_workflows(self, *, limit: int | None = None, **filters: Unpack[FilterOptions]) -> int:
        """Retry failed workflows, oldest first, in batches of 100; return how many went in line.

        Args:
            limit: At most so many; None retries all.
            filters: As those of `list_workflows`; the status is ERROR.

        Raises:
            WorkflowFilterError: naming the filter that cannot be one.
        """
        refuse_blocking("retry_workflows", "retry_workflows_async(...)")
        return self.engine.run(_retry_many(self.engine, filters, limit))

    async def retry_workflows_async(
        self, *, limit: int | None = None, **filters: Unpack[FilterOptions]
    ) -> int:
        """As `retry_workflows`, awaited from any loop."""
        return await self.engine.run_async(_retry_many(self.engine, filters, limit))

    def fork_workflow(
        self,
        workflow_id: str,
        from_step: str | int,
        *,
        queue_name: str | None = None,
        app_version: str | None = None,
        new_workflow_id: str | None = None,
    ) -> WorkflowHandle[Any]:
        """Enqueue a new workflow with another's input, and with what it recorded before a step.

        The other one stays as it is, whatever its status. Priority and partition key are kept, a
        timeout is not. Where something was recorded before the step, the fork's first attempt is 2.

        Args:
            workflow_id: The workflow that is forked.
            from_step: The position of the first step that runs anew, as `list_workflow_steps` shows
                it; "start", or 1, runs all of them anew.
            queue_name: The queue of the fork; the workflow's own unless given.
            app_version: The application version that alone may run the fork; any unless given.
            new_workflow_id: The id of the fork; generated unless given. The same again is the same fork.

        Raises:
            WorkflowNotFoundError: there is no workflow of this id.
            StepNotFoundError: it has recorded no such step; the error names those that it has.
            ConfigurationError: the step belongs to a concurrent branch.
            WorkflowIdConflictError: the new id is in use.
            TowpathError: the queue refuses it, as `Queue.enqueue`.
        """
        refuse_blocking("fork_workflow", "fork_workflow_async(...)")
        asked = _fork_of(
            self.engine, workflow_id, from_step, queue_name, app_version, new_workflow_id
        )
        made = self.engine.run(_fork(self.engine, asked))
        return WorkflowHandle(lambda: self.engine, made.workflow_id, made.seq)

    async def fork_workflow_async(
        self,
        workflow_id: str,
        from_step: str | int,
        *,
        queue_name: str | None = None,
        app_version: str | None = None,
        new_workflow_id: str | None = None,
    ) -> WorkflowHandleAsync[Any]:
        """As `fork_workflow`, awaited from any loop."""
        asked = _fork_of(
            self.engine, workflow_id, from_step, queue_name, app_version, new_workflow_id
        )
        made = await self.engine.run_async(_fork(self.engine, asked))
        return WorkflowHandleAsync(lambda: self.engine, made.workflow_id, made.seq)

    def delete_workflow(self, workflow_id: str) -> None:
        """Delete a workflow and all that it recorded; one that has not ended is cancelled first.

        Raises:
            WorkflowNotFoundError: there is none of this id.
        """
        refuse_blocking("delete_workflow", "delete_workflow_async(...)")
        self.engine.run(_delete(self.engine, workflow_id))

    async def delete_workflow_async(self, workflow_id: str) -> None:
        """As `delete_workflow`, awaited from any loop."""
        await self.engine.run_async(_delete(self.engine, workflow_id))

    def set_priority(self, workflow_id: str, priority: int) -> None:
        """Change the priority of a workflow that waits (1 to 2,147,483,647, higher is more urgent).

        Raises:
            WorkflowNotFoundError: there is none of this id.
            WorkflowStatusError: it has begun, or has ended.
            EnqueueOptionError: out of range, or its queue has no priority.
        """
        refuse_blocking("set_priority", "set_priority_async(...)")
        self.engine.run(_set_priority(self.engine, workflow_id, priority))

    async def set_priority_async(self, workflow_id: str, priority: int) -> None:
        """As `set_priority`, awaited from any loop."""
        await self.engine.run_async(_set_priority(self.engine, workflow_id, priority))

    def set_delay(
        self,
        workflow_id: str,
        *,
        delay_seconds: float | None = None,
        start_at: datetime | None = None,
    ) -> None:
        """Change when a delayed workflow joins the line: in so many seconds, or at a date.

        Raises:
            WorkflowNotFoundError: there is none of this id.
            WorkflowStatusError: it is not DELAYED.
            EnqueueOptionError: out of range, or both are given.
        """
        refuse_blocking("set_delay", "set_delay_async(...)")
        self.engine.run(_set_delay(self.engine, workflow_id, delay_seconds, start_at))

    async def set_delay_async(
        self,
        workflow_id: str,
        *,
        delay_seconds: float | None = None,
        start_at: datetime | None = None,
    ) -> None:
        """As `set_delay`, awaited from any loop."""
        verb = _set_delay(self.engine, workflow_id, delay_seconds, start_at)
        await self.engine.run_async(verb)


def _cancel(engine: Engine, workflow_id: str, *, cascade: bool) -> Verb[Cancelled]:
    """Cancel a workflow; it is no error that it was cancelled or given up before, and it is said."""

    async def verb(session: Session) -> Cancelled:
        done = await managing.cancel(session, engine.statements, workflow_id, cascade=cascade)
        if not done.changed:
            _say("workflow has ended; it is not cancelled", workflow_id, done.was)
        return done

    return verb


def _resume(engine: Engine, workflow_id: str) -> Verb[workflows.Located]:
    """Put a cancelled or given-up workflow in line again; one that has not ended is left as it is."""

    async def verb(session: Session) -> workflows.Located:
        status = await managing.resume(session, engine.statements, workflow_id)
        if status in _ENDED_FOR_GOOD:
            raise WorkflowStatusError(
                workflow_id=workflow_id,
                status=status,
                verb="resume",
                allowed="CANCELLED and MAX_RECOVERY_ATTEMPTS_EXCEEDED workflows",
            )
        if status is not None:
            _say("workflow has not ended; it is not resumed", workflow_id, status)
        return await workflows.locate(session, engine.statements, workflow_id)

    return verb


def _retry(engine: Engine, workflow_id: str) -> Verb[workflows.Located]:
    """Put a failed workflow in line again; one that has not ended is left as it is."""

    async def verb(session: Session) -> workflows.Located:
        status = await retrying.retry(session, engine.statements, workflow_id)
        if status is not None and status.ended:
            raise WorkflowStatusError(
                workflow_id=workflow_id, status=status, verb="retry", allowed="ERROR workflows"
            )
        if status is not None:
            _say("workflow has not ended; it is not retried", workflow_id, status)
        return await workflows.locate(session, engine.statements, workflow_id)

    return verb


def _retry_many(engine: Engine, filters: FilterOptions, limit: int | None) -> Verb[int]:
    """Retry what filters let through."""
    if limit is not None and (type(limit) is not int or limit < 1):
        raise WorkflowFilterError(field="limit", value=limit, allowed="an int of 1 or more")
    status = filters.get("status")
    if status not in (None, "ERROR"):
        raise WorkflowFilterError(field="status", value=status, allowed="ERROR, or none")
    asked = make_filter({**filters, "status": WorkflowStatus.ERROR})
    return lambda session: retrying.retry_many(session, engine.statements, asked, limit)


def _fork_of(
    engine: Engine,
    workflow_id: str,
    from_step: str | int,
    queue_name: str | None,
    app_version: str | None,
    new_workflow_id: str | None,
) -> Fork:
    """Check what a fork asks for."""
    check_options(EnqueueOptions(app_version=app_version))
    return Fork(
        workflow_id=workflow_id,
        from_step=from_step,
        queue_name=None if queue_name is None else check_queue_name(queue_name),
        app_version=app_version,
        new_workflow_id=None if new_workflow_id is None else check_chosen_id(new_workflow_id),
        secret=engine.new_secret(),
    )


def _fork(engine: Engine, asked: Fork) -> Verb[Enqueued]:
    """Enqueue a fork."""
    return lambda session: forking.fork(session, engine.statements, asked)


def _say(what: str, workflow_id: str, status: WorkflowStatus) -> None:
    logger.info(what, extra={"workflow_id": workflow_id, "status": status.value})


def _delete(engine: Engine, workflow_id: str) -> Verb[None]:
    """Delete a workflow and all that it recorded."""
    return lambda session: managing.forget(session, engine.statements, workflow_id)


def _set_priority(engine: Engine, workflow_id: str, priority: int) -> Verb[None]:
    """Change the priority of a workflow that waits."""
    check_priority(priority)
    if priority is None:
        raise ConfigurationError("priority is None; allowed is an int from 1 to 2147483647.")
    return lambda session: managing.set_priority(session, engine.statements, workflow_id, priority)


def _set_delay(
    engine: Engine, workflow_id: str, delay_seconds: float | None, start_at: datetime | None
) -> Verb[None]:
    """Change when a delayed workflow joins the line."""
    check_delay(delay_seconds, start_at)
    if delay_seconds is None and start_at is None:
        raise ConfigurationError("set_delay needs delay_seconds= or start_at=.")
    return lambda session: managing.set_delay(
        session, engine.statements, workflow_id, delay_seconds=delay_seconds, start_at=start_at
    )
