"""Workflows that between them use every feature, and note which attempts ran each of their steps."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg

import towpath
from towpath import App, Backoff, SetWorkflowTimeout, Workflow
from towpath.errors import (
    EnqueueOptionError,
    ResultTimeoutError,
    WorkflowCancelledError,
    WorkflowNotFoundError,
)

MOMENT = 0.15
AT_ONCE = Backoff(initial=timedelta(milliseconds=1))

Own = psycopg.Connection[Any]
AsyncOwn = psycopg.AsyncConnection[Any]


class Everything:
    """Declares the workflows on an App.

    Attributes:
        workflows: Those that are run and crashed, by name.
        queues: Where those stand that are not started directly.
        ran: For each workflow's id, the attempts that ran each step's function to its end, in order.
    """

    def __init__(self, app: App) -> None:
        self.app = app
        self.workflows: dict[str, Workflow[..., Any]] = {}
        self.ran: defaultdict[str, defaultdict[str, list[int]]] = defaultdict(
            lambda: defaultdict(list)
        )
        self._tries: Counter[tuple[str, int]] = Counter()
        self.queue = app.queue("children")
        self.queues = {"unloaded": app.queue("releasing", release_while_waiting=True)}
        declare_steps(self)
        declare_branches(self)
        declare_children(self)
        declare_messages(self)
        declare_waits(self)
        declare_transactions(self)
        declare_refusals(self)
        declare_ends(self)

    def note(self, step: str) -> None:
        """A step's function runs."""
        current = towpath.current()
        assert current is not None
        self.ran[current.workflow_id][step].append(current.attempt)

    def fail_first(self) -> None:
        """Fail in the first try of an attempt."""
        current = towpath.current()
        assert current is not None
        self._tries[current.workflow_id, current.attempt] += 1
        if self._tries[current.workflow_id, current.attempt] == 1:
            raise ConnectionError("not yet")

    def add(self, function: Callable[..., Any], name: str) -> None:
        """Declare a workflow that is run and crashed."""
        self.workflows[name] = self.app.workflow(name=name)(function)

    def step(self, name: str, **options: Any) -> Callable[..., Any]:
        """Return a sync step that returns its argument and the step's name."""

        @self.app.step(name=name, **options)
        def run(value: Any = None) -> list[Any]:
            self.note(name)
            return [name, value]

        return run

    def async_step(self, name: str, **options: Any) -> Callable[..., Any]:
        """Return an async step that returns its argument and the step's name."""

        @self.app.step(name=name, **options)
        async def run(value: Any = None) -> list[Any]:
            await asyncio.sleep(0.002)
            self.note(name)
            return [name, value]

        return run


def own_id() -> str:
    """Return the id of the workflow that calls."""
    current = towpath.current()
    assert current is not None
    return current.workflow_id


def declare_steps(every: Everything) -> None:
    """Steps, sync and async, with retries and failures, and a patch."""
    app = every.app
    first, second, third = every.step("first"), every.async_step("second"), every.step("third")
    bounded = every.async_step("bounded", timeout=30.0)

    @app.step(name="flaky", retries=2, backoff=AT_ONCE)
    def flaky() -> str:
        every.fail_first()
        every.note("flaky")
        return "at last"

    @app.step(name="broken")
    def broken() -> None:
        every.note("broken")
        raise LookupError("nothing there")

    def steps(value: int) -> list[Any]:
        found = [first(value), flaky()]
        try:
            broken()
        except LookupError as error:
            found.append(str(error))
        if app.patch("a-third-one"):
            found.append(third())
        return found

    async def async_steps(value: int) -> list[Any]:
        way = await app.patch_async("bounded")
        return [await second(value), await bounded(way), await second()]

    def fails(value: int) -> None:
        raise ValueError(first(value))

    every.add(steps, "steps")
    every.add(async_steps, "async steps")
    every.add(fails, "fails")


def declare_branches(every: Everything) -> None:
    """Concurrent tasks of several steps, and of a wait."""
    left, right, last = (every.async_step(name) for name in ("left", "right", "last"))

    async def branch(step: Callable[..., Any], turns: int) -> list[Any]:
        return [await step(turn) for turn in range(turns)]

    async def sleeper() -> str:
        await every.app.sleep_async(MOMENT)
        return "slept"

    async def branches(value: int) -> list[Any]:
        found = await asyncio.gather(branch(left, 1), branch(right, 1), sleeper())
        return [*found, await last(value)]

    every.add(branches, "branches")


def declare_children(every: Everything) -> None:
    """Children by enqueue, in bulk, by start and by direct calls; their results, in time and not."""
    app, queue = every.app, every.queue

    @app.workflow(name="child")
    def child(value: int, moments: int) -> int:
        app.sleep(moments * MOMENT)
        return value + 1

    @app.workflow(name="async child")
    async def async_child(value: int, moments: int) -> int:
        await app.sleep_async(moments * MOMENT)
        return value + 1

    @app.workflow(name="awaited")
    def awaited() -> Any:
        return app.recv("go", timeout_seconds=60)

    def parent(value: int) -> list[Any]:
        # each ends clearly after the one before, so that each is waited for
        one = queue.enqueue(child, value, 1)
        many = queue.enqueue_many(child, [(value + 10, 2), (value + 20, 3)])
        started = app.start_workflow(async_child, value + 30, 4)
        results = [one.get_result(), *(h.get_result() for h, _ in many), started.get_result()]
        return [*results, [created for _, created in many], child(value + 40, 1)]

    async def async_parent(value: int) -> list[Any]:
        one = await queue.enqueue_async(async_child, value, 1)
        many = await queue.enqueue_many_async(child, [(value + 10, 1), (value + 20, 2)])
        results = await asyncio.gather(one.get_result(), *(h.get_result() for h, _ in many))
        return [*results, await async_child(value + 40, 1)]

    def impatient(value: int) -> list[Any]:
        handle = app.start_workflow(awaited)
        found: list[Any] = []
        try:
            handle.get_result(timeout=0.05)
        except ResultTimeoutError as error:
            found.append(error.timeout_seconds)
        app.send(handle.workflow_id, value, "go")
        return [*found, handle.get_result(timeout=60)]

    every.add(parent, "parent")
    every.add(async_parent, "async parent")
    every.add(impatient, "impatient")


def declare_messages(every: Everything) -> None:
    """Messages that are there, that come, and that do not; one that nobody receives."""
    app, queue = every.app, every.queue

    @app.workflow(name="answer")
    def answer(to: str) -> None:
        app.sleep(MOMENT)
        app.send(to, "answered", "answers")

    @app.workflow(name="async answer")
    async def async_answer(to: str) -> None:
        await app.sleep_async(MOMENT)
        await app.send_async(to, "answered", "answers")

    def messages(value: int) -> list[Any]:
        for number in range(3):
            app.send(own_id(), value + number, "own")
        found = [app.recv("own"), app.recv("own")]
        queue.enqueue(answer, own_id())
        return [*found, app.recv("answers"), app.recv("never", timeout_seconds=0.02)]

    async def async_messages(value: int) -> list[Any]:
        await app.send_async(own_id(), value, "own", idempotency_key="once")
        await app.send_async(own_id(), value, "own", idempotency_key="once")
        await queue.enqueue_async(async_answer, own_id())
        return [await app.recv_async("own"), await app.recv_async("answers", timeout_seconds=60)]

    every.add(messages, "messages")
    every.add(async_messages, "async messages")


def declare_waits(every: Everything) -> None:
    """Events, streams and time."""
    app, queue = every.app, every.queue

    @app.workflow(name="teller")
    def teller() -> None:
        app.sleep(MOMENT)
        app.set_event("told", "now")

    @app.step(name="writes within")
    def writes_within(value: int) -> None:
        every.note("writes within")
        app.write_stream("within", value)

    def events(value: int) -> list[Any]:
        app.set_event("stage", value)
        app.set_event("stage", value + 1)
        told = queue.enqueue(teller)
        found = [app.get_event(told.workflow_id, "told"), app.get_event(own_id(), "stage")]
        return [*found, app.get_event(own_id(), "never", timeout_seconds=0.02)]

    def streams(value: int) -> None:
        app.write_stream("lines", value)
        app.write_stream("lines", value + 1)
        writes_within(value)
        app.close_stream("lines")

    async def async_waits(value: int) -> list[Any]:
        await app.set_event_async("stage", value)
        await app.write_stream_async("lines", value)
        await app.close_stream_async("lines")
        await app.sleep_async(0.03)
        return [await app.get_event_async(own_id(), "stage")]

    def sleeps(value: int) -> int:
        app.sleep(0.03)
        app.sleep(0)
        return value

    every.add(events, "events")
    every.add(streams, "streams")
    every.add(async_waits, "async waits")
    every.add(sleeps, "sleeps")


def declare_transactions(every: Everything) -> None:
    """Transactional steps, sync and async, and one that fails."""
    app = every.app

    @app.transaction(name="book")
    def book(own: Own, item: str) -> str:
        own.execute("INSERT INTO public.booked VALUES (%s, %s)", (own_id(), item))
        return item

    @app.transaction(name="async book", isolation="SERIALIZABLE")
    async def async_book(own: AsyncOwn, item: str) -> str:
        await own.execute("INSERT INTO public.booked VALUES (%s, %s)", (own_id(), item))
        return item

    @app.transaction(name="fail to book")
    def fail_to_book(own: Own, item: str) -> None:
        own.execute("INSERT INTO public.booked VALUES (%s, %s)", (own_id(), item))
        raise LookupError(item)

    def books(value: int) -> list[Any]:
        found: list[Any] = [book("a")]
        try:
            fail_to_book("b")
        except LookupError as error:
            found.append(str(error))
        return [*found, book("c"), value]

    async def async_books(value: int) -> list[Any]:
        return [await async_book("a"), await async_book("b"), value]

    every.add(books, "books")
    every.add(async_books, "async books")


def declare_refusals(every: Everything) -> None:
    """What is refused, which is recorded as well."""
    app = every.app
    nowhere = "wf-999999999-0123456789abcdef"
    first = every.workflows["steps"]

    def refused(value: int) -> list[Any]:
        found: list[Any] = [value]
        try:
            app.send(nowhere, 1)
        except WorkflowNotFoundError:
            found.append("sent to nobody")
        try:
            app.get_event(nowhere, "any")
        except WorkflowNotFoundError:
            found.append("asked nobody")
        try:
            every.queue.options(priority=1).enqueue(first, 1)
        except EnqueueOptionError:
            found.append("no priorities")
        return found

    every.add(refused, "refused")


def declare_ends(every: Everything) -> None:
    """A child that its deadline ends, and a workflow that leaves its worker's memory where it waits."""
    app = every.app
    first, last = every.step("before"), every.step("behind")

    @app.workflow(name="endless")
    def endless() -> None:
        app.recv(timeout_seconds=None)

    def hurries(value: int) -> list[Any]:
        with SetWorkflowTimeout(MOMENT):
            handle = every.queue.enqueue(endless)
        try:
            handle.get_result(timeout=60)
        except WorkflowCancelledError as error:
            return [value, error.reason]
        return []

    def unloaded(value: int) -> list[Any]:
        found = first(value)
        app.sleep(6 * MOMENT)
        return [*found, *last(value)]

    every.add(hurries, "hurries")
    every.add(unloaded, "unloaded")
