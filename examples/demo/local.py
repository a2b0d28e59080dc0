"""The story on this machine: orders, a worker that is killed in the middle, and its order's end."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

from examples.demo import page
from examples.demo.errors import DemoError
from examples.demo.page import Proof
from examples.demo.processes import Program, program
from examples.demo.proofs import prove_limit, prove_once, prove_resumed, prove_success
from examples.demo.results import show_results
from examples.demo.warehouse import ACTIONS, Call, Outcome, Report
from towpath import Client, WorkflowInfo
from towpath.local.discovery import find_dev

T = TypeVar("T")

SHOP = Path(__file__).parents[1] / "shop"
CALL_SECONDS = 0.5
SINGLE = range(1, 13)
BATCH = range(13, 19)
ORDERS = [*SINGLE, *BATCH]
KILL_AFTER = 5
"""So many orders are shipped before a worker is killed."""

QUIET_SECONDS = 0.1
"""The kill comes so far from the start and the end of each of the worker's calls."""

SETTINGS = {
    # Short, since people watch: after so long without a heartbeat a worker counts as dead.
    "TOWPATH_LEASE_SECONDS": "2",
    "PYTHONPATH": str(SHOP),
}
NEXT = """\
cd examples/hello && ../../.venv/bin/towpath dev app.py
cd examples/hello && ../../.venv/bin/python app.py       in another terminal
make demo-kubernetes"""


def tell() -> list[Proof]:
    """Tell it, and return what it proved."""
    page.say("Towpath: durable workflow queues. 18 orders, 3 workers, and one kill -9.")
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="towpath-demo-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o755)  # as root, Postgres runs as a user of its own
        story = Story(stack, folder)
        story.open_warehouse()
        story.start_dev()
        story.place_orders()
        killed = story.kill_a_worker()
        story.show_takeover(killed)
        ends = story.wait_for_all()
        report = story.report()
        page.heading("Results")
        show_results(ends, report)
        proofs = [
            prove_success({info.workflow_id: info.status for info in ends}),
            *prove_limit(report),
            *prove_resumed(report, killed),
            prove_once(report, ORDERS),
        ]
        page.verdict("Proved, by the warehouse's own log", proofs)
        page.heading("Stopping what was started")
    page.heading("Try next")
    page.lines(NEXT.splitlines())
    return proofs


class Story:
    """What runs, and the parts of the story in their order."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack = stack
        self._folder = folder

    def open_warehouse(self) -> None:
        """Start the API that the orders call."""
        page.heading("A warehouse's HTTP API, which refuses a fourth call in flight")
        arguments = [str(SHOP / "warehouse.py"), "--port=0", f"--seconds={CALL_SECONDS}"]
        self._warehouse = self._start("the warehouse", arguments)
        self._url = self._warehouse.says("\n", seconds=20).strip()
        page.lines([self._url])

    def start_dev(self) -> None:
        """Start Towpath on the manifests."""
        page.heading("towpath dev --filename examples/shop/queue.yaml")
        env = {**SETTINGS, "WAREHOUSE_URL": self._url}
        arguments = ["-m", "towpath", "dev", "--filename", str(SHOP / "queue.yaml")]
        self._dev = self._stack.enter_context(
            program("towpath dev", arguments, folder=self._folder, env=env, remove=self._folder)
        )
        said = self._dev.says("\nstop ", seconds=60)
        page.lines(said[said.index("towpath dev ") : said.index("\ntry ")].splitlines())
        dev = find_dev(self._folder)
        if dev is None:
            raise DemoError(f"towpath dev is not to be found.\n{self._dev.tail()}")
        self._client = self._stack.enter_context(Client(dev.url, schema=dev.schema))

    def place_orders(self) -> None:
        """Enqueue from a process of its own, some of it twice."""
        page.heading(
            f"Orders 1 to {SINGLE[-1]} are placed, twice each, and a batch of {len(BATCH)}"
        )
        script = str(SHOP / "place_orders.py")
        for numbers, how in ((SINGLE, []), (SINGLE, []), (BATCH, ["--as-batch"])):
            arguments = [script, str(numbers[0]), str(numbers[-1]), *how]
            with program("placing orders", arguments, folder=self._folder, env=SETTINGS) as placing:
                said = placing.ends(seconds=30).split()
        page.lines([f"order-1 to order-{SINGLE[-1]}, and {said[-1]}, the parent of the others"])

    def kill_a_worker(self) -> Call:
        """Kill a worker in the middle of an order, when some are through."""
        page.heading("At work, until a worker is killed in the middle of an order")
        call = self._until(_victim, what="an order in its second step")
        os.kill(call.pid, signal.SIGKILL)
        calls = self.report().of(call.order)
        page.lines(
            [
                f"kill -9 {call.pid}   that is {call.pod}, with order-{call.order} in its hands:",
                *_steps(calls),
            ]
        )
        return call

    def show_takeover(self, killed: Call) -> None:
        """Wait until the order is through, and show by whose hands."""
        page.heading(f"order-{killed.order} goes on, on another worker")

        def through(report: Report) -> list[Call] | None:
            calls = report.of(killed.order)
            done = calls[-1].action == ACTIONS[-1] and calls[-1].outcome is Outcome.ANSWERED
            return calls if done else None

        page.lines(_steps(self._until(through, what=f"the end of order-{killed.order}")))

    def wait_for_all(self) -> list[WorkflowInfo]:
        """Wait until every workflow has ended."""
        page.heading("The rest of the orders")

        def ended(_report: Report) -> list[WorkflowInfo] | None:
            found = self._client.list_workflows(limit=2 * len(ORDERS))
            done = len(found) > len(ORDERS) and all(info.status.ended for info in found)
            return found if done else None

        found = self._until(ended, what="the end of all workflows")
        page.lines([self.report().so_far()])
        return found

    def report(self) -> Report:
        """Ask the warehouse what it saw."""
        self._warehouse.check()
        self._dev.check()
        return Report.read(self._url)

    def _until(self, look: Callable[[Report], T | None], *, what: str) -> T:
        return page.until(
            lambda: look(self.report()),
            what=what,
            seconds=60,
            so_far=lambda: self.report().so_far(),
        )

    def _start(self, name: str, arguments: Sequence[str]) -> Program:
        return self._stack.enter_context(program(name, arguments, folder=self._folder))


def _victim(report: Report) -> Call | None:
    """Return a second step in its middle, of a worker all of whose calls are in their middle.

    So it is certain what is recorded: the steps before, and not these.
    """
    if report.shipped() < KILL_AFTER:
        return None
    for call in report.calls:
        if call.action == ACTIONS[1] and _in_its_middle(call, report.now):
            others = [other for other in report.calls if other.worker == call.worker]
            if all(_in_its_middle(c, report.now) or _long_over(c, report.now) for c in others):
                return call
    return None


def _in_its_middle(call: Call, now: float) -> bool:
    runs = call.outcome is Outcome.IN_FLIGHT
    # Ends early enough for the kill to come before the answer, on a busy machine too.
    return runs and QUIET_SECONDS < now - call.began < CALL_SECONDS / 2


def _long_over(call: Call, now: float) -> bool:
    return call.ended is not None and now - call.ended > QUIET_SECONDS


def _steps(calls: Sequence[Call]) -> list[str]:
    """Return a line for each step of an order, with who made the call."""
    shown = [f"   {call.action:<8} {call.outcome:<10} {call.worker}" for call in calls]
    begun = {call.action for call in calls}
    return [*shown, *(f"   {action:<8} not begun" for action in ACTIONS if action not in begun)]
