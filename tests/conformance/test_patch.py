"""Changes of a workflow's code under its running workflows: old runs keep their way, new ones take the new."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest

import towpath
from tests.fixtures.apps import wait_until
from towpath import App
from towpath.errors import (
    NonDeterminismError,
    OutsideWorkflowError,
    SyncCallInAsyncError,
    UsageError,
)
from towpath.executor import sleeping

Declare = Callable[[App, "Code"], None]


class Code:
    """One deployment of the code; `ran` are the steps that it ran."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.queue = app.queue("orders")
        self.ran: list[str] = []
        self.paused = threading.Event()
        self.go_on = threading.Event()

        @app.step(name="do")
        def do(what: str) -> str:
            self.ran.append(what)
            return what

        self.do = do

    def pause(self) -> None:
        """Stand still until the worker stops; the next step is handed back."""
        self.paused.set()
        assert self.go_on.wait(30)


Deploy = Callable[[Declare], Code]


@pytest.fixture
def deploy(database_url: str) -> Iterator[Deploy]:
    """Return a function that launches code, in the place of what was there before."""
    live: list[Code] = []

    def launch(declare: Declare) -> Code:
        stop(live)
        code = Code(App(database_url=database_url))
        declare(code.app, code)
        live.append(code)
        assert code.app.launch(slots=4).wait_until_ready(20)
        return code

    yield launch
    stop(live)


def stop(live: list[Code]) -> None:
    """Stop what runs; what is paused is handed back at its next step."""
    while live:
        code = live.pop()
        stopping = threading.Thread(target=code.app.shutdown, kwargs={"drain": 0})
        stopping.start()
        worker = code.app._worker
        wait_until(lambda w=worker: w is None or not w._dispatcher.claiming)  # type: ignore[misc]
        code.go_on.set()
        stopping.join(20)
        assert not stopping.is_alive()


def start(code: Code) -> str:
    """Start the workflow and wait until it stands still."""
    with towpath.Client(str(code.app._database_url)) as client:
        workflow_id = client.enqueue("orders", "order").workflow_id
    assert code.paused.wait(10)
    return workflow_id


def result(code: Code, workflow_id: str) -> object:
    """Return what a workflow returned."""
    return code.app.retrieve_workflow(workflow_id).get_result(timeout=20)


def recorded(code: Code, workflow_id: str) -> list[str]:
    """Return the recorded steps in order, as `position name`."""
    steps = code.app.list_workflow_steps(workflow_id)
    return [f"{step.position} {step.name}" for step in steps]


def before(app: App, code: Code) -> None:
    """Declare the workflow as it was: a, and after a pause b."""

    @app.workflow(name="order")
    def order() -> list[str]:
        done = [code.do("a")]
        code.pause()
        return [*done, code.do("b")]


def between(app: App, code: Code) -> None:
    """Declare it with the patch before both: new runs do x first."""

    @app.workflow(name="order")
    def order() -> list[str]:
        done = [code.do("x")] if app.patch("with x") else []
        done.append(code.do("a"))
        code.pause()
        return [*done, code.do("b")]


def deprecated(app: App, code: Code) -> None:
    """Declare it without the old way: runs with the marker are open still."""

    @app.workflow(name="order")
    def order() -> list[str]:
        app.deprecate_patch("with x")
        done = [code.do("x"), code.do("a")]
        code.pause()
        return [*done, code.do("b")]


def after(app: App, code: Code) -> None:
    """Declare it as if it had always been so."""

    @app.workflow(name="order")
    def order() -> list[str]:
        done = [code.do("x"), code.do("a")]
        code.pause()
        return [*done, code.do("b")]


def test_a_run_from_before_goes_on_its_way_and_takes_no_position(deploy: Deploy) -> None:
    """What it recorded is found again at the same positions."""
    old = start(deploy(before))
    code = deploy(between)
    code.go_on.set()
    assert result(code, old) == ["a", "b"]
    assert recorded(code, old) == ["1 do", "2 do"]
    assert code.ran == ["b"]


def test_a_new_run_takes_the_new_way_in_every_attempt(deploy: Deploy) -> None:
    """The marker is recorded as a step, and found by the next attempt."""
    new = start(deploy(between))
    code = deploy(between)
    code.go_on.set()
    assert result(code, new) == ["x", "a", "b"]
    assert recorded(code, new) == ["1 towpath.patch.with x", "2 do", "3 do", "4 do"]
    assert code.ran == ["b"]


def test_a_deprecated_patch_passes_markers_and_leaves_none(deploy: Deploy) -> None:
    """Runs with the marker and runs without it go on; after these the call can go."""
    marked = start(deploy(between))
    code = deploy(deprecated)
    code.go_on.set()
    assert result(code, marked) == ["x", "a", "b"]
    code.go_on.clear()
    code.paused.clear()
    unmarked = start(code)
    code = deploy(after)
    code.go_on.set()
    assert result(code, unmarked) == ["x", "a", "b"]
    assert recorded(code, unmarked) == ["1 do", "2 do", "3 do"]


def test_code_without_the_patch_refuses_a_run_that_has_the_marker(deploy: Deploy) -> None:
    """The error names the marker, so that its reader knows which patch is missing."""
    marked = start(deploy(between))
    code = deploy(after)
    code.go_on.set()
    with pytest.raises(NonDeterminismError, match=r"'towpath\.patch\.with x' is recorded"):
        result(code, marked)


def test_a_run_that_has_not_come_to_the_patch_takes_the_new_way(deploy: Deploy) -> None:
    """Behind all that it has recorded, an old run is as a new one."""

    def patched_later(app: App, code: Code) -> None:
        @app.workflow(name="order")
        def order() -> list[str]:
            done = [code.do("a")]
            code.pause()
            return [*done, code.do("y" if app.patch("b is y") else "b")]

    old = start(deploy(before))
    code = deploy(patched_later)
    code.go_on.set()
    assert result(code, old) == ["a", "y"]
    assert recorded(code, old) == ["1 do", "2 towpath.patch.b is y", "3 do"]


def test_two_patches_of_different_times_are_told_apart(deploy: Deploy) -> None:
    """A run with the first one's marker takes no position for a second that is put before it."""

    def patched_twice(app: App, code: Code) -> None:
        @app.workflow(name="order")
        def order() -> list[str]:
            done = [code.do("w")] if app.patch("with w") else []
            done += [code.do("x")] if app.patch("with x") else []
            done.append(code.do("a"))
            code.pause()
            return [*done, code.do("b")]

    first = start(deploy(between))
    code = deploy(patched_twice)
    code.go_on.set()
    assert result(code, first) == ["x", "a", "b"]
    code.paused.clear()
    assert result(code, start(code)) == ["w", "x", "a", "b"]


def test_a_run_that_waits_at_the_patch_is_from_before(
    deploy: Deploy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wait is no step yet, and its place is taken all the same: its time does not begin anew."""
    monkeypatch.setattr(sleeping, "LOADED_SECONDS", 0.0)

    def waits(app: App, code: Code) -> None:
        @app.workflow(name="order")
        def order() -> list[str]:
            code.paused.set()
            return [str(app.recv("go", timeout_seconds=600))]

    def patched_wait(app: App, code: Code) -> None:
        @app.workflow(name="order")
        def order() -> list[str]:
            code.paused.set()
            done = [code.do("x")] if app.patch("with x") else []
            return [*done, str(app.recv("go", timeout_seconds=600))]

    code = deploy(waits)
    handle = code.app.retrieve_workflow(old := start(code))
    wait_until(lambda: handle.get_status().worker is None, what="it sleeps")
    code = deploy(patched_wait)
    code.app.send(old, "message", "go")
    assert result(code, old) == ["message"]
    assert recorded(code, old) == ["1 towpath.recv"]


def test_a_run_whose_branches_begin_at_the_patch_is_from_before(deploy: Deploy) -> None:
    """A task takes a position without a record of its own; the ones below it tell."""

    def branches(app: App, code: Code) -> None:
        declare_branches(app, code, patched=False)

    def patched_branches(app: App, code: Code) -> None:
        declare_branches(app, code, patched=True)

    old = start(deploy(branches))
    code = deploy(patched_branches)
    code.go_on.set()
    assert result(code, old) == ["l", "r", "b"]
    assert code.ran == ["b"]
    code.paused.clear()
    assert result(code, start(code)) == ["x", "l", "r", "b"]


def declare_branches(app: App, code: Code, *, patched: bool) -> None:
    """Declare an async workflow of two branches, with or without a patch before them."""

    @app.step(name="do async")
    async def do(what: str) -> str:
        code.ran.append(what)
        return what

    @app.workflow(name="order")
    async def order() -> list[str]:
        done = [await do("x")] if patched and await app.patch_async("with x") else []
        await app.deprecate_patch_async("never there")
        done += await asyncio.gather(do("l"), do("r"))
        await asyncio.to_thread(code.pause)
        return [*done, await do("b")]


def test_a_forked_run_has_the_marker_of_its_source(deploy: Deploy) -> None:
    """What was recorded before the step goes with it."""
    code = deploy(between)
    code.go_on.set()
    new = start(code)
    assert result(code, new) == ["x", "a", "b"]
    forked = code.app.fork_workflow(new, "4")
    assert forked.get_result(timeout=20) == ["x", "a", "b"]
    assert code.ran == ["x", "a", "b", "b"]


def test_what_is_no_place_or_name_for_a_patch_is_refused(deploy: Deploy) -> None:
    """Outside of workflows, in a step, without a name, blocking in async code."""
    refusals: dict[str, str] = {}

    def declare(app: App, code: Code) -> None:
        @app.step(name="inside")
        def inside() -> None:
            refused(refusals, "step", OutsideWorkflowError, lambda: app.patch("p"))

        @app.workflow(name="order")
        async def order() -> str:
            code.paused.set()
            refused(refusals, "async", SyncCallInAsyncError, lambda: app.patch("p"))
            for name in ("", "x" * 256, "a\x00", None):
                refused(refusals, "name", UsageError, lambda n=name: app.deprecate_patch(n))  # type: ignore[misc]
            await asyncio.to_thread(inside)
            return "done"

    code = deploy(declare)
    with pytest.raises(OutsideWorkflowError, match="patch was called outside of workflows"):
        towpath.patch("p")
    with pytest.raises(OutsideWorkflowError):
        towpath.deprecate_patch("p")
    workflow_id = start(code)
    assert result(code, workflow_id) == "done"
    assert refusals == {
        "step": "patch was called inside step 'inside'. Call it from the workflow itself.",
        "async": refusals["async"],
        "name": "deprecate_patch: name is None; allowed is a str of 1 to 255 characters, without "
        "NUL or lone surrogates.",
    }
    assert "patch_async" in refusals["async"]
    assert recorded(code, workflow_id) == ["1 inside"]


def refused(
    refusals: dict[str, str], where: str, kind: type[Exception], call: Callable[[], object]
) -> None:
    """Note what a call was refused with."""
    with pytest.raises(kind) as caught:
        call()
    refusals[where] = str(caught.value)
