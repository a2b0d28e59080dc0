"""What a test's code has put into queues."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypedDict, Unpack

from towpath.api.functions import Workflow
from towpath.api.queue import Queue
from towpath.insights.workflows import WorkflowInfo
from towpath.testing.errors import NotEnqueuedError
from towpath.testing.kit import in_use
from towpath.testing.unfinished import call_of

MOST: Final = 10_000


class ExpectedOptions(TypedDict, total=False):
    """The options of an enqueue, as `assert_enqueued` compares them."""

    workflow_id: str
    priority: int | None
    queue_partition_key: str | None
    deduplication_id: str | None
    app_version: str
    parent_workflow_id: str | None


def enqueued(queue: Queue | str) -> list[WorkflowInfo]:
    """Return every workflow that a queue was given in this test, in order, whatever became of it."""
    name = queue.name if isinstance(queue, Queue) else queue
    return in_use().app.list_workflows(queue_name=name, order="oldest", limit=MOST)


def assert_enqueued(
    queue: Queue | str,
    workflow: Workflow[..., Any] | str | None = None,
    *,
    args: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    times: int | None = None,
    **options: Unpack[ExpectedOptions],
) -> list[WorkflowInfo]:
    """Return the workflows of a queue that are as described; fail where there are none.

    Args:
        queue: The queue, or its name.
        workflow: The workflow, or its name; any unless given.
        args: The positional arguments; any unless given.
        kwargs: The keyword arguments; any unless given.
        times: How many there are; at least one unless given.
        options: `priority=`, `queue_partition_key=`, `deduplication_id=`, ... as they were enqueued.

    Raises:
        NotEnqueuedError: there are none, or not so many.
    """
    wanted: dict[str, Any] = dict(options)
    if workflow is not None:
        wanted["name"] = workflow if isinstance(workflow, str) else workflow.name
    if args is not None:
        wanted["args"] = list(args)
    if kwargs is not None:
        wanted["kwargs"] = dict(kwargs)
    given = enqueued(queue)
    found = [
        info for info in given if all(getattr(info, field) == v for field, v in wanted.items())
    ]
    if (times is None and found) or len(found) == times:
        return found
    count = "one or more" if times is None else str(times)
    fields = ", ".join(f"{field}={value!r}" for field, value in wanted.items()) or "any"
    raise NotEnqueuedError(
        queue_name=queue.name if isinstance(queue, Queue) else queue,
        expected=f"{count} of {fields}, and {len(found)} are there",
        found=[_shown(info, options) for info in given],
    )


def _shown(info: WorkflowInfo, options: Mapping[str, Any]) -> str:
    said = "".join(f" {field}={getattr(info, field)!r}" for field in options)
    return f"{call_of(info)}{said}"
