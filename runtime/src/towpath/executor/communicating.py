"""What a workflow does with others: messages, events, streams, and time. One core for both faces.

Each verb takes the next position and is recorded there, with its effect in one transaction: a replay
finds the record, and does nothing again.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from towpath.codec import encode_failure
from towpath.domain.errors import StreamClosedError, TowpathError, WorkflowNotFoundError
from towpath.domain.ids import Seq
from towpath.executor.boundaries import Moment
from towpath.executor.context import Execution
from towpath.executor.positions import take_position
from towpath.executor.steps import Pace, keep, replay, value_of
from towpath.executor.waiting import wait_durably
from towpath.store import messages, workflows
from towpath.store.messages import Act, NewMessage
from towpath.store.session import Session
from towpath.store.steps import NewStep, RecordedStep
from towpath.store.waits import COME, Wait, WaitKind

SEND = "towpath.send"
RECEIVE = "towpath.recv"
SET_EVENT = "towpath.set_event"
GET_EVENT = "towpath.get_event"
SLEEP = "towpath.sleep"
WRITE_STREAM = "towpath.write_stream"
CLOSE_STREAM = "towpath.close_stream"

STALE = "stale"
GONE = "gone"
CLOSED = "closed"


async def sleep(execution: Execution, seconds: float, pace: Pace) -> None:
    """Wait until a time that is written when it begins; a recovery waits for the remainder."""
    position = take_position()
    if replay(execution, position, SLEEP) is None:
        wait = Wait(
            seq=execution.seq, attempt=execution.attempt, position=position, verb=SLEEP,
            kind=WaitKind.TIME, seconds=seconds,
        )  # fmt: skip
        await wait_durably(execution, wait, pace)
        await _keep(execution, position, SLEEP, None, pace)


async def receive(execution: Execution, topic: str, seconds: float | None, pace: Pace) -> Any:
    """Return the oldest message of a topic, None where none comes in time.

    Raises:
        ConcurrentReceiveError: another branch receives from the same topic at this moment.
    """
    wait = Wait(
        seq=execution.seq, attempt=execution.attempt, position=take_position(), verb=RECEIVE,
        kind=WaitKind.MESSAGE, target=execution.seq, topic=topic, seconds=seconds,
    )  # fmt: skip
    recorded = replay(execution, wait.position, RECEIVE)
    if recorded is None:
        look = await wait_durably(execution, wait, pace)
        if look.state == COME:  # consumed and recorded in one transaction
            execution.reach(wait.position, RECEIVE, Moment.AFTER)
            recorded = RecordedStep(wait.position, RECEIVE, look.output, None, None)
        else:
            recorded = await _keep(execution, wait.position, RECEIVE, None, pace)
    return value_of(execution, recorded)


async def get_event(
    execution: Execution, workflow_id: str, key: str, seconds: float | None, pace: Pace
) -> Any:
    """Return an event of another workflow once it is set, None where it is not in time.

    Raises:
        WorkflowNotFoundError: there is none of this id.
    """
    position = take_position()
    recorded = replay(execution, position, GET_EVENT)
    if recorded is None:
        try:
            target = await _locate(execution, workflow_id, pace)
        except WorkflowNotFoundError as error:
            recorded = await _refuse(execution, position, GET_EVENT, error, pace)
            return value_of(execution, recorded)
        wait = Wait(
            seq=execution.seq, attempt=execution.attempt, position=position, verb=GET_EVENT,
            kind=WaitKind.EVENT, target=target, topic=key, seconds=seconds,
        )  # fmt: skip
        look = await wait_durably(execution, wait, pace)
        recorded = await _keep(execution, position, GET_EVENT, look.output, pace)
    return value_of(execution, recorded)


async def send(execution: Execution, message: NewMessage, pace: Pace) -> None:
    """Send a message, once.

    Raises:
        WorkflowNotFoundError: there is none of this id; that is recorded too.
    """
    missing = WorkflowNotFoundError(workflow_id=message.workflow_id)
    await _act(
        execution, SEND, pace, {GONE: missing},
        lambda session, act: messages.send_from_workflow(
            session, execution.engine.statements, act, message
        ),
    )  # fmt: skip


async def set_event(execution: Execution, key: str, value: str, pace: Pace) -> None:
    """Set an event of the workflow, once; `value` is encoded."""
    engine = execution.engine
    await _act(
        execution, SET_EVENT, pace, {},
        lambda session, act: messages.set_event(
            session, engine.statements, act, key, engine.codec.name, value
        ),
    )  # fmt: skip


async def write_stream(execution: Execution, key: str, value: str | None, pace: Pace) -> None:
    """Write to a stream, or close it where `value` (encoded) is None; once.

    Raises:
        StreamClosedError: it was closed before.
    """
    engine = execution.engine
    verb = CLOSE_STREAM if value is None else WRITE_STREAM
    closed = StreamClosedError(workflow_id=execution.workflow_id, key=key)
    await _act(
        execution, verb, pace, {CLOSED: closed},
        lambda session, act: messages.write_stream(
            session, engine.statements, act, key, engine.codec.name, value
        ),
    )  # fmt: skip


async def write_stream_in_step(
    execution: Execution, key: str, value: str | None, pace: Pace
) -> None:
    """As `write_stream`, from within a step: at least once, as the step itself."""
    engine = execution.engine
    act = Act(execution.seq, execution.attempt, None)
    execution.reach("", WRITE_STREAM, Moment.BEFORE)
    outcome = await pace.verb(
        engine,
        lambda session: messages.write_stream(
            session, engine.statements, act, key, engine.codec.name, value
        ),
    )
    if outcome == STALE:
        raise execution.fenced()
    if outcome == CLOSED:
        raise StreamClosedError(workflow_id=execution.workflow_id, key=key)
    execution.reach("", WRITE_STREAM, Moment.AFTER)


async def _act(
    execution: Execution,
    verb: str,
    pace: Pace,
    refusals: dict[str, TowpathError],
    do: Callable[[Session, Act], Coroutine[Any, Any, str | None]],
) -> None:
    """Do something once, in one transaction with its record; a refusal is recorded as the failure."""
    position = take_position()
    recorded = replay(execution, position, verb)
    if recorded is None:
        execution.check()
        act = Act(execution.seq, execution.attempt, position)
        execution.reach(position, verb, Moment.BEFORE)
        outcome = await pace.verb(execution.engine, lambda session: do(session, act))
        if outcome == STALE:
            raise execution.fenced()
        if outcome not in refusals:
            execution.reach(position, verb, Moment.AFTER)
            return
        recorded = await _refuse(execution, position, verb, refusals[outcome], pace)
    value_of(execution, recorded)


async def _locate(execution: Execution, workflow_id: str, pace: Pace) -> Seq:
    engine = execution.engine
    located = await pace.verb(
        engine, lambda session: workflows.locate(session, engine.statements, workflow_id)
    )
    return located.seq


async def _keep(
    execution: Execution, position: str, verb: str, output: str | None, pace: Pace
) -> RecordedStep:
    """Record how a wait has ended; its row goes with the record."""
    text = output or "null"
    step = NewStep(execution.seq, execution.attempt, position, verb, text, None, ends_wait=True)
    await keep(execution, step, pace)
    return RecordedStep(position, verb, text, None, None)


async def _refuse(
    execution: Execution, position: str, verb: str, error: TowpathError, pace: Pace
) -> RecordedStep:
    failure = encode_failure(error)
    step = NewStep(execution.seq, execution.attempt, position, verb, None, failure)
    await keep(execution, step, pace)
    return RecordedStep(position, verb, None, failure, None)
