"""Durable waits, messages, events and streams."""

from __future__ import annotations

from towpath.domain.errors.base import TowpathError
from towpath.domain.errors.configuration import UsageError


class OutsideWorkflowError(UsageError):
    """A verb that only a workflow's own code has was called outside of one, or in a step."""

    def __init__(self, *, verb: str, step_name: str | None) -> None:
        where = "outside of workflows" if step_name is None else f"inside step {step_name!r}"
        super().__init__(f"{verb} was called {where}. Call it from the workflow itself.")
        self.verb = verb
        self.step_name = step_name


class ConcurrentReceiveError(UsageError):
    """Two branches of a workflow receive from one topic at once: who gets which message is chance."""

    def __init__(self, *, workflow_id: str, topic: str) -> None:
        super().__init__(
            f"workflow {workflow_id!r} receives from topic {topic!r} in two places at once. "
            "Receive in one place, or from two topics."
        )
        self.workflow_id = workflow_id
        self.topic = topic


class WaitOptionError(UsageError):
    """A topic, key or time that no wait or message can have; nothing was written."""

    def __init__(self, *, verb: str, field: str, value: object, allowed: str) -> None:
        super().__init__(f"{verb}: {field} is {value!r}; allowed is {allowed}.")
        self.verb = verb
        self.field = field
        self.value = value
        self.allowed = allowed


class StreamClosedError(TowpathError):
    """The stream was closed; it takes nothing more."""

    def __init__(self, *, workflow_id: str, key: str) -> None:
        super().__init__(
            f"stream {key!r} of workflow {workflow_id!r} is closed. Write to another key."
        )
        self.workflow_id = workflow_id
        self.key = key
