"""Streams: values that are read while the workflow runs, by anybody, from the first on."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import timedelta

import psycopg
import pytest

import towpath
from tests.fixtures.apps import wait_until
from towpath import App
from towpath.errors import (
    OutsideWorkflowError,
    StreamClosedError,
    WaitOptionError,
    WorkflowNotFoundError,
)

Launch = Callable[..., towpath.Worker]


class Reader:
    """Reads a stream in a thread; `seen` are the values that have come."""

    def __init__(self, elsewhere: towpath.Client, workflow_id: str, key: str = "out") -> None:
        self.seen: list[object] = []
        self._thread = threading.Thread(
            target=self._read, args=(elsewhere, workflow_id, key), daemon=True
        )
        self._thread.start()

    def _read(self, elsewhere: towpath.Client, workflow_id: str, key: str) -> None:
        for value in elsewhere.read_stream(workflow_id, key):
            self.seen.append(value)

    def end(self) -> list[object]:
        """Return all values, once the reading has ended by itself."""
        self._thread.join(20)
        assert not self._thread.is_alive()
        return self.seen


def test_values_are_read_live_late_and_by_many(
    app: App, launched: Launch, elsewhere: towpath.Client
) -> None:
    """Each value before the next is written, and all of them afterwards, in order."""
    queue = app.queue("orders")
    numbers = threading.Semaphore(0)

    @app.workflow(name="order")
    def order() -> None:
        for number in range(5):
            assert numbers.acquire(timeout=20)
            app.write_stream("out", {"n": number})
        app.close_stream("out")

    launched()
    handle = queue.enqueue(order)
    live = [Reader(elsewhere, handle.workflow_id) for _ in range(3)]
    for number in range(5):
        numbers.release()
        wait_until(lambda n=number: all(len(r.seen) == n + 1 for r in live))  # type: ignore[misc]
    expected = [{"n": n} for n in range(5)]
    assert [reader.end() for reader in live] == [expected] * 3
    handle.get_result(timeout=20)
    assert list(elsewhere.read_stream(handle.workflow_id, "out")) == expected
    assert asyncio.run(read_async(app, handle.workflow_id)) == expected
    assert list(elsewhere.read_stream(handle.workflow_id, "never written")) == []


async def read_async(app: App, workflow_id: str) -> list[object]:
    """Read a stream on the caller's own loop."""
    return [value async for value in app.read_stream_async(workflow_id, "out")]


def test_a_closed_stream_ends_its_readers_while_the_workflow_goes_on(
    app: App, launched: Launch, elsewhere: towpath.Client
) -> None:
    """Nothing more is taken; a second close and a write are errors that the workflow may catch."""
    queue = app.queue("orders")

    @app.workflow(name="order")
    async def order() -> list[str]:
        await app.write_stream_async("out", 1)
        await app.close_stream_async("out")
        refused = []
        for again in (app.write_stream_async("out", 2), app.close_stream_async("out")):
            with pytest.raises(StreamClosedError, match=r"stream 'out' .* is closed"):
                await again
            refused.append("closed")
        await app.write_stream_async("other", 3)
        await app.recv_async("go", timeout_seconds=None)
        return refused

    launched()
    handle = queue.enqueue(order)
    assert Reader(elsewhere, handle.workflow_id).end() == [1]
    elsewhere.send(handle.workflow_id, None, "go")
    assert handle.get_result(timeout=20) == ["closed", "closed"]
    assert list(elsewhere.read_stream(handle.workflow_id, "other")) == [3]


@pytest.mark.parametrize("ending", ["returned", "raised", "cancelled"])
def test_the_end_of_the_workflow_ends_an_open_stream(
    app: App, launched: Launch, elsewhere: towpath.Client, ending: str
) -> None:
    """However it ends: readers get what there is, and no more is awaited."""
    queue = app.queue("orders")

    @app.workflow(name="order")
    def order() -> None:
        app.write_stream("out", "only")
        app.recv("go", timeout_seconds=None)
        if ending == "raised":
            raise ValueError("broken")

    launched()
    handle = queue.enqueue(order)
    reader = Reader(elsewhere, handle.workflow_id)
    wait_until(lambda: reader.seen == ["only"])
    with psycopg.connect(str(app._database_url), autocommit=True) as watch:
        wait_until(
            lambda: watch.execute("SELECT FROM towpath.wait WHERE kind = 'stream'").rowcount == 1
        )
    if ending == "cancelled":
        elsewhere.cancel_workflow(handle.workflow_id)
    else:
        elsewhere.send(handle.workflow_id, None, "go")
    assert reader.end() == ["only"]


def test_a_step_writes_as_often_as_it_runs(
    app: App, launched: Launch, elsewhere: towpath.Client
) -> None:
    """Once for each try; what the workflow itself writes is written once."""
    queue = app.queue("orders")
    tries = iter([True, False])

    @app.step(name="report", retries=1, backoff=towpath.Backoff(initial=timedelta(0)))
    def report() -> None:
        app.write_stream("out", "step")
        if next(tries):
            raise ValueError("again")

    @app.workflow(name="order")
    def order() -> None:
        app.write_stream("out", "workflow")
        report()

    launched()
    handle = queue.enqueue(order)
    handle.get_result(timeout=20)
    assert list(elsewhere.read_stream(handle.workflow_id, "out")) == ["workflow", "step", "step"]
    names = [step.name for step in app.list_workflow_steps(handle.workflow_id)]
    assert names == ["towpath.write_stream", "report"]


def test_branches_that_write_at_once_lose_nothing(
    app: App, launched: Launch, elsewhere: towpath.Client
) -> None:
    """A live reader sees every value of eight branches, each branch's in order."""
    queue = app.queue("orders")

    async def branch(name: int) -> None:
        for number in range(10):
            await app.write_stream_async("out", [name, number])

    @app.workflow(name="order")
    async def order() -> None:
        await asyncio.gather(*(branch(name) for name in range(8)))

    launched()
    handle = queue.enqueue(order)
    seen = Reader(elsewhere, handle.workflow_id).end()
    assert sorted(map(json.dumps, seen)) == sorted(
        json.dumps([name, number]) for name in range(8) for number in range(10)
    )
    for name in range(8):
        assert [v for v in seen if v[0] == name] == [[name, n] for n in range(10)]  # type: ignore[index]


def test_the_command_line_prints_a_stream_while_the_workflow_runs(
    app: App, launched: Launch, database_url: str
) -> None:
    """A line of JSON a value, each as it comes; it ends with the stream."""
    queue = app.queue("orders")

    @app.workflow(name="order")
    def order() -> None:
        app.write_stream("out", {"percent": 10})
        app.recv("go", timeout_seconds=None)
        app.write_stream("out", "é")

    launched()
    handle = queue.enqueue(order)
    command = [sys.executable, "-m", "towpath", "workflow", "stream", handle.workflow_id, "out"]
    with subprocess.Popen(
        [*command, "--database-url", database_url], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == '{"percent": 10}\n'
        app.send(handle.workflow_id, None, "go")
        assert process.stdout.read() == '"é"\n'
        assert process.wait(20) == 0


def test_what_is_no_stream_is_refused(
    app: App, launched: Launch, elsewhere: towpath.Client
) -> None:
    """An unknown workflow, a key that cannot be one, a write from outside."""
    launched()
    with pytest.raises(WorkflowNotFoundError):
        next(elsewhere.read_stream("nobody", "out"))
    with pytest.raises(WorkflowNotFoundError):
        next(elsewhere.read_stream("wf-9-0123456789abcdef", "out"))
    with pytest.raises(WaitOptionError, match="key is 3"):
        next(elsewhere.read_stream("nobody", 3))  # type: ignore[arg-type]
    with pytest.raises(OutsideWorkflowError, match="write_stream was called outside"):
        app.write_stream("out", 1)
    with pytest.raises(OutsideWorkflowError, match="close_stream was called outside"):
        app.close_stream("out")


def test_a_reader_that_stops_leaves_nothing_behind(
    app: App, launched: Launch, elsewhere: towpath.Client
) -> None:
    """Its word that it wants to be told goes with it."""
    queue = app.queue("orders")

    @app.workflow(name="order")
    def order() -> None:
        app.write_stream("out", 1)
        app.recv("go", timeout_seconds=None)

    launched()
    handle = queue.enqueue(order)
    for value in elsewhere.read_stream(handle.workflow_id, "out"):
        assert value == 1
        break
    elsewhere.send(handle.workflow_id, None, "go")
    handle.get_result(timeout=20)
    with psycopg.connect(str(app._database_url), autocommit=True) as watch:
        wait_until(lambda: watch.execute("SELECT FROM towpath.wait").rowcount == 0)
