"""Handles: a started workflow, its result and its status, in the blocking and the async face."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from towpath.codec import decode_failure, encode_failure
from towpath.domain.errors import (
    MaxRecoveryAttemptsExceededError,
    ResultTimeoutError,
    WorkflowCancelledError,
    WorkflowNotFoundError,
)
from towpath.domain.ids import Seq, WorkflowId, parse_generated_id
from towpath.domain.status import WorkflowStatus
from towpath.executor.context import Execution, refuse_blocking, running_in_workflow
from towpath.executor.engine import Engine
from towpath.executor.inside_transaction import refuse_in_transaction
from towpath.executor.outside_waits import wait_outside
from towpath.executor.positions import take_position
from towpath.executor.steps import Blocking, Pace, Suspending, keep, replay, value_of
from towpath.executor.waiting import wait_durably, wait_outside_for
from towpath.insights import workflows as insights
from towpath.insights.workflows import WorkflowInfo
from towpath.store import workflows
from towpath.store.session import run_blocking
from towpath.store.steps import NewStep, RecordedStep
from towpath.store.waits import GONE, OVER, Look, Wait, WaitKind

T_co = TypeVar("T_co", covariant=True)

GET_RESULT = "towpath.get_result"


class _Started:
    """What both kinds of handle know."""

    def __init__(
        self, engine: Callable[[], Engine], workflow_id: WorkflowId, seq: Seq | None = None
    ) -> None:
        self._engine = engine
        self._workflow_id = workflow_id
        self._seq = seq

    @property
    def workflow_id(self) -> str:
        """The workflow's id."""
        return self._workflow_id

    def get_workflow_id(self) -> str:
        """Return the workflow's id."""
        return self._workflow_id

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._workflow_id!r})"

    async def _locate(self) -> Seq:
        """Find the workflow's row; runs on the library's loop."""
        if self._seq is None and (generated := parse_generated_id(self._workflow_id)):
            self._seq = generated.seq
        if self._seq is None:
            engine = self._engine()
            located = await engine.persist(
                lambda session: workflows.locate(session, engine.statements, self._workflow_id)
            )
            self._seq = located.seq
        return self._seq

    async def _ended(self, timeout_seconds: float | None) -> Look:
        """Wait for the end outside of workflows; runs on the library's loop."""
        seq = await self._locate()
        look = await wait_outside(self._engine(), WaitKind.END, seq, "", timeout_seconds)
        if look is None:
            raise ResultTimeoutError(
                workflow_id=self._workflow_id, timeout_seconds=timeout_seconds or 0
            )
        return look

    async def _recorded_result(
        self, execution: Execution, timeout_seconds: float | None, pace: Pace
    ) -> Any:
        """Wait in a workflow: without its slot, and with the result recorded at its position."""
        position = take_position()
        recorded = replay(execution, position, GET_RESULT)
        if recorded is None:
            output, failure = await self._wait_in_workflow(
                execution, position, timeout_seconds, pace
            )
            step = NewStep(
                execution.seq, execution.attempt, position, GET_RESULT, output, failure,
                ends_wait=True,
            )  # fmt: skip
            await keep(execution, step, pace)
            recorded = RecordedStep(position, GET_RESULT, output, failure, None)
        return value_of(execution, recorded)

    async def _wait_in_workflow(
        self, execution: Execution, position: str, timeout_seconds: float | None, pace: Pace
    ) -> tuple[str | None, str | None]:
        look = await self._look_in_workflow(execution, position, timeout_seconds, pace)
        if look.state == OVER:
            error = ResultTimeoutError(
                workflow_id=self._workflow_id, timeout_seconds=timeout_seconds or 0
            )
            return None, encode_failure(error)
        if look.state == WorkflowStatus.SUCCESS:
            return look.output, None
        if look.state == WorkflowStatus.ERROR:
            return None, look.output
        return None, encode_failure(_ending_error(self._workflow_id, look))

    async def _look_in_workflow(
        self, execution: Execution, position: str, timeout_seconds: float | None, pace: Pace
    ) -> Look:
        engine = self._engine()
        if not engine.shares_database(execution.engine):
            abroad = wait_outside_for(execution, engine, self._ended(timeout_seconds))
            try:
                return await pace.until(execution.engine.io.submit(abroad))
            except ResultTimeoutError:
                return Look(OVER, None, None)
        seq = await pace.until(engine.io.submit(self._locate()))
        wait = Wait(
            seq=execution.seq, attempt=execution.attempt, position=position, verb=GET_RESULT,
            kind=WaitKind.END, target=seq, seconds=timeout_seconds,
        )  # fmt: skip
        return await wait_durably(execution, wait, pace)

    def _value(self, look: Look) -> Any:
        """Return what the workflow returned, or raise what it ended with."""
        if look.state == WorkflowStatus.SUCCESS:
            return self._engine().codec.decode(look.output or "null")
        if look.state == WorkflowStatus.ERROR and look.output is not None:
            raise decode_failure(look.output)
        raise _ending_error(self._workflow_id, look)


def _ending_error(workflow_id: str, look: Look) -> Exception:
    if look.state == GONE:
        return WorkflowNotFoundError(workflow_id=workflow_id)
    reason = None if look.output is None else str(json.loads(look.output))
    if look.state == WorkflowStatus.CANCELLED:
        return WorkflowCancelledError(workflow_id=workflow_id, reason=reason)
    return MaxRecoveryAttemptsExceededError(workflow_id=workflow_id, reason=reason)


class WorkflowHandle(_Started, Generic[T_co]):
    """A started workflow, for code that blocks."""

    def get_result(self, timeout: float | None = None) -> T_co:
        """Wait for the workflow and return what it returned.

        In a workflow the result is recorded, and the workflow's slot is free while it waits.

        Args:
            timeout: Seconds to wait; None waits as long as it takes.

        Raises:
            ResultTimeoutError: it has not ended in time; it goes on.
            WorkflowCancelledError: it was cancelled.
            MaxRecoveryAttemptsExceededError: it was given up.
            WorkflowNotFoundError: there is none of this id, or it was deleted.
            Exception: what the workflow raised.
        """
        refuse_blocking("get_result", "(await queue.enqueue_async(...)).get_result()")
        execution = running_in_workflow()
        if execution is not None:
            return run_blocking(self._recorded_result(execution, timeout, Blocking()))  # type: ignore[no-any-return]
        return self._value(self._engine().wait_for(self._ended(timeout)))  # type: ignore[no-any-return]

    def get_status(self) -> WorkflowInfo:
        """Return where the workflow stands; `.status` prints `ENQUEUED`, `PENDING`, `SUCCESS`, ...

        Raises:
            WorkflowNotFoundError: there is none of this id.
        """
        refuse_blocking("get_status", "(await queue.enqueue_async(...)).get_status()")
        engine = self._engine()
        return engine.run(
            lambda session: insights.get(
                session, engine.statements, engine.codec, self._workflow_id
            )
        )


class WorkflowHandleAsync(_Started, Generic[T_co]):
    """A started workflow, for async code; it may be awaited from any loop."""

    async def get_result(self, timeout: float | None = None) -> T_co:  # noqa: ASYNC109 - as the blocking face has it
        """As `WorkflowHandle.get_result`."""
        refuse_in_transaction("get_result")
        execution = running_in_workflow()
        if execution is not None:
            return await self._recorded_result(execution, timeout, Suspending())  # type: ignore[no-any-return]
        ended = await self._engine().on_io(self._ended(timeout))
        return self._value(ended)  # type: ignore[no-any-return]

    async def get_status(self) -> WorkflowInfo:
        """As `WorkflowHandle.get_status`."""
        engine = self._engine()
        return await engine.run_async(
            lambda session: insights.get(
                session, engine.statements, engine.codec, self._workflow_id
            )
        )
