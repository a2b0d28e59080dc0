"""Messages to workflows and the events that they set."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Final

from towpath.domain.errors import OutsideWorkflowError, WaitOptionError, WorkflowNotFoundError
from towpath.domain.ids import MAX_NAME_LENGTH, storable_text
from towpath.executor import communicating
from towpath.executor.context import (
    Execution,
    current_execution,
    refuse_blocking,
    running_in_workflow,
)
from towpath.executor.engine import Engine
from towpath.executor.outside_waits import wait_outside
from towpath.executor.positions import current_step
from towpath.executor.steps import Blocking, Suspending
from towpath.store import messages, workflows
from towpath.store.lending import Verb
from towpath.store.messages import NewMessage
from towpath.store.session import Session, run_blocking
from towpath.store.waits import WaitKind

DEFAULT_WAIT_SECONDS: Final = 60.0
LONGEST_WAIT_SECONDS: Final = 3_155_760_000
_ALLOWED_NAME: Final = (
    f"a str of at most {MAX_NAME_LENGTH} characters, without NUL or lone surrogates"
)
_ALLOWED_LENGTH: Final = f"a number of seconds from 0 to {LONGEST_WAIT_SECONDS} (100 years)"
_ALLOWED_TIME: Final = f"{_ALLOWED_LENGTH}, or None for no end"


class SendsMessages(ABC):
    """What anybody may do with a workflow's messages and events: App and Client alike."""

    @property
    @abstractmethod
    def engine(self) -> Engine:
        """The connections and loops of this process."""

    def send(
        self,
        workflow_id: str,
        message: Any,
        topic: str | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> None:
        """Send a message to a workflow; in a workflow it is sent once, whatever crashes.

        Args:
            workflow_id: Who receives it.
            message: Any value that can be recorded.
            topic: Messages of a topic are received in the order in which they were sent.
            idempotency_key: A second message to the workflow with the same key is dropped: outside of
                workflows, where a call may be made again.

        Raises:
            WorkflowNotFoundError: there is none of this id.
            ValueNotEncodableError: the message would not come back as it is.
            WaitOptionError: a topic or key that cannot be one.
        """
        refuse_blocking("send", "send_async(...)")
        execution = running_in_workflow()
        engine = self.engine if execution is None else execution.engine
        new = _new_message(engine, workflow_id, message, topic, idempotency_key)
        if execution is not None:
            run_blocking(communicating.send(execution, new, Blocking()))
        else:
            engine.run(_send(engine, new))

    async def send_async(
        self,
        workflow_id: str,
        message: Any,
        topic: str | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> None:
        """As `send`, awaited from any loop."""
        execution = running_in_workflow()
        engine = self.engine if execution is None else execution.engine
        new = _new_message(engine, workflow_id, message, topic, idempotency_key)
        if execution is not None:
            await communicating.send(execution, new, Suspending())
        else:
            await engine.run_async(_send(engine, new))

    def get_event(
        self, workflow_id: str, key: str, timeout_seconds: float | None = DEFAULT_WAIT_SECONDS
    ) -> Any:
        """Return an event of a workflow once it is set; None where it is not set in time.

        In a workflow what it returned is recorded, and the workflow's slot is free while it waits.

        Raises:
            WorkflowNotFoundError: there is none of this id.
        """
        refuse_blocking("get_event", "get_event_async(...)")
        check_name("get_event", "key", key)
        check_seconds("get_event", timeout_seconds)
        execution = running_in_workflow()
        if execution is not None:
            verb = communicating.get_event(execution, workflow_id, key, timeout_seconds, Blocking())
            return run_blocking(verb)
        engine = self.engine
        return engine.wait_for(_get_event(engine, workflow_id, key, timeout_seconds))

    async def get_event_async(
        self, workflow_id: str, key: str, timeout_seconds: float | None = DEFAULT_WAIT_SECONDS
    ) -> Any:
        """As `get_event`, awaited from any loop."""
        check_name("get_event", "key", key)
        check_seconds("get_event", timeout_seconds)
        execution = running_in_workflow()
        if execution is not None:
            return await communicating.get_event(
                execution, workflow_id, key, timeout_seconds, Suspending()
            )
        return await self.engine.on_io(_get_event(self.engine, workflow_id, key, timeout_seconds))


class ReceivesMessages:
    """What only a workflow's own code may do; an App has it."""

    def recv(
        self, topic: str | None = None, timeout_seconds: float | None = DEFAULT_WAIT_SECONDS
    ) -> Any:
        """Return the oldest message of a topic, once; None where none comes in time.

        The time is kept across recoveries. The workflow's slot is free while it waits.

        Args:
            topic: As it was sent; messages without one have none.
            timeout_seconds: How long to wait; None is as long as it takes.

        Raises:
            OutsideWorkflowError: the caller is not a workflow's own code.
            ConcurrentReceiveError: another branch receives from the same topic at this moment.
        """
        refuse_blocking("recv", "recv_async(...)")
        execution, topic = _receiver(topic, timeout_seconds)
        return run_blocking(communicating.receive(execution, topic, timeout_seconds, Blocking()))

    async def recv_async(
        self, topic: str | None = None, timeout_seconds: float | None = DEFAULT_WAIT_SECONDS
    ) -> Any:
        """As `recv`, in an async workflow."""
        execution, topic = _receiver(topic, timeout_seconds)
        return await communicating.receive(execution, topic, timeout_seconds, Suspending())

    def set_event(self, key: str, value: Any) -> None:
        """Set an event of this workflow, once; the last value of a key is what others get.

        Raises:
            OutsideWorkflowError: the caller is not a workflow's own code.
            ValueNotEncodableError: the value would not come back as it is.
        """
        refuse_blocking("set_event", "set_event_async(...)")
        execution = in_workflow("set_event")
        check_name("set_event", "key", key)
        text = execution.engine.codec.encode(value, "value")
        run_blocking(communicating.set_event(execution, key, text, Blocking()))

    async def set_event_async(self, key: str, value: Any) -> None:
        """As `set_event`, in an async workflow."""
        execution = in_workflow("set_event")
        check_name("set_event", "key", key)
        text = execution.engine.codec.encode(value, "value")
        await communicating.set_event(execution, key, text, Suspending())

    def sleep(self, seconds: float) -> None:
        """Wait, durably: after a crash only the remainder. The workflow's slot is free meanwhile.

        Raises:
            OutsideWorkflowError: the caller is not a workflow's own code.
        """
        refuse_blocking("sleep", "sleep_async(...)")
        execution = _sleeper(seconds)
        run_blocking(communicating.sleep(execution, seconds, Blocking()))

    async def sleep_async(self, seconds: float) -> None:
        """As `sleep`, in an async workflow."""
        execution = _sleeper(seconds)
        await communicating.sleep(execution, seconds, Suspending())


def in_workflow(verb: str) -> Execution:
    """Return the workflow in whose own code the caller is.

    Raises:
        OutsideWorkflowError: the caller is outside of workflows, or in a step.
    """
    execution = running_in_workflow()
    if execution is None:
        step = current_step() if current_execution() is not None else None
        raise OutsideWorkflowError(verb=verb, step_name=step)
    return execution


def check_name(verb: str, field: str, value: object) -> str:
    """Return a topic or key.

    Raises:
        WaitOptionError: it cannot be one.
    """
    if isinstance(value, str) and len(value) <= MAX_NAME_LENGTH and storable_text(value):
        return value
    raise WaitOptionError(verb=verb, field=field, value=value, allowed=_ALLOWED_NAME)


def check_seconds(verb: str, seconds: object) -> None:
    """Raise unless it is a time to wait.

    Raises:
        WaitOptionError: it is not.
    """
    if seconds is None or _is_time(seconds):
        return
    raise WaitOptionError(verb=verb, field="timeout_seconds", value=seconds, allowed=_ALLOWED_TIME)


def _is_time(seconds: object) -> bool:
    number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    return number and 0 <= seconds <= LONGEST_WAIT_SECONDS  # type: ignore[operator]


def _receiver(topic: str | None, seconds: float | None) -> tuple[Execution, str]:
    execution = in_workflow("recv")
    check_seconds("recv", seconds)
    return execution, "" if topic is None else check_name("recv", "topic", topic)


def _sleeper(seconds: float) -> Execution:
    execution = in_workflow("sleep")
    if not _is_time(seconds):
        raise WaitOptionError(verb="sleep", field="seconds", value=seconds, allowed=_ALLOWED_LENGTH)
    return execution


def _new_message(
    engine: Engine, workflow_id: str, message: Any, topic: str | None, idempotency_key: str | None
) -> NewMessage:
    if idempotency_key is not None:
        check_name("send", "idempotency_key", idempotency_key)
    if not isinstance(workflow_id, str) or not storable_text(workflow_id):
        raise WorkflowNotFoundError(workflow_id=workflow_id)
    return NewMessage(
        workflow_id=workflow_id,
        topic="" if topic is None else check_name("send", "topic", topic),
        codec=engine.codec.name,
        value=engine.codec.encode(message, "message"),
        idempotency_key=idempotency_key,
    )


def _send(engine: Engine, message: NewMessage) -> Verb[None]:
    async def verb(session: Session) -> None:
        outcome = await messages.send(session, engine.statements, message, at_commit=False)
        if outcome == communicating.GONE:
            raise WorkflowNotFoundError(workflow_id=message.workflow_id)

    return verb


async def _get_event(engine: Engine, workflow_id: str, key: str, seconds: float | None) -> Any:
    """Wait outside of workflows, on the library's loop."""
    located = await engine.persist(
        lambda session: workflows.locate(session, engine.statements, workflow_id)
    )
    look = await wait_outside(engine, WaitKind.EVENT, located.seq, key, seconds)
    return None if look is None else engine.codec.decode(look.output or "null")
