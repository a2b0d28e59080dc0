"""Nobody is held up for long by a Queue whose rows are to go: on a clock that jumps, in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.operator.fakes import FakeCluster, FakeDatabases
from tests.operator.test_controller import DOWN, run
from towpath.domain.deletion import Clearing
from towpath_operator.ports.cluster import QUEUE, QUEUE_DATABASE, ObjectKey

CONFIRMED = {"towpath.dev/confirm-delete": "mail"}
SHOP_MAIL = ObjectKey("shop", "mail")


@dataclass(slots=True)
class Shop:
    """A Queue that is in force, and that the finalizer keeps."""

    cluster: FakeCluster
    databases: FakeDatabases

    async def is_there(self) -> bool:
        """Tell whether the Queue is not gone."""
        return await self.cluster.get(QUEUE, SHOP_MAIL) is not None

    async def time_to_go(self, *, at_most: int) -> int:
        """Return after how many seconds the Queue is gone."""
        for second in range(at_most):
            if not await self.is_there():
                return second
            await asyncio.sleep(1)
        raise AssertionError(f"the Queue is there after {at_most} s")


def in_a_shop(scenario: Callable[[Shop], Awaitable[None]]) -> None:
    """Run a scenario that begins with a Queue whose Delete is confirmed."""

    async def whole(cluster: FakeCluster, databases: FakeDatabases) -> None:
        cluster.declare_database()
        cluster.declare(QUEUE, "mail", {"deletionPolicy": "Delete"}, CONFIRMED)
        await asyncio.sleep(5)
        assert cluster.ready(QUEUE, "mail")["status"] == "True"
        assert cluster.writes["finalizers"] == 1
        await scenario(Shop(cluster, databases))

    run(whole)


def test_a_queue_whose_rows_can_be_deleted_goes_within_a_second() -> None:
    """Its row before it, and the event last."""

    async def scenario(shop: Shop) -> None:
        shop.cluster.remove(QUEUE, "mail")
        assert await shop.time_to_go(at_most=5) <= 1
        assert shop.databases.rows == {}
        assert shop.cluster.events[-1:] == ["RowsDeleted"]

    in_a_shop(scenario)


def test_a_database_that_is_down_holds_a_queue_for_a_minute_and_keeps_its_row() -> None:
    """Then a warning says so, and nobody waits any more."""

    async def scenario(shop: Shop) -> None:
        shop.databases.problem = DOWN
        shop.cluster.remove(QUEUE, "mail")
        assert 60 <= await shop.time_to_go(at_most=180) <= 130
        assert "mail" in shop.databases.rows
        assert shop.cluster.events[-1:] == ["RowsKept"]

    in_a_shop(scenario)


def test_a_database_that_comes_back_within_the_minute_loses_nothing() -> None:
    """The deletion goes on where it was."""

    async def scenario(shop: Shop) -> None:
        shop.databases.problem = DOWN
        shop.cluster.remove(QUEUE, "mail")
        await asyncio.sleep(40)
        assert await shop.is_there()
        shop.databases.problem = None
        await shop.time_to_go(at_most=30)
        assert shop.databases.rows == {}

    in_a_shop(scenario)


def test_a_bug_of_ours_holds_nobody_up_either() -> None:
    """Whatever keeps a batch from being deleted, a minute is the most that a Queue waits for it."""

    async def scenario(shop: Shop) -> None:
        shop.databases.bug = RuntimeError("a bug")
        shop.cluster.remove(QUEUE, "mail")
        assert await shop.time_to_go(at_most=300) >= 60
        assert shop.cluster.events[-1:] == ["RowsKept"]

    in_a_shop(scenario)


def test_a_database_that_is_deleted_first_is_used_as_it_was() -> None:
    """As in a namespace that goes, whose objects are deleted in no order."""

    async def scenario(shop: Shop) -> None:
        shop.cluster.declare(QUEUE, "mail", {"deletionPolicy": "Delete"})
        await asyncio.sleep(5)
        shop.cluster.declare(QUEUE, "mail", {"deletionPolicy": "Delete"}, CONFIRMED)
        await asyncio.sleep(5)
        shop.cluster.remove(QUEUE_DATABASE, "default")
        await asyncio.sleep(20)
        shop.cluster.remove(QUEUE, "mail")
        await shop.time_to_go(at_most=20)
        assert shop.databases.rows == {}

    in_a_shop(scenario)


def test_what_runs_is_looked_at_once_a_second_without_a_write() -> None:
    """The status says once what is waited for."""

    async def scenario(shop: Shop) -> None:
        shop.databases.clearing = Clearing.WAITS
        shop.cluster.remove(QUEUE, "mail")
        await asyncio.sleep(2)
        shop.cluster.writes.clear()
        shop.databases.statements.clear()
        await asyncio.sleep(100)
        assert 90 <= shop.databases.statements["clear"] <= 110
        assert shop.cluster.writes == {}
        assert shop.cluster.ready(QUEUE, "mail")["reason"] == "Deleting"

    in_a_shop(scenario)
