"""The examples in SQL, Go and Node: they start workflows of a Python worker, and send it messages."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

import towpath
from tests.fixtures.apps import wait_until
from tests.fixtures.workers import worker_processes

pytestmark = pytest.mark.timeout(900)  # Go compiles what it imports, the first time on a machine

EXAMPLES = Path(__file__).parents[2] / "examples"
GO_PLACES = "/usr/local/go/bin:/usr/lib/go/bin"


def command(name: str, places: str | None = None) -> str:
    """Return a command's path; where there is none, the test is skipped with that reason."""
    found = shutil.which(name) or shutil.which(name, path=places or "")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


@dataclass(frozen=True)
class Program:
    """An example: what runs it, with a queue and an order, or with a workflow's id and a name."""

    enqueue: Callable[[str, int], list[str]]
    approve: Callable[[str, str], list[str]]
    folder: Path


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the examples, in which dependencies are installed."""
    copy = tmp_path_factory.mktemp("examples")
    for name in ("sql", "go", "node"):
        ignored = shutil.ignore_patterns("node_modules", "__pycache__")
        shutil.copytree(EXAMPLES / name, copy / name, ignore=ignored)
    return copy


@pytest.fixture(scope="session")
def sql(folder: Path) -> Program:
    """Run the files of psql. The queue of an order stands in the file."""
    psql = [command("psql"), "--no-psqlrc"]

    def enqueue(queue: str, order: int) -> list[str]:
        script = folder / "sql" / f"enqueue-{queue}.sql"
        script.write_text(
            (folder / "sql" / "enqueue.sql").read_text().replace("'orders'", f"'{queue}'")
        )
        return [*psql, "--quiet", "--set", f"order={order}", "--file", str(script)]

    def approve(workflow_id: str, name: str) -> list[str]:
        return [*psql, "--set", f"id={workflow_id}", "--set", f"by={name}", "--file", "approve.sql"]

    return Program(enqueue, approve, folder / "sql")


@pytest.fixture(scope="session")
def go(folder: Path) -> Program:
    """Build the program in Go."""
    compiler = command("go", GO_PLACES)
    binary = str(folder / "orders")
    subprocess.run([compiler, "build", "-o", binary, "."], cwd=folder / "go", check=True)
    return Program(
        lambda queue, order: [binary, "enqueue", queue, str(order)],
        lambda workflow_id, name: [binary, "approve", workflow_id, name],
        folder / "go",
    )


@pytest.fixture(scope="session")
def node(folder: Path) -> Program:
    """Install what the program for Node needs."""
    runner = [command("node"), "orders.js"]
    install = [command("npm"), "install", "--no-package-lock", "--no-audit", "--no-fund"]
    subprocess.run(install, cwd=folder / "node", check=True)
    return Program(
        lambda queue, order: [*runner, "enqueue", queue, str(order)],
        lambda workflow_id, name: [*runner, "approve", workflow_id, name],
        folder / "node",
    )


@pytest.fixture(params=["sql", "go", "node"])
def program(request: pytest.FixtureRequest) -> Program:
    """Return each of the examples."""
    made: Program = request.getfixturevalue(request.param)
    return made


def run(program: Program, argv: list[str], database_url: str) -> subprocess.CompletedProcess[str]:
    """Run a program; psql takes the database as an argument, the others from the environment."""
    url = [database_url] if argv[0].endswith("psql") else []
    return subprocess.run(
        [*argv, *url],
        cwd=program.folder,
        env={**os.environ, "TOWPATH_DATABASE_URL": database_url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def started(program: Program, database_url: str, order: int) -> str:
    """Put an order in line and return the workflow's id, as the program printed it."""
    done = run(program, program.enqueue("orders", order), database_url)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def orders(database_url: str) -> Iterator[towpath.Client]:
    """Return a client of a database with the queue `orders`."""
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO towpath.queue (name, priority_enabled) VALUES ('orders', true);"
            "INSERT INTO towpath.gate (queue) VALUES ('orders')"
        )
    with towpath.Client(database_url) as client:
        yield client


def test_an_order_is_placed_and_approved(
    program: Program, orders: towpath.Client, database_url: str, folder: Path, tmp_path: Path
) -> None:
    """A worker runs the example's workflow with the program's arguments and its message."""
    workflow_id = started(program, database_url, 7)
    handle = orders.retrieve_workflow(workflow_id)
    info = handle.get_status()
    assert (info.name, info.priority, info.deduplication_id) == ("fulfil", 10, "order-7")
    environ = {"TOWPATH_DATABASE_URL": database_url}
    with worker_processes(1, "orders", folder / "sql", environ, tmp_path):
        wait_until(lambda: handle.get_status().status == "PENDING", seconds=60)
        done = run(program, program.approve(workflow_id, "Ada"), database_url)
        assert done.returncode == 0, done.stderr
        assert handle.get_result(timeout=30) == "order 7 (express), approved by Ada"


def test_refusals_come_with_their_code_and_a_hint(
    program: Program, orders: towpath.Client, database_url: str
) -> None:
    """A queue of another name, an order that is in line already, a workflow that is not there."""
    first = started(program, database_url, 7)
    refusals = [
        (program.enqueue("oders", 8), r"TP001.*queue 'oders' was not found\..*Did you mean 'orders'\?"),
        (program.enqueue("orders", 7), rf"TP004.*'order-7' on queue 'orders' is held by .*'{first}'"),
        (program.approve("nowhere", "Ada"), r"TP006.*'nowhere' was not found\..*towpath workflow list"),
    ]  # fmt: skip
    for argv, expected in refusals:
        done = run(program, argv, database_url)
        assert done.returncode != 0
        assert re.search(expected, done.stderr, re.DOTALL), done.stderr
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("UPDATE towpath.queue SET priority_enabled = false")
        refused = run(program, program.enqueue("orders", 9), database_url)
        assert "TP003" in refused.stderr
        connection.execute("UPDATE towpath.queue SET closed = true")
        closed = run(program, program.enqueue("orders", 9), database_url)
        assert re.search("TP002.*towpath queue open orders", closed.stderr, re.DOTALL)
    assert len(orders.list_workflows()) == 1


def test_a_login_of_its_own_needs_what_the_page_grants(
    orders: towpath.Client, database_url: str
) -> None:
    """The statements of the README, and nothing else."""
    grants = re.search(r"```sql\n(.*?)```", (EXAMPLES / "sql/README.md").read_text(), re.DOTALL)
    assert grants is not None
    options = "workflow_id => 'a', deduplication_id => 'a', priority => 1"
    calls = (
        f"SELECT towpath.enqueue(queue => 'orders', workflow => 'fulfil', {options})",
        "SELECT towpath.enqueue(queue => 'orders', workflow => 'fulfil', delay_seconds => 9)",
        "SELECT towpath.send(workflow_id => 'a', message => '1')",
    )
    with psycopg.connect(database_url) as connection:
        connection.execute("CREATE ROLE shop")
        connection.execute(grants[1].encode())
        connection.execute("SET LOCAL ROLE shop")
        for call in calls:
            connection.execute(call.encode())
        connection.execute("RESET ROLE")
        assert connection.execute("SELECT count(*) FROM towpath.workflow").fetchone() == (2,)
        assert connection.execute("SELECT count(*) FROM towpath.message").fetchone() == (1,)
        connection.rollback()  # a role belongs to the server
    assert orders.list_workflows() == []
