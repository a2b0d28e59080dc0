"""Looking at workflows: a handle by id, pages of those that filters let through, the steps of one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Unpack

from towpath.api.handle import WorkflowHandle, WorkflowHandleAsync
from towpath.domain.workflow_filter import FilterOptions, Order, Page, make_filter, make_page
from towpath.executor.context import refuse_blocking
from towpath.executor.engine import Engine
from towpath.insights import steps, workflows
from towpath.insights.steps import StepInfo
from towpath.insights.workflows import WorkflowInfo
from towpath.store.lending import Verb
from towpath.store.workflows import Located, locate


class ListsWorkflows(ABC):
    """What may be asked about workflows; an App and a Client answer it."""

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
        return self._handle(self.engine.run(_locate(self.engine, workflow_id)))

    async def retrieve_workflow_async(self, workflow_id: str) -> WorkflowHandleAsync[Any]:
        """As `retrieve_workflow`, awaited from any loop."""
        return self._handle_async(await self.engine.run_async(_locate(self.engine, workflow_id)))

    def list_workflows(
        self,
        *,
        limit: int = 100,
        order: Order = "newest",
        after: str | None = None,
        load_input: bool = True,
        load_output: bool = True,
        **filters: Unpack[FilterOptions],
    ) -> list[WorkflowInfo]:
        """Return a page of the workflows that every filter lets through; see `FilterOptions`.

        Ids, parents, forks, every status but SUCCESS and times cost what they find; a name or a queue
        alone is looked for from the newest (or oldest) on.

        Args:
            limit: At most so many, 1 to 10,000.
            order: "newest" or "oldest" first, by when they were enqueued.
            after: The workflow_id of the last one of the page before.
            load_input: False leaves args and kwargs empty.
            load_output: False leaves result and error empty.
            filters: `status="ERROR"`, `queue_name=["a", "b"]`, `completed_after=...`, ...

        Raises:
            WorkflowFilterError: naming the filter that cannot be one.
            WorkflowNotFoundError: the one of `after` is not there any more.
        """
        refuse_blocking("list_workflows", "list_workflows_async(...)")
        page = Page(
            limit=limit, order=order, after=after, load_input=load_input, load_output=load_output
        )
        return self.engine.run(_list(self.engine, filters, page))

    async def list_workflows_async(
        self,
        *,
        limit: int = 100,
        order: Order = "newest",
        after: str | None = None,
        load_input: bool = True,
        load_output: bool = True,
        **filters: Unpack[FilterOptions],
    ) -> list[WorkflowInfo]:
        """As `list_workflows`, awaited from any loop."""
        page = Page(
            limit=limit, order=order, after=after, load_input=load_input, load_output=load_output
        )
        return await self.engine.run_async(_list(self.engine, filters, page))

    def list_workflow_steps(self, workflow_id: str) -> list[StepInfo]:
        """Return the steps that a workflow has recorded, in the order of their positions.

        Raises:
            WorkflowNotFoundError: there is none of this id.
        """
        refuse_blocking("list_workflow_steps", "list_workflow_steps_async(...)")
        return self.engine.run(_list_steps(self.engine, workflow_id))

    async def list_workflow_steps_async(self, workflow_id: str) -> list[StepInfo]:
        """As `list_workflow_steps`, awaited from any loop."""
        return await self.engine.run_async(_list_steps(self.engine, workflow_id))

    def _handle(self, found: Located) -> WorkflowHandle[Any]:
        return WorkflowHandle(lambda: self.engine, found.workflow_id, found.seq)

    def _handle_async(self, found: Located) -> WorkflowHandleAsync[Any]:
        return WorkflowHandleAsync(lambda: self.engine, found.workflow_id, found.seq)


def _locate(engine: Engine, workflow_id: str) -> Verb[Located]:
    return lambda session: locate(session, engine.statements, workflow_id)


def _list(engine: Engine, filters: FilterOptions, page: Page) -> Verb[list[WorkflowInfo]]:
    asked, page = make_filter(filters), make_page(page)
    return lambda session: workflows.list_workflows(
        session, engine.statements, engine.codec, asked, page
    )


def _list_steps(engine: Engine, workflow_id: str) -> Verb[list[StepInfo]]:
    return lambda session: steps.list_steps(session, engine.statements, engine.codec, workflow_id)
