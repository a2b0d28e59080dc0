"""Plans that two operators, or two Queues, make from the same look: at most one has the row."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tests.operator.test_postgres_adapter import run, target_of
from towpath_operator.adapters.postgres import PostgresDatabases
from towpath_operator.model.parse import parse_queue
from towpath_operator.model.queue import Queue
from towpath_operator.plan.actions import DeclareQueue, Plan
from towpath_operator.plan.observed import (
    DatabaseObserved,
    DatabaseTarget,
    OperatorFacts,
    QueueObserved,
    QueueRow,
)
from towpath_operator.plan.ownership import owner_of
from towpath_operator.plan.queue import plan_queue
from towpath_operator.plan.status import ready_condition
from towpath_operator.ports.cluster import QUEUE

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
BORN = {"first": "2026-03-01T11:00:00Z", "second": "2026-03-01T11:30:00Z"}


class Contender:
    """A Queue that wants the row `mail`, as one operator sees it."""

    def __init__(
        self, opened: PostgresDatabases, target: DatabaseTarget, name: str, cluster: str
    ) -> None:
        self.queue = _queue(name, cluster)
        self.owner = owner_of(self.queue, cluster)
        self._opened, self._target = opened, target
        self._facts = OperatorFacts(namespace="towpath", cluster_uid=cluster)

    async def look(self, *rivals: Contender, gone: frozenset[str] = frozenset()) -> Plan:
        """Look at the database and plan; rivals are those of this cluster that it lists."""
        found = await self._opened.look(
            self._target, cluster=self._facts.cluster_uid, queue_names=["mail"]
        )
        listed = {one.queue.metadata.uid for one in (self, *rivals)} - gone
        observed = QueueObserved(
            operator=self._facts,
            database=DatabaseObserved(target=self._target, state=found.state),
            row=found.rows.get("mail"),
            rivals=tuple(one.queue for one in rivals),
            queue_uids=frozenset(listed),
        )
        return plan_queue(self.queue, observed, NOW)

    async def act(self, plan: Plan) -> QueueRow | None:
        """Do what was planned, however long ago; return the row as it is afterwards."""
        row = None
        for action in plan.actions:
            assert isinstance(action, DeclareQueue)
            row = await self._opened.declare(
                action.target,
                queue_name=action.queue_name,
                settings=action.settings,
                paused=action.paused,
                closed=action.closed,
                owner=action.owner,
                replaces=action.replaces,
            )
        return row


def _queue(name: str, cluster: str) -> Queue:
    metadata = {
        "name": name, "namespace": "shop", "uid": f"uid-{name}-{cluster}", "creationTimestamp": BORN[name],
    }  # fmt: skip
    spec = {"queueName": "mail", "concurrency": {"global": 1 if name == "first" else 2}}
    kind = {"apiVersion": QUEUE.api_version, "kind": QUEUE.name}
    return parse_queue({**kind, "metadata": metadata, "spec": spec})


def reason(plan: Plan) -> str:
    """Return the reason of Ready."""
    return str((ready_condition(plan.status) or {}).get("reason"))


def test_of_two_clusters_that_find_a_row_free_one_has_it_and_the_other_says_so(
    database_url: str,
) -> None:
    """Both have planned before either writes, in either order: the first write decides."""
    target = target_of(database_url)

    async def scenario(opened: PostgresDatabases) -> None:
        here = Contender(opened, target, "first", "here")
        there = Contender(opened, target, "second", "there")
        plans = {here: await here.look(), there: await there.look()}
        assert await here.act(plans[here]) == await there.act(plans[there])
        assert (await here.look()).actions == ()
        told = await there.look()
        assert (told.actions, reason(told)) == ((), "QueueConflict")

    run(scenario)


def test_the_younger_of_one_cluster_never_has_a_row_that_both_find_free(database_url: str) -> None:
    """Whichever looks first, and whoever was seen to be there."""
    target = target_of(database_url)

    async def scenario(opened: PostgresDatabases) -> None:
        elder = Contender(opened, target, "first", "here")
        younger = Contender(opened, target, "second", "here")
        assert (await younger.look(elder)).actions == ()
        row = await elder.act(await elder.look(younger))
        assert row is not None
        assert row.owner == elder.owner

    run(scenario)


def test_who_takes_over_a_gone_queues_row_does_not_take_it_from_who_was_faster(
    database_url: str,
) -> None:
    """The write names the owner that was seen: by then it is another's."""
    target = target_of(database_url)

    async def scenario(opened: PostgresDatabases) -> None:
        gone = Contender(opened, target, "first", "here")
        await gone.act(await gone.look())
        heir = Contender(opened, target, "second", "here")
        late = await heir.look()
        assert late.actions
        again = replace(gone.owner, uid="uid-again")
        (action,) = late.actions
        assert isinstance(action, DeclareQueue)
        # A Queue of the old name was made anew, and was faster.
        taken = await opened.declare(
            target,
            queue_name="mail",
            settings=gone.queue.settings,
            paused=None,
            closed=None,
            owner=again,
            replaces=action.replaces,
        )
        assert taken.owner == again
        left = await heir.act(late)
        assert left is not None
        assert (left.owner, left.settings) == (again, gone.queue.settings)

    run(scenario)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_three_operators_with_old_plans_leave_one_owner_and_its_limits(
    database_url: str, order: tuple[int, ...]
) -> None:
    """No mixture: limits are never one Queue's while the owner is another."""
    target = target_of(database_url)

    async def scenario(opened: PostgresDatabases) -> None:
        contenders = [
            Contender(opened, target, "first", "a"),
            Contender(opened, target, "second", "b"),
            Contender(opened, target, "first", "c"),
        ]
        plans = [await one.look() for one in contenders]
        await asyncio.gather(*(contenders[n].act(plans[n]) for n in order))
        found = await opened.look(target, cluster="a", queue_names=["mail"])
        row = found.rows["mail"]
        winner = next(one for one in contenders if one.owner == row.owner)
        assert row.settings == winner.queue.settings
        for one in contenders:
            plan = await one.look()
            assert plan.actions == ()
            assert (reason(plan) == "QueueConflict") is (one is not winner)

    run(scenario)


def test_a_release_by_an_operator_of_before_frees_nobody_elses_row(database_url: str) -> None:
    """It names the owner that it saw gone."""
    target = target_of(database_url)

    async def scenario(opened: PostgresDatabases) -> None:
        gone, heir = (Contender(opened, target, name, "here") for name in ("first", "second"))
        await gone.act(await gone.look())
        await heir.act(await heir.look())
        await opened.release(target, queue_name="mail", owner=gone.owner)
        found = await opened.look(target, cluster="here", queue_names=["mail"])
        assert found.rows["mail"].owner == heir.owner

    run(scenario)
