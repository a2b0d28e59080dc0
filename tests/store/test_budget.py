"""How connections are shared out in a process, on a real Postgres."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from towpath.domain.errors import ConfigurationError, DatabaseUnreachableError
from towpath.executor.settings import read_worker_settings
from towpath.store.budget import LEAST_CONNECTIONS, Budget, share_connections
from towpath.store.connect import Endpoint, open_blocking
from towpath.store.lending import AsyncConnections, BlockingConnections
from towpath.store.session import BlockingSession, Call, Session

NAME = "towpath-budget-test"
PID: Call = (b"SELECT pg_backend_pid()", {})


@pytest.fixture
def endpoint(database_url: str) -> Endpoint:
    """Return where the lenders connect."""
    return Endpoint(lambda: database_url, application_name=NAME)


async def pid(session: Session) -> int:
    """Return the server's number of a connection."""
    ((number,),) = (await session.run(PID))[0]
    return int(number)


@pytest.mark.parametrize("total", range(LEAST_CONNECTIONS, 40))
@pytest.mark.parametrize("listens", [True, False])
def test_what_is_shared_out_is_what_there_is(total: int, listens: bool) -> None:  # noqa: FBT001 - a fact
    shares = share_connections(total, listens=listens)
    assert 2 + listens + 2 * shares.verbs + shares.transactions == total
    assert shares.verbs >= 1
    assert shares.transactions >= 1


def test_fewer_connections_than_a_worker_needs_are_refused_with_what_they_are_for() -> None:
    with pytest.raises(
        ConfigurationError, match=r"'5'; a worker needs 6 or more: two for its turns"
    ):
        read_worker_settings({"TOWPATH_MAX_CONNECTIONS": "5"})
    assert read_worker_settings({"TOWPATH_MAX_CONNECTIONS": "6"}).max_connections == 6


def test_an_idle_connection_makes_room_for_one_of_another_lender(endpoint: Endpoint) -> None:
    """Two lenders share one connection: each is served in turn, and never are two open."""

    async def scenario() -> None:
        budget = Budget(1)
        suspending = AsyncConnections(endpoint, size=1, budget=budget)
        blocking = BlockingConnections(endpoint, size=1, budget=budget)
        first = await suspending.run(pid)
        assert await suspending.run(pid) == first
        second = await asyncio.to_thread(blocking.run, pid)
        assert second != first
        third = await suspending.run(pid)
        assert third not in {first, second}
        await suspending.close()

    asyncio.run(scenario())


def test_who_waits_for_a_connection_gets_the_one_that_comes_back(endpoint: Endpoint) -> None:
    """It comes back to a lender whose own idle list nobody else looks at."""
    budget = Budget(1)
    one = BlockingConnections(endpoint, size=1, budget=budget)
    other = BlockingConnections(endpoint, size=1, budget=budget)
    lent, done = threading.Event(), threading.Event()

    async def hold(session: Session) -> int:
        number = await pid(session)
        lent.set()
        assert done.wait(20)
        return number

    with ThreadPoolExecutor(2) as threads:
        held = threads.submit(one.run, hold)
        assert lent.wait(20)
        waiting = threads.submit(other.run, pid)
        while not budget.wanted:
            assert not waiting.done()
        done.set()
        assert waiting.result(20) != held.result(20)
    other.close()


def test_a_connection_that_could_not_be_opened_takes_no_room(endpoint: Endpoint) -> None:
    budget = Budget(1)
    nowhere = Endpoint.at("postgresql://a:b@127.0.0.1:1/none")
    for _ in range(3):
        with pytest.raises(DatabaseUnreachableError):
            BlockingConnections(nowhere, size=1, budget=budget).run(pid)
    served = BlockingConnections(endpoint, size=1, budget=budget)
    assert served.run(pid)
    served.close()


def test_who_gives_up_waiting_leaves_its_turn_to_the_next() -> None:
    async def scenario() -> None:
        budget = Budget(1)
        await budget.take_async()
        impatient = asyncio.create_task(budget.take_async())
        patient = asyncio.create_task(budget.take_async())
        await asyncio.sleep(0)
        impatient.cancel()
        await asyncio.wait([impatient])
        budget.give()
        await asyncio.wait_for(patient, 20)
        assert not budget.wanted
        granted = asyncio.create_task(budget.take_async())
        await asyncio.sleep(0)
        budget.give()  # granted, and cancelled before it could know
        granted.cancel()
        await asyncio.wait([granted])
        await asyncio.wait_for(budget.take_async(), 20)

    asyncio.run(scenario())


def test_connections_of_many_threads_are_never_more_than_the_budget(endpoint: Endpoint) -> None:
    budget, lock = Budget(3), threading.Lock()
    opened: list[BlockingSession] = []
    at_once: list[int] = []

    def open_counted(where: Endpoint) -> BlockingSession:
        session = BlockingSession(open_blocking(where))
        with lock:
            opened.append(session)
            at_once.append(sum(not one.connection.closed for one in opened))
        return session

    lenders = [
        BlockingConnections(endpoint, size=3, budget=budget, connect=open_counted) for _ in range(2)
    ]
    with ThreadPoolExecutor(8) as threads:
        numbers = threads.map(lambda number: lenders[number % 2].run(pid), range(60))
        assert all(numbers)
    assert max(at_once) <= 3
    for lender in lenders:
        lender.close()
