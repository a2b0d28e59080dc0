"""What has not ended yet, and why, for the messages of tests that fail."""

from __future__ import annotations

from towpath.api.app import App
from towpath.domain.status import WorkflowStatus
from towpath.insights.explain import explain_workflow
from towpath.insights.workflows import WorkflowInfo

UNFINISHED = (WorkflowStatus.DELAYED, WorkflowStatus.ENQUEUED, WorkflowStatus.PENDING)
MOST_TOLD = 20


async def unfinished(
    app: App, queue_name: str | None, *, limit: int = 10_000
) -> list[WorkflowInfo]:
    """Return the workflows that have not ended, of one queue or of all, oldest first."""
    return await app.list_workflows_async(
        status=UNFINISHED, queue_name=queue_name, order="oldest", limit=limit, load_output=False
    )


async def sentences_about(app: App, queue_name: str | None) -> list[str]:
    """Say for each workflow that has not ended what it is, and where it stands."""
    engine, found = app.engine, []
    for info in await unfinished(app, queue_name, limit=MOST_TOLD):
        workflow_id = info.workflow_id
        explained = await engine.on_loop(
            lambda session, workflow_id=workflow_id: explain_workflow(  # type: ignore[misc]
                session, engine.statements, workflow_id
            )
        )
        found.append(f"{info.status} {call_of(info)}: {explained.sentence}")
    return found


def call_of(info: WorkflowInfo) -> str:
    """Write a workflow as the call that it is."""
    arguments = [repr(value) for value in info.args]
    arguments += [f"{name}={value!r}" for name, value in info.kwargs.items()]
    return f"{info.name}({', '.join(arguments)})"
