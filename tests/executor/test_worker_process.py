"""`towpath worker run` as a process of its own: its signals, its probes, its exit codes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tests.fixtures.apps import wait_until
from tests.fixtures.gate import Gate
from towpath import Client, WorkflowStatus

APPLICATIONS = Path(__file__).parent / "applications"
SHORT_GRACE = (
    "import sys, towpath.cli.worker_process as process; from towpath.cli.main import main; "
    "process.GRACE_AFTER_DRAIN_SECONDS = 0.5; main(sys.argv[1:])"
)


class Process:
    """A worker that runs; its two streams go to files."""

    def __init__(self, argv: Sequence[str], environ: dict[str, str], folder: Path) -> None:
        self._stderr = folder / f"stderr-{len(list(folder.glob('stderr-*')))}"
        with self._stderr.open("wb") as stderr:
            self.popen = subprocess.Popen(argv, env=environ, cwd=APPLICATIONS, stderr=stderr)

    @property
    def stderr(self) -> str:
        """Everything that it has said on stderr."""
        return self._stderr.read_text()

    @property
    def last_line(self) -> str:
        """The last line of stderr, which a pod's termination message ends with."""
        return self.stderr.splitlines()[-1]

    def events(self) -> list[dict[str, Any]]:
        """The records of its log."""
        return [json.loads(line) for line in self.stderr.splitlines() if line.startswith("{")]

    def said(self, event: str) -> bool:
        """Whether an event is in its log."""
        return any(record["event"] == event for record in self.events())

    def wait_for(self, event: str) -> None:
        """Wait until an event is in its log."""
        wait_until(lambda: self.said(event), what=f"{event!r} in {self.stderr}")

    def wait(self, timeout: float = 20) -> int:
        """Return its exit code, once it has ended."""
        return self.popen.wait(timeout)

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self.popen.send_signal(number)


Start = Callable[..., Process]


@pytest.fixture
def start(database_url: str, tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts a worker; what still runs at the end is killed."""
    started: list[Process] = []

    def begin(
        *options: str, app: str = "deeds", prefix: Sequence[str] = ("-m", "towpath"), **environ: str
    ) -> Process:
        env = {k: v for k, v in os.environ.items() if not k.startswith("TOWPATH_")}
        env |= {"TOWPATH_DATABASE_URL": database_url, "TEST_FOLDER": str(tmp_path), **environ}
        argv = [sys.executable, *prefix, "worker", "run", "--app", app, *options]
        started.append(Process(argv, env, tmp_path))
        return started[-1]

    yield begin
    for process in started:
        if process.popen.poll() is None:
            process.popen.kill()
            process.popen.wait()
        print(process.stderr)  # noqa: T201 - pytest shows it where the test failed


@pytest.fixture
def client(database_url: str) -> Iterator[Client]:
    """Return a client of the test's database, where the queue is declared."""
    with psycopg.connect(database_url) as connection:
        connection.execute("INSERT INTO towpath.queue (name) VALUES ('deeds')")
        connection.execute("INSERT INTO towpath.gate (queue) VALUES ('deeds')")
    with Client(database_url) as made:
        yield made


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
    return port


def probe(port: int, path: str) -> tuple[int, str]:
    """Ask as the kubelet does; 0 where nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError:
        return 0, ""


def count(database_url: str, table: str) -> int:
    """Count the rows of one of the schema's tables."""
    with psycopg.connect(database_url) as connection:
        statement = sql.SQL("SELECT count(*) FROM towpath.{}").format(sql.Identifier(table))
        row = connection.execute(statement).fetchone()
    assert row is not None
    return int(row[0])


def test_it_serves_and_ends_with_0_on_sigterm(
    start: Start, client: Client, database_url: str
) -> None:
    """An enqueued workflow runs; SIGTERM ends the process cleanly, and its row is gone."""
    worker = start()
    assert client.enqueue("deeds", "greet", "you").get_result(20) == "hello you"
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert count(database_url, "worker") == 0
    assert worker.said("worker draining")
    assert worker.said("worker stopped")


def test_sigterm_lets_a_running_workflow_end_and_claims_no_other(
    start: Start, client: Client, tmp_path: Path
) -> None:
    """What runs has until the deadline; what comes after SIGTERM waits for others."""
    port = free_port()
    (tmp_path / "second.go").touch()
    worker = start(TOWPATH_HTTP_PORT=f"{port}")
    handle = client.enqueue("deeds", "hold_twice")
    wait_until((tmp_path / "first.began").exists)
    assert probe(port, "/readyz")[0] == 200
    worker.signal(signal.SIGTERM)
    worker.wait_for("worker draining")
    late = client.enqueue("deeds", "greet", "late")
    assert probe(port, "/readyz") == (503, '{"ok": false, "reason": "the worker drains"}\n')
    assert probe(port, "/livez")[0] == 200
    (tmp_path / "first.go").touch()
    assert worker.wait() == 0
    assert handle.get_result(5) == ["first", "second"]
    assert late.get_status().status is WorkflowStatus.ENQUEUED


def test_after_the_deadline_a_workflow_is_handed_back_at_its_next_step(
    start: Start, client: Client, tmp_path: Path
) -> None:
    """It goes on elsewhere behind its recorded step, and no recovery is counted."""
    worker = start("--drain-seconds", "0")
    handle = client.enqueue("deeds", "hold_twice")
    wait_until((tmp_path / "first.began").exists)
    worker.signal(signal.SIGTERM)
    worker.wait_for("worker draining")
    (tmp_path / "first.go").touch()
    assert worker.wait() == 0
    assert handle.get_status().status is WorkflowStatus.ENQUEUED
    assert not (tmp_path / "second.began").exists()
    (tmp_path / "second.go").touch()
    start()
    assert handle.get_result(20) == ["first", "second"]
    assert (tmp_path / "first.began").read_text() == "x\n"


def test_a_step_that_outlives_drain_and_grace_dies_with_the_process(
    start: Start, client: Client, tmp_path: Path
) -> None:
    """The process ends at the latest moment; the place is kept until the lease has ended."""
    worker = start("--drain-seconds", "0", prefix=("-c", SHORT_GRACE), TOWPATH_LEASE_SECONDS="2")
    handle = client.enqueue("deeds", "hold_twice")
    wait_until((tmp_path / "first.began").exists)
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 124
    assert handle.get_status().status is WorkflowStatus.PENDING
    for name in ("first.go", "second.go"):
        (tmp_path / name).touch()
    start(TOWPATH_LEASE_SECONDS="2")
    # with max_recovery_attempts=0, one counted recovery would have given it up
    assert handle.get_result(20) == ["first", "second"]
    assert (tmp_path / "first.began").read_text() == "x\nx\n"


def test_a_second_ctrl_c_ends_the_process_at_once(
    start: Start, client: Client, tmp_path: Path
) -> None:
    """The first drains; the second leaves the running step to the lease."""
    worker = start()
    client.enqueue("deeds", "hold_twice")
    wait_until((tmp_path / "first.began").exists)
    worker.signal(signal.SIGINT)
    worker.wait_for("worker draining")
    worker.signal(signal.SIGINT)
    assert worker.wait() == 130


def test_sigterm_during_the_import_ends_the_process_at_once(
    start: Start, tmp_path: Path, database_url: str
) -> None:
    """Nothing was claimed, so there is nothing to wait for; the probe says what goes on."""
    port = free_port()
    worker = start(app="slow", TOWPATH_HTTP_PORT=f"{port}")
    wait_until((tmp_path / "importing").exists)
    assert probe(port, "/livez")[0] == 503
    assert "imported" in probe(port, "/readyz")[1]
    worker.signal(signal.SIGTERM)
    assert worker.wait(5) == 0
    assert count(database_url, "worker") == 0


def test_a_failed_import_ends_with_its_error_as_the_last_line(start: Start) -> None:
    """Before that line stands the application's traceback, with nothing of ours in it."""
    worker = start(app="needs_more")
    assert worker.wait() == 6
    assert worker.last_line == (
        "error: cannot import application 'needs_more': "
        "ModuleNotFoundError: No module named 'a_module_that_is_not_there'"
    )
    assert 'needs_more.py", line' in worker.stderr
    assert "towpath/cli" not in worker.stderr
    assert "importlib" not in worker.stderr


@pytest.mark.parametrize(
    ("app", "said"),
    [
        ("not_there", "ModuleNotFoundError: No module named 'not_there'"),
        ("deeds:nothing", "module 'deeds' has no 'nothing'"),
        ("several:nothing", "module 'several' has no 'nothing'. Try: --app several:shop"),
        ("several:not_an_app", "it is a int, not a towpath.App"),
        ("several", "it registers no workflow. Try: --app several:shop"),
        ("deeds.py", "it is no module's name. Try: --app deeds"),
    ],
)
def test_what_is_no_application_is_refused(start: Start, app: str, said: str) -> None:
    """The one line says what is wrong and, where there is one, the application that is meant."""
    worker = start(app=app)
    assert worker.wait() == 6
    assert worker.stderr == f"error: cannot import application '{app}': {said}\n"


def test_an_app_of_a_name_is_served(start: Start, client: Client) -> None:
    """`module:attribute` is that App."""
    start("--queues", "deeds", app="several:shop")
    assert client.enqueue("deeds", "greet", "you").get_result(20) == "hello you"


def test_starting_a_workflow_at_import_is_refused(start: Start, database_url: str) -> None:
    """Every worker would start it again; the error says where to put the call."""
    worker = start(app="eager")
    assert worker.wait() == 6
    assert worker.last_line.startswith("error: cannot import application 'eager': ")
    assert 'if __name__ == "__main__"' in worker.last_line
    assert count(database_url, "workflow") == 0


def test_a_port_in_use_is_named(start: Start) -> None:
    """The process ends before it imports anything."""
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        worker = start(TOWPATH_HTTP_PORT=f"{port}")
        assert worker.wait() == 4
    assert worker.last_line == (
        f"error: cannot listen on port {port}: Address already in use. "
        "Set TOWPATH_HTTP_PORT to a free port, or unset it."
    )


def test_it_waits_for_a_postgres_that_is_not_running(
    start: Start, client: Client, database_url: str
) -> None:
    """It is alive and not ready, says so once, and serves when Postgres has come."""
    gate = Gate(database_url)
    port = free_port()
    worker = start(TOWPATH_DATABASE_URL=gate.url, TOWPATH_HTTP_PORT=f"{port}")
    worker.wait_for("database unreachable")
    assert probe(port, "/livez")[0] == 200
    assert probe(port, "/readyz")[0] == 503
    gate.open()
    wait_until(lambda: probe(port, "/readyz")[0] == 200, what="ready")
    assert client.enqueue("deeds", "greet", "you").get_result(20) == "hello you"
    said = [e for e in worker.events() if e["level"] == "warning"]
    assert [e["event"] for e in said] == ["database unreachable"]
    gate.shut()


def test_sigterm_ends_a_worker_that_has_never_reached_postgres(
    start: Start, database_url: str
) -> None:
    """It has nothing to hand back."""
    worker = start(TOWPATH_DATABASE_URL=Gate(database_url).url)
    worker.wait_for("database unreachable")
    worker.signal(signal.SIGTERM)
    assert worker.wait(5) == 0


def test_a_workflow_that_ends_in_an_outage_during_the_drain_is_written_when_it_is_over(
    start: Start, client: Client, database_url: str, tmp_path: Path
) -> None:
    """Postgres goes with SIGTERM and comes back: the drain's end is its own, not the outage's."""
    gate = Gate(database_url)
    gate.open()
    worker = start(TOWPATH_DATABASE_URL=gate.url)
    handle = client.enqueue("deeds", "hold_twice")
    wait_until((tmp_path / "first.began").exists)
    gate.shut()
    worker.signal(signal.SIGTERM)
    worker.wait_for("database unreachable")
    for name in ("first.go", "second.go"):
        (tmp_path / name).touch()
    gate.open()
    assert worker.wait(30) == 0
    gate.shut()
    assert handle.get_result(5) == ["first", "second"]
    assert (tmp_path / "first.began").read_text() == "x\n"


def test_a_ready_worker_stays_ready_without_postgres(start: Start, database_url: str) -> None:
    """Probes do not look at Postgres: an outage restarts no pod."""
    gate = Gate(database_url)
    gate.open()
    port = free_port()
    worker = start(TOWPATH_DATABASE_URL=gate.url, TOWPATH_HTTP_PORT=f"{port}")
    wait_until(lambda: probe(port, "/readyz")[0] == 200, what="ready")
    gate.shut()
    worker.wait_for("database unreachable")
    assert probe(port, "/readyz")[0] == 200
    assert probe(port, "/livez")[0] == 200
    assert probe(port, "/metrics")[0] == 404


def test_a_schema_that_is_too_new_ends_the_process(start: Start, database_url: str) -> None:
    """Trying again would not help: the library is to be upgraded."""
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE towpath.schema_version SET version = 99, serves_from = 99")
    worker = start()
    assert worker.wait() == 4
    assert worker.last_line.startswith("error: schema 'towpath': it serves libraries from schema")


def test_a_pod_waits_for_a_schema_that_the_operator_migrates(start: Start) -> None:
    """With TOWPATH_MIGRATE=0 a missing schema is waited for; without it the worker makes it."""
    port = free_port()
    waiting = start(TOWPATH_SCHEMA="later", TOWPATH_MIGRATE="0", TOWPATH_HTTP_PORT=f"{port}")
    waiting.wait_for("database unreachable")
    assert probe(port, "/readyz")[0] == 503
    start(TOWPATH_SCHEMA="later").wait_for("worker registered")
    wait_until(lambda: probe(port, "/readyz")[0] == 200, what="ready")


def test_flags_beat_the_environment(start: Start, database_url: str) -> None:
    """The row shows what is served."""
    worker = start("--queues", "deeds,more", "--slots", "7", TOWPATH_QUEUES="x", TOWPATH_SLOTS="3")
    worker.wait_for("worker registered")
    with psycopg.connect(database_url) as connection:
        row = connection.execute("SELECT queues, slots FROM towpath.worker").fetchone()
    assert row == (["deeds", "more", "_towpath"], 7)


def test_no_queue_at_all_is_served_as_asked(start: Start, database_url: str) -> None:
    """Empty is none: the process is ready, idle and without a row, and ends as any other."""
    port = free_port()
    worker = start("--queues", "", TOWPATH_HTTP_PORT=f"{port}")
    wait_until(lambda: probe(port, "/readyz")[0] == 200, what="ready")
    assert count(database_url, "worker") == 0
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TOWPATH_SLOTS", "many"),
        ("TOWPATH_DRAIN_SECONDS", "-1"),
        ("TOWPATH_HTTP_PORT", "http"),
        ("TOWPATH_LOG_FORMAT", "xml"),
        ("TOWPATH_LOG_LEVEL", "LOUD"),
    ],
)
def test_a_wrong_variable_is_named(start: Start, variable: str, value: str) -> None:
    """The one line names it, its value and what is allowed."""
    worker = start(**{variable: value})
    assert worker.wait() == 2
    assert worker.stderr.startswith(f"error: {variable} is '{value}'; allowed is ")
    assert worker.stderr.count("\n") == 1
