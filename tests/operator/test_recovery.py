"""Proofs of the end of workers, from Pods to statements; a cluster and databases in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from tests.operator.fakes import FakeCluster, FakeDatabases
from tests.operator.jumping import on_jumping_clock
from towpath_operator.assembly import assemble
from towpath_operator.controller import Controller
from towpath_operator.model.conditions import Reason
from towpath_operator.plan.observed import Blocked
from towpath_operator.ports.cluster import QUEUE, QUEUE_DATABASE, ObjectKey

RECORDED: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "unit/operator/recorded_pods.json").read_text("utf-8")
)
MAIL = ObjectKey("shop", "mail")
DOWN = Blocked(reason=Reason.DATABASE_UNREACHABLE, message="Postgres cannot be used: no.")
WORKERS = {
    "application": "shop.workflows",
    "autoscaling": {"min": 0, "max": 3},
    "template": {"spec": {"containers": [{"name": "worker", "image": "shop:1"}]}},
}

Scenario = Callable[[Controller, FakeCluster, FakeDatabases], Awaitable[None]]


def run(scenario: Scenario) -> None:
    """Run a scenario beside a controller, with a pool that is in force."""

    async def whole() -> None:
        cluster, databases = FakeCluster(), FakeDatabases()
        controller = assemble(cluster, databases, namespace="towpath-system", cluster_uid="here")
        cluster.controller = controller
        task = asyncio.create_task(controller.run())
        await controller.ready.wait()
        cluster.declare_database()
        cluster.declare(QUEUE, "mail", {"workers": WORKERS})
        await asyncio.sleep(20)
        try:
            await scenario(controller, cluster, databases)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    on_jumping_clock(whole())


def proved(databases: FakeDatabases) -> list[tuple[str, str]]:
    """Return what was proved of which pods, as times of day."""
    return [
        (one.pod_uid, "all" if one.began_before is None else f"{one.began_before:%H:%M:%S}")
        for one in databases.proved
    ]


def uid(what: str) -> str:
    """Return a recorded pod's uid."""
    return str(RECORDED[what]["metadata"]["uid"])


def test_a_proof_is_used_at_once_and_only_once() -> None:
    """The kubelet says the same in several states of a pod; a later end is another proof."""

    async def scenario(
        controller: Controller, _cluster: FakeCluster, databases: FakeDatabases
    ) -> None:
        crash = uid("killed")
        for what in ("running", "killed", "killed and started again"):
            controller.pod_noticed(MAIL, RECORDED[what])
            await asyncio.sleep(0.1)
        assert proved(databases) == [(crash, "16:58:13")]
        controller.pod_noticed(MAIL, RECORDED["killed twice"])
        controller.pod_noticed(MAIL, RECORDED["killed and backing off"])
        await asyncio.sleep(300)
        assert proved(databases) == [(crash, "16:58:13"), (crash, "16:58:16")]

    run(scenario)


def test_the_ends_of_a_node_are_few_statements() -> None:
    """What is proved while one statement runs is in the next."""

    async def scenario(
        controller: Controller, _cluster: FakeCluster, databases: FakeDatabases
    ) -> None:
        for number in range(100):
            pod = RECORDED["evicted by its kubelet"]
            metadata = {**pod["metadata"], "uid": f"pod-{number}"}
            controller.pod_noticed(MAIL, {**pod, "metadata": metadata})
        await asyncio.sleep(1)
        assert proved(databases) == [(f"pod-{number}", "all") for number in range(100)]
        assert databases.statements["end"] == 1

    run(scenario)


def test_rumours_cost_no_statement() -> None:
    """A lost node, a deletion by force, the garbage collector: the heartbeat decides."""

    async def scenario(
        controller: Controller, _cluster: FakeCluster, databases: FakeDatabases
    ) -> None:
        for what in (
            "on a node that is not ready",
            "marked by the taint manager",
            "failed by the garbage collector",
            "deleted by force",
        ):
            controller.pod_noticed(MAIL, RECORDED[what])
        await asyncio.sleep(300)
        assert databases.statements["end"] == 0

    run(scenario)


def test_while_the_database_is_down_a_proof_is_tried_until_it_is_used() -> None:
    """The last word of each pod, within seconds of the database's return."""

    async def scenario(
        controller: Controller, _cluster: FakeCluster, databases: FakeDatabases
    ) -> None:
        databases.problem = DOWN
        controller.pod_noticed(MAIL, RECORDED["killed"])
        await asyncio.sleep(30)
        controller.pod_noticed(MAIL, RECORDED["killed twice"])
        controller.pod_noticed(MAIL, RECORDED["out of memory"])
        await asyncio.sleep(300)
        assert proved(databases) == []
        databases.problem = None
        await asyncio.sleep(15)
        assert proved(databases) == [
            (uid("killed"), "16:58:16"),
            (uid("out of memory"), "16:58:15"),
        ]

    run(scenario)


def test_pods_that_outlive_their_pool_are_looked_for_in_every_database() -> None:
    """A pool's deletion takes its pods after it; one uid is one pod's, wherever it is looked for."""

    async def scenario(
        controller: Controller, cluster: FakeCluster, databases: FakeDatabases
    ) -> None:
        controller.pod_noticed(ObjectKey("shop", "gone"), RECORDED["drained and deleted"])
        await asyncio.sleep(1)
        assert proved(databases) == [(uid("drained"), "all")]
        cluster.remove(QUEUE_DATABASE, "default")
        await asyncio.sleep(1)
        controller.pod_noticed(ObjectKey("shop", "gone"), RECORDED["killed"])
        await asyncio.sleep(60)
        assert databases.statements["end"] == 1

    run(scenario)
