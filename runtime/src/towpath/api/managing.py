"""Finding and managing workflows by their ids: look, cancel, resume, delete, change what waits."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from datetime import datetime
from typing import Any

from towpath.api.handle import WorkflowHandle, WorkflowHandleAsync
from towpath.api.options import check_delay, check_priority
from towpath.domain.errors import ConfigurationError, WorkflowStatusError
from towpath.domain.status import WorkflowStatus
from towpath.executor.context import refuse_blocking
from towpath.executor.engine import Engine
from towpath.insights import workflows as insights
from towpath.insights.workflows import WorkflowInfo
from towpath.store import workflows
from towpath.store.lending import Verb
from towpath.store.session import Session

logger = logging.getLogger("towpath.api")

_ENDED_FOR_GOOD = (WorkflowStatus.SUCCESS, WorkflowStatus.ERROR)


class ManagesWorkflows(ABC):
    """What may be done to workflows by their ids; an App and a Client do it."""

    @property
    @abstractmethod
    def engine(self) -> Engine:
        """The connections and loops of this process."""

    def retrieve_workflow(self, workflow_id: str) -> WorkflowHandle[Any]:
        """Return the handle of a workflow that is there.

        Raises:
            WorkflowNotFoundError: there is none of this id.
        """
        refuse_blocking("retrieve_workflow", "retrieve_workflow_async(...)")
        engine = self.engine
        found = engine.run(
            lambda session: workflows.locate(session, engine.statements, workflow_id)
        )
        return WorkflowHandle(lambda: self.engine, found.workflow_id, found.seq)

    async def retrieve_workflow_async(self, workflow_id: str) -> WorkflowHandleAsync[Any]:
        """As `retrieve_workflow`, awaited from any loop."""
        engine = self.engine
        found = await engine.run_async(
            lambda session: workflows.locate(session, engine.statements, workflow_id)
        )
        return WorkflowHandleAsync(lambda: self.engine, found.workflow_id, found.seq)

    def list_workflows(
        self, *, queue_name: str | None = None, name: str | None = None, limit: int = 100
    ) -> list[WorkflowInfo]:
        """Return workflows, newest first."""
        refuse_blocking("list_workflows", "asyncio.to_thread(list_workflows)")
        engine = self.engine
        return engine.run(
            lambda session: insights.list_workflows(
                session, engine.statements, engine.codec, queue=queue_name, name=name, limit=limit
            )
        )

    def cancel_workflow(self, workflow_id: str) -> None:
        """Cancel a workflow: one that waits never starts, running code ends at its next step boundary.

        Its place in the queue's concurrency is kept until the code has really ended.

        Raises:
            WorkflowNotFoundError: there is none of this id.
            WorkflowStatusError: it has ended already.
        """
        refuse_blocking("cancel_workflow", "cancel_workflow_async(...)")
        self.engine.run(_cancel(self.engine, workflow_id))

    async def cancel_workflow_async(self, workflow_id: str) -> None:
        """As `cancel_workflow`, awaited from any loop."""
        await self.engine.run_async(_cancel(self.engine, workflow_id))

    def resume_workflow(self, workflow_id: str) -> WorkflowHandle[Any]:
        """Put a cancelled or given-up workflow at the end of its queue's line; its steps are kept.

        One that has not ended is left as it is.

        Raises:
            WorkflowNotFoundError: there is none of this id.
            WorkflowStatusError: it ended with SUCCESS or ERROR.
        """
        refuse_blocking("resume_workflow", "resume_workflow_async(...)")
        found = self.engine.run(_resume(self.engine, workflow_id))
        return WorkflowHandle(lambda: self.engine, found.workflow_id, found.seq)

    async def resume_workflow_async(self, workflow_id: str) -> WorkflowHandleAsync[Any]:
        """As `resume_workflow`, awaited from any loop."""
        found = await self.engine.run_async(_resume(self.engine, workflow_id))
        return WorkflowHandleAsync(lambda: self.engine, found.workflow_id, found.seq)

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


def _cancel(engine: Engine, workflow_id: str) -> Verb[None]:
    """Cancel a workflow; it is no error that it was cancelled before."""

    async def verb(session: Session) -> None:
        if await workflows.cancel(session, engine.statements, workflow_id) is not None:
            return
        row = await workflows.get(session, engine.statements, workflow_id)
        if row.status in _ENDED_FOR_GOOD:
            raise WorkflowStatusError(
                workflow_id=workflow_id,
                status=row.status,
                verb="cancel",
                allowed="workflows that have not ended",
            )

    return verb


def _resume(engine: Engine, workflow_id: str) -> Verb[workflows.Located]:
    """Put a cancelled or given-up workflow in line again; one that has not ended is left as it is."""

    async def verb(session: Session) -> workflows.Located:
        status = await workflows.resume(session, engine.statements, workflow_id)
        if status in _ENDED_FOR_GOOD:
            raise WorkflowStatusError(
                workflow_id=workflow_id,
                status=status,
                verb="resume",
                allowed="CANCELLED and MAX_RECOVERY_ATTEMPTS_EXCEEDED workflows",
            )
        if status is not None:
            extra = {"workflow_id": workflow_id, "status": status.value}
            logger.info("workflow has not ended; it is not resumed", extra=extra)
        return await workflows.locate(session, engine.statements, workflow_id)

    return verb


def _delete(engine: Engine, workflow_id: str) -> Verb[None]:
    """Delete a workflow and all that it recorded."""
    return lambda session: workflows.forget(session, engine.statements, workflow_id)


def _set_priority(engine: Engine, workflow_id: str, priority: int) -> Verb[None]:
    """Change the priority of a workflow that waits."""
    check_priority(priority)
    if priority is None:
        raise ConfigurationError("priority is None; allowed is an int from 1 to 2147483647.")
    return lambda session: workflows.set_priority(session, engine.statements, workflow_id, priority)


def _set_delay(
    engine: Engine, workflow_id: str, delay_seconds: float | None, start_at: datetime | None
) -> Verb[None]:
    """Change when a delayed workflow joins the line."""
    check_delay(delay_seconds, start_at)
    if delay_seconds is None and start_at is None:
        raise ConfigurationError("set_delay needs delay_seconds= or start_at=.")
    return lambda session: workflows.set_delay(
        session, engine.statements, workflow_id, delay_seconds=delay_seconds, start_at=start_at
    )
