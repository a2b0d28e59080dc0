"""The commands on a real database: what they print, and with which codes they end."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

import towpath
from tests.fixtures.apps import wait_until
from towpath import App
from towpath.cli.main import run

Said = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def named(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Name the test's database in the environment."""
    monkeypatch.setenv("TOWPATH_DATABASE_URL", database_url)


@pytest.fixture
def shop(app: App, launched: Callable[..., towpath.Worker]) -> App:
    """Return an App that serves the queue `mail`."""
    limiter = {"limit": 5, "period": 0.5}
    app.queue("mail", concurrency=3, worker_concurrency=2, limiter=limiter, priority_enabled=True)

    @app.workflow(name="greet")
    def greet(name: str, *, greeting: str = "hello") -> str:
        return f"{greeting} {name}"

    @app.workflow(name="fail")
    def fail() -> None:
        raise ValueError("no luck")

    launched()
    return app


def value(said: Said) -> Any:
    """Return what was printed as JSON."""
    return json.loads(said.readouterr().out)


def test_queues_are_listed_and_shown(shop: App, capsys: Said) -> None:
    """With limits beside what runs; JSON has the Python names."""
    del shop
    assert run(["queue", "list"]) == 0
    assert capsys.readouterr().out == (
        "NAME   STATE   RUNNING   SLEEPING   PLACES   WAITING   OLDEST   WORKERS   PER-WORKER   OWNER\n"
        "mail   open    0         0          0/3      0         <none>   1         2            code\n"
    )
    assert run(["queue", "get", "mail", "-o", "json"]) == 0
    shown = value(capsys)
    assert shown == {
        "name": "mail",
        "concurrency": 3,
        "worker_concurrency": 2,
        "partition_concurrency": None,
        "limiter": {"limit": 5, "period_seconds": 0.5},
        "partition_limiter": None,
        "priority_enabled": True,
        "partition_queue": False,
        "release_while_waiting": False,
        "polling_interval_sec": 1.0,
        "retention": None,
        "paused": False,
        "closed": False,
        "running": 0,
        "sleeping": 0,
        "sleeping_capped": False,
        "places_taken": 0,
        "waiting": 0,
        "waiting_capped": False,
        "delayed": 0,
        "delayed_capped": False,
        "oldest_waiting": None,
        "workers": 1,
        "owner": None,
    }
    assert run(["queue", "list", "-o", "json"]) == 0
    assert value(capsys) == [shown]
    assert run(["queue", "get", "mail"]) == 0
    assert "PLACES     0/3\n" in capsys.readouterr().out


def test_a_queue_is_described_with_its_settings_and_why_it_waits(shop: App, capsys: Said) -> None:
    """For people in lines; JSON has both parts by name."""
    del shop
    assert run(["queue", "describe", "mail"]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert (lines["STATE"], lines["PER-WORKER"], lines["LIMITER"]) == ("open", "2", "5 in 0.5 s")
    assert (lines["PRIORITY"], lines["PARTITIONS"]) == ("true", "false")
    assert lines["RELEASE-WHILE-WAITING"] == "false"
    assert (lines["POLLING"], lines["WHY"]) == ("1 s", "nothing waits")
    assert run(["queue", "describe", "mail", "-o", "json"]) == 0
    shown = value(capsys)
    assert shown["queue"]["limiter"] == {"limit": 5, "period_seconds": 0.5}
    assert shown["explanation"]["sentence"] == "nothing waits"


def test_a_queue_that_is_not_there_is_3_with_the_nearest_name(shop: App, capsys: Said) -> None:
    """By every command alike."""
    del shop
    for verb in ("get", "describe", "explain", "pause", "resume", "close", "open"):
        assert run(["queue", verb, "mial"]) == 3
        assert run(["queue", verb, "\udcff"]) == run(["queue", verb, "m" * 300]) == 3
    assert run(["workflow", "start", "greet", "--queue", "mial"]) == 3
    lines = [line for line in capsys.readouterr().err.splitlines() if "'mial'" in line]
    assert len(lines) == 8
    (first,) = set(lines)
    assert first.startswith("error: queue 'mial' was not found. Did you mean 'mail'?")


def test_nothing_is_an_empty_list(capsys: Said) -> None:
    """Programs get [] and 0; people are told on stderr."""
    for command in (["queue", "list"], ["workflow", "list"]):
        assert run([*command, "-o", "json"]) == 0
        assert capsys.readouterr() == ("[]\n", "")
        assert run(command) == 0
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith("no ")


def test_start_prints_the_id_and_wait_the_result(shop: App, capsys: Said) -> None:
    """Stdout is the result alone; what goes on is told on stderr."""
    del shop
    start = ["workflow", "start", "greet", "you", "-k", 'greeting="hi"', "--queue", "mail"]
    assert run([*start, "--id", "first"]) == 0
    assert capsys.readouterr() == ("first\n", "")
    assert run([*start, "--id", "first", "-o", "json"]) == 0
    assert value(capsys) == {"workflow_id": "first"}
    assert run([*start, "--wait"]) == 0
    said = capsys.readouterr()
    assert said.out == '"hi you"\n'
    assert "is in line on queue 'mail'" in said.err
    assert run([*start, "--wait", "-o", "json"]) == 0
    info = value(capsys)
    assert (info["status"], info["result"]) == ("SUCCESS", "hi you")
    assert (info["args"], info["kwargs"]) == (["you"], {"greeting": "hi"})


def test_an_id_of_another_workflow_is_4(shop: App, capsys: Said) -> None:
    """The line names both."""
    del shop
    assert run(["workflow", "start", "greet", "you", "--queue", "mail", "--id", "one"]) == 0
    assert run(["workflow", "start", "fail", "--queue", "mail", "--id", "one"]) == 4
    assert "workflow id 'one' is in use by workflow 'greet'" in capsys.readouterr().err


def test_a_failed_workflow_is_1_with_its_error(shop: App, capsys: Said) -> None:
    """Without a traceback; JSON is printed all the same."""
    del shop
    start = ["workflow", "start", "fail", "--queue", "mail", "--id", "bad"]
    assert run([*start, "--wait"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines()[-1] == (
        "error: workflow 'bad' failed: ValueError: no luck. Try: towpath workflow get bad"
    )
    assert run(["workflow", "result", "bad", "-o", "json"]) == 1
    assert value(capsys)["error"] == "ValueError: no luck"
    assert run(["workflow", "get", "bad"]) == 0
    assert "ERROR       ValueError: no luck" in capsys.readouterr().out


def test_workflows_are_listed_newest_first_and_filtered(shop: App, capsys: Said) -> None:
    """By queue, name, status and count."""
    del shop
    for n in range(3):
        arguments = ["greet", f"{n}", "--queue", "mail", "--id", f"w{n}", "--wait"]
        assert run(["workflow", "start", *arguments]) in {0, 1}
    assert run(["workflow", "start", "fail", "--queue", "mail", "--id", "bad", "--wait"]) == 1
    capsys.readouterr()

    def listed(*options: str) -> list[str]:
        assert run(["workflow", "list", "-o", "json", *options]) == 0
        return [info["workflow_id"] for info in value(capsys)]

    assert listed() == ["bad", "w2", "w1", "w0"]
    assert listed("--status", "error") == ["bad"]
    assert listed("--name", "greet", "--limit", "2") == ["w2", "w1"]
    assert listed("--queue", "other") == []
    assert run(["workflow", "list", "--status", "ERROR"]) == 0
    title, row = capsys.readouterr().out.splitlines()
    assert title.split() == ["ID", "NAME", "QUEUE", "STATUS", "ATTEMPT", "AGE", "WORKER"]
    assert row.split()[:4] == ["bad", "fail", "mail", "ERROR"]


def test_get_says_why_a_workflow_waits(shop: App, capsys: Said) -> None:
    """No worker knows its name: it is not lost, and the reason is said."""
    del shop
    assert run(["workflow", "start", "unknown", "--queue", "mail", "--id", "odd"]) == 0
    capsys.readouterr()
    assert run(["workflow", "get", "odd", "-o", "json"]) == 0
    info = value(capsys)
    assert info["status"] == "ENQUEUED"
    assert "has not registered a workflow named 'unknown'" in info["why_it_waits"]
    assert run(["workflow", "get", "odd"]) == 0
    assert "STATUS      ENQUEUED: the one live worker" in capsys.readouterr().out


def test_a_waiting_workflow_is_changed_cancelled_resumed_and_deleted(
    shop: App, capsys: Said
) -> None:
    """Each says what it did on stderr; what the status or the options forbid is 4 or 2."""
    del shop
    start = ["workflow", "start", "greet", "you", "--queue", "mail", "--delay", "3600", "--id", "w"]
    assert run([*start, "--priority", "5", "--deduplication-id", "d"]) == 0
    assert run(["workflow", "set-priority", "w", "7"]) == 0
    assert "workflow 'w' has priority 7" in capsys.readouterr().err
    assert run(["workflow", "get", "w", "-o", "json"]) == 0
    info = value(capsys)
    assert (info["status"], info["priority"], info["deduplication_id"]) == ("DELAYED", 7, "d")
    steps = [
        (["set-priority", "w", "0"], 2, "priority is 0; allowed is an int from 1 to 2147483647."),
        (["resume", "w"], 0, "workflow 'w' is DELAYED"),
        (["cancel", "w"], 0, "workflow 'w' is cancelled"),
        (["cancel", "w"], 0, "workflow 'w' is cancelled"),
        (["set-priority", "w", "9"], 4, "is CANCELLED: a change of priority is only for"),
        (["resume", "w"], 0, "workflow 'w' is "),
        (["result", "w"], 0, ""),
        (["cancel", "w"], 4, "is SUCCESS: cancel is only for workflows that have not ended"),
        (["resume", "w"], 4, "is SUCCESS: resume is only for CANCELLED and"),
        (["delete", "w"], 0, "workflow 'w' is deleted"),
        (["delete", "w"], 3, "workflow 'w' was not found"),
        (["cancel", "w"], 3, "workflow 'w' was not found"),
    ]
    for command, code, words in steps:
        assert run(["workflow", *command]) == code, command
        assert words in capsys.readouterr().err


def test_a_start_that_the_queue_refuses_is_2_or_4(shop: App, capsys: Said) -> None:
    """Options that it does not take; a deduplication id that is held; a closed queue."""
    del shop
    start = ["workflow", "start", "greet", "you", "--queue", "mail", "--delay", "3600"]
    assert run([*start, "--key", "k"]) == 2
    assert "queue_partition_key is 'k'; allowed is none" in capsys.readouterr().err
    assert run([*start, "--deduplication-id", "d"]) == 0
    assert run([*start, "--deduplication-id", "d"]) == 4
    assert "deduplication id 'd' on queue 'mail' is held by workflow" in capsys.readouterr().err
    assert run(["queue", "close", "mail"]) == 0
    assert run(start) == 4
    assert "queue 'mail' is closed" in capsys.readouterr().err


def test_a_result_that_does_not_come_is_124(shop: App, capsys: Said) -> None:
    """It says meanwhile why; with a timeout of 0 it only looks."""
    del shop
    start = ["workflow", "start", "unknown", "--queue", "mail", "--id", "odd"]
    assert run([*start, "--wait", "--timeout", "2.1"]) == 124
    told, why, error = capsys.readouterr().err.splitlines()
    assert told == "workflow 'odd' is in line on queue 'mail'"
    assert why.startswith("workflow 'odd' waits: the one live worker")
    assert error.startswith("error: workflow 'odd' has not ended within 2.1 s; it goes on.")
    assert run(["workflow", "result", "odd", "--timeout", "0"]) == 124
    assert capsys.readouterr().err.count("\n") == 1


def test_an_unknown_workflow_is_3(capsys: Said) -> None:
    """Whatever the id looks like."""
    for unknown in ("nobody", "wf-1-0000000000000000", ""):
        assert run(["workflow", "get", unknown]) == 3
        assert run(["workflow", "result", unknown]) == 3
    assert capsys.readouterr().err.count("was not found. Try: towpath workflow list\n") == 6


def test_ctrl_c_while_waiting_is_130_and_stops_nothing(
    shop: App, tmp_path: Path, database_url: str
) -> None:
    """A real process, since the signal is the test."""
    del shop
    log = tmp_path / "stderr"
    with log.open("wb") as stderr:
        start = ["workflow", "start", "unknown", "--queue", "mail", "--id", "odd", "--wait"]
        process = subprocess.Popen(
            [sys.executable, "-m", "towpath", *start, "--database-url", database_url],
            stderr=stderr,
        )
    wait_until(lambda: "waits: the one" in log.read_text(), what="the reason is told")
    process.send_signal(2)
    assert process.wait(10) == 130
    assert "Traceback" not in log.read_text()
    assert run(["workflow", "get", "odd"]) == 0


def test_a_database_goes_from_nothing_to_migrated(
    empty_database_url: str, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status tells what is missing, the dry run shows it and changes nothing, migrate does it."""
    monkeypatch.setenv("TOWPATH_DATABASE_URL", empty_database_url)
    schema = ["--schema", "odd name"]
    assert run(["db", "status", *schema, "-o", "json"]) == 4
    said = capsys.readouterr()
    state = json.loads(said.out)
    assert (state["schema"], state["version"]) == ("odd name", None)
    assert said.err.endswith("Try: towpath db migrate\n")
    assert run(["queue", "list", *schema]) == 4

    capsys.readouterr()
    assert run(["db", "migrate", *schema, "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert run(["db", "status", *schema]) == 4

    capsys.readouterr()
    assert run(["db", "migrate", *schema]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines() == state["pending"]
    assert "schema 'odd name' is up to date" in said.err
    assert run(["db", "migrate", *schema, "-o", "json"]) == 0
    post = {"state": "Applied", "pending": [], "waits_for": []}
    assert value(capsys) == {"schema": "odd name", "applied": [], "post": post}
    assert run(["db", "status", *schema]) == 0
    assert run(["db", "migrate", *schema, "--dry-run"]) == 0
    assert "CREATE" not in capsys.readouterr().out

    # what the dry run showed is what was done: by hand it makes a schema that serves as well
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute(text.replace("odd name", "by hand").encode())
    assert run(["db", "status", "--schema", "by hand"]) == 0


def test_a_schema_that_is_too_new_is_4(database_url: str, capsys: Said) -> None:
    """No command touches what it does not know."""
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE towpath.schema_version SET version = 9, serves_from = 9")
    for command in (["db", "status"], ["queue", "list"], ["workflow", "get", "x"]):
        assert run(command) == 4
    assert capsys.readouterr().err.count("Upgrade the towpath package") == 3


def test_what_the_database_refuses_is_one_line(
    database_url: str, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as a login without rights on the tables."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS nobody_at_all")
        connection.execute("CREATE ROLE nobody_at_all LOGIN PASSWORD 'hush-hush'")
        url = psycopg.conninfo.conninfo_to_dict(database_url)
        monkeypatch.setenv(
            "TOWPATH_DATABASE_URL",
            f"postgresql://nobody_at_all:hush-hush@{url['host']}:{url['port']}/{url['dbname']}",
        )
        assert run(["queue", "list"]) == 4
        said = capsys.readouterr().err
        connection.execute("DROP ROLE nobody_at_all")
    assert said.startswith("error: schema 'towpath': role 'nobody_at_all' may not use it. ")
    assert "towpath db grants --schema towpath --role nobody_at_all --apply" in said
    assert said.count("\n") == 1
    assert "hush" not in said


def test_a_wrong_password_is_5(
    database_url: str, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server's word is shown, the password is not."""
    url = psycopg.conninfo.conninfo_to_dict(database_url)
    monkeypatch.setenv(
        "TOWPATH_DATABASE_URL",
        f"postgresql://{url['user']}:hush-hush@{url['host']}:{url['port']}/{url['dbname']}",
    )
    assert run(["queue", "list"]) == 5
    said = capsys.readouterr().err
    assert "password authentication failed" in said
    assert "hush" not in said


def test_failed_workflows_are_looked_at_retried_and_forked(shop: App, capsys: Said) -> None:
    """Steps are shown, what fails is retried by id and by filter, and a fork prints its id."""
    broken = [True]

    @shop.step(name="charge")
    def charge(amount: int) -> int:
        if broken:
            raise OSError("out of order")
        return amount

    @shop.workflow(name="order")
    def order(amount: int) -> int:
        return charge(charge(amount) + 1)

    for n in ("o1", "o2"):
        assert run(["workflow", "start", "order", "5", "--queue", "mail", "--id", n, "--wait"]) == 1
    capsys.readouterr()
    assert run(["workflow", "steps", "o1"]) == 0
    title, row = capsys.readouterr().out.splitlines()
    assert title.split() == ["POSITION", "NAME", "ATTEMPT", "TOOK", "CHILD", "RESULT"]
    # which attempt it was is left out: on a busy machine the limiter has one begin again
    assert row.split()[:2] == ["1", "charge"]
    assert row.endswith("<none>   OSError: out of order")
    for wrong in ([], ["o1", "--all"], ["o1", "--limit", "3"], ["--limit", "3"]):
        assert run(["workflow", "retry", *wrong]) == 2
    assert "Name workflows, or give a filter or --all." in capsys.readouterr().err
    broken.clear()
    assert run(["workflow", "retry", "o1"]) == run(["workflow", "result", "o1"]) == 0
    assert capsys.readouterr().out == "6\n"
    assert run(["workflow", "retry", "--queue", "mail", "--since", "1h", "--until", "1ms"]) == 0
    assert "1 workflows are in line again" in capsys.readouterr().err
    assert run(["workflow", "result", "o2"]) == 0
    assert run(["workflow", "retry", "o2"]) == 4
    assert run(["workflow", "retry", "--since", "soon"]) == 2
    assert "'soon' is neither a time such as" in capsys.readouterr().err
    assert run(["workflow", "fork", "o1", "--from-step", "2", "--id", "o3"]) == 0
    assert capsys.readouterr().out == "o3\n"
    assert run(["workflow", "fork", "o1", "--from-step", "7"]) == 3
    assert "It has recorded: 1 charge, 2 charge." in capsys.readouterr().err
    assert run(["workflow", "cancel", "o1", "--cascade"]) == 4
    assert run(["workflow", "steps", "o1", "-o", "json"]) == 0
    assert [step["output"] for step in value(capsys)] == [5, 6]
