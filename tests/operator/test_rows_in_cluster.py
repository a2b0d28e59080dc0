"""Who decides what a queue's row says, in a real cluster: the manifest, a hand, code, another Queue."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import psycopg

from tests.operator.running import Api, eventually
from tests.operator.test_queue_in_cluster import enqueue, rows
from towpath import App
from towpath.store.statements import Statements
from towpath_operator.ports.cluster import QUEUE, QUEUE_DATABASE

LIMIT = (
    "SELECT concurrency_global, owner_namespace, owner_name FROM towpath.queue WHERE name = 'mail'"
)


def events(api: Api, name: str, reason: str) -> list[str]:
    """Return what the Events about a Queue say for a reason."""
    path = f"/apis/events.k8s.io/v1/namespaces/{api.namespace}/events"
    return [
        one["note"]
        for one in api.requests.send("get", path)["items"]
        if one["regarding"]["name"] == name and one["reason"] == reason
    ]


def change(url: str, statement: str) -> None:
    """Change a row as a person with psql does, and tell of it as our commands do."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())
        connection.execute("SELECT pg_notify(%s, 'mail,settings')", [Statements("towpath").channel])


def test_what_a_hand_has_changed_in_a_row_is_put_back_and_told_once(
    api: Api, empty_database_url: str
) -> None:
    """Each field with both values; who changes it again and again is told of it once."""
    api.database(empty_database_url)
    api.queue("mail", concurrency={"global": 3}, retention={"succeeded": "24h"}, paused=False)
    api.wait_ready(QUEUE, "mail")
    eventually(lambda: "effective" in api.must_get(QUEUE, "mail")["status"])
    row = "SELECT concurrency_global, paused, closed FROM towpath.queue WHERE name = 'mail'"
    for _ in range(2):
        change(
            empty_database_url,
            "UPDATE towpath.queue SET concurrency_global = 9, paused = true,"
            " retention_succeeded = NULL, closed = true WHERE name = 'mail'",
        )
        eventually(lambda: rows(empty_database_url, row) == [(3, False, True)], seconds=10)
    (told,) = eventually(lambda: events(api, "mail", "DriftRepaired"), seconds=10)
    assert "concurrency.global 9 -> 3" in told
    assert "paused true -> false" in told
    assert "retention.succeeded none -> 24h" in told
    assert "closed" not in told


def test_a_row_that_code_declared_becomes_the_manifests_and_code_changes_it_no_more(
    api: Api, empty_database_url: str
) -> None:
    """What changes by that is told; a worker that declares other limits afterwards is overruled."""
    api.database(empty_database_url)
    api.wait_ready(QUEUE_DATABASE, "default")
    code = App(database_url=empty_database_url)
    code.queue("mail", concurrency=7)
    try:
        assert code.launch(slots=1).wait_until_ready(20)
        eventually(lambda: rows(empty_database_url, LIMIT) == [(7, None, None)])
    finally:
        code.shutdown(drain=0)
    api.queue("mail", concurrency={"global": 3})
    api.wait_ready(QUEUE, "mail")
    (told,) = eventually(lambda: events(api, "mail", "RowAdopted"), seconds=10)
    assert "declared by code" in told
    assert "concurrency.global 7 -> 3" in told
    again = App(database_url=empty_database_url)
    again.queue("mail", concurrency=5)
    try:
        assert again.launch(slots=1).wait_until_ready(20)
    finally:
        again.shutdown(drain=0)
    assert rows(empty_database_url, LIMIT) == [(3, api.namespace, "mail")]
    assert events(api, "mail", "DriftRepaired") == []


def test_two_databases_that_name_one_schema_have_one_row_for_a_name(
    api: Api, empty_database_url: str
) -> None:
    """Also where their URIs differ: the row itself says whose it is."""
    other = empty_database_url.replace("127.0.0.1", "localhost")
    assert other != empty_database_url
    api.database(empty_database_url)
    api.secret("elsewhere", {"uri": other})
    api.create(QUEUE_DATABASE, "elsewhere", {"uriSecretRef": {"name": "elsewhere"}})
    api.queue("first", queueName="mail", concurrency={"global": 1})
    api.wait_ready(QUEUE, "first")
    api.wait_ready(QUEUE_DATABASE, "elsewhere")
    api.queue("second", queueName="mail", databaseRef={"name": "elsewhere"})
    conflict = api.wait_reason(QUEUE, "second", "QueueConflict")
    assert f"{api.namespace}/first" in conflict["message"]
    assert rows(empty_database_url, LIMIT) == [(1, api.namespace, "first")]
    api.delete(QUEUE, "first")
    api.wait_ready(QUEUE, "second")
    assert rows(empty_database_url, LIMIT) == [(None, api.namespace, "second")]


def test_a_row_of_another_clusters_queue_is_never_taken(api: Api, empty_database_url: str) -> None:
    """Whether that one still exists cannot be known here; its owner is named."""
    api.database(empty_database_url)
    api.wait_ready(QUEUE_DATABASE, "default")
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO towpath.queue (name, concurrency_global, owner_cluster, owner_namespace,"
            " owner_name, owner_uid) VALUES ('mail', 4, 'far-away', 'shop', 'letters', 'u')"
        )
    api.queue("mail", concurrency={"global": 1})
    conflict = api.wait_reason(QUEUE, "mail", "QueueConflict")
    assert "shop/letters of another cluster (far-away)" in conflict["message"]
    api.delete(QUEUE, "mail")
    eventually(lambda: api.get(QUEUE, "mail") is None)
    assert rows(empty_database_url, LIMIT) == [(4, "shop", "letters")]


def test_a_status_says_what_holds_its_queue_back(api: Api, empty_database_url: str) -> None:
    """The word and the sentence of `towpath queue explain`, and how long the first has waited."""
    api.database(empty_database_url)
    api.queue("mail", paused=True)
    api.wait_ready(QUEUE, "mail")
    enqueue(empty_database_url, "mail", 3)

    def status() -> dict[str, Any]:
        return dict(api.must_get(QUEUE, "mail")["status"])

    # No pool asks to be told of work here, so it is seen at the next look; a change of settings is one.
    change(empty_database_url, "SELECT 1")
    eventually(lambda: status()["limitedBy"] == "Paused", seconds=20)
    assert status()["waiting"] == 3
    assert status()["why"].startswith("3 wait; paused: nothing starts until it is resumed")
    assert status()["oldestWaitSeconds"] >= 0


def test_a_pause_in_the_manifest_is_felt_by_a_worker_at_once(
    api: Api, empty_database_url: str
) -> None:
    """From apply to worker there is no poll: NOTIFY carries it; so it is with the end of the pause."""
    api.database(empty_database_url)
    # Polls are so rare that they can have had no part in this.
    api.queue("mail", pollingInterval="1h", concurrency={"perWorker": 4})
    api.wait_ready(QUEUE, "mail")
    app = App(database_url=empty_database_url)
    queue = app.queue("mail")
    ran: list[float] = []

    @app.workflow(name="work")
    async def work() -> None:
        ran.append(time.monotonic())
        await asyncio.sleep(0)

    try:
        assert app.launch(slots=4).wait_until_ready(20)
        queue.enqueue(work).get_result(timeout=20)
        api.merge(QUEUE, "mail", {"spec": {"paused": True}})
        pause = "SELECT paused FROM towpath.queue WHERE name = 'mail'"
        eventually(lambda: rows(empty_database_url, pause) == [(True,)], seconds=10)
        waits = queue.enqueue(work)
        began = time.monotonic()
        api.merge(QUEUE, "mail", {"spec": {"paused": False}})
        waits.get_result(timeout=20)
        took = ran[-1] - began
        assert len(ran) == 2
        assert took < 5
        api.merge(QUEUE, "mail", {"spec": {"closed": True}})
        closed = "SELECT closed FROM towpath.queue WHERE name = 'mail'"
        eventually(lambda: rows(empty_database_url, closed) == [(True,)], seconds=10)
    finally:
        app.shutdown(drain=0)
