"""Workflows managed by their ids, and values beyond the bound."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

import towpath
from tests.fixtures.apps import wait_until
from towpath import (
    App,
    Cancelled,
    SetEnqueueOptions,
    SetWorkflowID,
    Workflow,
    WorkflowStatus,
)
from towpath.errors import (
    ConfigurationError,
    EnqueueOptionError,
    InvalidWorkflowIdError,
    QueueClosedError,
    QueueDeduplicatedError,
    ValueTooLargeError,
    WorkflowCancelledError,
    WorkflowNotFoundError,
    WorkflowStatusError,
)

Launch = Callable[..., towpath.Worker]


@pytest.fixture
def task(app: App) -> Workflow[[], int]:
    """Return a workflow of the App."""

    @app.workflow(name="task")
    def task() -> int:
        return 1

    return task


def test_a_client_has_every_verb_in_both_faces(
    app: App, task: Workflow[[], int], database_url: str
) -> None:
    """What waits is changed, cancelled, resumed and deleted without the code."""
    queue = app.queue("tasks", priority_enabled=True)
    waiting = queue.enqueue(task).workflow_id
    delayed = queue.options(delay_seconds=60).enqueue(task).workflow_id
    due = datetime.now(UTC) + timedelta(hours=1)

    async def awaited(client: towpath.Client) -> None:
        await client.set_priority_async(waiting, 8)
        await client.set_delay_async(delayed, start_at=due)
        await client.cancel_workflow_async(waiting)
        resumed = await client.resume_workflow_async(waiting)
        assert (await resumed.get_status()).status == "ENQUEUED"
        await client.delete_workflow_async(delayed)
        with pytest.raises(WorkflowNotFoundError):
            await client.retrieve_workflow_async(delayed)

    with towpath.Client(database_url) as client:
        client.set_priority(waiting, 7)
        client.set_delay(delayed, start_at=due)
        client.cancel_workflow(waiting)
        assert client.resume_workflow(waiting).get_status().status == "ENQUEUED"
        status = client.retrieve_workflow(delayed).get_status()
        assert (status.status, status.due_at) == ("DELAYED", due)
        asyncio.run(awaited(client))
        client.delete_workflow(waiting)
        assert client.list_workflows() == []


def test_what_verbs_refuse(app: App, task: Workflow[[], int], launched: Launch) -> None:
    """By status, by the queue's options, by value; each in its own words."""
    plain, urgent = app.queue("plain"), app.queue("urgent", priority_enabled=True)
    waiting = plain.enqueue(task).workflow_id
    ready = urgent.options(priority=1).enqueue(task).workflow_id
    refusals: list[tuple[type[Exception], Callable[[], object], str]] = [
        (EnqueueOptionError, lambda: app.set_priority(waiting, 5), "none on a queue without prior"),
        (EnqueueOptionError, lambda: app.set_priority(ready, 0), "allowed is an int from 1 to"),
        (
            EnqueueOptionError,
            lambda: app.set_priority(ready, priority=True),
            "allowed is an int from 1 to",
        ),
        (WorkflowStatusError, lambda: app.set_delay(ready, delay_seconds=1), "is ENQUEUED"),
        (EnqueueOptionError, lambda: app.set_delay(ready, delay_seconds=-1), "delay_seconds is -1"),
        (EnqueueOptionError, lambda: app.set_delay(ready, delay_seconds=10**400), "is 1000"),
        (ConfigurationError, lambda: app.set_delay(ready), "delay_seconds= or start_at="),
        (WorkflowNotFoundError, lambda: app.resume_workflow("nobody"), "'nobody' was not found"),
        (WorkflowNotFoundError, lambda: app.delete_workflow("nobody"), "'nobody' was not found"),
        (WorkflowNotFoundError, lambda: app.set_priority("nobody", 1), "'nobody' was not found"),
    ]
    for kind, verb, words in refusals:
        with pytest.raises(kind, match=words):
            verb()
    for verb_of in (app.cancel_workflow, app.resume_workflow, app.delete_workflow):
        wrong: Any = app.retrieve_workflow(ready)
        with pytest.raises(InvalidWorkflowIdError, match="it is not a str"):
            verb_of(wrong)
    launched()
    assert app.retrieve_workflow(ready).get_result(timeout=10) == 1
    with pytest.raises(WorkflowStatusError, match="is SUCCESS: a change of priority is only for"):
        app.set_priority(ready, 5)


def test_resuming_what_has_not_ended_is_said_and_changes_nothing(
    app: App, task: Workflow[[], int], caplog: pytest.LogCaptureFixture
) -> None:
    """DELAYED and ENQUEUED stay as they are; a second cancel is none either."""
    queue = app.queue("tasks")
    delayed = queue.options(delay_seconds=60).enqueue(task)
    caplog.set_level(logging.INFO, "towpath.api")
    assert app.resume_workflow(delayed.workflow_id).get_status().status == "DELAYED"
    assert [r.message for r in caplog.records] == ["workflow has not ended; it is not resumed"]
    app.cancel_workflow(delayed.workflow_id)
    app.cancel_workflow(delayed.workflow_id)
    with pytest.raises(WorkflowCancelledError):
        delayed.get_result(timeout=5)


def test_a_deduplication_id_is_free_after_cancel_and_delete(
    app: App, task: Workflow[[], int]
) -> None:
    """A resumed one does not take it back from its new holder."""
    queue = app.queue("tasks").options(deduplication_id="d")
    first = queue.enqueue(task)
    app.cancel_workflow(first.workflow_id)
    second = queue.enqueue(task)
    assert app.resume_workflow(first.workflow_id).get_status().status == "ENQUEUED"
    with pytest.raises(QueueDeduplicatedError) as caught:
        queue.enqueue(task)
    assert caught.value.workflow_id == second.workflow_id
    app.delete_workflow(second.workflow_id)
    assert queue.enqueue(task).workflow_id not in (first.workflow_id, second.workflow_id)


def test_a_start_that_failed_does_not_use_up_its_id(app: App, task: Workflow[[], int]) -> None:
    """It is tried again in the same block, under the same id."""
    queue = app.queue("tasks")
    app.engine.run(
        lambda s: s.run((b"INSERT INTO towpath.queue (name, closed) VALUES ('tasks', true)", {}))
    )
    with SetWorkflowID("mine"):
        with pytest.raises(QueueClosedError):
            queue.enqueue(task)
        app.engine.run(lambda s: s.run((b"UPDATE towpath.queue SET closed = false", {})))
        assert queue.enqueue(task).workflow_id == "mine"
        assert queue.enqueue(task).workflow_id != "mine"


def test_one_block_object_serves_several_threads_at_once(app: App, task: Workflow[[], int]) -> None:
    """Each thread leaves its own block, to the one around it."""
    urgent, named = SetEnqueueOptions(priority=9), SetWorkflowID("named")
    queue = app.queue("tasks", priority_enabled=True)
    inside, left = threading.Event(), threading.Event()

    def other() -> None:
        with urgent, named:
            inside.set()
            left.wait(10)

    thread = threading.Thread(target=other)
    with urgent, SetWorkflowID("outer"):
        with urgent, named:
            thread.start()
            assert inside.wait(10)
        left.set()
        thread.join(10)
        handle = queue.enqueue(task)
    assert (handle.workflow_id, handle.get_status().priority) == ("outer", 9)
    plain = queue.enqueue(task)
    assert plain.workflow_id.startswith("wf-")
    assert plain.get_status().priority is None


def test_a_refusal_in_a_workflow_is_replayed(
    app: App, task: Workflow[[], int], launched: Launch
) -> None:
    """It goes on the way that it took, also where the queue would take the child by then."""
    queue, held = app.queue("children"), app.queue("held")
    told = threading.Event()

    @app.workflow(name="parent")
    def parent(awaited: str) -> list[str]:
        try:
            queue.options(deduplication_id="d").enqueue(task)
        except QueueDeduplicatedError as error:
            told.set()
            app.retrieve_workflow(awaited).get_result()
            return [error.workflow_id, error.queue_name, error.deduplication_id]
        return []

    holder = queue.options(deduplication_id="d", delay_seconds=3600).enqueue(task)
    late = held.options(delay_seconds=3600).enqueue(task)
    launched()
    handle = app.start_workflow(parent, late.workflow_id)
    assert told.wait(10)
    app.shutdown(drain=30)
    app.cancel_workflow(holder.workflow_id)
    app.set_delay(late.workflow_id, delay_seconds=0)
    launched()
    assert handle.get_result(timeout=20) == [holder.workflow_id, "children", "d"]
    assert handle.get_status().attempt == 2


def test_results_and_steps_beyond_the_bound_end_the_workflow(
    database_url: str, launched: Launch
) -> None:
    """With the error that names the bound and how to raise it; arguments fail at the caller."""
    del launched
    app = App(database_url=database_url, max_value_bytes=1000)

    @app.step()
    def large_step() -> str:
        return "x" * 2000

    @app.workflow(name="returns")
    def returns(size: int) -> str:
        return "x" * size

    @app.workflow(name="steps")
    def steps() -> str:
        return large_step()

    try:
        assert app.launch().wait_until_ready(20)
        queue = app.queue("values")
        assert queue.enqueue(returns, 900).get_result(timeout=10) == "x" * 900
        for handle in (queue.enqueue(returns, 2000), queue.enqueue(steps)):
            with pytest.raises(ValueTooLargeError, match=r"result has 2002 bytes.*max_value_bytes"):
                handle.get_result(timeout=10)
            assert handle.get_status().status == "ERROR"
        with pytest.raises(ValueTooLargeError, match="arguments has 2"):
            app.queue("values").enqueue(returns, 10**2000)
    finally:
        app.shutdown(drain=0)


@pytest.mark.parametrize("bound", [0, -1, True, "1", 1.5])
def test_a_bound_out_of_bounds_is_refused(bound: Any) -> None:
    """When the App is made."""
    with pytest.raises(ConfigurationError, match="max_value_bytes is"):
        App(max_value_bytes=bound)


def test_a_workflow_that_is_cancelled_as_it_records_a_step_gives_its_place_back(
    app: App, launched: Launch
) -> None:
    """The step finds that out before the worker is told; the next one of the queue begins all the same."""
    queue = app.queue("alone", concurrency=1)
    began = threading.Event()

    @app.step(name="cancel_me")
    def cancel_me(workflow_id: str) -> None:
        began.set()
        app.cancel_workflow(workflow_id)

    @app.workflow(name="cancels_itself")
    def cancels_itself(workflow_id: str) -> None:
        cancel_me(workflow_id)

    launched()
    for n in range(5):
        handle = queue.options(workflow_id=f"w{n}").enqueue(cancels_itself, f"w{n}")
        assert began.wait(10)
        began.clear()
        with pytest.raises(WorkflowCancelledError):
            handle.get_result(timeout=10)


def test_a_cancel_says_what_it_did(app: App, task: Workflow[[], int], launched: Launch) -> None:
    """The status before, and how many children went with it; what has ended for good is an error."""
    queue, children = app.queue("tasks"), app.queue("children")

    @app.workflow(name="parent")
    def parent(below: int) -> int:
        held = children.options(delay_seconds=3600)
        if below:
            children.enqueue(parent, below - 1).get_result()
        return held.enqueue(task).get_result()

    launched()
    handle = queue.options(workflow_id="root").enqueue(parent, 2)
    wait_until(lambda: len(app.list_workflows(name="task")) == 1)
    assert app.cancel_workflow("root") == Cancelled("root", WorkflowStatus.PENDING)
    assert {i.status for i in app.list_workflows(has_parent=True)} == {"PENDING", "DELAYED"}
    again = asyncio.run(app.cancel_workflow_async("root", cascade=True))
    assert again == Cancelled("root", WorkflowStatus.CANCELLED, children=3)
    assert not again.changed
    assert {i.status for i in app.list_workflows()} == {"CANCELLED"}
    assert app.cancel_workflow("root", cascade=True).children == 0
    done = queue.enqueue(task)
    assert done.get_result(timeout=10) == 1
    for cascade in (False, True):
        with pytest.raises(WorkflowStatusError, match="is SUCCESS: cancel is only for workflows"):
            app.cancel_workflow(done.workflow_id, cascade=cascade)
    assert handle.get_status().error is None


def test_children_of_what_has_succeeded_are_left_alone(app: App, launched: Launch) -> None:
    """A cancel with children that is refused changes nothing at all."""

    @app.workflow(name="child")
    def child() -> None:
        """End."""

    @app.workflow(name="parent")
    def parent() -> None:
        app.queue("children").options(delay_seconds=3600, workflow_id="child").enqueue(child)

    launched()
    handle = app.queue("tasks").enqueue(parent)
    handle.get_result(timeout=10)
    with pytest.raises(WorkflowStatusError, match="is SUCCESS"):
        app.cancel_workflow(handle.workflow_id, cascade=True)
    assert app.retrieve_workflow("child").get_status().status == "DELAYED"


def test_a_given_up_workflow_is_not_cancelled_and_that_is_said(
    app: App, task: Workflow[[], int], caplog: pytest.LogCaptureFixture
) -> None:
    """It keeps its status, and the reason why it ended."""
    handle = app.queue("tasks").options(workflow_id="w").enqueue(task)
    app.engine.run(lambda s: s.run((GIVE_UP, {})))
    caplog.set_level(logging.INFO, "towpath.api")
    done = app.cancel_workflow("w")
    assert (done.changed, done.was) == (False, "MAX_RECOVERY_ATTEMPTS_EXCEEDED")
    assert [r.message for r in caplog.records] == ["workflow has ended; it is not cancelled"]
    assert handle.get_status().status == "MAX_RECOVERY_ATTEMPTS_EXCEEDED"


GIVE_UP = b"""
WITH gone AS (DELETE FROM towpath.ready RETURNING seq)
INSERT INTO towpath.result (seq, status, attempt, completed_at)
SELECT seq, 'MAX_RECOVERY_ATTEMPTS_EXCEEDED', 1, now() FROM gone
"""


@pytest.mark.parametrize("by", ["hand", "deadline"])
def test_the_worker_of_a_cancelled_workflow_is_called(
    app: App, database_url: str, launched: Launch, by: str
) -> None:
    """Code that only waits would learn of it at the next poll."""

    @app.workflow(name="wait")
    def wait() -> None:
        app.recv(timeout_seconds=None)

    launched()
    channel = psycopg.sql.Identifier(app.engine.statements.channel)
    with psycopg.connect(database_url, autocommit=True) as listening:
        listening.execute(psycopg.sql.SQL("LISTEN {}").format(channel))
        timeout = 0.2 if by == "deadline" else None
        handle = app.queue("tasks").options(timeout_seconds=timeout).enqueue(wait)
        wait_until(lambda: handle.get_status().status == "PENDING")
        if by == "hand":
            app.cancel_workflow(handle.workflow_id)
        with closing(listening.notifies(timeout=10)) as notes:
            assert "tasks,cancelled" in (note.payload for note in notes)


def test_a_result_of_what_was_deleted_is_not_waited_for(app: App, launched: Launch) -> None:
    """By a handle from before, waiting already or not, and by a workflow that waits for it."""

    @app.workflow(name="wait")
    def wait() -> None:
        app.recv(timeout_seconds=None)

    @app.workflow(name="await")
    def await_other(workflow_id: str) -> str:
        try:
            app.retrieve_workflow(workflow_id).get_result()
        except WorkflowNotFoundError as error:
            return error.workflow_id
        return ""

    launched()
    tasks, others = app.queue("tasks"), app.queue("others")
    handle = tasks.enqueue(wait)
    parent = others.enqueue(await_other, handle.workflow_id)
    wait_until(lambda: parent.get_status().status == "PENDING")
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(handle.get_result, timeout=20)
        wait_until(lambda: not waiting.done() and handle.get_status().status == "PENDING")
        app.delete_workflow(handle.workflow_id)
        with pytest.raises(WorkflowNotFoundError):
            waiting.result()
    with pytest.raises(WorkflowNotFoundError):
        handle.get_result(timeout=20)
    assert parent.get_result(timeout=20) == handle.workflow_id
