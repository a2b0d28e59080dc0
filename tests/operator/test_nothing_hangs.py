"""Nothing waits for anything: in whatever order our objects, the operator and the CRDs go, they go."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import pytest

from tests.cluster import Cluster
from tests.operator.running import ROOT, Api, OperatorProcess, eventually, install
from tests.operator.test_queue_in_cluster import WORKERS, rows
from towpath_operator.ports.cluster import (
    DEPLOYMENT,
    QUEUE,
    QUEUE_DATABASE,
    SECRET,
    WORKER_POOL,
    Kind,
)

GONE_SECONDS = 60
NAMES: dict[Kind, str] = {
    QUEUE: "mail",
    WORKER_POOL: "crew",
    QUEUE_DATABASE: "default",
    SECRET: "database",
}
ORDERS = list(itertools.permutations(NAMES))[::3]


def declare(api: Api, url: str, queue_name: str, *, confirmed: bool) -> None:
    """Declare a database, a Queue with workers, and a pool that serves it too."""
    api.database(url)
    name = {"name": NAMES[QUEUE], "namespace": api.namespace}
    metadata = {**name, "annotations": {"towpath.dev/confirm-delete": queue_name}}
    api.create(
        QUEUE,
        NAMES[QUEUE],
        {
            "queueName": queue_name,
            "workers": WORKERS,
            "deletionPolicy": "Delete" if confirmed else "Retain",
        },
        metadata=metadata if confirmed else name,
    )
    api.create(WORKER_POOL, NAMES[WORKER_POOL], {**WORKERS, "queues": [{"name": NAMES[QUEUE]}]})


def namespaces(api: Api) -> set[str]:
    """Return the names of the namespaces that there are."""
    items = api.requests.send("get", "/api/v1/namespaces")["items"]
    return {one["metadata"]["name"] for one in items}


def go(apis: Sequence[Api], orders: Sequence[Sequence[Kind]]) -> None:
    """Delete some objects of each namespace in its order, then the rest with the namespace."""
    for number, (api, order) in enumerate(zip(apis, orders, strict=True)):
        for kind in order[: number % (len(order) + 1)]:
            api.delete(kind, NAMES[kind])
        api.requests.send("delete", f"/api/v1/namespaces/{api.namespace}")


def until_gone(apis: Sequence[Api]) -> None:
    """Wait until the namespaces are no more."""

    def gone() -> bool:
        assert namespaces(apis[0]) & {api.namespace for api in apis} == set()
        return True

    eventually(gone, seconds=GONE_SECONDS)


def owners(url: str) -> list[tuple[str, str | None]]:
    """Return each row with who owns it."""
    return [
        (str(name), owner)
        for name, owner in rows(
            url, "SELECT name, owner_name FROM towpath.queue WHERE name LIKE 'of-%'"
        )
    ]


def log_since(operator: OperatorProcess, seen: int, event: str) -> bool:
    """Tell whether the operator has logged an event."""
    return any(line["event"] == event for line in operator.log()[seen:])


@pytest.mark.parametrize("operator_is", ["there", "gone before"])
def test_a_namespace_goes_in_whatever_order_its_objects_are_deleted(
    operator_is: str,
    new_api: Callable[[], Api],
    operator: OperatorProcess,
    database_url: str,
) -> None:
    """In eight orders, some with a confirmed deletion of rows where somebody is there to do it."""
    apis = [new_api() for _ in ORDERS]
    there = operator_is == "there"
    for number, api in enumerate(apis):
        declare(api, database_url, f"of-{number}", confirmed=there and number % 3 == 0)
    for api in apis:
        api.wait_ready(QUEUE, NAMES[QUEUE], seconds=60)
        api.wait_ready(WORKER_POOL, NAMES[WORKER_POOL], seconds=60)
    if not there:
        assert operator.stop() == 0
    go(apis, ORDERS)
    until_gone(apis)
    if not there:
        operator.start()
    # A database that is declared no more frees no row; another one of its schema does.
    keeper = new_api()
    keeper.database(database_url)
    eventually(lambda: {owner for _, owner in owners(database_url)} <= {None})


def test_crds_go_with_their_objects_and_come_back_while_the_operator_runs(
    cluster: Cluster, new_api: Callable[[], Api], operator: OperatorProcess, database_url: str
) -> None:
    """No object keeps its CRD; children go; and what is declared anew comes into force at once."""
    api = new_api()
    declare(api, database_url, "of-crds", confirmed=False)
    api.wait_ready(WORKER_POOL, NAMES[WORKER_POOL])
    names = [f"{kind.plural}.towpath.dev" for kind in (QUEUE, WORKER_POOL, QUEUE_DATABASE)]
    seen = len(operator.log())
    try:
        cluster.kubectl("delete", "crd", *names, "--timeout=60s")
        for pool in (NAMES[WORKER_POOL], NAMES[QUEUE]):
            eventually(lambda name=pool: api.get(DEPLOYMENT, name) is None)  # type: ignore[misc]
        # Away for so long that the watch has looked for them in vain.
        eventually(lambda: log_since(operator, seen, "watch waits for kinds"))
        assert operator.running
    finally:
        install(cluster)
    declare(api, database_url, "of-crds", confirmed=False)
    for kind in (QUEUE, WORKER_POOL):
        api.wait_ready(kind, NAMES[kind], seconds=60)
    # Watched, not only listed: changes are in force long before the next resync.
    for limit in (3, 4, 5):
        api.merge(QUEUE, NAMES[QUEUE], {"spec": {"concurrency": {"global": limit}}})
        api.wait_ready(QUEUE, NAMES[QUEUE], seconds=10)


def test_crds_go_while_nobody_is_there(
    cluster: Cluster, new_api: Callable[[], Api], operator: OperatorProcess, database_url: str
) -> None:
    """An operator that was uninstalled first leaves nothing that holds them."""
    api = new_api()
    declare(api, database_url, "of-nobody", confirmed=False)
    api.wait_ready(WORKER_POOL, NAMES[WORKER_POOL])
    assert operator.stop() == 0
    try:
        cluster.kubectl("delete", f"--filename={ROOT / 'crds'}", "--timeout=60s")
        api.requests.send("delete", f"/api/v1/namespaces/{api.namespace}")
        until_gone([api])
    finally:
        install(cluster)
