"""An API server that answers wrongly, late, in part or not at all: the operator converges all the same.

A proxy stands between the two. Each fault is met by kopf's watches of our kinds and by our own of the
children, or by single requests; what is applied while it lasts comes into force while it lasts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.cluster import Cluster
from tests.operator import api_proxy as proxies
from tests.operator.api_proxy import ApiProxy, Fault, Seen
from tests.operator.proxied import ProxiedOperator, proxied_operator
from tests.operator.running import Api, OperatorProcess, eventually
from tests.operator.test_queue_in_cluster import WORKERS, rows
from towpath_operator.adapters.kubernetes import Requests
from towpath_operator.ports.cluster import DEPLOYMENT, QUEUE, WORKER_POOL

RESYNC = 2
OURS = ("queues", "workerpools", "queuedatabases")
CHILDREN = ("deployments", "replicasets", "pods")

WATCHES_THAT_FAIL: dict[str, Fault] = {
    "says nothing": proxies.say_nothing,
    "ends at once": proxies.end_at_once,
    "is cut in the middle of a line": proxies.cut_stream,
    "is reset": proxies.reset,
    "tells of 410": proxies.tell_error(410, "Expired"),
    "tells of 500": proxies.tell_error(500, "InternalError"),
    "is answered 410": proxies.refuse(410, "Expired"),
    "is answered 500": proxies.refuse(500, "InternalError"),
    "is answered 503": proxies.refuse(503, "ServiceUnavailable"),
}
REQUESTS_THAT_FAIL: dict[str, Fault] = {
    "409": proxies.refuse(409, "Conflict"),
    "500": proxies.refuse(500, "InternalError"),
    "503": proxies.refuse(503, "ServiceUnavailable"),
    "reset": proxies.reset,
    "done and untold": proxies.lose_answer,
    "cut": proxies.cut_body,
    "broken off": proxies.break_off_body,
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


def watches(one: Seen) -> bool:
    """Tell whether a request is a watch, kopf's or our own."""
    return one.watch and one.plural in OURS + CHILDREN


def watch_of(plural: str) -> Callable[[Seen], bool]:
    """Return a test of requests: the watches of a kind."""
    return lambda one: one.watch and one.plural == plural


def in_namespace(api: Api, *, writes_only: bool = False) -> Callable[[Seen], bool]:
    """Return a test of requests: those about objects of a namespace."""
    return lambda one: (
        f"/namespaces/{api.namespace}/" in one.path and (one.write or not writes_only)
    )


def declare(api: Api, url: str) -> None:
    """Declare a database and a Queue with workers."""
    api.database(url)
    api.queue("mail", concurrency={"global": 3}, workers=WORKERS)


def assert_in_force(api: Api, url: str, limit: int = 3) -> None:
    """Wait until the Queue, its row, its pool and its Deployment are as declared."""
    for kind in (QUEUE, WORKER_POOL):
        api.wait_ready(kind, "mail", seconds=60)
    found = rows(url, "SELECT concurrency_global FROM towpath.queue WHERE name = 'mail'")
    assert found == [(limit,)]
    assert api.get(DEPLOYMENT, "mail") is not None


def assert_repairs(api: Api) -> None:
    """Delete the Deployment, and wait until there is another."""
    before = api.must_get(DEPLOYMENT, "mail")["metadata"]["uid"]
    api.delete(DEPLOYMENT, "mail")
    eventually(lambda: api.must_get(DEPLOYMENT, "mail")["metadata"]["uid"] != before, seconds=30)


def assert_written_as_declared(api: Api, proxy: ApiProxy) -> None:
    """Check that whatever was tried and tried again, it was the same Deployment each time."""
    about = in_namespace(api, writes_only=True)
    applied = {
        json.dumps(one.json["spec"], sort_keys=True)
        for one in proxy.seen(about)
        if one.plural == "deployments" and b"Deployment" in one.body
    }
    assert len(applied) == 1


@pytest.mark.parametrize("turn", range(3))
def test_a_watch_that_fails_is_noticed(
    turn: int, api: Api, proxy: ApiProxy, empty_database_url: str
) -> None:
    """Six watches fail in six ways. What they do not tell is found by a resync, until they work again.

    In three turns each way is met by a watch of kopf's and by one of our own.
    """
    ways = [*WATCHES_THAT_FAIL.values()]
    ways = ways[turn * 3 :] + ways[: turn * 3]
    faults = dict(zip([*OURS, *CHILDREN], ways, strict=False))
    with ExitStack() as stack:
        met = {
            plural: stack.enter_context(proxy.fault(fault, watch_of(plural))).met
            for plural, fault in faults.items()
        }
        declare(api, empty_database_url)
        assert_in_force(api, empty_database_url)
        assert_repairs(api)

        def every_watch_has_failed() -> bool:
            assert [plural for plural, seen in met.items() if not seen] == []
            return True

        eventually(every_watch_has_failed)
        # kopf follows at once on a stream that was ended in good order; our own waits a moment.
        assert all(len(met[plural]) < 30 for plural in CHILDREN)
    api.merge(QUEUE, "mail", {"spec": {"concurrency": {"global": 9}}})
    assert_in_force(api, empty_database_url, 9)
    assert_written_as_declared(api, proxy)


@pytest.mark.parametrize("turn", range(2))
def test_requests_that_fail_are_tried_again(
    turn: int, api: Api, proxy: ApiProxy, empty_database_url: str
) -> None:
    """Some of every kind fail in some way; then all is in force, and nothing is there twice."""
    ways = [*REQUESTS_THAT_FAIL.values()][turn::2]
    about = in_namespace(api)
    with ExitStack() as stack:
        faults = [stack.enter_context(proxy.fault(way, about, times=2)) for way in ways]
        declare(api, empty_database_url)
        assert_in_force(api, empty_database_url)
        assert_repairs(api)
        assert [len(one.met) for one in faults] == [2] * len(ways)
    assert_written_as_declared(api, proxy)


def test_an_answer_that_comes_later_than_anybody_waits_is_asked_for_again(
    api: Api, proxy: ApiProxy, empty_database_url: str
) -> None:
    """A request is given up after 10 s; others are answered meanwhile."""
    with proxy.fault(proxies.wait_before(15), in_namespace(api), times=2):
        declare(api, empty_database_url)
        assert_in_force(api, empty_database_url)
    assert_written_as_declared(api, proxy)


def test_who_is_asked_to_come_again_later_comes_no_sooner(
    api: Api, proxy: ApiProxy, empty_database_url: str
) -> None:
    """429 with Retry-After is waited for, by our requests, our watches and kopf's."""
    busy = proxies.refuse(429, "TooManyRequests", retry_after=3)

    def tried_again(refused: Seen) -> list[float]:
        same = (refused.method, refused.path, refused.watch)
        return [
            one.at - refused.at
            for one in proxy.seen(lambda one: (one.method, one.path, one.watch) == same)
            if one.at > refused.at
        ]

    with (
        proxy.fault(busy, watches, times=6) as watching,
        proxy.fault(busy, in_namespace(api), times=4) as asking,
    ):
        declare(api, empty_database_url)
        assert_in_force(api, empty_database_url)
        eventually(lambda: len(watching.met) == 6 and len(asking.met) == 4)
        refused = [*watching.met, *asking.met]
        eventually(lambda: all(tried_again(one) for one in refused), what="another try of each")
    assert min(tried_again(one)[0] for one in refused) >= 2.9


def test_an_operator_that_starts_in_front_of_a_failing_api_server_waits_for_it(
    api: Api, proxy: ApiProxy, operator: OperatorProcess, empty_database_url: str
) -> None:
    """Whatever its first requests meet, it does not end."""
    assert operator.stop() == 0
    declare(api, empty_database_url)
    refused = proxies.refuse(503, "ServiceUnavailable")
    with (
        proxy.fault(refused, lambda _: True, times=2),
        proxy.fault(proxies.reset, lambda _: True, times=2),
        proxy.fault(proxies.cut_body, lambda one: not one.watch, times=2),
    ):
        operator.start()
        assert_in_force(api, empty_database_url)
