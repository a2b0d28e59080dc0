"""Crashes at chosen moments: the attempt ends there, and is recovered as that of a dead worker.

A crash is the attempt's alone, so that one worker serves a test of hundreds of them at once. What a
process that dies would leave is left: the records up to that write, and the place, which goes to a worker
whose lease has run out. Unlike there, `finally` blocks of the workflow's code run.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self

from towpath.api.app import App
from towpath.domain.ids import Seq
from towpath.executor.boundaries import Moment
from towpath.executor.context import Execution, Then
from towpath.executor.engine import Engine
from towpath.store import workers
from towpath.store.session import Session
from towpath.testing.statements import statement

REASON = "a test has it crash"
UNWINDING_SECONDS = 10.0
LOOK_SECONDS = 0.001

__all__ = ["Arrival", "Boundary", "CrashPlan", "Moment"]


@dataclass(frozen=True, slots=True)
class Boundary:
    """One side of a write of a workflow.

    Attributes:
        position: The step's position; empty for the workflow itself.
        name: The step's name, such as `charge` or `towpath.send`.
        moment: Before or after the write; for a durable wait also before and after its beginning.
        turn: Which one of the same position, name and moment in an attempt, from 1.
    """

    position: str
    name: str
    moment: Moment
    turn: int = 1

    def __str__(self) -> str:
        where = f"{self.position} " if self.position else ""
        again = f" ({self.turn})" if self.turn > 1 else ""
        return f"{where}{self.name} {self.moment.value}{again}"


@dataclass(frozen=True, slots=True)
class Arrival:
    """An attempt of a workflow at a boundary, which is its `number`-th, from 0."""

    workflow_id: str
    attempt: int
    number: int
    boundary: Boundary


Crashes = Callable[[Arrival], bool]
"""Tells whether the attempt crashes there."""


class CrashPlan:
    """Watches the boundaries of an App's workflows in this process, and crashes where it is told to.

    Used as a context manager; of several on an App the innermost has its workflows.

    Attributes:
        crashed: Every crash, in order.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._outer: list[tuple[Engine, Callable[..., None] | None]] = []
        self._lock = threading.Lock()
        self._rules: list[Crashes] = []
        self._reached: defaultdict[tuple[str, int], list[Boundary]] = defaultdict(list)
        self._turns: Counter[tuple[tuple[str, int], str, str, Moment]] = Counter()
        self.crashed: list[Arrival] = []

    def __enter__(self) -> Self:
        engine = self._app.engine
        self._outer.append((engine, engine.boundary))
        engine.boundary = self._arrive
        return self

    def __exit__(self, *_: object) -> None:
        engine, outer = self._outer.pop()
        engine.boundary = outer

    def boundaries(self, workflow_id: str, attempt: int = 1) -> list[Boundary]:
        """Return what an attempt of a workflow has reached, in order: each is a place for a crash."""
        with self._lock:
            return list(self._reached[workflow_id, attempt])

    def crash(self, workflow_id: str, at: Boundary | int, *, attempt: int = 1) -> None:
        """Crash an attempt of a workflow at a boundary, or at the n-th that it reaches, from 0."""
        self._rules.append(
            lambda arrival: (
                (arrival.workflow_id, arrival.attempt) == (workflow_id, attempt)
                and at in (arrival.boundary, arrival.number)
            )
        )

    @contextlib.contextmanager
    def crashing(self, rule: Crashes) -> Iterator[None]:
        """Crash wherever a function says so, as long as the block lasts; it is called under a lock."""
        self._rules.append(rule)
        try:
            yield
        finally:
            self._rules.remove(rule)

    def _arrive(self, execution: Execution, position: str, name: str, moment: Moment) -> None:
        """Take that an attempt stands at a boundary, from any thread; it ends here where it crashes."""
        if execution.interruption is not None:
            if execution.interruption == REASON:  # another branch of it has crashed
                execution.check()
            return
        with self._lock:
            arrival = self._note(execution, position, name, moment)
            if not any(rule(arrival) for rule in self._rules):
                return
            self.crashed.append(arrival)
        execution.interrupt(REASON, Then.NOTHING)
        execution.engine.io.submit(_recover(execution))
        execution.check()

    def _note(self, execution: Execution, position: str, name: str, moment: Moment) -> Arrival:
        attempt = (execution.workflow_id, execution.attempt)
        self._turns[attempt, position, name, moment] += 1
        boundary = Boundary(position, name, moment, self._turns[attempt, position, name, moment])
        self._reached[attempt].append(boundary)
        return Arrival(*attempt, len(self._reached[attempt]) - 1, boundary)


async def _recover(execution: Execution) -> None:
    """Once nothing of the attempt runs, end its lease as a dead worker's."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(UNWINDING_SECONDS):
            while not execution.seat.ended:  # noqa: ASYNC110 - a seat tells nobody
                await asyncio.sleep(LOOK_SECONDS)
    await execution.engine.persist(
        lambda session: _end_lease(session, execution.engine, execution.seq, execution.attempt)
    )


async def _end_lease(session: Session, engine: Engine, seq: Seq, attempt: int) -> None:
    crash = statement("crash", engine.settings.schema)
    (dead,) = await session.run((crash, {"seq": seq, "attempt": attempt}))
    for (worker,) in dead:
        await workers.end_own_lease(session, engine.statements, worker)
