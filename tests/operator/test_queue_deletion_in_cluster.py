"""Deleting a Queue whose deletion is to delete its row: in a real cluster, with and without an operator."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.operator.running import Api, OperatorProcess, eventually
from tests.operator.test_queue_in_cluster import WORKERS, enqueue, rows
from tests.operator.test_rows_in_cluster import events
from towpath import App
from towpath.errors import QueueClosedError
from towpath_operator.model.queue import DELETE_ROWS
from towpath_operator.ports.cluster import QUEUE, WORKER_POOL

LEFT = (
    "SELECT (SELECT count(*) FROM towpath.queue WHERE name = 'mail'),"
    " (SELECT count(*) FROM towpath.workflow)"
)


def declare(api: Api, policy: str, *, confirmed: str = "mail", **spec: Any) -> None:
    """Declare a Queue with a policy, and wait until its row is there."""
    annotations = {"towpath.dev/confirm-delete": confirmed}
    metadata = {"name": "mail", "namespace": api.namespace, "annotations": annotations}
    api.create(QUEUE, "mail", {"deletionPolicy": policy, **spec}, metadata=metadata)
    api.wait_ready(QUEUE, "mail")


def finalizers(api: Api) -> list[str]:
    """Return the Queue's finalizers."""
    return list(api.must_get(QUEUE, "mail")["metadata"].get("finalizers", []))


def gone(api: Api, *, seconds: float = 30) -> None:
    """Wait until the Queue is gone."""
    eventually(
        lambda: api.get(QUEUE, "mail") is None, seconds=seconds, what=str(api.get(QUEUE, "mail"))
    )


def test_a_confirmed_delete_takes_workflows_and_row_along_and_says_how_many(
    api: Api, empty_database_url: str
) -> None:
    """Its own pool stays until then, so that what runs can end; then it goes with the Queue."""
    api.database(empty_database_url)
    declare(api, "Delete", workers=WORKERS)
    eventually(lambda: finalizers(api) == [DELETE_ROWS])
    enqueue(empty_database_url, "mail", 5)
    api.delete(QUEUE, "mail")
    gone(api)
    assert rows(empty_database_url, LEFT) == [(0, 0)]
    (told,) = eventually(lambda: events(api, "mail", "RowsDeleted"), seconds=10)
    assert "with 5 workflows" in told
    eventually(lambda: api.get(WORKER_POOL, "mail") is None)


def test_delete_if_empty_keeps_a_queue_that_is_not_and_deletes_one_that_is(
    api: Api, empty_database_url: str
) -> None:
    """What is kept is open as before, and free for code or another Queue."""
    api.database(empty_database_url)
    declare(api, "DeleteIfEmpty")
    enqueue(empty_database_url, "mail", 1)
    eventually(lambda: finalizers(api) == [DELETE_ROWS])
    api.delete(QUEUE, "mail")
    gone(api)
    assert eventually(lambda: events(api, "mail", "RowsKept"), seconds=10)
    free = "SELECT closed, owner_uid FROM towpath.queue WHERE name = 'mail'"
    eventually(lambda: rows(empty_database_url, free) == [(False, None)])
    assert rows(empty_database_url, LEFT) == [(1, 1)]
    rows(empty_database_url, "SELECT towpath.forget(seq) FROM towpath.workflow")
    declare(api, "DeleteIfEmpty")
    eventually(lambda: finalizers(api) == [DELETE_ROWS])
    api.delete(QUEUE, "mail")
    gone(api)
    assert rows(empty_database_url, LEFT) == [(0, 0)]


def test_the_finalizer_comes_and_goes_with_policy_and_confirmation(
    api: Api, empty_database_url: str
) -> None:
    """A name that is not the queue's confirms nothing; nor does a policy without the annotation."""
    api.database(empty_database_url)
    declare(api, "Delete", confirmed="letters")
    assert "towpath.dev/confirm-delete: mail" in api.condition(QUEUE, "mail")["message"]
    assert finalizers(api) == []
    confirm = {"metadata": {"annotations": {"towpath.dev/confirm-delete": "mail"}}}
    api.merge(
        QUEUE, "mail", {**confirm, "metadata": {**confirm["metadata"], "finalizers": ["a.b/c"]}}
    )
    eventually(lambda: finalizers(api) == ["a.b/c", DELETE_ROWS])
    api.merge(QUEUE, "mail", {"spec": {"deletionPolicy": "Retain"}})
    eventually(lambda: finalizers(api) == ["a.b/c"])
    api.merge(QUEUE, "mail", {"spec": {"deletionPolicy": "DeleteIfEmpty"}})
    eventually(lambda: finalizers(api) == ["a.b/c", DELETE_ROWS])
    api.merge(QUEUE, "mail", {"metadata": {"annotations": None}})
    eventually(lambda: finalizers(api) == ["a.b/c"])
    api.merge(QUEUE, "mail", {"metadata": {"finalizers": None}})


def test_a_namespace_goes_with_its_database_and_the_rows_that_it_was_to_delete(
    new_api: Callable[[], Api], empty_database_url: str
) -> None:
    """The QueueDatabase and its Secret may be gone before the Queue: the operator knows them yet."""
    leaving = new_api()
    leaving.database(empty_database_url)
    declare(leaving, "Delete", workers=WORKERS)
    enqueue(empty_database_url, "mail", 3)
    eventually(lambda: finalizers(leaving) == [DELETE_ROWS])
    leaving.requests.send("delete", f"/api/v1/namespaces/{leaving.namespace}")
    eventually(lambda: not _there(leaving), seconds=50, what="the namespace gone")
    assert rows(empty_database_url, LEFT) == [(0, 0)]


def _there(api: Api) -> bool:
    found = api.requests.send("get", "/api/v1/namespaces")["items"]
    return api.namespace in [one["metadata"]["name"] for one in found]


def test_without_an_operator_one_patch_lets_a_queue_go_and_a_new_operator_does_the_rest(
    new_api: Callable[[], Api],
    operator: OperatorProcess,
    new_database: Callable[[], str],
) -> None:
    """As the guide says for one that was uninstalled before; it keeps nothing that it needs later."""
    patched, waiting = new_api(), new_api()
    urls = {patched.namespace: new_database(), waiting.namespace: new_database()}
    for api in (patched, waiting):
        api.database(urls[api.namespace])
        declare(api, "Delete")
        enqueue(urls[api.namespace], "mail", 3)
        eventually(lambda api=api: finalizers(api) == [DELETE_ROWS])  # type: ignore[misc]
    assert operator.stop() == 0
    for api in (patched, waiting):
        api.delete(QUEUE, "mail")
        assert finalizers(api) == [DELETE_ROWS]
    patched.merge(QUEUE, "mail", {"metadata": {"finalizers": None}})
    gone(patched, seconds=10)
    operator.start()
    gone(waiting)
    assert rows(urls[waiting.namespace], LEFT) == [(0, 0)]
    owner = "SELECT owner_uid FROM towpath.queue WHERE name = 'mail'"
    eventually(lambda: rows(urls[patched.namespace], owner) == [(None,)])
    assert rows(urls[patched.namespace], LEFT) == [(1, 3)]


def test_what_runs_ends_before_the_row_goes_and_its_worker_serves_on(
    api: Api, empty_database_url: str
) -> None:
    """The Queue waits for it and says so; the worker's other queue feels nothing."""
    api.database(empty_database_url)
    declare(api, "Delete")
    app = App(database_url=empty_database_url)
    mail, other = app.queue("mail"), app.queue("other")
    begun, may_end = threading.Event(), threading.Event()
    ended: list[str] = []

    @app.step(name="last")
    def last() -> None:
        ended.append("last step")

    @app.workflow(name="long")
    def long() -> None:
        begun.set()
        assert may_end.wait(60)
        last()

    @app.workflow(name="short")
    def short() -> int:
        return 7

    try:
        assert app.launch(slots=4).wait_until_ready(20)
        mail.enqueue(long)
        assert begun.wait(20)
        eventually(lambda: finalizers(api) == [DELETE_ROWS])
        api.delete(QUEUE, "mail")
        api.wait_reason(QUEUE, "mail", "Deleting")
        with pytest.raises(QueueClosedError):
            mail.enqueue(short)
        assert other.enqueue(short).get_result(timeout=20) == 7
        may_end.set()
        gone(api)
        assert ended == ["last step"]
        assert rows(empty_database_url, LEFT) == [(0, 1)]
        assert other.enqueue(short).get_result(timeout=20) == 7
    finally:
        may_end.set()
        app.shutdown(drain=0)
