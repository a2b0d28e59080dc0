"""Messages and events: who gets them, in which order, once, and who is told without being asked."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from typing import Any

import psycopg
import pytest

import towpath
from tests.fixtures.apps import wait_until
from towpath import App
from towpath.errors import (
    ConcurrentReceiveError,
    OutsideWorkflowError,
    ValueNotEncodableError,
    WaitOptionError,
    WorkflowNotFoundError,
)
from towpath.store import waits
from towpath.store.session import Session

Launch = Callable[..., towpath.Worker]
NO_SUCH_ID = "wf-9-0123456789abcdef"


def waits_for(app: App, kind: str, *, least: int = 1) -> None:
    """Wait until somebody has written that it waits, and has looked for the last quick time."""
    with psycopg.connect(str(app._database_url), autocommit=True) as watch:
        wait_until(
            lambda: count(watch, "SELECT count(*) FROM towpath.wait WHERE kind = %s", kind) >= least
        )
    wait_until(lambda: not quick_looks(app))


def count(watch: psycopg.Connection[Any], query: str, *parameters: object) -> int:
    """Return a query's count."""
    row = watch.execute(query.encode(), parameters).fetchone()
    assert row is not None
    return int(row[0])


def quick_looks(app: App) -> bool:
    """Tell whether a wait of an App is still looked at soon, since it has just begun."""
    now = app.engine.io.loop.time()
    entries = list(app.engine.hub._entries.values())
    return any(
        timer.when() > now for e in entries for name, timer in e.timers.items() if "quick" in name
    )


def test_messages_come_in_the_order_in_which_they_were_sent(app: App, launched: Launch) -> None:
    """From outside and from a workflow, before the receiver has begun and while it waits."""
    queue = app.queue("orders")

    @app.workflow(name="receiver")
    def receiver() -> list[int]:
        return [app.recv(timeout_seconds=20) for _ in range(30)]

    @app.workflow(name="sender")
    def sender(to: str) -> None:
        for number in range(10, 20):
            app.send(to, number)

    handle = queue.options(delay_seconds=0.1).enqueue(receiver)
    for number in range(10):
        app.send(handle.workflow_id, number)
    launched()
    queue.enqueue(sender, handle.workflow_id).get_result(timeout=20)
    for number in range(20, 30):
        app.send(handle.workflow_id, number)
    assert handle.get_result(timeout=20) == list(range(30))


def test_topics_are_lines_of_their_own(app: App, launched: Launch) -> None:
    """A message is received by its topic alone; one without a topic has none, not any."""
    queue = app.queue("orders")

    @app.workflow(name="receiver")
    async def receiver() -> list[Any]:
        received = [await app.recv_async(topic) for topic in ("b", None, "a", "b")]
        return [*received, await app.recv_async("a", timeout_seconds=0)]

    launched()
    handle = queue.enqueue(receiver)
    for message, topic in ((1, "a"), (2, "b"), (3, None), (4, "b")):
        app.send(handle.workflow_id, message, topic)
    assert handle.get_result(timeout=20) == [2, 3, 1, 4, None]


def test_each_message_is_received_once_by_whoever_comes_first(app: App, launched: Launch) -> None:
    """Eight threads send at once while the workflow receives: none is lost, none comes twice."""
    queue = app.queue("orders")

    @app.workflow(name="receiver")
    def receiver() -> list[list[int]]:
        return [app.recv("in", timeout_seconds=20) for _ in range(160)]

    launched()
    handle = queue.enqueue(receiver)

    def send(sender: int) -> None:
        for number in range(20):
            app.send(handle.workflow_id, [sender, number], "in")

    threads = [threading.Thread(target=send, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    received = handle.get_result(timeout=30)
    assert sorted(received) == [[s, n] for s in range(8) for n in range(20)]
    for sender in range(8):
        assert [n for s, n in received if s == sender] == list(range(20))


def test_a_message_wakes_its_receiver_without_being_looked_for(
    app: App, launched: Launch, elsewhere: towpath.Client
) -> None:
    """From another process: the receiver is told, since nobody would look for an hour."""
    queue = app.queue("orders")

    @app.workflow(name="receiver")
    def receiver() -> str:
        return str(app.recv("in", timeout_seconds=None))

    launched()
    handle = queue.enqueue(receiver)
    waits_for(app, "message")
    elsewhere.send(handle.workflow_id, "come", "in")
    assert handle.get_result(timeout=20) == "come"


def test_a_receiver_is_told_also_after_a_call_that_nobody_understands(
    app: App, launched: Launch, elsewhere: towpath.Client, database_url: str
) -> None:
    """Anybody may NOTIFY, and a newer library may call otherwise: whoever hears it goes on hearing."""
    queue = app.queue("orders")

    @app.workflow(name="receiver")
    def receiver() -> str:
        return str(app.recv("in", timeout_seconds=None))

    launched()
    handle = queue.enqueue(receiver)
    waits_for(app, "message")
    with psycopg.connect(database_url, autocommit=True) as anybody:
        for payload in ("", "hello", "message,x,in", "signal,1,in"):
            channel = app.engine.statements.waits_channel
            anybody.execute("SELECT pg_notify(%s, %s)", [channel, payload])
    elsewhere.send(handle.workflow_id, "come", "in")
    assert handle.get_result(timeout=20) == "come"


def test_an_end_wakes_who_waits_in_another_process_and_in_a_workflow(
    app: App, launched: Launch, elsewhere: towpath.Client
) -> None:
    """By NOTIFY alone: a handle elsewhere, and a workflow that another worker runs."""
    queue = app.queue("orders")
    go_on = threading.Event()

    @app.workflow(name="order")
    def order() -> str:
        assert go_on.wait(20)
        return "done"

    waiter_app = App(database_url=str(app._database_url))
    waiters = waiter_app.queue("waiters")

    @waiter_app.workflow(name="waiter")
    def waiter(workflow_id: str) -> object:
        return waiter_app.retrieve_workflow(workflow_id).get_result()

    launched()
    handle = queue.enqueue(order)
    try:
        assert waiter_app.launch(queues=["waiters"]).wait_until_ready(20)
        waiting = waiters.enqueue(waiter, handle.workflow_id)
        found: list[object] = []
        outside = threading.Thread(
            target=lambda: found.append(
                elsewhere.retrieve_workflow(handle.workflow_id).get_result(timeout=30)
            )
        )
        outside.start()
        waits_for(waiter_app, "end", least=2)
        wait_until(lambda: not quick_looks(elsewhere._app))
        go_on.set()
        outside.join(20)
        assert found == ["done"]
        assert waiting.get_result(timeout=20) == "done"
    finally:
        go_on.set()
        waiter_app.shutdown(drain=0)


def test_an_event_wakes_who_waits_for_it(
    app: App, launched: Launch, elsewhere: towpath.Client
) -> None:
    """Outside, in another process, and in a workflow; each is told."""
    queue = app.queue("orders")

    @app.workflow(name="order")
    def order() -> None:
        app.recv("go", timeout_seconds=None)
        app.set_event("state", {"paid": True})

    @app.workflow(name="watcher")
    async def watcher(workflow_id: str) -> Any:
        return await app.get_event_async(workflow_id, "state", timeout_seconds=None)

    launched()
    handle = queue.enqueue(order)
    inside = queue.enqueue(watcher, handle.workflow_id)
    found: list[Any] = []
    outside = threading.Thread(
        target=lambda: found.append(elsewhere.get_event(handle.workflow_id, "state", 30))
    )
    outside.start()
    waits_for(app, "event", least=2)
    wait_until(lambda: not quick_looks(elsewhere._app))
    elsewhere.send(handle.workflow_id, None, "go")
    outside.join(20)
    assert found == [{"paid": True}]
    assert inside.get_result(timeout=20) == {"paid": True}


def test_an_event_is_there_for_who_comes_later(
    app: App, launched: Launch, elsewhere: towpath.Client
) -> None:
    """The last value of a key, also once the workflow has ended; None where it was never set."""
    queue = app.queue("orders")

    @app.workflow(name="order")
    def order() -> None:
        for number in range(3):
            app.set_event("state", number)
        app.set_event("other", None)

    @app.workflow(name="watcher")
    def watcher(workflow_id: str) -> list[Any]:
        return [app.get_event(workflow_id, key, 0) for key in ("state", "other", "never")]

    launched()
    handle = queue.enqueue(order)
    handle.get_result(timeout=20)
    assert elsewhere.get_event(handle.workflow_id, "state") == 2
    assert elsewhere.get_event(handle.workflow_id, "state", timeout_seconds=0) == 2
    assert elsewhere.retrieve_workflow(handle.workflow_id).get_result(timeout=0) is None
    assert asyncio.run(app.get_event_async(handle.workflow_id, "state")) == 2
    assert app.get_event(handle.workflow_id, "never", timeout_seconds=0.01) is None
    assert queue.enqueue(watcher, handle.workflow_id).get_result(timeout=20) == [2, None, None]


def test_two_receives_of_one_topic_at_once_are_an_error(app: App, launched: Launch) -> None:
    """Who gets what would be chance; two topics are fine, and one after the other is fine."""
    queue = app.queue("orders")

    @app.workflow(name="receiver")
    async def receiver() -> list[Any]:
        both = await asyncio.gather(
            app.recv_async("a"), app.recv_async("a"), return_exceptions=True
        )
        two = await asyncio.gather(app.recv_async("b"), app.recv_async("c"))
        return [*(type(b).__name__ if isinstance(b, Exception) else b for b in both), *two]

    launched()
    handle = queue.enqueue(receiver)
    for topic in ("a", "b", "c"):
        app.send(handle.workflow_id, topic, topic)
    assert handle.get_result(timeout=20) == ["a", ConcurrentReceiveError.__name__, "b", "c"]


def test_a_message_to_an_unknown_workflow_is_refused(
    app: App, launched: Launch, elsewhere: towpath.Client
) -> None:
    """From outside, from SQL, and in a workflow, where that is recorded."""
    queue = app.queue("orders")

    @app.workflow(name="sender")
    def sender() -> str:
        with pytest.raises(WorkflowNotFoundError):
            app.send(NO_SUCH_ID, 1)
        with pytest.raises(WorkflowNotFoundError):
            app.get_event("nobody", "state", 0)
        return "refused"

    launched()
    for unknown in (NO_SUCH_ID, "nobody", "", "\x00"):
        with pytest.raises(WorkflowNotFoundError, match="was not found"):
            elsewhere.send(unknown, 1)
    with pytest.raises(WorkflowNotFoundError):
        elsewhere.get_event("nobody", "state", 0)
    handle = queue.enqueue(sender)
    assert handle.get_result(timeout=20) == "refused"
    failed = [step.error for step in app.list_workflow_steps(handle.workflow_id)]
    assert len(failed) == 2
    assert all("WorkflowNotFoundError" in str(error) for error in failed)
    with (
        psycopg.connect(str(app._database_url)) as connection,
        pytest.raises(psycopg.Error, match="workflow 'nobody' was not found") as caught,
    ):
        connection.execute("SELECT towpath.send('nobody', '1')")
    assert caught.value.sqlstate == "TP006"


def test_a_key_drops_a_second_message(app: App, launched: Launch) -> None:
    """Also after the first was consumed; of another workflow it is another key."""
    queue = app.queue("orders")

    @app.workflow(name="receiver")
    def receiver() -> list[Any]:
        return [app.recv("in", timeout_seconds=20), app.recv("in", timeout_seconds=20)]

    launched()
    first, second = queue.enqueue(receiver), queue.enqueue(receiver)
    with psycopg.connect(str(app._database_url), autocommit=True) as watch:
        for handle in (first, second):
            app.send(handle.workflow_id, 1, "in", idempotency_key="k")
            wait_until(lambda: count(watch, "SELECT count(*) FROM towpath.message") == 0)
            app.send(handle.workflow_id, 2, "in", idempotency_key="k")
            watch.execute(
                "SELECT towpath.send(%s, '2', 'in', idempotency_key => 'k')", [handle.workflow_id]
            )
            app.send(handle.workflow_id, 3, "in", idempotency_key="l")
            assert handle.get_result(timeout=20) == [1, 3]


def test_a_message_in_an_open_transaction_comes_at_its_commit_and_holds_up_nobody(
    app: App, launched: Launch, elsewhere: towpath.Client
) -> None:
    """Meanwhile the receiver takes others, a second one of its queue ends, and a third is cancelled."""
    queue = app.queue("orders", concurrency=3)

    @app.workflow(name="receiver")
    def receiver() -> list[Any]:
        return [app.recv("in", timeout_seconds=None), app.recv("in", timeout_seconds=None)]

    @app.workflow(name="order")
    def order() -> str:
        return "done"

    launched()
    handle, other = queue.enqueue(receiver), queue.enqueue(receiver)
    waits_for(app, "message", least=2)
    with psycopg.connect(str(app._database_url)) as connection:
        for workflow_id in (handle.workflow_id, other.workflow_id):
            connection.execute("SELECT towpath.send(%s, %s, 'in')", [workflow_id, '"late"'])
        elsewhere.send(handle.workflow_id, "early", "in")
        wait_until(lambda: len(app.list_workflow_steps(handle.workflow_id)) == 1)
        assert queue.enqueue(order).get_result(timeout=20) == "done"
        app.cancel_workflow(other.workflow_id)
        wait_until(lambda: other.get_status().status == "CANCELLED")
        waits_for(app, "message")
    assert handle.get_result(timeout=20) == ["early", "late"]


def test_a_message_is_received_once_though_the_answer_was_lost(
    app: App, launched: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every look is made twice, as after a connection that broke behind the commit."""
    look_once = waits.look

    async def look_again(session: Session, *rest: Any) -> Mapping[Any, Any]:
        await look_once(session, *rest)
        return await look_once(session, *rest)

    monkeypatch.setattr(waits, "look", look_again)
    queue = app.queue("orders")

    @app.workflow(name="receiver")
    def receiver() -> list[Any]:
        return [app.recv("in", timeout_seconds=20) for _ in range(3)]

    launched()
    handle = queue.enqueue(receiver)
    for number in range(3):
        app.send(handle.workflow_id, number, "in")
    assert handle.get_result(timeout=20) == [0, 1, 2]


def test_a_message_that_is_rolled_back_never_comes(app: App, launched: Launch) -> None:
    """The caller's own transaction decides."""
    queue = app.queue("orders")

    @app.workflow(name="receiver")
    def receiver() -> Any:
        return app.recv("in", timeout_seconds=None)

    launched()
    handle = queue.enqueue(receiver)
    with psycopg.connect(str(app._database_url)) as connection:
        connection.execute("SELECT towpath.send(%s, '1', 'in')", [handle.workflow_id])
        connection.rollback()
        connection.execute("SELECT towpath.send(%s, '2', 'in')", [handle.workflow_id])
    assert handle.get_result(timeout=20) == 2


def test_a_step_sends_as_from_outside(app: App, launched: Launch) -> None:
    """It is no step of its own; what only a workflow may do is refused there, and outside."""
    queue = app.queue("orders")

    @app.step(name="tell")
    def tell(to: str) -> None:
        app.send(to, "from a step")
        for refused in (app.recv, lambda: app.set_event("k", 1), lambda: app.sleep(1)):
            with pytest.raises(OutsideWorkflowError, match="inside step 'tell'"):
                refused()

    @app.workflow(name="sender")
    def sender(to: str) -> None:
        tell(to)

    @app.workflow(name="receiver")
    def receiver() -> Any:
        return app.recv(timeout_seconds=20)

    launched()
    handle = queue.enqueue(receiver)
    sent = queue.enqueue(sender, handle.workflow_id)
    sent.get_result(timeout=20)
    assert handle.get_result(timeout=20) == "from a step"
    assert [step.name for step in app.list_workflow_steps(sent.workflow_id)] == ["tell"]
    with pytest.raises(OutsideWorkflowError, match="outside of workflows"):
        app.recv()


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda a, w: a.send(w, 1, topic="x" * 256), WaitOptionError, "topic"),
        (lambda a, w: a.send(w, 1, topic="a\x00"), WaitOptionError, "topic is .* without NUL"),
        (lambda a, w: a.send(w, 1, idempotency_key=3), WaitOptionError, "idempotency_key"),
        (lambda a, w: a.send(w, object()), ValueNotEncodableError, "message"),
        (lambda a, w: a.get_event(w, 3), WaitOptionError, "key"),
        (lambda a, w: a.get_event(w, "k", -1), WaitOptionError, "timeout_seconds is -1"),
        (lambda a, w: a.get_event(w, "k", "5"), WaitOptionError, "timeout_seconds is '5'"),
    ],
)
def test_what_cannot_be_sent_or_waited_for_is_refused(
    app: App, call: Callable[[App, str], object], error: type[Exception], said: str
) -> None:
    """In the caller's stack, naming the field; nothing is written."""
    queue = app.queue("orders")

    @app.workflow(name="order")
    def order() -> None: ...

    app.engine.may_migrate = True
    handle = queue.enqueue(order)
    with pytest.raises(error, match=said):
        call(app, handle.workflow_id)
    with psycopg.connect(str(app._database_url)) as watch:
        assert count(watch, "SELECT count(*) FROM towpath.message") == 0


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), "5", None, True])
def test_what_is_no_time_to_sleep_is_refused(app: App, launched: Launch, seconds: Any) -> None:
    """By the name of the argument of sleep, which has no None."""

    @app.workflow(name="nap")
    def nap() -> str:
        with pytest.raises(WaitOptionError) as refused:
            app.sleep(seconds)
        return f"{refused.value.field}, {refused.value.allowed}"

    launched()
    said = app.start_workflow(nap).get_result(timeout=20)
    assert said == "seconds, a number of seconds from 0 to 3155760000 (100 years)"
