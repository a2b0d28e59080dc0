"""Application versions: who begins what, who goes on with it, and what a promotion changes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import towpath
from tests.fixtures.apps import wait_until
from tests.fixtures.workers import worker_processes
from towpath import App, Queue, VersionInfo, Workflow
from towpath.cli.main import run
from towpath.errors import ConfigurationError
from towpath.executor import sleeping


@dataclass
class Build:
    """One build of the application, with its own process's worker; `runs` are the orders it worked on.

    An order waits in its code for `gate`, unless that is set.
    """

    app: App
    queue: Queue
    order: Workflow[[str], str]
    waiter: Workflow[[], str]
    runs: list[str] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    begun: threading.Event = field(default_factory=threading.Event)


Deploy = Callable[[str], Build]


@pytest.fixture
def deploy(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deploy]:
    """Return a function that launches a worker of a version; the empty one is none."""
    builds: list[Build] = []

    def launch(version: str) -> Build:
        monkeypatch.setenv("TOWPATH_VERSION", version)
        monkeypatch.setenv("TOWPATH_LEASE_SECONDS", "1")
        build = build_of(App(database_url=database_url), version)
        builds.append(build)
        assert build.app.launch(slots=4).wait_until_ready(20)
        return build

    yield launch
    for build in builds:
        build.gate.set()
        build.app.shutdown(drain=0)


def build_of(app: App, version: str) -> Build:
    """Declare the application's workflows."""

    @app.step(name="price")
    def price(what: str) -> str:
        return what

    @app.workflow(name="order")
    def order(what: str) -> str:
        build.runs.append(what)
        build.begun.set()
        assert build.gate.wait(30)
        price(what)
        return f"{what} by {version or 'any'}"

    @app.workflow(name="waiter")
    def waiter() -> str:
        build.runs.append("waiter")
        app.recv("go", timeout_seconds=60)
        return version or "any"

    build = Build(app, app.queue("orders"), order, waiter)
    build.gate.set()
    return build


def versions(app: App) -> dict[str, VersionInfo]:
    """Return every version by its name."""
    return {info.name: info for info in app.list_versions()}


def test_a_worker_stamps_what_it_begins_and_shows_it(deploy: Deploy) -> None:
    """What was enqueued without a version has the one that began it, while it runs and afterwards."""
    one = deploy("v1")
    one.gate.clear()
    handle = one.queue.enqueue(one.order, "tea")
    assert one.begun.wait(10)
    assert handle.get_status().app_version == "v1"
    assert versions(one.app)["v1"].pending == 1
    one.gate.set()
    assert handle.get_result(timeout=10) == "tea by v1"
    assert handle.get_status().app_version == "v1"
    assert versions(one.app)["v1"] == VersionInfo(
        name="v1", workers=versions(one.app)["v1"].workers
    )


def test_while_nobody_was_promoted_any_version_begins(deploy: Deploy) -> None:
    """Two versions and a worker without one: each begins its part, none is left."""
    builds = [deploy(version) for version in ("v1", "v2", "")]
    for build in builds:
        build.gate.clear()
    handles = [builds[0].queue.enqueue(builds[0].order, f"{n}") for n in range(12)]
    for build in builds:
        assert build.begun.wait(10)
        build.gate.set()
    results = [handle.get_result(timeout=20) for handle in handles]
    assert {result.partition(" by ")[2] for result in results} == {"v1", "v2", "any"}


def test_only_the_promoted_version_and_workers_without_one_begin(deploy: Deploy) -> None:
    """A promotion reaches workers at once: what waited goes to the new version."""
    one = deploy("v1")
    assert one.app.promote_version("v2")
    assert not one.app.promote_version("v2")
    wait_until(lambda: seen_version(one) == ("v1",), what="v1 knows that v2 is current")
    handles = [one.queue.enqueue(one.order, f"{n}") for n in range(5)]
    two = deploy("v2")
    assert [h.get_result(timeout=10) for h in handles] == [f"{n} by v2" for n in range(5)]
    two.app.shutdown()
    waiting = one.queue.enqueue(one.order, "cake")
    shown = versions(one.app)
    assert (shown["v2"].current, shown["v2"].workers, shown[""].enqueued) == (True, (), 1)
    deploy("")
    assert waiting.get_result(timeout=10) == "cake by any"
    assert one.runs == []


def seen_version(build: Build) -> tuple[str, ...]:
    """Return the versions that a build's worker takes from the line."""
    worker = build.app._worker
    assert worker is not None
    return tuple(worker._dispatcher.queues.versions)


def test_a_promotion_back_lets_a_version_begin_again_at_once(deploy: Deploy) -> None:
    """No poll is waited for: the worker is told, and looks through its queues."""
    one = deploy("v1")
    one.app.promote_version("v2")
    wait_until(lambda: seen_version(one) == ("v1",))
    handle = one.queue.enqueue(one.order, "tea")
    one.app.promote_version("v1")
    assert handle.get_result(timeout=10) == "tea by v1"
    assert versions(one.app)["v2"].current is False


def test_an_enqueue_may_name_the_version(deploy: Deploy) -> None:
    """Only workers of that version run it, whichever is current; also not one without a version."""
    one, two, free = deploy("v1"), deploy("v2"), deploy("")
    one.app.promote_version("v2")
    handle = two.queue.options(app_version="v1").enqueue(two.order, "tea")
    assert handle.get_result(timeout=10) == "tea by v1"
    foreign = two.queue.options(app_version="v0").enqueue(two.order, "cake")
    two.queue.enqueue(two.order, "later").get_result(timeout=10)
    assert foreign.get_status().status == "ENQUEUED"
    assert versions(one.app)["v0"].open == 1
    assert "cake" not in one.runs + two.runs + free.runs


def test_a_version_goes_on_only_with_its_own_after_a_hand_back(deploy: Deploy) -> None:
    """A worker that stops hands back; not the current version but its own goes on with it."""
    one = deploy("v1")
    one.gate.clear()
    handle = one.queue.enqueue(one.order, "tea")
    assert one.begun.wait(10)
    two, free = deploy("v2"), deploy("")
    one.app.promote_version("v2")
    stopping = threading.Thread(target=lambda: one.app.shutdown(drain=0))
    stopping.start()
    wait_until(lambda: free.app.list_versions()[1].name == "v1")
    one.gate.set()  # it reaches its step, and is handed back there
    stopping.join(20)
    wait_until(lambda: handle_status(two, handle.workflow_id) == "ENQUEUED")
    assert versions(two.app)["v1"].workers == ()
    assert two.queue.enqueue(two.order, "cake").get_result(timeout=10) != "cake by v1"
    assert deploy("v1").app.retrieve_workflow(handle.workflow_id).get_result(20) == "tea by v1"
    assert "tea" not in two.runs + free.runs


def handle_status(build: Build, workflow_id: str) -> str:
    """Return where a workflow stands."""
    return str(build.app.retrieve_workflow(workflow_id).get_status().status)


def test_a_version_goes_on_with_its_own_after_a_sleep_and_a_resume(
    deploy: Deploy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What went to sleep, or was cancelled, has its version still."""
    monkeypatch.setattr(sleeping, "LOADED_SECONDS", 0.0)
    one = deploy("v1")
    sleeper = one.queue.enqueue(one.waiter)
    cancelled = one.queue.enqueue(one.waiter)
    for handle in (sleeper, cancelled):
        wait_until(lambda h=handle: asleep(h), what="it sleeps")  # type: ignore[misc]
    one.app.cancel_workflow(cancelled.workflow_id)
    two, free = deploy("v2"), deploy("")
    two.app.promote_version("v2")
    one.app.resume_workflow(cancelled.workflow_id)
    for handle in (sleeper, cancelled):
        two.app.send(handle.workflow_id, 1, "go")
        assert two.app.retrieve_workflow(handle.workflow_id).get_result(20) == "v1"
    assert two.runs + free.runs == []


def asleep(handle: towpath.WorkflowHandle[str]) -> bool:
    """Tell whether a workflow has its place and no worker."""
    status = handle.get_status()
    return (status.status, status.worker) == ("PENDING", None)


def test_a_version_goes_on_with_its_own_after_its_worker_was_killed(
    database_url: str, deploy: Deploy, tmp_path: Path
) -> None:
    """Another version recovers it to the line, and leaves it there."""
    (tmp_path / "stuck.py").write_text(
        "import time, towpath\n"
        "queue = towpath.Queue('orders')\n"
        "@towpath.workflow(name='order')\n"
        "def order(what: str) -> str:\n"
        "    time.sleep(600)\n"
    )
    environ = {
        "TOWPATH_DATABASE_URL": database_url,
        "TOWPATH_VERSION": "v1",
        "TOWPATH_LEASE_SECONDS": "1",
    }
    with worker_processes(1, "stuck", tmp_path, environ, tmp_path) as (process,):
        client = towpath.Client(database_url)
        wait_until(lambda: len(client.list_versions()) == 1, what="v1 is there")
        two = deploy("v2")
        client.promote_version("v1")
        wait_until(lambda: seen_version(two) == ("v2",))
        handle = client.enqueue("orders", "order", "tea")
        wait_until(lambda: handle.get_status().status == "PENDING")
        client.promote_version("v2")
        process.kill()
        wait_until(lambda: handle.get_status().status == "ENQUEUED", what="it is recovered")
        assert handle.get_status().app_version == "v1"
        assert two.queue.enqueue(two.order, "cake").get_result(timeout=10) == "cake by v2"
        deploy("v1")
        assert handle.get_result(timeout=20) == "tea by v1"
        client.close()


def test_no_deploy_under_the_default_strands_anything(deploy: Deploy) -> None:
    """Without versions, changed code goes on with all that older code has begun."""
    old = deploy("")
    old.gate.clear()
    handles = [old.queue.enqueue(old.order, f"{n}") for n in range(6)]
    assert old.begun.wait(10)
    new = deploy("")
    stopping = threading.Thread(target=lambda: old.app.shutdown(drain=0))
    stopping.start()
    old.gate.set()
    stopping.join(20)
    found = [new.app.retrieve_workflow(h.workflow_id).get_result(20) for h in handles]
    assert found == [f"{n} by any" for n in range(6)]
    assert versions(new.app)[""].open == 0


def test_a_name_that_is_no_version_is_refused(app: App) -> None:
    """Nothing is promoted, and the error says what a name is."""
    for name in ("", "x" * 256, "a\x00", 3):
        with pytest.raises(ConfigurationError, match="1 to 255 characters"):
            app.promote_version(name)  # type: ignore[arg-type]
    app.engine.may_migrate = True
    assert app.list_versions() == []


def test_the_command_line_lists_and_promotes(
    deploy: Deploy,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`version list` shows who works and what is open; `version promote` warns where nobody works."""
    one = deploy("v1")
    monkeypatch.setenv("TOWPATH_DATABASE_URL", database_url)
    one.queue.options(app_version="v0", delay_seconds=60).enqueue(one.order, "tea")
    assert run(["version", "promote", "v1"]) == 0
    assert capsys.readouterr().err == "version 'v1' is now the current one\n"
    assert run(["version", "promote", "v1"]) == 0
    assert "already" in capsys.readouterr().err
    assert run(["version", "list"]) == 0
    titles, v0, v1 = capsys.readouterr().out.splitlines()
    assert titles.split() == [
        "VERSION",
        "CURRENT",
        "WORKERS",
        *["DELAYED", "ENQUEUED", "PENDING", "PROMOTED"],
    ]
    assert v0.split()[:6] == ["v0", "false", "0", "1", "0", "0"]
    assert v1.split()[:6] == ["v1", "true", "1", "0", "0", "0"]
    assert run(["version", "promote", "v9"]) == 0
    assert "no live worker runs it: start one with TOWPATH_VERSION=v9" in capsys.readouterr().err
    assert run(["version", "promote", ""]) == 2
    assert "Try: " not in capsys.readouterr().out


def test_what_has_ended_is_no_longer_counted(deploy: Deploy) -> None:
    """A version goes from the list with its last worker and its last open workflow."""
    one = deploy("v1")
    one.queue.enqueue(one.order, "tea").get_result(timeout=10)
    two = deploy("v2")
    one.app.shutdown()
    wait_until(lambda: set(versions(two.app)) == {"v2"}, seconds=10)


def test_children_are_begun_by_the_current_version(deploy: Deploy) -> None:
    """A child carries no version of its own: the current one begins it, also for an older parent."""
    one = deploy("v1")
    queue, order = one.queue, one.order

    @one.app.workflow(name="parent")
    def parent() -> str:
        return queue.enqueue(order, "child").get_result()

    wait_until(lambda: worker_knows(one, "parent"))
    deploy("v2")
    one.app.promote_version("v2")
    wait_until(lambda: seen_version(one) == ("v1",))
    handle = queue.options(app_version="v1").enqueue(parent)
    assert handle.get_result(timeout=20) == "child by v2"


def worker_knows(build: Build, name: str) -> bool:
    """Tell whether a build's worker has written that it runs a workflow."""
    worker = build.app._worker
    assert worker is not None
    return name in worker._row.names
