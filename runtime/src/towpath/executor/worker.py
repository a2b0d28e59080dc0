"""A launched worker: its row and lease, its turns, and its end."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta

from towpath.domain.errors import (
    TowpathError,
    UsageError,
)
from towpath.domain.ids import QueueName, Seq, WorkerId
from towpath.executor.admission import Admission
from towpath.executor.context import Execution, Then, current_execution
from towpath.executor.deadlines import Deadlines
from towpath.executor.declarations import declare_queues
from towpath.executor.dispatcher import Dispatcher, Reports
from towpath.executor.engine import Engine
from towpath.executor.heartbeat import Heartbeat
from towpath.executor.maintenance.services import services_of
from towpath.executor.outages import AWAY, BackOff
from towpath.executor.registration import Registration, tell_of_recovery
from towpath.executor.run_workflow import WorkflowRunner
from towpath.executor.settings import WorkerSettings
from towpath.executor.sleeping import Sleeping
from towpath.executor.transactions import check_databases
from towpath.store import workers
from towpath.store.claims import Claimed, Outcome, fenced_places, find_unknown
from towpath.store.connect import open_async
from towpath.store.queues import settings_of
from towpath.store.session import AsyncSession

logger = logging.getLogger("towpath.worker")

LAST_WRITES_SECONDS = 5.0


class Worker:
    """Serves queues in this process until it is stopped.

    Made by `launch`, which returns at once: connecting, migrating and registering go on in the
    background, and again after every outage.
    """

    def __init__(self, engine: Engine, settings: WorkerSettings, *, library: str) -> None:
        self.settings = settings
        self._engine = engine
        self._registered = threading.Event()
        self._stopping = asyncio.Event()
        self._stopped = asyncio.Event()
        self._row = Registration(engine, settings, library=library)
        self.services = services_of(engine, lambda: self._row.worker_id)
        """What it does beside its turns, for the whole schema."""
        self._failure: Exception | None = None
        self._dispatcher: Dispatcher
        self._runner: WorkflowRunner
        self._admission: Admission
        self._sleeping: Sleeping
        self._deadlines = Deadlines(engine)
        self._serving: concurrent.futures.Future[None] | None = None
        self._serving_task: asyncio.Task[None] | None = None
        self._drained_by = 0.0

    # -- for callers, from any thread

    def start(self) -> None:
        """Begin to serve, in the background."""
        self._serving = self._engine.io.submit(self._serve())

    @property
    def ready(self) -> bool:
        """Whether the worker has registered its row once."""
        return self._registered.is_set()

    def wait_until_ready(self, timeout: float | None = None) -> bool:
        """Block until the worker has registered, or the timeout (seconds) is over.

        A worker that serves no queue has nothing to wait for. False also where it was stopped first.

        Raises:
            TowpathError: what keeps it from ever serving, such as a schema that is too new.
        """
        ends = None if timeout is None else time.monotonic() + timeout
        while not self._registered.wait(0.05):
            if self._failure is not None:
                raise self._failure
            if self._serving is None or self._serving.done():
                return self._serving is None or self._registered.is_set()
            if ends is not None and time.monotonic() >= ends:
                return False
        return True

    @property
    def failure(self) -> Exception | None:
        """What ended the worker for good, if something did."""
        return self._failure

    def when_ended(self, callback: Callable[[], None]) -> None:
        """Call back, from some thread, once the worker serves no more, for whatever reason."""
        if self._serving is not None:
            self._serving.add_done_callback(lambda _: callback())

    def call(self, queue: QueueName) -> None:
        """Say that this process has put something in line; it is in Postgres already."""
        if self._registered.is_set():
            with contextlib.suppress(RuntimeError):  # the worker stops: others take it
                self._engine.io.loop.call_soon_threadsafe(self.called, queue)

    def stop(self, drain: timedelta | None = None, *, patience: float | None = None) -> None:
        """Stop claiming, let running workflows end, hand back the rest at their next step boundary.

        Blocks until nothing of a workflow runs any more; steps that are under way are not cut short.
        With `patience` it blocks no longer than so many seconds, and leaves to others what still runs.

        Raises:
            UsageError: a workflow of this worker would wait for its own end.
        """
        if self._serving is None or self._serving.done():
            return
        execution = current_execution()
        if execution is not None and execution.engine is self._engine:
            raise UsageError(
                "a worker was stopped from within one of its workflows, whose end it would await. "
                "Call shutdown() from outside of workflows, or end the process."
            )
        stopping = self._engine.io.submit(
            self._stop(self.settings.drain if drain is None else drain)
        )
        concurrent.futures.wait([stopping], timeout=patience)

    @property
    def queues(self) -> list[QueueName]:
        """The queues that it serves now: those named to it, else every one declared in the process."""
        return self._row.queues

    # -- the life of it, on the library's loop

    async def _serve(self) -> None:
        reports = Reports(self._claimed, self._ended, self._stale, self._asleep)
        self._dispatcher = Dispatcher(
            self._engine.statements,
            self.settings.slots,
            lambda: self._row.names,
            reports,
            self.settings.version,
        )
        self._sleeping = Sleeping(self._engine, self._dispatcher)
        self._runner = WorkflowRunner(self._engine, self._dispatcher.finished)
        self._admission = Admission(self._engine, self._dispatcher, self._runner)
        self._serving_task = asyncio.current_task()
        try:
            await self._serve_until_drained()
        except asyncio.CancelledError:
            if not self._stopping.is_set():
                raise
        except TowpathError as error:
            self._failure = error
            logger.error("worker cannot serve", extra={"reason": str(error)})  # noqa: TRY400 - the reason says it
        except Exception as error:
            self._failure = error
            logger.exception("worker failed")
        finally:
            self._deadlines.next_in(None)
            for execution in list(self._dispatcher.active.values()):
                execution.interrupt("its worker has ended", Then.BACK)
            self._stopped.set()

    async def _serve_until_drained(self) -> None:
        """Serve, and again after every outage; in the drain too, for what there is still to write."""
        back_off = BackOff(self._engine.outage, longest=self.settings.lease.total_seconds() / 4)
        while True:
            try:
                return await self._serve_connected(back_off)
            except AWAY as error:
                back_off.failed(error)
            late = asyncio.get_running_loop().time() >= self._drained_by + LAST_WRITES_SECONDS
            if self._stopping.is_set() and (late or self._dispatcher.idle):
                return None
            await back_off.pause()

    async def _serve_connected(self, back_off: BackOff) -> None:
        """Serve over two fresh connections until one breaks or the worker has drained."""
        engine = self._engine
        async with (
            await open_async(engine.settings.endpoint) as turns,
            await open_async(engine.settings.endpoint) as beats,
        ):
            prepare = engine.settings.endpoint.prepare
            await engine.prepare_schema(turns)
            session = AsyncSession(turns, prepare=prepare)
            await declare_queues(session, engine)
            await check_databases(engine, session)
            heartbeat = Heartbeat(self, beats, AsyncSession(beats, prepare=prepare))
            await self.register(session)
            await self._adopt_unknown(session)
            back_off.over()
            await self._run_together(session, heartbeat)

    async def _run_together(self, session: AsyncSession, heartbeat: Heartbeat) -> None:
        beating = asyncio.create_task(heartbeat.run())
        turning = asyncio.create_task(self._dispatcher.run(session))
        draining = asyncio.create_task(self._drained())
        serving = [asyncio.create_task(s.run()) for s in (self._sleeping, *self.services)]
        tasks = (beating, turning, draining, *serving)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error
        await self._say_goodbye()

    async def register(self, session: AsyncSession) -> None:
        """Write the row, or after an outage find it again, and look at every queue."""
        if self._row.worker_id is not None and not (await self.look(session)).alive:
            self.lost_lease()
        if self._row.worker_id is None:
            self._dispatcher.serve_as(await self._row.write(session))
        await self.saw(await self.look(session), session)
        self._registered.set()

    async def _adopt_unknown(self, session: AsyncSession) -> None:
        """Begin what a claim took whose answer was lost; no turn is under way at this moment."""
        if self._row.worker_id is not None:
            rows = await find_unknown(
                session,
                self._engine.statements,
                worker=self._row.worker_id,
                known=self._dispatcher.known,
            )
            self._dispatcher.adopt(rows)

    async def look(self, session: AsyncSession) -> workers.Sight:
        """Renew the lease and look at every queue."""
        return await self._row.look(session, self._dispatcher.queues.versions)

    async def saw(self, sight: workers.Sight, session: AsyncSession) -> None:
        """Take what a poll saw; read the settings that have changed, and what was cancelled."""
        statements = self._engine.statements
        self._dispatcher.queues.begins(sight.current_version)
        self._deadlines.next_in(sight.deadline_seconds)
        changed = self._dispatcher.queues.saw(sight.queues)
        if changed:
            self._dispatcher.configure(await settings_of(session, statements, changed))
        if sight.fenced and self._row.worker_id is not None:
            self._dispatcher.cancel(await fenced_places(session, statements, self._row.worker_id))

    def called(self, queue: str) -> None:
        """Take a NOTIFY, or a word from this process that it has enqueued."""
        if self._registered.is_set():
            self._dispatcher.queues.look(QueueName(queue))

    def told(self, payload: str) -> bool:
        """Take a NOTIFY's payload: a queue, or a queue and what is new; tell whether to look now."""
        name, _, news = payload.partition(",")
        queue = QueueName(name)
        if news == "due":
            self._dispatcher.queues.ask_outlook(queue)
        elif news == "awake":
            self._dispatcher.queues.rouse(queue)
        elif not news:
            self.called(queue)
        return news in {"settings", "cancelled", "version"} and queue in self.queues

    @property
    def shortest_poll(self) -> float:
        """The shortest polling interval of the queues that it serves, in seconds."""
        return self._dispatcher.queues.shortest_poll

    @property
    def worker_id(self) -> WorkerId | None:
        """The id of the worker's row; None while it has none."""
        return self._row.worker_id

    @property
    def statements_channel(self) -> str:
        """The channel on which enqueuers call."""
        return self._engine.statements.channel

    def lost_lease(self) -> None:
        """Somebody ended this worker's lease: what it runs is stale, and it registers anew."""
        logger.warning("lease lost", extra={"worker_id": self._row.worker_id})
        for execution in self._dispatcher.active.values():
            execution.interrupt("its worker's lease ended", Then.NOTHING)
        self._row.worker_id = self._dispatcher.worker_id = None

    async def end_dead_leases(self, session: AsyncSession) -> None:
        """Return the workflows of workers whose lease ran out."""
        if self._row.worker_id is None:
            return
        recovery = await workers.end_dead_leases(
            session, self._engine.statements, me=self._row.worker_id
        )
        tell_of_recovery(recovery)

    # -- what a turn has committed

    def _claimed(self, rows: Sequence[Claimed], begin_by: float | None) -> None:
        self._admission.admit(rows, self._row.lease, begin_by)

    def _ended(self, outcomes: Sequence[Outcome]) -> None:
        """Tell those in this process who wait for what has just been committed."""
        hub = self._engine.hub
        for outcome in outcomes:
            if hub.is_awaited(outcome.seq):
                hub.tell_end(outcome.seq, outcome.status, outcome.output)

    def _asleep(self, executions: Sequence[Execution]) -> None:
        self._sleeping.fall_asleep(executions)

    def _stale(self, seq: Seq) -> None:
        # another attempt took over, or it was written already and the answer was lost
        logger.info("outcome found no place", extra={"seq": seq})

    # -- the end

    async def _stop(self, drain: timedelta) -> None:
        if self._stopping.is_set() or self._stopped.is_set():
            await self._stopped.wait()
            return
        self._drained_by = asyncio.get_running_loop().time() + drain.total_seconds()
        self._stopping.set()
        if self._row.worker_id is None and self._dispatcher.idle and self._serving_task is not None:
            self._serving_task.cancel()  # it may be waiting for a server that does not answer
        await self._stopped.wait()

    async def _drained(self) -> None:
        """Wait for the order to stop, then until nothing runs."""
        await self._stopping.wait()
        self._dispatcher.stop_claiming()
        self._interrupt_waits()
        logger.info("worker draining", extra={"running": len(self._dispatcher.active)})
        if self._dispatcher.idle:
            return
        saying = asyncio.create_task(self._say_draining())  # a slow server delays no deadline
        try:
            while not self._dispatcher.idle:
                await asyncio.sleep(0.01)
                self._interrupt_waits()
        finally:
            saying.cancel()

    def _interrupt_waits(self) -> None:
        """End what waits, and after the deadline everything at its next step boundary."""
        late = asyncio.get_running_loop().time() >= self._drained_by
        for execution in list(self._dispatcher.active.values()):
            execution.interrupt_wait("its worker stops")
            if late:
                execution.interrupt("its worker stops", Then.BACK)

    async def _say_draining(self) -> None:
        worker_id = self._row.worker_id
        if worker_id is not None:
            statements = self._engine.statements
            await self._engine.persist(lambda s: workers.begin_draining(s, statements, worker_id))

    async def _say_goodbye(self) -> None:
        """Remove the row; what is still in it returns to its line."""
        worker_id, self._row.worker_id = self._row.worker_id, None
        self._runner.close()
        if worker_id is None:
            return
        try:
            async with asyncio.timeout(LAST_WRITES_SECONDS):
                await self._engine.on_loop(
                    lambda s: workers.end_own_lease(s, self._engine.statements, worker_id)
                )
        except (TimeoutError, TowpathError) as error:
            # its lease ends by itself; since the row says draining, no recovery is counted
            logger.warning("worker's row is left behind", extra={"reason": str(error)})
        logger.info("worker stopped", extra={"worker_id": worker_id})
