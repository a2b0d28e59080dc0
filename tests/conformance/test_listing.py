"""Workflows are listed by filters, page by page, and their steps shown."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import towpath
from tests.fixtures.apps import wait_until
from tests.store.acts import rows
from tests.store.holding import SCHEMA, opened
from tests.store.test_costs import TOUCHED
from towpath import App, Queue, Workflow
from towpath.domain.workflow_filter import Page, make_filter
from towpath.errors import WorkflowFilterError, WorkflowNotFoundError
from towpath.store import workflows
from towpath.store.session import AsyncSession

Launch = Callable[..., towpath.Worker]


@pytest.fixture
def task(app: App) -> Workflow[[str], str]:
    """Return a workflow of the App that fails, waits for a word or returns."""

    @app.step(name="look")
    def look(what: str) -> str:
        if what == "fail":
            raise ValueError(what)
        return what

    @app.workflow(name="task")
    def task(what: str) -> str:
        if what == "parent":
            app.queue("tasks").options(workflow_id="child").enqueue(task, "plain").get_result()
        return look(what)

    return task


def wait_for_ends(app: App, ids: list[str]) -> None:
    """Wait until workflows have ended, however."""
    wait_until(lambda: all(i.status.ended for i in app.list_workflows(workflow_ids=ids)))


@pytest.fixture
def stock(app: App, task: Workflow[[str], str], launched: Launch) -> dict[str, datetime]:
    """Have workflows in every status but the given-up one; return when each was enqueued."""
    queue, keyed = app.queue("tasks"), app.queue("keyed", partition_queue=True)
    held = app.queue("held")
    order: list[tuple[Queue, dict[str, Any], str]] = [
        (queue, {}, "fail"),
        (queue, {}, "parent"),
        (keyed, {"queue_partition_key": "k%"}, "plain"),
        (held, {"deduplication_id": "d", "app_version": "v7"}, "waits"),
        (held, {"delay_seconds": 3600}, "delayed"),
        (held, {}, "cancelled"),
    ]
    launched()
    for on, options, what in order:
        name = {"fail": "bad_1", "plain": "keyed"}.get(what, what)
        if on is not held:
            handle = on.options(workflow_id=name, **options).enqueue(task, what)
            wait_for_ends(app, [handle.workflow_id])
    app.shutdown()
    for on, options, what in order:
        if on is held:
            on.options(workflow_id=what, **options).enqueue(task, what)
    app.cancel_workflow("cancelled")
    return {info.workflow_id: info.created_at for info in app.list_workflows()}


IDS = ["bad_1", "parent", "child", "keyed", "waits", "delayed", "cancelled"]
CASES: list[tuple[dict[str, Any], list[str]]] = [
    ({}, IDS),
    ({"workflow_ids": ["keyed", "bad_1", "nobody", "wf-1-0000000000000000"]}, ["bad_1", "keyed"]),
    ({"workflow_ids": []}, []),
    ({"status": "error"}, ["bad_1"]),
    ({"status": ["SUCCESS", "DELAYED"]}, ["parent", "child", "keyed", "delayed"]),
    ({"status": "ENQUEUED"}, ["waits"]),
    ({"status": ["ENQUEUED", "DELAYED", "PENDING"], "queue_name": "held"}, ["waits", "delayed"]),
    ({"status": ["ENQUEUED"], "queue_name": ["tasks", "keyed"]}, []),
    ({"status": towpath.WorkflowStatus.CANCELLED, "name": "task"}, ["cancelled"]),
    ({"status": "MAX_RECOVERY_ATTEMPTS_EXCEEDED"}, []),
    ({"name": ["task", "other"]}, IDS),
    ({"name": "other"}, []),
    ({"queue_name": "keyed"}, ["keyed"]),
    ({"parent_workflow_id": "parent"}, ["child"]),
    ({"parent_workflow_id": ["nobody", "parent"], "status": "SUCCESS"}, ["child"]),
    ({"parent_workflow_id": "nobody"}, []),
    ({"has_parent": True}, ["child"]),
    ({"has_parent": False, "status": "SUCCESS"}, ["parent", "keyed"]),
    ({"forked_from": "parent"}, []),
    ({"workflow_id_prefix": "bad_"}, ["bad_1"]),
    ({"workflow_id_prefix": "bad%"}, []),
    ({"workflow_id_prefix": "w"}, ["waits"]),
    ({"workflow_id_prefix": "wf-"}, []),
    ({"deduplication_id": "d"}, ["waits"]),
    ({"queue_partition_key": "k%"}, ["keyed"]),
    ({"app_version": "v7"}, ["waits"]),
    ({"app_version": ""}, [i for i in IDS if i != "waits"]),
    ({"completed_after": datetime(2020, 1, 1, tzinfo=UTC)}, [*IDS[:4], "cancelled"]),
    ({"completed_before": datetime(2020, 1, 1, tzinfo=UTC)}, []),
    ({"completed_after": datetime(2020, 1, 1, tzinfo=UTC), "status": "ENQUEUED"}, []),
    ({"started_after": datetime(2020, 1, 1, tzinfo=UTC)}, []),
    ({"created_before": datetime(2020, 1, 1, tzinfo=UTC)}, []),
    ({"created_after": datetime(2020, 1, 1, tzinfo=UTC), "status": "DELAYED"}, ["delayed"]),
]


def test_each_filter_lets_through_what_it_says(app: App, stock: dict[str, datetime]) -> None:
    """Values and lists of them; several filters are all of them; in both orders and both faces."""
    for filters, expected in CASES:
        oldest = [i.workflow_id for i in app.list_workflows(order="oldest", **filters)]
        assert oldest == expected, filters
        newest = asyncio.run(app.list_workflows_async(**filters))
        assert [i.workflow_id for i in newest] == expected[::-1], filters
    late = stock["keyed"]
    after = app.list_workflows(order="oldest", created_after=late)
    before = app.list_workflows(order="oldest", created_before=late)
    assert [i.workflow_id for i in after] == IDS[3:]
    assert [i.workflow_id for i in before] == IDS[:3]


def test_pages_follow_each_other(app: App, stock: dict[str, datetime]) -> None:
    """By the last id of the page before; in both orders."""
    del stock
    orders: list[tuple[Any, list[str]]] = [("oldest", IDS), ("newest", IDS[::-1])]
    for order, expected in orders:
        found: list[str] = []
        page = app.list_workflows(limit=3, order=order)
        while page:
            found += [info.workflow_id for info in page]
            page = app.list_workflows(limit=3, order=order, after=found[-1])
        assert found == expected
    with pytest.raises(WorkflowNotFoundError, match="'nobody' was not found"):
        app.list_workflows(after="nobody")


def test_what_is_not_asked_for_is_not_read(app: App, stock: dict[str, datetime]) -> None:
    """Neither arguments nor outcomes; and what is asked for is whole."""
    del stock
    (info,) = app.list_workflows(workflow_ids="bad_1")
    assert (list(info.args), info.kwargs, info.error) == (["fail"], {}, "ValueError: fail")
    (bare,) = app.list_workflows(workflow_ids="bad_1", load_input=False, load_output=False)
    assert (list(bare.args), bare.kwargs, bare.error, bare.result) == ([], {}, None, None)
    (child,) = app.list_workflows(workflow_ids="child")
    assert (child.parent_workflow_id, child.result, child.forked_from) == ("parent", "plain", None)


@pytest.mark.parametrize(
    ("filters", "said"),
    [
        ({"limit": 0}, "limit is 0; allowed is an int from 1 to 10000"),
        ({"limit": True}, "limit is True"),
        ({"order": "random"}, "order is 'random'; allowed is 'newest' or 'oldest'"),
        ({"status": "DONE"}, "status is 'DONE'; allowed is DELAYED, ENQUEUED"),
        ({"status": [1]}, r"status is \[1\]"),
        ({"name": 7}, "name is 7; allowed is a str or a list of them"),
        ({"queue_name": ["a", "\0"]}, "queue_name is "),
        ({"workflow_id_prefix": ""}, "workflow_id_prefix is ''; allowed is a str of 1"),
        ({"has_parent": 1}, "has_parent is 1; allowed is True or False"),
        ({"created_after": datetime(2030, 1, 1)}, "created_after is .*a datetime with a time zone"),  # noqa: DTZ001
        ({"completed_before": "today"}, "completed_before is 'today'"),
    ],
)
def test_a_filter_that_cannot_be_one_is_refused(
    app: App, filters: dict[str, Any], said: str
) -> None:
    """By the name of its field, before anything is asked."""
    with pytest.raises(WorkflowFilterError, match=said):
        app.list_workflows(**filters)


def test_an_unknown_filter_is_no_filter(app: App) -> None:
    """A misspelt one would let everything through."""
    wrong: Any = {"queue": "tasks"}
    with pytest.raises(TypeError, match="cannot be filtered by queue"):
        app.list_workflows(**wrong)


def test_steps_are_shown_in_order_with_children_and_errors(
    app: App, stock: dict[str, datetime], database_url: str
) -> None:
    """By App and Client, blocking and awaited."""
    del stock
    started, waited, looked = app.list_workflow_steps("parent")
    assert (started.position, started.name, started.child_workflow_id) == ("1", "task", "child")
    assert (waited.position, waited.output, waited.child_workflow_id) == ("2", "plain", None)
    assert (looked.name, looked.output, looked.error, looked.attempt) == ("look", "parent", None, 1)
    assert started.started_at <= looked.completed_at <= datetime.now(UTC)
    with towpath.Client(database_url) as client:
        (failed,) = client.list_workflow_steps("bad_1")
        assert (failed.output, failed.error) == (None, "ValueError: fail")
        assert asyncio.run(client.list_workflow_steps_async("bad_1")) == [failed]
        assert client.list_workflow_steps("waits") == []
        with pytest.raises(WorkflowNotFoundError):
            client.list_workflow_steps("nobody")


FILL = """
WITH written AS (
    INSERT INTO towpath.workflow (secret, queue, name, codec, input, created_at, parent, id)
    SELECT n, 'tasks', 'task', 'json', '{}', %(since)s::timestamptz + n * interval '1 ms',
        CASE WHEN n %% 1000 = 0 THEN 1 END, CASE WHEN n %% 500 = 0 THEN 'chosen-' || n || random() END
    FROM generate_series(1, %(n)s) AS n RETURNING seq)
INSERT INTO towpath.result (seq, status, attempt, completed_at, output)
SELECT seq, 'SUCCESS', 1, now(), 'null' FROM written
"""
SELECTIVE: list[dict[str, Any]] = [
    {},
    {"status": "DELAYED"},
    {"status": ["ENQUEUED", "PENDING"]},
    {"status": "ENQUEUED", "queue_name": "held"},
    {"status": ["ERROR", "CANCELLED"], "name": "task"},
    {"status": "SUCCESS"},
    {"workflow_ids": ["waits", "bad_1"]},
    {"parent_workflow_id": "parent"},
    {"forked_from": "bad_1"},
    {"workflow_id_prefix": "bad_"},
    {"created_before": datetime(2020, 1, 1, tzinfo=UTC)},
    {"created_after": datetime(2100, 1, 1, tzinfo=UTC)},
    {"started_after": datetime(2020, 1, 1, tzinfo=UTC)},
]


@pytest.mark.parametrize("order", ["newest", "oldest"])
def test_no_page_costs_the_whole_table(
    app: App, stock: dict[str, datetime], database_url: str, order: Any
) -> None:
    """A page touches about as much at sixty times as many ended workflows."""
    del stock, app
    few: dict[int, int] = {}

    async def measure() -> None:
        async with opened(database_url) as session:
            since = datetime.now(UTC) - timedelta(days=30)
            for n in (1_000, 60_000):
                await rows(session, f"{FILL} RETURNING 1", n=n, since=since)
                await session.run((b"ANALYZE", {}))
                for number, filters in enumerate(SELECTIVE):
                    pages = await touched(session, filters)
                    assert pages < few.setdefault(number, pages) * 1.3 + 20, filters

    async def touched(session: AsyncSession, filters: Any) -> int:
        asked = make_filter(filters)
        async with opened(database_url) as watch:
            before = await pages_of(watch, session)
            await workflows.list_workflows(session, SCHEMA, asked, Page(limit=5, order=order))
            return await pages_of(watch, session) - before

    async def pages_of(watch: AsyncSession, session: AsyncSession) -> int:
        await session.run((b"SELECT pg_stat_force_next_flush()", {}))
        return int((await rows(watch, TOUCHED))[0][0])

    asyncio.run(measure())
