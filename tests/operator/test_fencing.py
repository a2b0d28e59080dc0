"""A leader of the past changes nothing: neither by SQL on a real Postgres nor by a request."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg
import pytest
from kubernetes import client as api

from tests.operator.test_postgres_adapter import OURS, declared, execute, migrated, target_of
from towpath.domain.queue import QueueSettings
from towpath_operator.adapters.kubernetes import Requests
from towpath_operator.adapters.postgres import PostgresDatabases
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


async def declare(url: str, fence: Leader) -> None:
    """Declare a queue as a leader."""
    opened = PostgresDatabases(fence)
    try:
        await declared(opened, target_of(url), SETTINGS)
    finally:
        await opened.close()


async def release(url: str, fence: Leader) -> None:
    """Free the queue's row as a leader."""
    opened = PostgresDatabases(fence)
    try:
        await opened.release(target_of(url), queue_name="mail", owner=OURS)
    finally:
        await opened.close()


async def ask(url: str, fence: Leader) -> None:
    """Ask to be told of work as a leader."""
    opened = PostgresDatabases(fence)
    try:
        await opened.ask_for_notify(target_of(url), ["mail"], no_longer=[])
    finally:
        await opened.close()


async def migrate(url: str, fence: Leader) -> None:
    """Migrate as a leader."""
    opened = PostgresDatabases(fence)
    try:
        await migrated(opened, target_of(url))
    finally:
        await opened.close()


def test_the_first_write_of_a_leader_takes_the_schema_and_later_ones_keep_it(
    database_url: str,
) -> None:
    """Its epoch stands in the table; a later leader's takes its place."""
    asyncio.run(declare(database_url, leader(5)))
    asyncio.run(declare(database_url, leader(5)))
    assert epochs(database_url) == [(LEASE, 5)]
    asyncio.run(release(database_url, leader(6)))
    assert epochs(database_url) == [(LEASE, 6)]


@pytest.mark.parametrize("write", [declare, release, ask, migrate])
def test_a_write_of_an_earlier_leader_changes_nothing_and_ends_it(
    database_url: str, write: Callable[..., object]
) -> None:
    """Whatever it writes; nothing that came along in the transaction is in the database either."""
    asyncio.run(declare(database_url, leader(6)))
    execute(database_url, "UPDATE towpath.queue SET concurrency_global = 99 WHERE name = 'mail'")
    before = rows(database_url, SNAPSHOT)
    frozen = leader(5)
    with pytest.raises(LeadershipLostError):
        asyncio.run(write(database_url, frozen))  # type: ignore[arg-type]
    assert frozen.lost == ["a later leader has written to the database"]
    assert rows(database_url, SNAPSHOT) == before


SNAPSHOT = """
SELECT q::text, (SELECT array_agg(s::text) FROM towpath.sleeper s),
    (SELECT array_agg(o::text) FROM towpath.operator o)
FROM towpath.queue q ORDER BY q.name
"""


def test_a_write_that_is_under_way_ends_before_a_later_leader_writes(database_url: str) -> None:
    """The later one waits for the open transaction, and sees what it has written."""

    async def scenario() -> None:
        await declare(database_url, leader(5))
        async with await psycopg.AsyncConnection.connect(database_url) as old:
            await old.execute("SELECT towpath.lead(%s, 5)", [LEASE])
            taking = asyncio.create_task(release(database_url, leader(6)))
            await _until_somebody_waits(database_url)
            assert not taking.done()
            await old.commit()
            await taking
        assert epochs(database_url) == [(LEASE, 6)]

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
        await declare(database_url, leader(5))
        for number in range(6, 16):
            await asyncio.gather(*(release(database_url, leader(number)) for _ in range(6)))

    asyncio.run(scenario())
    assert epochs(database_url) == [(LEASE, 15)]


def test_operators_of_different_leases_keep_their_own_epochs(database_url: str) -> None:
    """Two clusters may share a schema; neither is the other's later leader."""
    asyncio.run(declare(database_url, leader(6)))
    asyncio.run(ask(database_url, leader(5, "another-cluster/space/towpath-operator")))
    assert [number for _, number in epochs(database_url)] == [5, 6]


def test_who_knows_that_it_leads_no_longer_opens_no_transaction(database_url: str) -> None:
    """The clock says so before the database has to."""
    fence = Leader(Epoch(LEASE, 7), leads=False)
    with pytest.raises(LeadershipLostError):
        asyncio.run(declare(database_url, fence))
    assert epochs(database_url) == []


def test_an_empty_database_is_migrated_by_a_leader(empty_database_url: str) -> None:
    """Where no table can tell of a later one yet; from the last migration on it is written down."""
    asyncio.run(migrate(empty_database_url, leader(5)))
    asyncio.run(migrate(empty_database_url, leader(6)))
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
