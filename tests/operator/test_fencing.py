"""A leader of the past changes nothing: neither by SQL on a real Postgres nor by a request."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg
import pytest
from kubernetes import client as api

from tests.operator.test_postgres_adapter import OURS, declared, execute, migrated, target_of
from towpath.domain.deletion import FROM_THE_START
from towpath.domain.queue import QueueSettings, Retention
from towpath_operator.adapters.kubernetes import Requests
from towpath_operator.adapters.postgres import PostgresDatabases
from towpath_operator.plan.observed import DatabaseTarget
from towpath_operator.plan.proof import Proof
from towpath_operator.ports.fence import Epoch, LeadershipLostError

LEASE = "cluster-uid/space/towpath-operator"
SETTINGS = QueueSettings(concurrency=3)


@dataclass
class Leader:
    """A fence that holds until it is told otherwise."""

    epoch: Epoch | None
    leads: bool = True
    lost: list[str] = field(default_factory=list)

    def check(self) -> None:
        """Return while it leads."""
        if not self.leads:
            raise LeadershipLostError

    def lose(self, why: str) -> None:
        """Lead no longer."""
        self.leads = False
        self.lost.append(why)


def leader(number: int, lease: str = LEASE) -> Leader:
    """Return the leader of an epoch."""
    return Leader(Epoch(lease, number))


def rows(url: str, query: str) -> list[tuple[object, ...]]:
    """Return what a query finds."""
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


def epochs(url: str) -> list[tuple[object, ...]]:
    """Return who has written."""
    return rows(url, "SELECT lease, epoch FROM towpath.operator ORDER BY lease")


Write = Callable[[PostgresDatabases, DatabaseTarget], Awaitable[object]]

READS = {"look", "count", "explain", "listen", "heard", "forget", "close"}
WRITES: dict[str, Write] = {
    "declare": lambda opened, target: declared(opened, target, SETTINGS),
    "release": lambda opened, target: opened.release(target, queue_name="mail", owner=OURS),
    "clear": lambda opened, target: opened.clear(
        target, queue_name="mail", owner=OURS, walk=FROM_THE_START, cancels_running=True
    ),
    "delete_if_empty": lambda opened, target: opened.delete_if_empty(
        target, queue_name="mail", owner=OURS, walk=FROM_THE_START, reopens=True
    ),
    "set_retention": lambda opened, target: opened.set_retention(
        target, Retention(succeeded=timedelta(days=3))
    ),
    "ask_for_notify": lambda opened, target: opened.ask_for_notify(target, ["mail"], no_longer=[]),
    "end_leases": lambda opened, target: opened.end_leases(target, [Proof("uid-of-pod", None)]),
    "grant": lambda opened, target: opened.grant(replace(target, worker_role="pg_monitor")),
    "migrate": migrated,
}


def write(url: str, fence: Leader, verb: str) -> None:
    """Write in one of the ways, as a leader."""

    async def scenario() -> None:
        opened = PostgresDatabases(fence)
        try:
            await WRITES[verb](opened, target_of(url))
        finally:
            await opened.close()

    asyncio.run(scenario())


def test_each_verb_of_the_port_reads_or_is_tried_here() -> None:
    """A new one that writes is to be fenced, too."""
    verbs = {name for name, _ in inspect.getmembers(PostgresDatabases, inspect.iscoroutinefunction)}
    assert {name for name in verbs if not name.startswith("_")} == READS | WRITES.keys()


def test_the_first_write_of_a_leader_takes_the_schema_and_later_ones_keep_it(
    database_url: str,
) -> None:
    """Its epoch stands in the table; a later leader's takes its place."""
    write(database_url, leader(5), "declare")
    write(database_url, leader(5), "declare")
    assert epochs(database_url) == [(LEASE, 5)]
    write(database_url, leader(6), "release")
    assert epochs(database_url) == [(LEASE, 6)]


@pytest.mark.parametrize("verb", WRITES)
def test_a_write_of_an_earlier_leader_changes_nothing_and_ends_it(
    database_url: str, verb: str
) -> None:
    """Whatever it writes; nothing that came along in the transaction is in the database either."""
    write(database_url, leader(6), "declare")
    execute(database_url, "UPDATE towpath.queue SET concurrency_global = 99 WHERE name = 'mail'")
    before = rows(database_url, SNAPSHOT)
    frozen = leader(5)
    with pytest.raises(LeadershipLostError):
        write(database_url, frozen, verb)
    assert frozen.lost == ["a later leader has written to the database"]
    assert rows(database_url, SNAPSHOT) == before


SNAPSHOT = """
SELECT q::text, (SELECT array_agg(s::text) FROM towpath.sleeper s),
    (SELECT array_agg(o::text) FROM towpath.operator o),
    (SELECT array_agg(r::text) FROM towpath.retention r),
    (SELECT relacl::text FROM pg_class WHERE oid = 'towpath.queue'::regclass)
FROM towpath.queue q ORDER BY q.name
"""


def test_a_write_that_is_under_way_ends_before_a_later_leader_writes(database_url: str) -> None:
    """The later one waits for the open transaction, and sees what it has written."""

    async def scenario() -> None:
        async with await psycopg.AsyncConnection.connect(database_url) as old:
            await old.execute("SELECT towpath.lead(%s, 5)", [LEASE])
            taking = asyncio.create_task(
                asyncio.to_thread(write, database_url, leader(6), "release")
            )
            await _until_somebody_waits(database_url)
            assert not taking.done()
            await old.commit()
            await taking
        assert epochs(database_url) == [(LEASE, 6)]

    write(database_url, leader(5), "declare")
    asyncio.run(scenario())


async def _until_somebody_waits(url: str) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as watch:
        async with asyncio.timeout(10):
            while True:
                found = await watch.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
                if await found.fetchone() != (0,):
                    return
                await asyncio.sleep(0.01)


def test_many_writes_of_a_new_leader_at_once_wait_for_each_other_and_all_succeed(
    database_url: str,
) -> None:
    """No deadlock between those that bring the epoch and those that go by it."""

    async def scenario() -> None:
        for number in range(6, 16):
            opened = [PostgresDatabases(leader(number)) for _ in range(6)]
            await asyncio.gather(
                *(WRITES["release"](one, target_of(database_url)) for one in opened)
            )
            await asyncio.gather(*(one.close() for one in opened))

    write(database_url, leader(5), "declare")
    asyncio.run(scenario())
    assert epochs(database_url) == [(LEASE, 15)]


def test_operators_of_different_leases_keep_their_own_epochs(database_url: str) -> None:
    """Two clusters may share a schema; neither is the other's later leader."""
    write(database_url, leader(6), "declare")
    write(database_url, leader(5, "another-cluster/space/towpath-operator"), "ask_for_notify")
    assert [number for _, number in epochs(database_url)] == [5, 6]


def test_who_knows_that_it_leads_no_longer_opens_no_transaction(database_url: str) -> None:
    """The clock says so before the database has to."""
    fence = Leader(Epoch(LEASE, 7), leads=False)
    with pytest.raises(LeadershipLostError):
        write(database_url, fence, "declare")
    assert epochs(database_url) == []


def test_an_empty_database_is_migrated_by_a_leader(empty_database_url: str) -> None:
    """Where no table can tell of a later one yet; from the last migration on it is written down."""
    write(empty_database_url, leader(5), "migrate")
    write(empty_database_url, leader(6), "migrate")
    assert epochs(empty_database_url) == [(LEASE, 6)]


@contextmanager
def server() -> Iterator[tuple[str, list[str]]]:
    """Serve anything on loopback; yields the address and the methods of the requests."""
    methods: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            methods.append(self.command)
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815 - the library's names

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as one:
        thread = threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{one.server_port}", methods
        finally:
            one.shutdown()
            thread.join()


def test_every_verb_that_writes_asks_the_fence_and_reads_do_not() -> None:
    """What the fence stops never reaches the server, on a new connection and on a used one."""
    fence = leader(1)
    with server() as (address, methods):
        settings = api.Configuration()
        settings.host = address
        requests = Requests(settings, guard=fence.check)
        for verb in ("get", "post", "put", "patch", "delete"):
            requests.send(verb, "/api/v1/namespaces", body={})
        assert methods == ["GET", "POST", "PUT", "PATCH", "DELETE"]
        fence.leads = False
        for verb in ("post", "put", "patch", "delete"):
            with pytest.raises(LeadershipLostError):
                requests.send(verb, "/api/v1/namespaces", body={})
        requests.send("get", "/api/v1/namespaces")
    assert methods == ["GET", "POST", "PUT", "PATCH", "DELETE", "GET"]
