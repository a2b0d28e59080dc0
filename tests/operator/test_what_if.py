"""What the operator would do, asked over a cluster and a database in memory, which it leaves as they are."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from tests.operator.fakes import FakeCluster, FakeDatabases
from tests.operator.test_controller import WORKERS, queue_in_force, run
from towpath_operator.ports.cluster import DEPLOYMENT, QUEUE, WORKER_POOL, Kind, ObjectKey

KEY = ObjectKey("shop", "mail")


async def declare(cluster: FakeCluster, spec: Mapping[str, Any], **annotations: str) -> None:
    """Apply the Queue mail with annotations, and let the operator look at it."""
    named = {f"towpath.dev/{name.replace('_', '-')}": text for name, text in annotations.items()}
    cluster.declare(QUEUE, "mail", spec, annotations=named)
    await asyncio.sleep(20)


async def status(cluster: FakeCluster, kind: Kind = QUEUE) -> Mapping[str, Any]:
    """Return the status of mail."""
    found = await cluster.get(kind, KEY) or {}
    return dict(found.get("status") or {})


def test_a_held_queue_says_what_would_be_done_and_nothing_is_done() -> None:
    """The row, the pool and the Deployment stay as they are until the annotation goes."""

    async def scenario(cluster: FakeCluster, databases: FakeDatabases) -> None:
        await queue_in_force(cluster)
        changed = {"workers": {**WORKERS, "slots": 7}, "concurrency": {"global": 3}}
        before = databases.rows["mail"], cluster.replicas("mail")
        cluster.writes.clear()

        await declare(cluster, changed, plan_only="true")
        lines = (await status(cluster))["plan"]
        assert lines[0] == "change queue 'mail' in shop/default: concurrency.global: 3 (new)"
        assert lines[1].startswith("change WorkerPool shop/mail: spec.slots: 5 -> 7")
        (deployment,) = (line for line in lines if line.startswith("change Deployment shop/mail: "))
        assert "(the pods are replaced)" in deployment
        assert cluster.ready(QUEUE, "mail")["reason"] == "PlanOnly"
        assert (databases.rows["mail"], cluster.replicas("mail")) == before
        assert set(cluster.writes) == {"status", "check"}  # a check is a dry run

        await declare(cluster, changed)
        assert databases.rows["mail"].settings.concurrency == 3
        assert "plan" not in await status(cluster)
        assert cluster.ready(QUEUE, "mail")["status"] == "True"

    run(scenario)


def test_a_held_queue_that_is_new_gets_neither_a_row_nor_pods() -> None:
    """Everything that would be made is listed."""

    async def scenario(cluster: FakeCluster, databases: FakeDatabases) -> None:
        cluster.declare_database()
        await declare(cluster, {"workers": WORKERS}, plan_only="true")
        lines = (await status(cluster))["plan"]
        assert [line.split()[:2] for line in lines[:2]] == [
            ["create", "queue"],
            ["create", "WorkerPool"],
        ]
        assert {"create Deployment shop/mail", "create Secret shop/mail-database"} <= set(lines)
        assert databases.rows == {}
        assert await cluster.get(WORKER_POOL, KEY) is None
        assert await cluster.get(DEPLOYMENT, KEY) is None

    run(scenario)


def test_a_held_object_costs_no_write_at_rest() -> None:
    """Its status is written once, however often it is looked at."""

    async def scenario(cluster: FakeCluster, databases: FakeDatabases) -> None:
        del databases
        cluster.declare_database()
        await declare(cluster, {"workers": WORKERS}, plan_only="true")
        cluster.writes.clear()
        await asyncio.sleep(300)
        assert set(cluster.writes) <= {"check"}

    run(scenario)


def test_the_log_tells_of_nothing_that_was_not_done(caplog: pytest.LogCaptureFixture) -> None:
    """Who reads "action done" finds it done."""
    caplog.set_level("INFO", logger="towpath_operator")

    async def scenario(cluster: FakeCluster, databases: FakeDatabases) -> None:
        del databases
        await queue_in_force(cluster)
        assert "action done" in caplog.messages
        caplog.clear()
        held = {"workers": {**WORKERS, "slots": 7}}
        await declare(cluster, held, plan_only="true", trace="once")
        assert (await status(cluster))["plan"] != []
        told = [message for message in caplog.messages if message.startswith(("action", "trace"))]
        # The one trace is of the reconcile itself, which plans nothing.
        assert told == ["trace began", "trace ended"]

    run(scenario)
