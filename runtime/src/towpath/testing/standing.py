"""Whether anything goes on by itself in the database under test, and when the next thing is due."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from towpath.api.app import App
from towpath.domain.schedule import read_cron
from towpath.executor.dispatcher import Dispatcher
from towpath.executor.maintenance.schedules import ScheduleFiring
from towpath.executor.worker import Worker
from towpath.store import schedules, workers
from towpath.store.schedules import Watched
from towpath.testing.statements import statement

Waiting = frozenset[str]
NO_WORKER: Final = -1


@dataclass(frozen=True, slots=True)
class Standing:
    """How everything stands.

    Attributes:
        at_rest: Whether nothing happens any more unless time passes, or somebody outside acts.
        awaited: Whether somebody outside of workflows waits for a result, an event or a stream.
        due: When the next thing happens by itself; None where time alone changes nothing.
    """

    now: datetime
    at_rest: bool
    awaited: bool
    due: datetime | None


class Observer:
    """Looks at an App's worker and its database. Called on the library's loop."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._engine = app.engine
        self._statement = statement("standing", self._engine.settings.schema)

    @property
    def awaited(self) -> bool:
        """Whether this process waits outside of workflows."""
        return any(wait.seq == 0 for wait in self._engine.hub.waits)

    async def look(self) -> Standing | None:
        """Return how everything stands; None where the worker is at work, or not there yet."""
        worker, before = _serving(self._app), self._in_memory()
        if before is None:
            return None
        parameters = {
            "worker": NO_WORKER if worker is None else worker.worker_id,
            "queues": [] if worker is None else list(worker.queues),
            "names": list(self._engine.registry.names),
            "versions": [] if worker is None else list(dispatcher_of(worker).queues.versions),
        }
        (rows,) = await self._engine.on_loop(
            lambda session: session.run((self._statement, parameters))
        )
        now, awaited, restless, places, due = rows[0]
        tick, unfired = await self._next_tick(worker)
        # what is in Postgres is what is in memory, and that was the same before and after
        still = before == self._in_memory() and before == Waiting(places)
        return Standing(
            now=now,
            at_rest=still and not restless and not unfired,
            awaited=awaited or self.awaited,
            due=min((d for d in (due, tick) if d is not None), default=None),
        )

    def _in_memory(self) -> Waiting | None:
        """Return each wait of each attempt that the worker has; None where it does anything else."""
        worker = _serving(self._app)
        if worker is None:
            return Waiting()
        if worker.worker_id is None or not worker.ready or not dispatcher_of(worker).at_rest:
            return None
        dispatcher = dispatcher_of(worker)
        if any(dispatcher.releases(e.queue) for e in dispatcher.active.values()):
            return None  # it goes out of memory in a moment, and gives its place back
        return Waiting(
            f"{seq}:{attempt}:{position}"
            for (seq, attempt), execution in dispatcher.active.items()
            for position in list(execution.open_waits)
        )

    async def _next_tick(self, worker: Worker | None) -> tuple[datetime | None, bool]:
        """Return when the next schedule fires, and whether one has not yet that should have."""
        names = [d.name for d in self._engine.registry.schedules()]
        if not names or worker is None or (worker_id := worker.worker_id) is None:
            return None, False
        statements = self._engine.statements
        now, watched = await self._engine.on_loop(
            lambda session: schedules.look(session, statements, worker_id, names)
        )
        ticks = [t for w in watched if (t := _tick_of(w, now)) is not None]
        undeclared = len([w for w in watched if w.declared]) < len(names)
        return min((t for t in ticks if t > now), default=None), (
            undeclared or any(t <= now for t in ticks)
        )

    async def time_moved(self) -> None:
        """Have everything here look at the clock; others are told by a NOTIFY."""
        engine, worker = self._engine, worker_of(self._app)
        engine.hub.look_again()
        await engine.on_loop(lambda session: workers.expire(session, engine.statements))
        if worker is None or not worker.ready:
            return
        dispatcher_of(worker).queues.time_moved()
        for service in worker.services:
            if isinstance(service, ScheduleFiring):
                service.call()


def worker_of(app: App) -> Worker | None:
    """Return the worker that an App is in this process; None where it is not launched."""
    return app._worker  # noqa: SLF001 - the kit is the library's own


def _serving(app: App) -> Worker | None:
    """Return the worker if it serves queues."""
    worker = worker_of(app)
    return worker if worker is not None and worker.queues else None


def dispatcher_of(worker: Worker) -> Dispatcher:
    """Return what has a worker's turns; the worker has registered."""
    return worker._dispatcher  # noqa: SLF001 - the kit is the library's own


def _tick_of(watched: Watched, now: datetime) -> datetime | None:
    """Return the first tick of a schedule that is not settled."""
    schedule = watched.schedule
    if schedule.paused:
        return None
    begin = schedule.settled_until
    if not schedule.settings.backfill:
        begin = max(begin, watched.since or now)
    cron = read_cron(schedule.name, schedule.settings.cron, schedule.settings.timezone)
    return cron.next_after(begin)
