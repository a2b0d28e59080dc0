"""Streams: values that a workflow writes one after the other, read while it runs."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from typing import Any

from towpath.api.messaging import check_name, in_workflow
from towpath.domain.errors import WorkflowNotFoundError
from towpath.domain.ids import Seq
from towpath.executor import communicating
from towpath.executor.context import Execution, current_execution, refuse_blocking
from towpath.executor.engine import Engine
from towpath.executor.outside_waits import calling
from towpath.executor.positions import current_step
from towpath.executor.steps import Blocking, Pace, Suspending
from towpath.store import messages, workflows
from towpath.store.lending import Verb
from towpath.store.messages import StreamPart
from towpath.store.session import run_blocking
from towpath.store.waits import WaitKind


class ReadsStreams(ABC):
    """What anybody may do with a workflow's streams: App and Client alike."""

    @property
    @abstractmethod
    def engine(self) -> Engine:
        """The connections and loops of this process."""

    def read_stream(self, workflow_id: str, key: str) -> Iterator[Any]:
        """Return the values of a stream from its first on, as they come.

        It ends where the stream was closed, or its workflow has ended and nothing more can come.

        Raises:
            WorkflowNotFoundError: there is none of this id.
        """
        refuse_blocking("read_stream", "read_stream_async(...)")
        check_name("read_stream", "key", key)
        parts = _parts(self.engine, workflow_id, key)
        engine = self.engine
        try:
            while True:
                try:
                    values = engine.wait_for(anext_of(parts))
                except StopAsyncIteration:
                    return
                yield from values
        finally:
            if not engine.io.stopped:
                engine.wait_for(close_of(parts))

    async def read_stream_async(self, workflow_id: str, key: str) -> AsyncIterator[Any]:
        """As `read_stream`, iterated from any loop."""
        check_name("read_stream", "key", key)
        engine = self.engine
        parts = _parts(engine, workflow_id, key)
        try:
            while True:
                try:
                    values = await engine.on_io(anext_of(parts))
                except StopAsyncIteration:
                    return
                for value in values:
                    yield value
        finally:
            if not engine.io.stopped:
                await engine.on_io(close_of(parts))


class WritesStreams:
    """What only workflows and their steps may do; an App has it."""

    def write_stream(self, key: str, value: Any) -> None:
        """Write a value to a stream of this workflow: once, or in a step as often as the step runs.

        Raises:
            OutsideWorkflowError: the caller is not in a workflow.
            StreamClosedError: it was closed before.
            ValueNotEncodableError: the value would not come back as it is.
        """
        refuse_blocking("write_stream", "write_stream_async(...)")
        run_blocking(_write("write_stream", key, Some(value), Blocking()))

    async def write_stream_async(self, key: str, value: Any) -> None:
        """As `write_stream`, in async code."""
        await _write("write_stream", key, Some(value), Suspending())

    def close_stream(self, key: str) -> None:
        """Say that nothing more comes: whoever reads it is told.

        Raises:
            OutsideWorkflowError: the caller is not in a workflow.
            StreamClosedError: it was closed before.
        """
        refuse_blocking("close_stream", "close_stream_async(...)")
        run_blocking(_write("close_stream", key, None, Blocking()))

    async def close_stream_async(self, key: str) -> None:
        """As `close_stream`, in async code."""
        await _write("close_stream", key, None, Suspending())


class Some:
    """A value to write, whatever it is."""

    def __init__(self, value: Any) -> None:
        self.value = value


async def _write(verb: str, key: str, written: Some | None, pace: Pace) -> None:
    step = current_step()
    execution: Execution | None = current_execution()
    if execution is None or step is None:
        execution = in_workflow(verb)
    check_name(verb, "key", key)
    text = None if written is None else execution.engine.codec.encode(written.value, "value")
    if step is None:
        await communicating.write_stream(execution, key, text, pace)
    else:
        await communicating.write_stream_in_step(execution, key, text, pace)


async def anext_of(parts: AsyncIterator[list[Any]]) -> list[Any]:
    """Return the next part; a coroutine, as a loop in another thread takes it."""
    return await anext(parts)


async def close_of(parts: AsyncIterator[list[Any]]) -> None:
    """End the reading."""
    await parts.aclose()  # type: ignore[attr-defined]


async def _parts(engine: Engine, workflow_id: str, key: str) -> AsyncIterator[list[Any]]:
    """Yield what was written since the last part, on the library's loop."""
    located = await engine.persist(
        lambda session: workflows.locate(session, engine.statements, workflow_id)
    )
    after = 0
    async with (
        calling(engine, WaitKind.STREAM, located.seq, key) as wait,
        calling(engine, WaitKind.END, located.seq, "") as end,
    ):
        while True:
            with engine.hub.listening(wait) as called, engine.hub.listening(end) as ended:
                read = await engine.persist(_read(engine, located.seq, key, after))
                if read is None:
                    raise WorkflowNotFoundError(workflow_id=workflow_id)
                if not read.values and not read.ended:
                    await asyncio.wait((called, ended), return_when=asyncio.FIRST_COMPLETED)
                    continue
            after = read.last
            values = [v for v in read.values if v is not None]
            if values:
                yield [engine.codec.decode(v) for v in values]
            if None in read.values or (read.ended and not read.values):
                return


def _read(engine: Engine, seq: Seq, key: str, after: int) -> Verb[StreamPart | None]:
    return lambda session: messages.read_stream(session, engine.statements, seq, key, after)
