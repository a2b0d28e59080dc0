"""Workflows and steps through the public API, in one process."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable

import pytest

import towpath
from tests.fixtures.apps import wait_until
from towpath import App, SetWorkflowID, WorkflowStatus
from towpath.errors import (
    ConfigurationError,
    DuplicateNameError,
    QueueNotFoundError,
    QueueSettingsError,
    ResultTimeoutError,
    StartInsideStepError,
    StepFailedError,
    StepRetriesExhaustedError,
    SyncCallInAsyncError,
    UsageError,
    ValueNotEncodableError,
    WorkflowIdConflictError,
    WorkflowNotFoundError,
)

Launch = Callable[..., towpath.Worker]


class OrderRefusedError(Exception):
    """An application's own error, with a field."""

    def __init__(self, order: int) -> None:
        super().__init__(f"order {order} is refused")
        self.order = order


def test_enqueue_runs_and_returns(app: App, launched: Launch) -> None:
    """A sync and an async workflow on a queue return what their functions return."""
    queue = app.queue("email")

    @app.workflow(name="greet")
    def greet(name: str, *, loud: bool = False) -> str:
        return name.upper() if loud else name

    @app.workflow(name="agreet")
    async def agreet(name: str) -> dict[str, list[str]]:
        await asyncio.sleep(0)
        return {"names": [name]}

    launched()
    assert queue.enqueue(greet, "ada", loud=True).get_result(timeout=10) == "ADA"
    assert queue.enqueue(agreet, "bob").get_result(timeout=10) == {"names": ["bob"]}


def test_enqueued_before_any_worker_runs_once_there_is_one(app: App, launched: Launch) -> None:
    """The workflow is in Postgres when enqueue returns, and says that nobody serves it yet."""
    queue = app.queue("email")

    @app.workflow(name="one")
    def one() -> int:
        return 1

    handle = queue.enqueue(one)
    assert f"{handle.get_status().status}" == "ENQUEUED"
    launched()
    assert handle.get_result(timeout=10) == 1
    assert handle.get_status().status is WorkflowStatus.SUCCESS


def test_the_same_chosen_id_is_the_same_workflow(app: App, launched: Launch) -> None:
    """A second start with the id runs nothing; another name or queue is an error."""
    queue = app.queue("email")
    runs: list[int] = []

    @app.workflow(name="send")
    def send(number: int) -> int:
        runs.append(number)
        return number

    @app.workflow(name="other")
    def other(number: int) -> int:
        return number

    launched()
    with SetWorkflowID("email-1"):
        first = queue.enqueue(send, 1)
    assert first.get_result(timeout=10) == 1
    with SetWorkflowID("email-1"):
        again = queue.enqueue(send, 2)
    assert (again.workflow_id, again.get_result(timeout=10), runs) == ("email-1", 1, [1])
    assert queue.options(workflow_id="email-1").enqueue(send, 3).get_result(timeout=10) == 1
    with pytest.raises(WorkflowIdConflictError, match="in use by workflow 'send'"):
        queue.options(workflow_id="email-1").enqueue(other, 1)


def test_set_workflow_id_serves_one_start(app: App) -> None:
    """The second start in the block gets an id of its own."""
    queue = app.queue("email")

    @app.workflow(name="send")
    def send() -> None: ...

    with SetWorkflowID("only-one"):
        first, second = queue.enqueue(send), queue.enqueue(send)
    assert first.workflow_id == "only-one"
    assert second.workflow_id.startswith("wf-")


def test_a_workflow_that_raises_raises_the_same_from_its_handle(app: App, launched: Launch) -> None:
    """The class, the message and the fields come back; the status is ERROR."""
    queue = app.queue("orders")

    @app.workflow(name="refuse")
    def refuse(order: int) -> None:
        raise OrderRefusedError(order)

    launched()
    handle = queue.enqueue(refuse, 7)
    with pytest.raises(OrderRefusedError, match="order 7 is refused") as caught:
        handle.get_result(timeout=10)
    assert caught.value.order == 7
    status = handle.get_status()
    assert (status.status, status.error) == (
        WorkflowStatus.ERROR,
        "OrderRefusedError: order 7 is refused",
    )


def test_bad_ends_are_errors_of_the_workflow_and_leave_the_worker_well(
    app: App, launched: Launch
) -> None:
    """A result that cannot be recorded, sys.exit, wrong arguments: ERROR each, and work goes on."""
    queue = app.queue("bad")

    @app.workflow(name="unencodable")
    def unencodable() -> object:
        return object()

    @app.workflow(name="exits")
    def exits() -> None:
        sys.exit(3)

    @app.workflow(name="exits_async")
    async def exits_async() -> None:
        sys.exit(3)

    @app.workflow(name="fine")
    def fine() -> int:
        return 1

    launched(slots=1)
    with pytest.raises(ValueNotEncodableError, match="result"):
        queue.enqueue(unencodable).get_result(timeout=10)
    for workflow in (exits, exits_async):
        with pytest.raises(StepFailedError, match="SystemExit"):
            queue.enqueue(workflow).get_result(timeout=10)
    with pytest.raises(TypeError, match="argument"):
        queue.enqueue(fine, 1, 2, 3).get_result(timeout=10)  # type: ignore[call-overload]
    assert queue.enqueue(fine).get_result(timeout=10) == 1


def test_an_argument_that_cannot_be_recorded_is_refused_at_the_caller(app: App) -> None:
    """The error names the path, and nothing is written."""
    queue = app.queue("email")

    @app.workflow(name="send")
    def send(value: object) -> None: ...

    with pytest.raises(ValueNotEncodableError, match=r"args\[0\]\.when") as caught:
        queue.enqueue(send, {"when": {1, 2}})
    assert caught.value.path.startswith("args[0]")
    assert app.list_workflows() == []


def test_steps_are_recorded_and_a_failed_one_raises_its_error(app: App, launched: Launch) -> None:
    """A step's value and its error go through the record; the workflow may catch the error."""
    queue = app.queue("orders")
    threads: list[str] = []

    @app.step(name="charge")
    def charge(order: int) -> int:
        threads.append(threading.current_thread().name)
        if order == 13:
            raise OrderRefusedError(order)
        return order * 100

    @app.workflow(name="fulfil")
    def fulfil(order: int) -> list[int]:
        try:
            return [charge(order), charge(13)]
        except OrderRefusedError as error:
            return [-error.order]

    launched()
    assert queue.enqueue(fulfil, 1).get_result(timeout=10) == [-13]
    assert charge(2) == 200  # outside a workflow it is a plain call


def test_a_step_is_tried_again_as_often_as_it_says(app: App, launched: Launch) -> None:
    """retries=2 is three tries; exhausted, the error has one line for each."""
    queue = app.queue("orders")
    tries: list[int] = []
    pause = towpath.Backoff(initial=towpath.Backoff().initial * 0)

    @app.step(name="flaky", retries=2, backoff=pause)
    def flaky(successful: int) -> int:
        tries.append(1)
        if len(tries) < successful:
            raise ConnectionError(f"try {len(tries)}")
        return len(tries)

    @app.workflow(name="call")
    def call(successful: int) -> int:
        return flaky(successful)

    launched()
    assert queue.enqueue(call, 3).get_result(timeout=10) == 3
    tries.clear()
    with pytest.raises(StepRetriesExhaustedError, match="failed 3 times") as caught:
        queue.enqueue(call, 9).get_result(timeout=10)
    assert caught.value.tries == [f"ConnectionError: try {n}" for n in (1, 2, 3)]


def test_async_steps_run_at_once_and_keep_their_positions(app: App, launched: Launch) -> None:
    """Gathered branches of several steps record below their own numbers."""
    queue = app.queue("orders")

    @app.step(name="double")
    async def double(number: int) -> int:
        await asyncio.sleep(0.001 * (5 - number))
        return number * 2

    async def branch(number: int) -> int:
        return await double(await double(number))

    @app.workflow(name="fan")
    async def fan() -> list[int]:
        first = await double(1)
        return [first, *(await asyncio.gather(*(branch(n) for n in range(3))))]

    launched()
    handle = queue.enqueue(fan)
    assert handle.get_result(timeout=10) == [2, 0, 4, 8]
    (rows,) = app.engine.run(
        lambda session: session.run((b"SELECT position FROM towpath.step", {}))
    )
    assert {row[0] for row in rows} == {"1", "2.1", "2.2", "3.1", "3.2", "4.1", "4.2"}


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_parent_and_children_end_with_one_slot(app: App, launched: Launch, kind: str) -> None:
    """Waiting gives the slot back: enqueued children and awaited ones, three deep."""
    queue = app.queue("family")

    @app.workflow(name="child")
    def child(item: int) -> int:
        return item * 10

    @app.workflow(name="middle")
    def middle(item: int) -> int:
        return child(item) + queue.enqueue(child, item).get_result()

    @app.workflow(name="parent")
    def parent(items: list[int]) -> int:
        handles = [queue.enqueue(middle, item) for item in items]
        return sum(handle.get_result() for handle in handles)

    @app.workflow(name="amiddle")
    async def amiddle(item: int) -> int:
        handle = await queue.enqueue_async(child, item)
        return await handle.get_result() + await handle.get_result()

    @app.workflow(name="aparent")
    async def aparent(items: list[int]) -> int:
        handles = [await queue.enqueue_async(amiddle, item) for item in items]
        return sum(await asyncio.gather(*(handle.get_result() for handle in handles)))

    launched(slots=1)
    chosen = parent if kind == "sync" else aparent
    assert queue.enqueue(chosen, [1, 2, 3]).get_result(timeout=20) == 120


def test_direct_calls_run_durably(app: App, launched: Launch) -> None:
    """Called outside, a workflow is started and its result awaited; async ones are awaited."""

    @app.workflow(name="add")
    def add(a: int, b: int) -> int:
        return a + b

    @app.workflow(name="aadd")
    async def aadd(a: int, b: int) -> int:
        return a + b

    launched()
    assert add(1, 2) == 3
    assert asyncio.run(_await(aadd, 3, 4)) == 7
    assert app.start_workflow(aadd, 5, 6).get_result(timeout=10) == 11
    assert add.__wrapped__(1, 1) == 2
    assert [w.queue_name for w in app.list_workflows()] == ["_towpath"] * 3


async def _await(workflow: towpath.Workflow[..., object], *args: int) -> object:
    return await workflow(*args)  # type: ignore[misc]


def test_the_async_face_works_from_any_loop_and_twice(app: App, launched: Launch) -> None:
    """Two runs of asyncio.run, each with a loop of its own."""
    queue = app.queue("email")

    @app.workflow(name="echo")
    def echo(number: int) -> int:
        return number

    async def run(number: int) -> int:
        handle = await queue.enqueue_async(echo, number)
        assert (await handle.get_status()).workflow_id == handle.workflow_id
        again = await app.retrieve_workflow_async(handle.workflow_id)
        assert await again.get_result(timeout=10) == number
        return await handle.get_result(timeout=10)

    launched()
    assert [asyncio.run(run(n)) for n in (1, 2)] == [1, 2]


def test_blocking_verbs_in_async_code_name_their_twin(app: App, launched: Launch) -> None:
    """In an async workflow enqueue, get_result and sync steps raise; to_thread is the way out."""
    queue = app.queue("email")

    @app.workflow(name="echo")
    def echo(number: int) -> int:
        return number

    @app.step(name="slow")
    def slow(number: int) -> int:
        return number + 1

    @app.workflow(name="mixed")
    async def mixed() -> list[str]:
        seen = []
        for call in (lambda: queue.enqueue(echo, 1), lambda: slow(1), lambda: echo(1)):
            try:
                call()
            except SyncCallInAsyncError as error:
                seen.append(error.twin)
        return [*seen, str(await asyncio.to_thread(slow, 1))]

    launched()
    assert queue.enqueue(mixed).get_result(timeout=10) == [
        "queue.enqueue_async(...)",
        "asyncio.to_thread(slow, ...)",
        "start_workflow_async(echo, ...)",
        "2",
    ]


def test_a_workflow_started_inside_a_step_is_an_error(app: App, launched: Launch) -> None:
    """By enqueue and by call; the workflow fails with it and nothing is started."""
    queue = app.queue("email")

    @app.workflow(name="echo")
    def echo(number: int) -> int:
        return number

    @app.step(name="enqueues")
    def enqueues() -> None:
        queue.enqueue(echo, 1)

    @app.step(name="calls")
    def calls() -> None:
        echo(1)

    @app.workflow(name="outer")
    def outer(which: str) -> None:
        {"enqueues": enqueues, "calls": calls}[which]()

    launched()
    for which in ("enqueues", "calls"):
        with pytest.raises(StartInsideStepError, match=f"inside step '{which}'"):
            queue.enqueue(outer, which).get_result(timeout=10)
    assert {w.name for w in app.list_workflows()} == {"outer"}


def test_get_result_times_out_and_the_workflow_goes_on(app: App, launched: Launch) -> None:
    """The error is a TimeoutError too."""
    queue = app.queue("email")
    release = threading.Event()

    @app.workflow(name="held")
    def held() -> int:
        release.wait(20)
        return 1

    launched()
    handle = queue.enqueue(held)
    with pytest.raises(ResultTimeoutError) as caught:
        handle.get_result(timeout=0.05)
    assert isinstance(caught.value, TimeoutError)
    release.set()
    assert handle.get_result(timeout=10) == 1


def test_a_result_that_times_out_in_a_workflow_is_recorded(app: App, launched: Launch) -> None:
    """The parent sees the timeout as an error and ends; the child goes on."""
    queue = app.queue("email")
    release = threading.Event()

    @app.workflow(name="held")
    def held() -> int:
        release.wait(20)
        return 1

    @app.workflow(name="impatient")
    def impatient() -> str:
        try:
            queue.enqueue(held).get_result(timeout=0.05)
        except ResultTimeoutError as error:
            return f"{error.timeout_seconds:g}"
        return "in time"

    launched()
    assert queue.enqueue(impatient).get_result(timeout=10) == "0.05"
    release.set()


def test_unknown_ids_and_queues_are_clear_errors(app: App, database_url: str) -> None:
    """Of a handle, of the Client, and of what is not a workflow at all."""
    app.queue("email")
    app.launch(queues=[])
    with pytest.raises(WorkflowNotFoundError, match="'nope'"):
        app.retrieve_workflow("nope")
    with pytest.raises(WorkflowNotFoundError):
        app.retrieve_workflow("wf-1-0000000000000000")

    def plain() -> None: ...

    with pytest.raises(UsageError, match="is not a workflow"):
        app.queue("email").enqueue(plain)  # type: ignore[call-overload]
    with towpath.Client(database_url) as client:
        with pytest.raises(QueueNotFoundError, match="'emial' was not found"):
            client.enqueue("emial", "send")
        assert client.list_workflows() == []


def test_the_client_needs_no_code(app: App, launched: Launch, database_url: str) -> None:
    """It enqueues by names; a queue without a row is named with the nearest ones."""
    app.queue("email")

    @app.workflow(name="echo")
    def echo(number: int, *, times: int = 1) -> int:
        return number * times

    launched()
    with towpath.Client(database_url) as client:
        handle = client.enqueue("email", "echo", 21, times=2)
        assert handle.get_result(timeout=10) == 42
        assert client.retrieve_workflow(handle.workflow_id).get_result(timeout=10) == 42
        with pytest.raises(QueueNotFoundError, match="Did you mean 'email'"):
            client.enqueue("emial", "echo", 1)


def test_a_workflow_that_no_worker_knows_waits_and_is_not_lost(
    app: App, launched: Launch, database_url: str
) -> None:
    """Others of the queue run past it; it runs once its function is registered."""
    queue = app.queue("email")

    @app.workflow(name="known")
    def known() -> int:
        return 1

    launched(slots=1)
    with towpath.Client(database_url) as client:
        waiting = client.enqueue("email", "unknown")
        assert queue.enqueue(known).get_result(timeout=10) == 1
        assert waiting.get_status().status is WorkflowStatus.ENQUEUED

        @app.workflow(name="unknown")
        def unknown() -> int:
            return 2

        assert waiting.get_result(timeout=10) == 2


def test_global_and_worker_concurrency_hold_inside_one_worker(app: App, launched: Launch) -> None:
    """Ten workflows, three places: never a fourth at once; and one at a time where that is declared."""
    three = app.queue("three", concurrency=3)
    one = app.queue("one", worker_concurrency=1)
    lock = threading.Lock()
    running = {"three": 0, "one": 0}
    most = {"three": 0, "one": 0}
    gate = threading.Event()

    @app.workflow(name="occupy")
    def occupy(name: str) -> None:
        with lock:
            running[name] += 1
            most[name] = max(most[name], running[name])
        gate.wait(0.02)
        with lock:
            running[name] -= 1

    launched(slots=10)
    handles = [queue.enqueue(occupy, queue.name) for queue in (three, one) for _ in range(10)]
    for handle in handles:
        handle.get_result(timeout=20)
    assert most == {"three": 3, "one": 1}


def test_current_tells_where_the_code_runs(app: App, launched: Launch) -> None:
    """Outside it is None; inside it has the id, the attempt, the queue and the step."""
    queue = app.queue("email")

    @app.step(name="look")
    def look() -> list[object]:
        now = towpath.current()
        assert now is not None
        return [now.workflow_id, now.attempt, now.queue, now.step, now.cancelled]

    @app.workflow(name="looks")
    def looks() -> list[object]:
        return look()

    launched()
    assert towpath.current() is None
    handle = queue.enqueue(looks)
    assert handle.get_result(timeout=10) == [handle.workflow_id, 1, "email", "look", False]


def test_declarations_that_contradict_are_refused() -> None:
    """Names, bounds, and two declarations of one queue or workflow in a process."""
    app = App()
    with pytest.raises(QueueSettingsError, match="concurrency is 0"):
        app.queue("a", concurrency=0)
    with pytest.raises(QueueSettingsError, match="concurrency is True"):
        app.queue("a", concurrency=True)
    with pytest.raises(QueueSettingsError, match="at most concurrency, which is 1"):
        app.queue("a", concurrency=1, worker_concurrency=2)
    with pytest.raises(QueueSettingsError, match="without a comma"):
        app.queue("a,b")
    app.queue("b", concurrency=1)
    app.queue("b")
    with pytest.raises(ConfigurationError, match="declared twice"):
        app.queue("b", concurrency=2)

    @app.workflow(name="w")
    def first() -> None: ...

    with pytest.raises(DuplicateNameError, match="registered twice"):

        @app.workflow(name="w")
        def second() -> None: ...

    with pytest.raises(ConfigurationError, match="Give it a name"):

        @app.workflow()
        def nameless() -> None: ...

    with pytest.raises(ConfigurationError, match="is sync"):

        @app.step(timeout=1)
        def timed() -> None: ...


def test_a_second_launch_raises(app: App, launched: Launch) -> None:
    """One worker a process and App."""
    launched()
    with pytest.raises(towpath.errors.AlreadyLaunchedError):
        app.launch()


def test_shutdown_hands_back_what_waits_and_finishes_what_runs(
    app: App, launched: Launch, database_url: str
) -> None:
    """After shutdown nothing is PENDING, and a second worker ends it all without a second step run."""
    queue = app.queue("email")
    begun, steps = threading.Event(), []
    release = threading.Event()

    @app.step(name="first")
    def first() -> int:
        steps.append("first")
        begun.set()
        release.wait(20)
        return 1

    @app.step(name="second")
    def second() -> int:
        steps.append("second")
        return 2

    @app.workflow(name="two_steps")
    def two_steps() -> int:
        return first() + second()

    launched()
    handle = queue.enqueue(two_steps)
    assert begun.wait(10)
    stopping = threading.Thread(target=app.shutdown, kwargs={"drain": 0})
    stopping.start()
    with towpath.Client(database_url) as client:
        watched = client.retrieve_workflow(handle.workflow_id)
        assert watched.get_status().status is WorkflowStatus.PENDING
        release.set()
        stopping.join(20)
        wait_until(lambda: watched.get_status().status is WorkflowStatus.ENQUEUED)
        launched()
        assert watched.get_result(timeout=10) == 3
    assert steps == ["first", "second"]
