"""`towpath dev`: the operator's reconcile on local processes, over real Postgres."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import psycopg
import pytest

from tests.local.dev_process import QUEUE, AsUser, Dev, manifests, running_dev, write
from tests.local.processes import SOURCES, eventually, is_running, needs_setpriv, unprivileged
from towpath.local.discovery import find_dev, find_dev_url


@needs_setpriv
@pytest.mark.parametrize("user", [list, unprivileged], ids=["this user", "unprivileged"])
def test_start_block_and_rows(open_folder: Path, user: AsUser) -> None:
    """Manifests become rows and workers, and the block says what there is."""
    name = write(open_folder, manifests(pods=2))
    with running_dev(open_folder, "-f", name, user=user) as dev:
        dev.hears("stop  Ctrl-C")
        assert "queues     mail (3 running)" in dev.said
        assert "watching   queue.yaml" in dev.said
        dev.hears("| up hello mail shop/mailers", times=2)
        found = find_dev(open_folder)
        assert found is not None
        with psycopg.connect(found.url) as connection:
            query = "SELECT concurrency_global FROM towpath.queue WHERE name = 'mail'"
            assert connection.execute(query).fetchone() == (3,)


def test_interrupt_drains(open_folder: Path) -> None:
    """Ctrl-C lets workers finish, ends everything, exits with 0 and says nothing on stdout."""
    with running_dev(open_folder, "-f", write(open_folder, manifests())) as dev:
        dev.hears("stop  Ctrl-C")
        dev.hears("| up hello")
        family = dev.family()
        dev.interrupt()
        assert dev.ends() == 0
        assert "drained" in dev.said
        assert not any(map(is_running, family))
        assert find_dev_url(open_folder) is None
        assert dev.process.stdout is not None
        assert dev.process.stdout.read() == ""


def test_second_interrupt_kills(open_folder: Path) -> None:
    """A second Ctrl-C waits for no worker."""
    name = write(open_folder, manifests(drain="10m"))
    worker = "import signal\nsignal.signal(signal.SIGTERM, lambda *_: print('no'))\n"
    (open_folder / "worker.py").write_text(f"{worker}print('up')\nwhile True: signal.pause()\n")
    with running_dev(open_folder, "-f", name) as dev:
        dev.hears("stop  Ctrl-C")
        dev.hears("| up")
        dev.interrupt()
        dev.hears("| no")
        dev.interrupt()
        assert dev.ends() == 130
        assert "stopped at once" in dev.said


def test_sigkill_leaves_nothing(open_folder: Path) -> None:
    """Neither Postgres nor a worker outlives a killed dev, and the next one starts."""
    name = write(open_folder, manifests(pods=2))
    with running_dev(open_folder, "-f", name) as dev:
        dev.hears("| up hello", times=2)
        family = dev.family()
        postgres = dev.postgres()
        dev.process.kill()
        eventually(lambda: not is_running(postgres), "Postgres ends")
        eventually(lambda: not any(map(is_running, family)), "all processes end")
    with running_dev(open_folder, "-f", name) as dev:
        dev.hears("stop  Ctrl-C")


def test_killed_worker_comes_back(open_folder: Path) -> None:
    """A worker that is killed is started again."""
    with running_dev(open_folder, "-f", write(open_folder, manifests())) as dev:
        dev.hears("| up hello")
        (worker,) = dev.workers()
        os.kill(worker, signal.SIGKILL)
        dev.hears("was ended by SIGKILL; starts again now")
        dev.hears("| up hello", times=2)


def test_killed_postgres_comes_back(open_folder: Path) -> None:
    """A Postgres that is killed is started again on its port, with its data."""
    with running_dev(open_folder, "-f", write(open_folder, manifests())) as dev:
        dev.hears("stop  Ctrl-C")
        url = find_dev_url(open_folder)
        assert url is not None
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE kept (n int)")
        os.kill(dev.postgres(), signal.SIGKILL)
        dev.hears("PostgreSQL has ended; it is started again")

        def answers() -> bool:
            try:
                with psycopg.connect(url) as connection:
                    return connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
            except psycopg.OperationalError:
                return False

        eventually(answers, "Postgres answers again")


def test_changed_file_is_applied(open_folder: Path) -> None:
    """A changed manifest changes the row and rolls the workers; a removed one removes them."""
    with running_dev(open_folder, "-f", write(open_folder, manifests())) as dev:
        dev.hears("stop  Ctrl-C")
        dev.hears("| up hello")
        write(open_folder, manifests(pods=2, greeting="ahoy").replace("global: 3", "global: 7"))
        dev.hears("manifests applied again")
        dev.hears("| up ahoy", times=2)
        dev.hears("| drained")
        url = find_dev_url(open_folder)
        assert url is not None
        with psycopg.connect(url, autocommit=True) as connection:
            query = "SELECT concurrency_global FROM towpath.queue WHERE name = 'mail'"
            eventually(lambda: connection.execute(query).fetchone() == (7,), "the row changes")
        write(open_folder, "")
        eventually(lambda: not dev.workers(), "the workers go")


def test_bad_change_is_refused(open_folder: Path) -> None:
    """A file that becomes invalid, or changes what cannot change, is told, and changes nothing."""
    with running_dev(open_folder, "-f", write(open_folder, manifests())) as dev:
        dev.hears("stop  Ctrl-C")
        write(open_folder, manifests().replace("global: 3", "globl: 3"))
        dev.hears("spec.concurrency.globl: unknown field")
        dev.hears("the manifests stay as they were")
        changed = manifests().replace("spec: {concurrency", "spec: {queueName: post, concurrency")
        write(open_folder, changed)
        dev.hears("the manifests stay as they were", times=2)
        assert "queueName" in dev.said
        assert len(dev.workers()) == 1


def test_failing_worker_is_explained(open_folder: Path) -> None:
    """The pool's condition ends with the last line of what a failing worker printed."""
    name = write(open_folder, manifests())
    (open_folder / "worker.py").write_text("import no_such_module\n")
    with running_dev(open_folder, "-f", name) as dev:
        dev.hears("WorkerPool shop/mailers: not ready")
        assert dev.said.count("ModuleNotFoundError: No module named 'no_such_module'") >= 2
        (open_folder / "worker.py").write_text("import signal\nsignal.pause()\n")
        dev.hears("WorkerPool shop/mailers: ready again")


def test_databases_become_schemas(open_folder: Path) -> None:
    """Each QueueDatabase is a schema of the one database, and its Secret is not read."""
    other = """
apiVersion: towpath.dev/v1alpha1
kind: QueueDatabase
metadata: {name: billing, namespace: shop}
spec: {uriSecretRef: {name: not-here}}
---
apiVersion: towpath.dev/v1alpha1
kind: Queue
metadata: {name: invoices, namespace: shop}
spec: {databaseRef: {name: billing}}
"""
    with running_dev(open_folder, "-f", write(open_folder, other)) as dev:
        dev.hears("stop  Ctrl-C")
        url = find_dev_url(open_folder)
        assert url is not None
        with psycopg.connect(url) as connection:
            rows = connection.execute("SELECT name FROM shop_billing.queue").fetchall()
        assert ("invoices",) in rows


@pytest.mark.parametrize(
    ("text", "said", "code"),
    [
        ("kind: Queue\nspec: {concurency: {}}\n", "spec.concurency: unknown field", 2),
        ("a: [", "is no YAML", 2),
        ("- just a list\n", "kind: required, but not there", 2),
        (manifests() + "---" + manifests(), "is declared in queue.yaml already", 2),
    ],
)
def test_bad_manifests(open_folder: Path, text: str, said: str, code: int) -> None:
    """What is wrong is named by file and field before anything is started."""
    if text.startswith("kind: Queue"):
        text = f"apiVersion: towpath.dev/v1alpha1\nmetadata: {{name: mail}}\n{text}"
    with running_dev(open_folder, "-f", write(open_folder, text)) as dev:
        assert dev.ends() == code
        assert "error: queue.yaml: " in dev.said
        assert said in dev.said
        assert "Traceback" not in dev.said
        assert not (open_folder / ".towpath").exists()


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        (["-f", "missing.yaml"], "missing.yaml: does not exist", 2),
        (["missing.py"], "missing.py does not exist", 2),
        (["app.txt"], "is no .py file", 2),
        (["../app.py"], "is not below this folder", 2),
        (["--database-url", "mysql://x"], "does not begin with postgresql://", 2),
        (["--database-url", "postgresql://a:b@127.0.0.1:1/c"], "the database does not answer", 5),
    ],
)
def test_bad_options(open_folder: Path, arguments: list[str], said: str, code: int) -> None:
    """Wrong options end with a sentence and a documented code, never a traceback."""
    (open_folder / "app.py").touch()
    below = open_folder / "below"
    below.mkdir(mode=0o777)
    with running_dev(below, *arguments) as dev:
        assert dev.ends() == code
        assert said in dev.said
        assert "Traceback" not in dev.said


def comes_back(dev: Dev, worker: int) -> bool:
    """Tell whether another process has taken a worker's place."""
    return not {worker}.issuperset(dev.workers())


def test_nobody_reads(open_folder: Path) -> None:
    """A closed stderr, as of `| head -1` or a terminal that is gone, stops nothing."""
    with running_dev(open_folder, "-f", write(open_folder, manifests())) as dev:
        dev.hears("stop  Ctrl-C")
        dev.hears("| up hello")
        dev.stop_reading()
        for _ in range(3):
            (worker,) = dev.workers()
            os.kill(worker, signal.SIGKILL)
            eventually(partial(comes_back, dev, worker), "the worker comes back")
        dev.interrupt()
        assert dev.ends() in {0, 120}


def test_second_dev_is_refused(open_folder: Path) -> None:
    """A second dev in a folder ends at once and leaves the first alone."""
    name = write(open_folder, manifests())
    with running_dev(open_folder, "-f", name) as dev:
        dev.hears("stop  Ctrl-C")
        with running_dev(open_folder, "-f", name) as second:
            assert second.ends() == 4
            assert f"already (process {dev.process.pid})" in second.said
        assert find_dev_url(open_folder) is not None


APPLICATION = """
import os
import towpath

queue = towpath.Queue("mail")

@towpath.workflow()
def send(to: str) -> str:
    return f"sent to {to}"

if __name__ == "__main__":
    print(queue.enqueue(send, "ann").get_result(timeout=30))
    towpath.shutdown()
"""


def run_program(folder: Path, program: Path) -> str:
    """Run a person's program in a folder and return what it printed last."""
    environment = {name: value for name, value in os.environ.items() if "TOWPATH" not in name}
    answer = subprocess.run(
        [sys.executable, str(program)],
        cwd=folder,
        env={**environment, "PYTHONPATH": SOURCES},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return answer.stdout.strip()


def test_application_alone(open_folder: Path) -> None:
    """`towpath dev app.py` serves what the code declares; a program in a subfolder finds it."""
    program = open_folder / "app.py"
    program.write_text(APPLICATION)
    below = open_folder / "below"
    below.mkdir()
    with running_dev(open_folder, "app.py") as dev:
        dev.hears("stop  Ctrl-C")
        assert "queues     as app declares them" in dev.said
        assert run_program(below, program) == "sent to ann"


def test_application_for_manifests(open_folder: Path) -> None:
    """`--app` serves Queues that have no pool, and takes the place of a pool's application."""
    program = open_folder / "app.py"
    program.write_text(APPLICATION)
    name = write(open_folder, QUEUE)
    with running_dev(open_folder, "-f", name, "--app", "app") as dev:
        dev.hears("stop  Ctrl-C")
        assert run_program(open_folder, program) == "sent to ann"
        workers = "{concurrency: {global: 3}, workers: {application: none, autoscaling: {min: 0}}}"
        write(open_folder, QUEUE.replace("{concurrency: {global: 3}}", workers))
        dev.hears("manifests applied again")
        assert run_program(open_folder, program) == "sent to ann"


def test_application_that_cannot_be_imported(open_folder: Path) -> None:
    """The pool's condition names the import error, once; a corrected file is picked up."""
    name = write(open_folder, QUEUE)
    (open_folder / "app.py").write_text("import no_such_module\n")
    with running_dev(open_folder, "-f", name, "--app", "app") as dev:
        dev.hears("WorkerPool shop/dev: not ready: pod dev-")
        dev.hears("stop  Ctrl-C")
        told = [line for line in dev.lines if "not ready" in line]
        assert "No module named 'no_such_module'" in told[0]
        (open_folder / "app.py").write_text(APPLICATION)
        dev.hears("WorkerPool shop/dev: ready again")
