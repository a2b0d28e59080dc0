"""Retention as queues and the command line declare it, and as workers carry it out."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

import towpath
from tests.fixtures.apps import wait_until
from towpath import App
from towpath.cli.main import run
from towpath.errors import ConfigurationError, QueueSettingsError
from towpath.executor.maintenance import retention
from towpath.executor.maintenance.retention import RetentionService

OLDER = [
    b"UPDATE towpath.workflow SET created_at = created_at - %(interval)s::interval",
    b"UPDATE towpath.result SET completed_at = completed_at - %(interval)s::interval",
]
Launch = Callable[..., towpath.Worker]
Said = pytest.CaptureFixture[str]


def look(app: App, *, batch: int = 1000) -> int:
    """Have the service look once, also where a round has just ended."""
    app.engine.run(lambda s: s.run((b"UPDATE towpath.retention SET next_round = '-infinity'", {})))
    service = RetentionService(app.engine, batch=batch)
    return app.engine.io.submit(service.look()).result(timeout=30)


def grow_older(app: App, interval: str) -> None:
    """Have everything happened earlier by so much."""
    app.engine.run(lambda s: s.run(*[(text, {"interval": interval}) for text in OLDER]))


def test_a_queue_declares_its_retention_and_workers_carry_it_out(
    app: App, launched: Launch
) -> None:
    """In batches, until nothing is due; afterwards the chosen id starts a workflow anew."""
    queue = app.queue("short", retention={"succeeded": 3600, "failed": 7200})
    kept = app.queue("kept")

    @app.workflow(name="task")
    def task(fails: str) -> str:
        if fails:
            raise ValueError(fails)
        return "done"

    launched()
    made = [h for h, _ in queue.enqueue_many(task, [("",) for _ in range(25)])]
    failed = queue.options(workflow_id="failed").enqueue(task, "yes")
    stays = kept.enqueue(task, "")
    wait_until(lambda: all(i.status.ended for i in app.list_workflows()))
    assert look(app) == 0
    grow_older(app, "65 minutes")
    assert look(app, batch=10) == len(made)
    assert {i.workflow_id for i in app.list_workflows()} == {"failed", stays.workflow_id}
    grow_older(app, "65 minutes")
    assert look(app) == 1
    assert app.list_workflows(order="oldest")[0].workflow_id == stays.workflow_id
    again = queue.options(workflow_id=failed.workflow_id).enqueue(task, "")
    assert again.get_result(timeout=10) == "done"


def test_a_worker_looks_by_itself(
    app: App, launched: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """About once a minute; here at once."""
    monkeypatch.setattr(retention, "SHORTEST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(retention, "LONGEST_PAUSE_SECONDS", 0.02)
    queue = app.queue("short", retention={"succeeded": 3600})

    @app.workflow(name="task")
    def task() -> None:
        """End."""

    launched()
    queue.enqueue(task).get_result(timeout=10)
    grow_older(app, "2 hours")
    app.engine.run(lambda s: s.run((b"UPDATE towpath.retention SET next_round = '-infinity'", {})))
    wait_until(lambda: app.list_workflows() == [])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"succeeded": 0}, r"retention\.succeeded is 0; allowed is a number of seconds from 1 to"),
        ({"failed": "1d"}, r"retention\.failed is '1d'"),
        ({"ever": 5}, r"retention is \{'ever': 5\}; allowed is a dict with"),
        ({}, r"retention is \{\}"),
        (3600, "retention is 3600"),
    ],
)
def test_a_retention_that_cannot_be_one_is_refused(app: App, given: Any, said: str) -> None:
    """When the queue is declared, by the part that is wrong."""
    with pytest.raises(QueueSettingsError, match=said):
        app.queue("q", retention=given)
    with pytest.raises(ConfigurationError):
        app.queue("q", retention=given)


def test_the_command_line_shows_and_sets_retention(
    app: App, database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    """The database's default, and what a queue says itself."""
    monkeypatch.setenv("TOWPATH_DATABASE_URL", database_url)
    assert run(["db", "retention"]) == 0
    for_ever = "succeeded workflows are kept for ever\nfailed workflows are kept for ever\n"
    assert capsys.readouterr().out == for_ever
    assert run(["db", "retention", "--succeeded", "1d12h", "--failed", "30d"]) == 0
    assert "succeeded workflows are kept for 1d12h\nfailed" in capsys.readouterr().out
    assert run(["db", "retention", "--succeeded", "never", "--failed", "90m"]) == 0
    assert capsys.readouterr().out == (
        "succeeded workflows are kept for ever\nfailed workflows are kept for 1h30m\n"
    )
    assert run(["db", "retention", "--failed", "soon"]) == 2
    assert "'soon' is no length of time" in capsys.readouterr().err
    assert run(["db", "retention", "--failed", "1ms"]) == 2
    assert "retention.failed is 0.001; allowed is" in capsys.readouterr().err

    @app.workflow(name="task")
    def task() -> None:
        """End."""

    app.queue("mail", retention={"failed": 86400}).enqueue(task)
    assert run(["queue", "describe", "mail"]) == 0
    assert re.search(r"^KEPT +1d after any other end$", capsys.readouterr().out, re.MULTILINE)
    assert run(["queue", "get", "mail", "-o", "json"]) == 0
    shown = json.loads(capsys.readouterr().out)["retention"]
    assert shown == {"succeeded_seconds": None, "failed_seconds": 86400}
