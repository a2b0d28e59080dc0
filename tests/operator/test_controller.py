"""The controller over a cluster and a database in memory, on a clock that jumps."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from tests.operator.fakes import FakeCluster, FakeDatabases
from tests.operator.jumping import now, on_jumping_clock
from towpath_operator.assembly import assemble
from towpath_operator.model.conditions import Reason
from towpath_operator.plan.observed import Blocked, QueueCounts
from towpath_operator.ports.cluster import QUEUE, QUEUE_DATABASE, WORKER_POOL

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
WORKERS = {
    "application": "shop.workflows",
    "slots": 5,
    "autoscaling": {"min": 0, "max": 3},
    "template": {"spec": {"containers": [{"name": "worker", "image": "shop:1"}]}},
}
DOWN = Blocked(reason=Reason.DATABASE_UNREACHABLE, message="Postgres cannot be used: no.")

Scenario = Callable[[FakeCluster, FakeDatabases], Awaitable[None]]


def run(scenario: Scenario) -> None:
    """Run a scenario beside a controller that is ended with it."""

    async def whole() -> None:
        cluster, databases = FakeCluster(), FakeDatabases()
        controller = assemble(
            cluster,
            databases,
            namespace="towpath-system",
            cluster_uid="here",
            clock=lambda: BEGINNING + timedelta(seconds=now()),
        )
        cluster.controller = controller
        task = asyncio.create_task(controller.run())
        await controller.ready.wait()
        try:
            await scenario(cluster, databases)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    on_jumping_clock(whole())


async def queue_in_force(cluster: FakeCluster) -> None:
    """Declare a database and a Queue with workers, and let them come into force."""
    cluster.declare_database()
    cluster.declare(QUEUE, "mail", {"workers": WORKERS})
    await asyncio.sleep(20)
    assert cluster.ready(QUEUE, "mail")["status"] == "True"


def test_at_rest_nothing_is_written_and_a_database_is_asked_twice_a_minute() -> None:
    """Ten quiet minutes: no API write, no row written, at most some twenty statements."""

    async def scenario(cluster: FakeCluster, databases: FakeDatabases) -> None:
        await queue_in_force(cluster)
        cluster.writes.clear()
        databases.statements.clear()
        await asyncio.sleep(600)
        assert cluster.writes == {}
        assert databases.statements["write"] == 0
        assert databases.statements.total() <= 33

    run(scenario)


def test_the_work_of_a_pool_is_looked_at_on_notify_and_then_once_a_second() -> None:
    """Up at once from zero; down to the minimum after a minute without work."""

    async def scenario(cluster: FakeCluster, databases: FakeDatabases) -> None:
        await queue_in_force(cluster)
        assert databases.asked_for == ["mail"]
        databases.work["mail"] = QueueCounts(waiting=11)
        databases.notify()
        await asyncio.sleep(0.5)
        assert cluster.replicas("mail") == 3
        assert databases.asked_for == []
        databases.statements.clear()
        await asyncio.sleep(30)
        assert 28 <= databases.statements["count"] + databases.statements["look"] / 2 <= 33
        databases.work["mail"] = QueueCounts()
        await asyncio.sleep(55)
        assert cluster.replicas("mail") == 3
        await asyncio.sleep(75)
        assert cluster.replicas("mail") == 0

    run(scenario)


def test_pods_follow_the_work_also_where_nobody_can_say_what_holds_it_back() -> None:
    """The explanation is words of a status; a statement for it that takes too long stops nothing."""

    async def scenario(cluster: FakeCluster, databases: FakeDatabases) -> None:
        await queue_in_force(cluster)
        databases.unexplained = DOWN
        databases.work["mail"] = QueueCounts(waiting=11)
        databases.notify()
        await asyncio.sleep(0.5)
        assert cluster.replicas("mail") == 3
        databases.statements.clear()
        await asyncio.sleep(60)
        assert cluster.ready(QUEUE, "mail")["status"] == "True"
        assert databases.statements["explain"] <= 7

    run(scenario)


def test_the_work_of_a_paused_queue_brings_no_pods_until_it_goes_on() -> None:
    """Paused by hand: nothing grows, idle pods go, and the status says so; then up at once."""

    async def scenario(cluster: FakeCluster, databases: FakeDatabases) -> None:
        await queue_in_force(cluster)
        databases.pause("mail", paused=True)
        databases.work["mail"] = QueueCounts(waiting=11, paused=True)
        databases.notify(settings=True)
        await asyncio.sleep(1)
        assert cluster.condition(QUEUE, "mail", "Paused")["reason"] == "PausedByHand"
        assert cluster.ready(QUEUE, "mail")["status"] == "True"
        await asyncio.sleep(120)
        assert cluster.replicas("mail") == 0
        databases.pause("mail", paused=False)
        databases.work["mail"] = QueueCounts(waiting=11)
        databases.notify(settings=True)
        await asyncio.sleep(0.5)
        assert cluster.replicas("mail") == 3
        assert cluster.condition(QUEUE, "mail", "Paused")["status"] == "False"

    run(scenario)


@pytest.mark.parametrize("told", [True, False], ids=["told", "untold"])
def test_a_manifest_that_says_paused_undoes_what_a_hand_did(*, told: bool) -> None:
    """At once where the hand told of it as the CLI does, else at the next look."""

    async def scenario(cluster: FakeCluster, databases: FakeDatabases) -> None:
        cluster.declare_database()
        cluster.declare(QUEUE, "mail", {"paused": False})
        await asyncio.sleep(20)
        databases.pause("mail", paused=True)
        if told:
            databases.notify(settings=True)
        await asyncio.sleep(1 if told else 65)
        assert databases.rows["mail"].paused is False

    run(scenario)


def test_numbers_are_written_at_most_every_ten_seconds() -> None:
    """A queue whose counts change all the time costs a status write every ten seconds."""

    async def scenario(cluster: FakeCluster, databases: FakeDatabases) -> None:
        await queue_in_force(cluster)
        databases.work["mail"] = QueueCounts(waiting=100, running=5)
        databases.notify()
        await asyncio.sleep(15)
        cluster.writes.clear()
        for second in range(60):
            databases.work["mail"] = QueueCounts(waiting=100 * (second + 2), running=5)
            await asyncio.sleep(1)
        assert 8 <= cluster.writes["status"] <= 16

    run(scenario)


def test_a_database_that_comes_late_brings_everything_into_force() -> None:
    """Down is a reason on all three kinds; back is Ready within seconds."""

    async def scenario(cluster: FakeCluster, databases: FakeDatabases) -> None:
        databases.problem = DOWN
        cluster.declare_database()
        cluster.declare(QUEUE, "mail", {"workers": WORKERS})
        await asyncio.sleep(300)
        for kind, name in ((QUEUE_DATABASE, "default"), (QUEUE, "mail")):
            assert cluster.ready(kind, name)["reason"] == "DatabaseUnreachable"
        databases.problem = None
        await asyncio.sleep(12)
        for kind, name in ((QUEUE_DATABASE, "default"), (WORKER_POOL, "mail"), (QUEUE, "mail")):
            assert cluster.ready(kind, name)["status"] == "True"

    run(scenario)


def test_a_database_that_goes_holds_the_size_of_its_pools() -> None:
    """What runs goes on; the size is not touched, and the status says what is wrong."""

    async def scenario(cluster: FakeCluster, databases: FakeDatabases) -> None:
        await queue_in_force(cluster)
        databases.work["mail"] = QueueCounts(waiting=8)
        databases.notify()
        await asyncio.sleep(5)
        assert cluster.replicas("mail") == 2
        databases.problem = DOWN
        await asyncio.sleep(400)
        assert cluster.replicas("mail") == 2
        assert cluster.ready(WORKER_POOL, "mail")["reason"] == "DatabaseUnreachable"

    run(scenario)


def test_a_deleted_queue_is_freed_in_its_row_within_seconds() -> None:
    """The database's reconcile sees that the row's owner is no longer listed."""

    async def scenario(cluster: FakeCluster, databases: FakeDatabases) -> None:
        await queue_in_force(cluster)
        cluster.remove(QUEUE, "mail")
        await asyncio.sleep(2)
        assert databases.rows["mail"].owner is None

    run(scenario)


def test_a_bug_is_a_condition_and_a_log_line_and_stops_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The object says that the operator failed; others come into force beside it."""

    async def scenario(cluster: FakeCluster, databases: FakeDatabases) -> None:
        databases.bug = ValueError("a bug")
        cluster.declare_database()
        cluster.declare(QUEUE, "mail", {})
        await asyncio.sleep(10)
        ready = cluster.ready(QUEUE, "mail")
        assert (ready["status"], ready["reason"]) == ("False", "Retrying")
        assert "ValueError" in ready["message"]
        assert cluster.ready(QUEUE_DATABASE, "default")["status"] == "True"
        databases.bug = None
        await asyncio.sleep(60)
        assert cluster.ready(QUEUE, "mail")["status"] == "True"

    run(scenario)
    assert "reconcile failed" in [record.message for record in caplog.records]
