"""From a claimed row to running code: its recorded steps are loaded first where it goes on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from towpath.executor.context import Execution, Then
from towpath.executor.dispatcher import Dispatcher
from towpath.executor.engine import Engine
from towpath.executor.lease import Lease
from towpath.executor.run_workflow import WorkflowRunner
from towpath.executor.slots import Seat
from towpath.store import steps
from towpath.store.claims import Claimed

logger = logging.getLogger("towpath.worker")


class Admission:
    """Begins what a worker has claimed. Called on the library's loop."""

    def __init__(self, engine: Engine, dispatcher: Dispatcher, runner: WorkflowRunner) -> None:
        self._engine = engine
        self._dispatcher = dispatcher
        self._runner = runner
        self._loading: set[asyncio.Task[None]] = set()

    def admit(self, rows: Sequence[Claimed], lease: Lease, begin_by: float | None) -> None:
        """Begin first attempts at once, and later ones when their recorded steps are here."""
        begun: list[Execution] = []
        resumed: list[Execution] = []
        for row in rows:
            execution = Execution(
                self._engine, row.seq, row.workflow_id, row.attempt, row.queue, row.name, row.codec,
                row.input, Seat(self._dispatcher.slots), lease, begin_by,
            )  # fmt: skip
            self._dispatcher.active[row.seq, row.attempt] = execution
            (resumed if row.attempt > 1 else begun).append(execution)
        self._begin(begun)
        if resumed:
            task = asyncio.get_running_loop().create_task(self._resume(resumed))
            self._loading.add(task)
            task.add_done_callback(self._loading.discard)

    async def _resume(self, executions: Sequence[Execution]) -> None:
        statements = self._engine.statements
        seqs = [e.seq for e in executions]
        recorded = await self._engine.persist(lambda session: steps.load(session, statements, seqs))
        for execution in executions:
            execution.recorded = recorded.get(execution.seq, {})
            logger.info(
                "workflow goes on",
                extra={
                    "workflow_id": execution.workflow_id,
                    "attempt": execution.attempt,
                    "recorded_steps": len(execution.recorded),
                },
            )
        self._begin(executions)

    def _begin(self, executions: Sequence[Execution]) -> None:
        attempts = []
        for execution in executions:
            definition = self._engine.registry.workflow(execution.name)
            if definition is None:  # the claim names only what is registered
                execution.interrupt("its function is no longer registered", Then.BACK)
                self._dispatcher.finished(execution, None)
                continue
            attempts.append((execution, definition))
        self._runner.start(attempts)
