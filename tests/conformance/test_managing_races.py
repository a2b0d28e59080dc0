"""Verbs of managing against each other, and against workers that claim, run and end meanwhile."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

import towpath
from tests.fixtures.apps import wait_until
from towpath import App, Workflow
from towpath.errors import StepNotFoundError, WorkflowNotFoundError, WorkflowStatusError

Launch = Callable[..., towpath.Worker]

WORKFLOWS = 24
SECONDS = 6.0
REFUSED = (WorkflowNotFoundError, WorkflowStatusError, StepNotFoundError)

STANDS = """
SELECT towpath.id_of(w), towpath.status_of(w.seq),
    (SELECT count(*) FROM towpath.parked p WHERE p.seq = w.seq)
    + (SELECT count(*) FROM towpath.ready r WHERE r.seq = w.seq)
    + (SELECT count(*) FROM towpath.running r WHERE r.seq = w.seq AND (NOT r.fenced OR r.resumed_line IS NOT NULL))
    + (SELECT count(*) FROM towpath.result r WHERE r.seq = w.seq)
FROM towpath.workflow w
"""
ORPHANS = """
SELECT t.name, t.seq FROM (
    SELECT 'parked' AS name, seq FROM towpath.parked UNION ALL
    SELECT 'ready', seq FROM towpath.ready UNION ALL
    SELECT 'running', seq FROM towpath.running WHERE NOT fenced OR resumed_line IS NOT NULL UNION ALL
    SELECT 'result', seq FROM towpath.result UNION ALL
    SELECT 'step', seq FROM towpath.step UNION ALL
    SELECT 'wait', seq FROM towpath.wait WHERE seq <> 0 UNION ALL
    SELECT 'deadline', seq FROM towpath.deadline) AS t
WHERE NOT EXISTS (SELECT FROM towpath.workflow w WHERE w.seq = t.seq)
"""


@pytest.fixture
def family(app: App) -> Workflow[[int], int]:
    """Return a workflow with steps that fail at times, and with two children of its own."""
    luck = random.Random(7)  # noqa: S311 - a test's
    children = app.queue("children", concurrency=4)

    @app.step(name="try_luck")
    def try_luck() -> int:
        if luck.random() < 0.2:
            raise ValueError("no luck")
        return 1

    @app.workflow(name="family")
    def family(generations: int) -> int:
        try_luck()
        born = [children.enqueue(family, generations - 1) for _ in range(2 * (generations > 0))]
        return sum(child.get_result() for child in born) + try_luck()

    return family


def act(app: App, queue: str, chosen: random.Random) -> None:
    """Do something to one of the workflows."""
    ids = [info.workflow_id for info in app.list_workflows(limit=200, load_input=False)]
    target = chosen.choice(ids)
    verbs: list[Callable[[], Any]] = [
        lambda: app.cancel_workflow(target),
        lambda: app.cancel_workflow(target, cascade=True),
        lambda: app.resume_workflow(target),
        lambda: app.resume_workflow(target),
        lambda: app.retry_workflow(target),
        lambda: app.retry_workflows(queue_name=queue, limit=3),
        lambda: app.fork_workflow(target, chosen.choice(["start", "2"])),
        lambda: app.delete_workflow(target),
        app.retry_workflows,
    ]
    with contextlib.suppress(*REFUSED):
        chosen.choice(verbs)()


def stands_in_two(connection: psycopg.Connection[Any]) -> list[Any]:
    """Return the workflows that do not stand in exactly one place."""
    return [row for row in connection.execute(STANDS).fetchall() if row[2] != 1]


@pytest.mark.parametrize("seed", [1, 2])
def test_every_workflow_stands_in_one_place_whatever_is_done_to_it(
    app: App, family: Workflow[[int], int], launched: Launch, database_url: str, seed: int
) -> None:
    """Eight threads act on families that run; at no moment, and not at the end, is one lost or double."""
    queue = app.queue("families", concurrency=6)
    for n in range(WORKFLOWS):
        queue.options(workflow_id=f"f{n}").enqueue(family, 1)
    launched(slots=20)
    ends = time.monotonic() + SECONDS

    def actor(number: int) -> None:
        chosen = random.Random(seed * 100 + number)  # noqa: S311 - a test's
        while time.monotonic() < ends:
            act(app, "families", chosen)
            queue.enqueue(family, 1)

    with psycopg.connect(database_url, autocommit=True) as watch:
        with ThreadPoolExecutor(8) as threads:
            acting = [threads.submit(actor, n) for n in range(8)]
            while not all(a.done() for a in acting):
                assert stands_in_two(watch) == []
            for done in acting:
                done.result()
        for info in app.list_workflows(status=["PENDING", "ENQUEUED"], limit=10_000):
            with contextlib.suppress(*REFUSED):
                app.cancel_workflow(info.workflow_id, cascade=True)
        wait_until(
            lambda: watch.execute("SELECT count(*) FROM towpath.running").fetchone() == (0,),
            what="no place is held any more",
        )
        assert stands_in_two(watch) == []
        assert watch.execute(ORPHANS).fetchall() == []
        (open_ones,) = watch.execute(
            "SELECT count(*) FROM towpath.workflow w "
            "WHERE towpath.status_of(w.seq) NOT IN ('SUCCESS', 'ERROR', 'CANCELLED')"
        ).fetchone() or (None,)
        assert open_ones == 0


def test_a_cascade_reaches_children_that_are_started_at_this_moment(
    app: App, launched: Launch
) -> None:
    """A parent that starts one child after the other: none of them is left when it is cancelled."""
    children = app.queue("children", concurrency=1)

    @app.workflow(name="child")
    def child() -> None:
        """End."""

    @app.workflow(name="parent")
    def parent() -> None:
        while True:
            children.options(delay_seconds=3600).enqueue(child)

    launched(slots=20)
    for _ in range(20):
        handle = app.queue("parents").enqueue(parent)
        wait_until(lambda h=handle: has_child(app, h.workflow_id))  # type: ignore[misc]
        done = app.cancel_workflow(handle.workflow_id, cascade=True)
        assert done.was == "PENDING"
        born = app.list_workflows(parent_workflow_id=handle.workflow_id, limit=10_000)
        assert {i.status for i in born} == {"CANCELLED"}
        assert len(born) == done.children


def has_child(app: App, workflow_id: str) -> bool:
    """Tell whether a workflow has started another."""
    return bool(app.list_workflows(parent_workflow_id=workflow_id, limit=1))


def test_one_retry_of_many_at_once_takes_effect(app: App, launched: Launch) -> None:
    """Sixteen callers retry one failed workflow: it runs once more, and nobody gets an error."""
    ran = threading.Semaphore(0)
    go_on = threading.Event()

    @app.workflow(name="fails")
    def fails() -> None:
        ran.release()
        go_on.wait(20)
        raise ValueError("always")

    launched()
    handle = app.queue("q").options(workflow_id="w").enqueue(fails)
    go_on.set()
    with pytest.raises(ValueError, match="always"):
        handle.get_result(timeout=10)
    go_on.clear()
    with ThreadPoolExecutor(16) as threads:
        for done in [threads.submit(app.retry_workflow, "w") for _ in range(16)]:
            done.result()
    wait_until(lambda: handle.get_status().status == "PENDING")
    go_on.set()
    with pytest.raises(ValueError, match="always"):
        handle.get_result(timeout=10)
    assert handle.get_status().attempt == 2
