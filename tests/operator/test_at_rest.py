"""Where nothing happens, the operator writes nothing but its Lease, and reads little and bounded."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

import psycopg
import pytest

from tests.cluster import Cluster
from tests.operator.api_proxy import ApiProxy, Seen
from tests.operator.proxied import ProxiedOperator, proxied_operator
from tests.operator.running import Api, OperatorProcess, eventually
from towpath.local import postgres
from towpath_operator.adapters.kubernetes import Requests
from towpath_operator.ports.cluster import QUEUE

RESYNC = 3.0
RESYNCS = 3
PLAIN, SERVED = 20, 20
WORKERS = {
    "application": "shop.workflows",
    "autoscaling": {"min": 0, "max": 1},
    "template": {"spec": {"containers": [{"name": "worker", "image": "shop:1"}]}},
}


@pytest.fixture(scope="module")
def proxied(
    cluster: Cluster, administrator: Requests, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ProxiedOperator]:
    """Run an operator that reaches the API server through a proxy alone."""
    del administrator
    folder = tmp_path_factory.mktemp("operator")
    with proxied_operator(cluster, folder, resync=RESYNC) as one:
        yield one


@pytest.fixture(scope="module")
def proxy(proxied: ProxiedOperator) -> ApiProxy:
    """Return the proxy."""
    return proxied.proxy


@pytest.fixture(scope="module")
def operator_process(proxied: ProxiedOperator) -> OperatorProcess:
    """Return the operator, in the place of the one that other files have."""
    return proxied.process


def beyond_the_lease(seen: Seen) -> bool:
    """Tell whether a request writes something that is not the Lease."""
    return seen.write and seen.plural != "leases"


def wait_for_rest(proxy: ApiProxy) -> None:
    """Wait until nothing was written for a resync and more."""
    quiet = RESYNC * 1.5
    eventually(
        lambda: all(time.monotonic() - one.at > quiet for one in proxy.seen(beyond_the_lease)),
        seconds=60,
        what="a resync without a write",
    )


def declare_all(api: Api, *, plain: int, served: int) -> None:
    """Declare queues with and without workers, and wait until all are in force."""
    names = [f"queue-{number}" for number in range(plain + served)]
    for number, name in enumerate(names):
        api.queue(name, **({"workers": WORKERS} if number < served else {}))
    for name in names:
        api.wait_ready(QUEUE, name, seconds=60)


class Statements:
    """What the operator sends to one database, by the server's own log."""

    def __init__(self, server: postgres.Server, url: str) -> None:
        self._server = server
        self._url = url

    def count(self) -> int:
        """Count the statements of the operator's sessions so far."""
        with psycopg.connect(self._url, autocommit=True) as connection:
            found = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
                "AND application_name = 'towpath-operator'"
            ).fetchall()
        marks = tuple(
            f"[{pid}] LOG:  {how}" for (pid,) in found for how in ("execute", "statement")
        )
        lines = self._server.log.read_text(errors="replace").splitlines()
        assert found, "no session of the operator"
        return sum(any(mark in line for mark in marks) for line in lines)


@pytest.fixture
def statements(postgres_server: postgres.Server, database_url: str) -> Statements:
    """Have every statement in the test's database logged."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f"ALTER DATABASE {name} SET log_statement = 'all'".encode())
    return Statements(postgres_server, database_url)


def test_at_rest_nothing_is_written_but_the_lease_and_reads_are_bounded(
    api: Api, proxy: ApiProxy, database_url: str, statements: Statements
) -> None:
    """Over some resyncs: one Secret a pool and resync, a few lists, and no statement but a look."""
    api.database(database_url)
    declare_all(api, plain=PLAIN, served=SERVED)
    wait_for_rest(proxy)
    sent, began = statements.count(), time.monotonic()
    time.sleep(RESYNC * RESYNCS)
    asked = proxy.seen(lambda one: one.at >= began)
    assert [one for one in asked if beyond_the_lease(one)] == []
    reads = Counter(one.plural for one in asked if not one.write and not one.watch)
    # A resync is spread by a tenth, so that in so long a time one more of each may fall.
    assert SERVED <= reads["secrets"] <= (SERVED + 1) * (RESYNCS + 1)
    del reads["secrets"]
    assert reads.total() <= 12 * (RESYNCS + 1), reads
    assert statements.count() - sent <= 2


def test_a_restart_writes_nothing(
    api: Api, proxy: ApiProxy, operator_process: OperatorProcess, database_url: str
) -> None:
    """Every object and child is looked at, and found to be as it should be."""
    api.database(database_url)
    declare_all(api, plain=1, served=3)
    wait_for_rest(proxy)
    operator_process.stop()
    before, began = versions(api), time.monotonic()
    operator_process.start()
    of_pools = "/namespaces/" + api.namespace + "/secrets/queue-"
    eventually(
        lambda: len(proxy.seen(lambda one: of_pools in one.path and one.at >= began)) >= 2 * 3,
        what="two reconciles of each pool",
    )
    assert proxy.seen(lambda one: beyond_the_lease(one) and one.at >= began) == []
    assert versions(api) == before


def versions(api: Api) -> dict[str, str]:
    """Return the resourceVersion of everything in the namespace that the operator writes."""
    found: dict[str, str] = {}
    for tail in (
        "towpath.dev/v1alpha1/namespaces/{}/queues",
        "towpath.dev/v1alpha1/namespaces/{}/workerpools",
        "towpath.dev/v1alpha1/namespaces/{}/queuedatabases",
        "apps/v1/namespaces/{}/deployments",
        "policy/v1/namespaces/{}/poddisruptionbudgets",
        "events.k8s.io/v1/namespaces/{}/events",
    ):
        items, _ = api.requests.pages(f"/apis/{tail.format(api.namespace)}", label_selector="")
        for metadata in (one["metadata"] for one in items):
            found[f"{tail} {metadata['name']}"] = metadata["resourceVersion"]
    return found
