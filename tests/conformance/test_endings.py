"""What user code may do to its worker, and what a worker's end does to user code."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import NoReturn
from urllib.parse import urlsplit

import psycopg
import pytest

import towpath
from tests.fixtures.apps import wait_until
from towpath import App, WorkflowStatus
from towpath.errors import ConfigurationError, StepFailedError, UsageError, WorkflowNotFoundError

Launch = Callable[..., towpath.Worker]


def test_many_waits_at_once_give_back_one_slot(app: App, launched: Launch) -> None:
    """A workflow that awaits five results at once lets one other begin, not five."""
    queue = app.queue("family")
    release, lock = threading.Event(), threading.Lock()
    running: list[int] = []
    most: list[int] = []

    @app.workflow(name="child")
    def child(number: int) -> int:
        with lock:
            running.append(number)
            most.append(len(running))
        release.wait(20)
        with lock:
            running.remove(number)
        return number

    @app.workflow(name="parent")
    async def parent() -> int:
        handles = [await queue.enqueue_async(child, n) for n in range(5)]
        return sum(await asyncio.gather(*(h.get_result() for h in handles)))

    worker = launched(slots=1)
    handle = queue.enqueue(parent)
    wait_until(lambda: bool(running))
    wait_until(lambda: worker._dispatcher.slots.free == 0)
    release.set()
    assert handle.get_result(timeout=20) == 10
    assert max(most) == 1
    wait_until(lambda: worker._dispatcher.slots.free == 1)


def test_a_workflow_that_awaits_several_goes_to_sleep_at_shutdown(
    app: App, launched: Launch
) -> None:
    """Also when some of its waits are over, shutdown does not wait for the rest; its place stays."""
    queue = app.queue("family")
    one_is_over = threading.Event()

    @app.workflow(name="quick")
    def quick() -> int:
        return 1

    @app.workflow(name="waits")
    async def waits(workflow_id: str) -> int:
        held = await app.retrieve_workflow_async(workflow_id)

        async def first() -> int:
            result = await (await queue.enqueue_async(quick)).get_result()
            one_is_over.set()
            return result

        results = await asyncio.gather(held.get_result(), first(), held.get_result())
        return sum(results)

    unserved = App(database_url=app._database_url)

    @unserved.workflow(name="unknown_here")
    def unknown_here() -> int:
        return 1

    try:
        other = unserved.queue("family").enqueue(unknown_here)
        launched()
        handle = queue.enqueue(waits, other.workflow_id)
        assert one_is_over.wait(10)
        stopping = threading.Thread(target=app.shutdown, kwargs={"drain": 30})
        stopping.start()
        stopping.join(10)
        assert not stopping.is_alive()
        info = handle.get_status()
        assert (info.status, info.asleep) == (WorkflowStatus.PENDING, True)
    finally:
        unserved.shutdown()


def test_a_pause_between_tries_ends_with_the_drain(app: App, launched: Launch) -> None:
    """A step that pauses for an hour does not hold up the end; it is handed back."""
    queue = app.queue("orders")
    tried = threading.Event()
    backoff = towpath.Backoff(initial=timedelta(hours=1), maximum=timedelta(hours=1))

    @app.step(name="flaky", retries=3, backoff=backoff)
    def flaky() -> NoReturn:
        tried.set()
        raise ConnectionError

    @app.step(name="aflaky", retries=3, backoff=backoff)
    async def aflaky() -> NoReturn:
        raise ConnectionError

    @app.workflow(name="call")
    def call() -> None:
        flaky()

    @app.workflow(name="acall")
    async def acall() -> None:
        await aflaky()

    worker = launched()
    handles = [queue.enqueue(call), queue.enqueue(acall)]
    assert tried.wait(10)
    wait_until(
        lambda: (
            len(worker._dispatcher.active) == 2
            and all(e._wakes for e in list(worker._dispatcher.active.values()))
        )
    )
    began = time.monotonic()
    app.shutdown(drain=30)
    assert time.monotonic() - began < 15
    assert [h.get_status().status for h in handles] == [WorkflowStatus.ENQUEUED] * 2


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_exits_in_tasks_end_their_workflow_and_not_the_loop(
    app: App, launched: Launch, error: BaseException
) -> None:
    """Asyncio passes these through the loop; other async workflows go on, and later ones run."""
    queue = app.queue("bad")
    go_on = threading.Event()

    async def exits() -> None:
        raise error

    @app.workflow(name="gathers")
    async def gathers() -> None:
        await asyncio.gather(exits())

    @app.workflow(name="calls_soon")
    async def calls_soon() -> int:
        asyncio.get_running_loop().call_soon(_raise, error)
        await asyncio.sleep(0.01)
        return 1

    @app.workflow(name="neighbour")
    async def neighbour() -> int:
        while not go_on.is_set():  # noqa: ASYNC110 - a thread sets it
            await asyncio.sleep(0.01)
        return 2

    launched()
    beside = queue.enqueue(neighbour)
    with pytest.raises(StepFailedError, match=type(error).__name__):
        queue.enqueue(gathers).get_result(timeout=10)
    assert queue.enqueue(calls_soon).get_result(timeout=10) == 1
    go_on.set()
    assert beside.get_result(timeout=10) == 2


def _raise(error: BaseException) -> NoReturn:
    raise error


def test_a_step_that_is_no_longer_awaited_while_it_is_recorded_hangs_nobody(
    app: App, launched: Launch, database_url: str
) -> None:
    """A timeout around a step strikes while its record is written; every later step still works."""
    queue = app.queue("orders")
    called = threading.Event()

    @app.step(name="charge")
    async def charge(number: int) -> int:
        called.set()
        return number

    @app.workflow(name="impatient")
    async def impatient() -> str:
        try:
            async with asyncio.timeout(0.5):
                await charge(1)
        except TimeoutError:
            return "late"
        return "in time"

    @app.workflow(name="patient")
    async def patient() -> int:
        return await charge(2)

    launched()
    with psycopg.connect(database_url) as blocker:
        blocker.execute("LOCK TABLE towpath.step IN SHARE MODE")
        handle = queue.enqueue(impatient)
        assert called.wait(10)
        assert handle.get_result(timeout=10) == "late"
    assert queue.enqueue(patient).get_result(timeout=10) == 2


def test_a_step_begins_only_under_a_lease_that_holds(
    app: App, launched: Launch, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker whose renewals do not get through ends its call in flight and begins no other."""
    monkeypatch.setenv("TOWPATH_LEASE_SECONDS", "1")
    queue = app.queue("orders")
    begun: list[str] = []
    first_begun, release = threading.Event(), threading.Event()

    @app.step(name="first")
    def first() -> int:
        begun.append("first")
        first_begun.set()
        release.wait(20)
        return 1

    @app.step(name="second")
    def second() -> int:
        begun.append("second")
        return 2

    @app.workflow(name="two_steps")
    def two_steps() -> int:
        return first() + second()

    worker = launched()
    with psycopg.connect(database_url) as watch, psycopg.connect(database_url) as blocker:
        watch.autocommit = True
        handle = queue.enqueue(two_steps)
        assert first_begun.wait(10)
        blocker.execute("SELECT FROM towpath.worker FOR NO KEY UPDATE")
        wait_until(lambda: worker._row.lease.lapsed)
        release.set()
        wait_until(
            lambda: watch.execute("SELECT position FROM towpath.step").fetchall() == [("1",)]
        )
        execution = next(iter(worker._dispatcher.active.values()))
        wait_until(lambda: bool(execution._wakes), what="the second step waits for the lease")
        assert begun == ["first"]
        blocker.rollback()
        assert handle.get_result(timeout=10) == 3


def test_shutdown_from_several_threads_waits_for_the_one_end(app: App, launched: Launch) -> None:
    """The second caller does not pull the connections from under the first one's drain."""
    queue = app.queue("orders")
    begun, release = threading.Event(), threading.Event()

    @app.workflow(name="held")
    def held() -> int:
        begun.set()
        release.wait(20)
        return 1

    worker = launched()
    handle = queue.enqueue(held)
    assert begun.wait(10)
    callers = [threading.Thread(target=app.shutdown) for _ in range(3)]
    for caller in callers:
        caller.start()
    wait_until(lambda: not worker._dispatcher.claiming)
    assert handle.get_status().status is WorkflowStatus.PENDING
    assert all(caller.is_alive() for caller in callers)
    release.set()
    for caller in callers:
        caller.join(20)
    assert handle.get_result(timeout=10) == 1


def test_a_workflow_cannot_await_its_own_workers_end(app: App, launched: Launch) -> None:
    """Shutdown in a workflow or a step is an error and not a deadlock."""
    queue = app.queue("orders")

    @app.step(name="stops")
    def stops() -> None:
        app.shutdown()

    @app.workflow(name="outer")
    def outer() -> None:
        stops()

    launched()
    with pytest.raises(UsageError, match="within one of its workflows"):
        queue.enqueue(outer).get_result(timeout=10)


def test_a_worker_without_queues_is_not_waited_for(app: App) -> None:
    """Nor one that was stopped before it was ready."""
    assert app.launch(queues=[]).wait_until_ready(5)
    nowhere = App(database_url="postgresql://nobody@127.0.0.1:1/nothing")
    nowhere.queue("any")
    worker = nowhere.launch()
    waited: list[bool] = []
    waiting = threading.Thread(target=lambda: waited.append(worker.wait_until_ready()))
    waiting.start()
    nowhere.shutdown()
    waiting.join(10)
    assert waited == [False]
    worker.stop()  # once more does nothing


def test_the_interpreter_ends_under_a_step_that_goes_on(database_url: str) -> None:
    """At exit nothing waits for it; the host's name is looked up no more, and no traceback is shown."""
    url = urlsplit(database_url)
    login = url.netloc.rpartition("@")[0]
    by_name = url._replace(netloc=f"{login}@localhost:{url.port}").geturl()
    script = (
        "import threading, towpath, time\n"
        "begun = threading.Event()\n"
        "@towpath.workflow()\n"
        "def sleeps():\n"
        "    begun.set()\n"
        "    time.sleep(600)\n"
        f"towpath.launch({by_name!r})\n"
        "towpath.start_workflow(sleeps)\n"
        "begun.wait(30)\n"
        "print('main ends', flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "main ends\n", "")


def test_steps_of_another_app_are_the_running_workflows(
    app: App, launched: Launch, new_database: Callable[[], str]
) -> None:
    """A step is recorded where its workflow runs; what is in another database is refused or awaited."""
    shared = App()  # as a library's module has it: with no database of its own
    elsewhere = App(database_url=new_database())
    queue, far_queue = app.queue("near"), elsewhere.queue("far")

    @shared.step(name="charge")
    def charge(number: int) -> int:
        return number + 1

    @elsewhere.workflow(name="far")
    def far() -> int:
        return 40

    @app.workflow(name="near")
    def near(far_id: str) -> int:
        found: towpath.WorkflowHandle[int] = elsewhere.retrieve_workflow(far_id)
        return charge(1) + found.get_result()

    @app.workflow(name="mixes")
    def mixes() -> None:
        far_queue.enqueue(far)

    try:
        launched()
        assert elsewhere.launch().wait_until_ready(20)
        far_id = far_queue.enqueue(far).workflow_id
        assert queue.enqueue(near, far_id).get_result(timeout=10) == 42
        with pytest.raises(UsageError, match="another database"):
            queue.enqueue(mixes).get_result(timeout=10)
    finally:
        elsewhere.shutdown(drain=0)


def test_a_client_in_a_workflow_starts_a_child(
    app: App, launched: Launch, database_url: str
) -> None:
    """On the same database its enqueue is recorded as the workflow's own would be."""
    queue = app.queue("family")

    @app.workflow(name="child")
    def child() -> int:
        return 7

    with towpath.Client(database_url) as client:

        @app.workflow(name="parent")
        def parent() -> object:
            return client.enqueue("family", "child").get_result()

        launched()
        assert queue.enqueue(parent).get_result(timeout=10) == 7
        assert child.name == "child"


@pytest.mark.parametrize(
    "workflow_id", ["a\0b", "\ud800", "wf-9999999999999999999-0000000000000000", "x" * 100_000]
)
def test_ids_that_cannot_be_are_not_found(app: App, workflow_id: str) -> None:
    """Whatever is asked for, the answer is the same clear error."""
    app.launch(queues=[])
    with pytest.raises(WorkflowNotFoundError):
        app.retrieve_workflow(workflow_id)


@pytest.mark.parametrize("name", ["", "a\0b", "\udfff", "x" * 256])
def test_names_that_cannot_be_stored_are_refused(app: App, database_url: str, name: str) -> None:
    """Before a row or a step's record fails on them."""
    with pytest.raises(ConfigurationError, match="workflow name"):
        app.workflow(name=name)(_echo)
    with pytest.raises(ConfigurationError, match="step name"):
        app.step(name=name)(_echo)
    with (
        towpath.Client(database_url) as client,
        pytest.raises(ConfigurationError, match="workflow name"),
    ):
        client.enqueue("any", name)


def _echo(number: int) -> int:
    return number


@pytest.mark.parametrize("verb", ["result", "event", "stream"])
def test_who_waits_through_a_shutdown_is_told(app: App, verb: str) -> None:
    """With an error that says what to do, and not with a bare cancellation."""
    queue = app.queue("orders")

    @app.workflow(name="never")
    def never() -> None: ...

    handle = queue.enqueue(never)
    said: list[BaseException] = []
    waits: dict[str, Callable[[], object]] = {
        "result": handle.get_result,
        "event": lambda: app.get_event(handle.workflow_id, "paid", None),
        "stream": lambda: list(app.read_stream(handle.workflow_id, "lines")),
    }

    def wait() -> None:
        try:
            waits[verb]()
        except BaseException as error:  # noqa: BLE001 - whatever it is
            said.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    engine = app.engine
    wait_until(lambda: bool(engine.hub.waits))
    app.shutdown(drain=0)
    waiting.join(10)
    assert [type(error) for error in said] == [towpath.errors.ShutDownError]
