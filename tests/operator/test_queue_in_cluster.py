"""A Queue in a real cluster: what applying, changing and deleting it brings about."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from typing import Any

import psycopg

from tests.operator.running import Api, OperatorProcess, eventually
from towpath.store.statements import Statements
from towpath_operator.ports.cluster import DEPLOYMENT, QUEUE, QUEUE_DATABASE, SECRET, WORKER_POOL

WORKERS: dict[str, Any] = {
    "application": "shop.workflows",
    "slots": 5,
    "autoscaling": {"min": 0, "max": 3},
    "template": {"spec": {"containers": [{"name": "worker", "image": "registry.invalid/shop:1"}]}},
}


def rows(url: str, statement: str) -> Sequence[tuple[Any, ...]]:
    """Run a statement in the test's database."""
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(statement.encode()).fetchall()


def enqueue(url: str, queue: str, workflows: int) -> None:
    """Enqueue workflows as a client would."""
    statements = Statements("towpath")
    parameters = {
        "queue": queue,
        "id": None,
        "name": "work",
        "codec": "json",
        "input": "{}",
        "channel": statements.channel,
        "always_notify": False,
    }
    with psycopg.connect(url, autocommit=True) as connection:
        for number in range(workflows):
            connection.execute(statements["enqueue"], {**parameters, "secret": number})


def by_hand(url: str, statement: str, **switch: bool) -> None:
    """Change the row of the queue mail as `towpath queue pause` and `close` do."""
    statements = Statements("towpath")
    parameters = {"queue": "mail", "channel": statements.channel, **switch}
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statements[statement], parameters)


def replicas(api: Api, name: str) -> int:
    """Return how many pods a Deployment is to have."""
    return int(api.must_get(DEPLOYMENT, name)["spec"]["replicas"])


def worker(api: Api, name: str) -> dict[str, Any]:
    """Return the worker's container in a Deployment."""
    spec = api.must_get(DEPLOYMENT, name)["spec"]["template"]["spec"]
    return dict(spec["containers"][0])


def environment(api: Api, name: str) -> dict[str, str]:
    """Return the literal environment of the worker's container."""
    return {one["name"]: one.get("value", "") for one in worker(api, name)["env"]}


def test_an_applied_queue_has_its_row_its_pool_and_its_deployment(
    api: Api, empty_database_url: str
) -> None:
    """The whole chain comes into force, in whatever order its parts were applied."""
    api.queue("mail", concurrency={"global": 7, "perWorker": 2}, workers=WORKERS)
    api.wait_reason(QUEUE, "mail", "DatabaseNotFound")
    api.database(empty_database_url)
    for kind, name in ((QUEUE_DATABASE, "default"), (WORKER_POOL, "mail"), (QUEUE, "mail")):
        api.wait_ready(kind, name)
    found = rows(
        empty_database_url,
        "SELECT concurrency_global, concurrency_per_worker, owner_namespace, owner_name"
        " FROM towpath.queue WHERE name = 'mail'",
    )
    assert found == [(7, 2, api.namespace, "mail")]
    assert environment(api, "mail")["TOWPATH_QUEUES"] == "mail"
    assert environment(api, "mail")["TOWPATH_SLOTS"] == "5"
    assert replicas(api, "mail") == 0
    assert api.must_get(SECRET, "mail-database")["data"]["uri"]


def test_our_objects_carry_no_finalizer_and_no_annotation_of_ours(
    api: Api, empty_database_url: str
) -> None:
    """With the operator gone, nothing of it holds up a deletion."""
    api.database(empty_database_url)
    api.queue("mail", workers=WORKERS)
    api.wait_ready(QUEUE, "mail")
    for kind, name in ((QUEUE, "mail"), (QUEUE_DATABASE, "default")):
        metadata = api.must_get(kind, name)["metadata"]
        assert "finalizers" not in metadata
        assert "annotations" not in metadata
    pool = api.must_get(WORKER_POOL, "mail")["metadata"]
    assert "finalizers" not in pool
    assert not any("kopf" in name for name in pool.get("annotations", {}))


def test_a_changed_spec_comes_into_force_and_what_was_taken_out_goes(
    api: Api, empty_database_url: str
) -> None:
    """Limits reach the row with a new revision; a line taken out of the template leaves the pods."""
    api.database(empty_database_url)
    template = {"spec": {**WORKERS["template"]["spec"], "nodeSelector": {"disk": "fast"}}}
    api.queue("mail", concurrency={"global": 1}, workers={**WORKERS, "template": template})
    api.wait_ready(QUEUE, "mail")
    revision = "SELECT revision, concurrency_global FROM towpath.queue WHERE name = 'mail'"
    ((before, _),) = rows(empty_database_url, revision)
    change = {
        "concurrency": {"global": 4},
        "workers": {"slots": 6, "template": {"spec": {"nodeSelector": None}}},
    }
    api.merge(QUEUE, "mail", {"spec": change})
    eventually(lambda: environment(api, "mail")["TOWPATH_SLOTS"] == "6")
    api.wait_ready(QUEUE, "mail")
    assert rows(empty_database_url, revision) == [(before + 1, 4)]
    spec = api.must_get(DEPLOYMENT, "mail")["spec"]["template"]["spec"]
    assert "nodeSelector" not in spec


LIMITS: dict[str, Any] = {
    "concurrency": {"global": 9, "perWorker": 4, "perPartition": 2, "releaseWhileWaiting": True},
    "limiter": {"limit": 5, "period": "10s"},
    "partitionLimiter": {"limit": 2, "period": "1m30s"},
    "priority": {"enabled": True},
    "partitioning": {"enabled": True},
    "pollingInterval": "250ms",
    "retention": {"succeeded": "24h", "failed": "720h"},
}


def test_every_limit_reaches_the_row_and_the_status_says_what_is_in_force(
    api: Api, empty_database_url: str
) -> None:
    """The seconds in the row are those of the manifest; `effective` is as a person would write it."""
    api.database(empty_database_url)
    api.queue("mail", **LIMITS)
    api.wait_ready(QUEUE, "mail")
    found = rows(
        empty_database_url,
        "SELECT concurrency_per_partition, limiter_limit, limiter_period = '10 s',"
        " partition_limiter_limit, partition_limiter_period = '90 s', priority_enabled,"
        " partitioning_enabled, polling_interval = '250 ms', release_while_waiting,"
        " retention_succeeded = '1 day', retention_failed = '30 days'"
        " FROM towpath.queue WHERE name = 'mail'",
    )
    assert found == [(2, 5, True, 2, *[True] * 7)]
    effective = api.must_get(QUEUE, "mail")["status"]["effective"]
    assert effective == {**LIMITS, "paused": False, "closed": False}


def test_a_person_decides_what_the_manifest_leaves_open_and_no_more(
    api: Api, empty_database_url: str
) -> None:
    """`towpath queue pause` stays and is told of; where the manifest says `closed`, that is undone."""
    api.database(empty_database_url)
    api.queue("mail", closed=False)
    api.wait_ready(QUEUE, "mail")
    switches = "SELECT paused, closed FROM towpath.queue WHERE name = 'mail'"
    by_hand(empty_database_url, "set_closed", closed=True)
    eventually(lambda: rows(empty_database_url, switches) == [(False, False)], seconds=10)
    by_hand(empty_database_url, "set_paused", paused=True)
    eventually(
        lambda: api.condition(QUEUE, "mail", "Paused").get("reason") == "PausedByHand", seconds=10
    )
    assert api.condition(QUEUE, "mail")["status"] == "True"
    assert rows(empty_database_url, switches) == [(True, False)]
    api.merge(QUEUE, "mail", {"spec": {"paused": False}})
    eventually(lambda: rows(empty_database_url, switches) == [(False, False)], seconds=10)
    api.merge(QUEUE, "mail", {"spec": {"paused": True}})
    eventually(lambda: api.condition(QUEUE, "mail", "Paused").get("reason") == "PausedByManifest")


def test_a_deployment_that_was_edited_or_deleted_is_repaired_within_seconds(
    api: Api, empty_database_url: str
) -> None:
    """Drift in what we apply is undone; a field that we do not apply is left to others."""
    api.database(empty_database_url)
    api.queue("mail", workers=WORKERS)
    api.wait_ready(QUEUE, "mail")
    hand = {"spec": {"replicas": 2, "revisionHistoryLimit": 3}}
    api.merge(DEPLOYMENT, "mail", hand)
    eventually(lambda: replicas(api, "mail") == 0, seconds=5)
    assert api.must_get(DEPLOYMENT, "mail")["spec"]["revisionHistoryLimit"] == 3
    uid = api.must_get(DEPLOYMENT, "mail")["metadata"]["uid"]
    api.delete(DEPLOYMENT, "mail")
    eventually(
        lambda: (
            (api.get(DEPLOYMENT, "mail") or {"metadata": {"uid": uid}})["metadata"]["uid"] != uid
        ),
        seconds=5,
    )


def test_work_for_a_pool_at_zero_starts_pods_by_notify(api: Api, empty_database_url: str) -> None:
    """The first enqueue after a rest brings pods, long before the next look of a minute."""
    api.database(empty_database_url)
    api.queue("mail", workers=WORKERS)
    api.wait_ready(QUEUE, "mail")
    eventually(lambda: rows(empty_database_url, "SELECT queue FROM towpath.sleeper") == [("mail",)])
    enqueue(empty_database_url, "mail", 11)
    eventually(lambda: replicas(api, "mail") == 3, seconds=5)
    eventually(lambda: api.must_get(QUEUE, "mail")["status"]["waiting"] == 11, seconds=15)
    eventually(
        lambda: api.must_get(WORKER_POOL, "mail")["status"]["autoscaling"]["desired"] == 3,
        seconds=15,
    )


def test_deleting_a_queue_removes_its_workers_keeps_its_rows_and_frees_its_name(
    api: Api, empty_database_url: str
) -> None:
    """With Retain, workflows stay, and code may declare the queue from then on."""
    api.database(empty_database_url)
    api.queue("mail", concurrency={"global": 2}, workers=WORKERS)
    api.wait_ready(QUEUE, "mail")
    enqueue(empty_database_url, "mail", 3)
    api.delete(QUEUE, "mail")
    for kind, name in ((WORKER_POOL, "mail"), (DEPLOYMENT, "mail"), (SECRET, "mail-database")):
        eventually(lambda kind=kind, name=name: api.get(kind, name) is None)  # type: ignore[misc]
    owner = "SELECT owner_uid, concurrency_global FROM towpath.queue WHERE name = 'mail'"
    eventually(lambda: rows(empty_database_url, owner) == [(None, 2)])
    assert rows(empty_database_url, "SELECT count(*) FROM towpath.ready") == [(3,)]


def test_a_namespace_goes_while_the_operator_is_away(
    new_api: Callable[[], Api], operator: OperatorProcess, empty_database_url: str
) -> None:
    """Nothing waits for the operator; when it is back it frees the rows of what has gone."""
    keeper, leaving = new_api(), new_api()
    keeper.database(empty_database_url, allowedNamespaces=["*"])
    reference = {"name": "default", "namespace": keeper.namespace}
    leaving.queue("mail", databaseRef=reference, workers=WORKERS)
    leaving.wait_ready(QUEUE, "mail")
    assert operator.stop() == 0
    leaving.requests.send("delete", f"/api/v1/namespaces/{leaving.namespace}")
    eventually(
        lambda: (
            leaving.namespace
            not in [
                one["metadata"]["name"]
                for one in leaving.requests.send("get", "/api/v1/namespaces")["items"]
            ]
        ),
        seconds=60,
    )
    operator.start()
    owner = "SELECT owner_uid FROM towpath.queue WHERE name = 'mail'"
    eventually(lambda: rows(empty_database_url, owner) == [(None,)])


def test_an_operator_that_was_killed_converges_on_what_changed_meanwhile(
    api: Api, operator: OperatorProcess, empty_database_url: str
) -> None:
    """It keeps nothing that it needs: a changed spec and a deleted child are made good."""
    api.database(empty_database_url)
    api.queue("mail", concurrency={"global": 1}, workers=WORKERS)
    api.wait_ready(QUEUE, "mail")
    operator.stop(signal.SIGKILL)
    api.delete(DEPLOYMENT, "mail")
    api.merge(QUEUE, "mail", {"spec": {"concurrency": {"global": 9}}})
    operator.start()
    api.wait_ready(QUEUE, "mail")
    limit = "SELECT concurrency_global FROM towpath.queue WHERE name = 'mail'"
    assert rows(empty_database_url, limit) == [(9,)]
    eventually(lambda: api.get(DEPLOYMENT, "mail") is not None)


def test_a_restart_of_the_operator_makes_nothing_look_otherwise(
    api: Api, operator: OperatorProcess, empty_database_url: str
) -> None:
    """It finds everything as it should be, applies none of it, and no Ready condition moves."""
    api.database(empty_database_url)
    api.queue("mail", workers=WORKERS)
    api.wait_ready(QUEUE, "mail")
    objects = ((QUEUE, "mail"), (WORKER_POOL, "mail"), (QUEUE_DATABASE, "default"))
    before = [api.condition(kind, name) for kind, name in objects]
    generation = api.must_get(DEPLOYMENT, "mail")["metadata"]["generation"]
    assert operator.stop() == 0
    seen = len(operator.log())
    operator.start()
    api.merge(QUEUE, "mail", {"spec": {"concurrency": {"global": 2}}})
    api.wait_ready(QUEUE, "mail")
    after = [api.condition(kind, name) for kind, name in objects]
    assert [one["lastTransitionTime"] for one in after] == [
        one["lastTransitionTime"] for one in before
    ]
    assert api.must_get(DEPLOYMENT, "mail")["metadata"]["generation"] == generation
    done = [line["about"] for line in operator.log()[seen:] if line["event"] == "action done"]
    assert done == ["queue mail"]


def test_of_two_queues_that_claim_one_row_the_older_has_it_and_the_other_says_so(
    api: Api, empty_database_url: str
) -> None:
    """The second is told who holds the name, and gets it when the first has gone."""
    api.database(empty_database_url)
    api.queue("first", queueName="mail", concurrency={"global": 1})
    api.wait_ready(QUEUE, "first")
    api.queue("second", queueName="mail", concurrency={"global": 5})
    conflict = api.wait_reason(QUEUE, "second", "QueueConflict")
    assert f"{api.namespace}/first" in conflict["message"]
    limit = "SELECT concurrency_global FROM towpath.queue WHERE name = 'mail'"
    assert rows(empty_database_url, limit) == [(1,)]
    api.delete(QUEUE, "first")
    api.wait_ready(QUEUE, "second")
    assert rows(empty_database_url, limit) == [(5,)]


def test_a_deployment_of_that_name_that_is_not_ours_is_never_touched(
    api: Api, empty_database_url: str
) -> None:
    """NameTaken, and the other's object stays as it was."""
    labels = {"matchLabels": {"app": "other"}}
    pod = {"metadata": {"labels": {"app": "other"}}, "spec": WORKERS["template"]["spec"]}
    api.create(DEPLOYMENT, "mail", {"replicas": 0, "selector": labels, "template": pod})
    before = api.must_get(DEPLOYMENT, "mail")["metadata"]["generation"]
    api.database(empty_database_url)
    api.queue("mail", workers=WORKERS)
    api.wait_reason(WORKER_POOL, "mail", "NameTaken")
    api.wait_reason(QUEUE, "mail", "NameTaken")
    assert api.must_get(DEPLOYMENT, "mail")["metadata"]["generation"] == before


def test_a_template_that_the_api_server_refuses_is_a_condition(
    api: Api, empty_database_url: str
) -> None:
    """The message is the API server's own, and a corrected template comes into force."""
    wrong = {
        "spec": {"containers": [{"name": "worker", "image": "x", "imagePullPolicy": "Perhaps"}]}
    }
    api.database(empty_database_url)
    api.queue("mail", workers={**WORKERS, "template": wrong})
    refused = api.wait_reason(WORKER_POOL, "mail", "TemplateRejected")
    assert "imagePullPolicy" in refused["message"]
    api.merge(QUEUE, "mail", {"spec": {"workers": {"template": WORKERS["template"]}}})
    api.wait_ready(QUEUE, "mail")
