"""What every verb needs in one process: connections, the library's loops, group commit, results."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
import secrets
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg

from towpath.codec import Codec
from towpath.domain.errors import (
    DatabaseUnreachableError,
    SchemaMissingError,
    SchemaOlderError,
    ShutDownError,
)
from towpath.executor.group_commit import GroupCommit, Key
from towpath.executor.inside_transaction import refuse_in_transaction
from towpath.executor.listener import WaitListener
from towpath.executor.loops import LoopThread
from towpath.executor.outages import BackOff, Outage
from towpath.executor.positions import workflow_task_factory
from towpath.executor.registry import Registry
from towpath.executor.wait_hub import WaitHub
from towpath.store import steps, waits
from towpath.store.budget import DEFAULT_CONNECTIONS, share_connections
from towpath.store.connect import Endpoint, reason_of
from towpath.store.lending import AsyncConnections, BlockingConnections, Verb
from towpath.store.migrate import migrate, schema_state
from towpath.store.session import AsyncSession, Session
from towpath.store.statements import Statements
from towpath.store.transactions import TransactionConnections

T = TypeVar("T")

logger = logging.getLogger("towpath.engine")


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What an engine is made of."""

    endpoint: Endpoint
    schema: str
    connections: int = DEFAULT_CONNECTIONS


class Engine:
    """Runs verbs against one schema, from any thread and any loop.

    An engine belongs to the process that made it: a forked child makes its own.
    """

    def __init__(self, settings: EngineSettings, codec: Codec, registry: Registry) -> None:
        self.settings = settings
        self.codec = codec
        self.registry = registry
        self.statements = Statements(settings.schema)
        self.pid = os.getpid()
        self.io = LoopThread("towpath-io")
        self.workflow_loop = LoopThread("towpath-workflows", task_factory=workflow_task_factory)
        shares = share_connections(settings.connections, listens=not settings.endpoint.pooled)
        self._async = AsyncConnections(settings.endpoint, size=shares.verbs)
        self._blocking = BlockingConnections(settings.endpoint, size=shares.verbs)
        self.transactions = TransactionConnections(settings.endpoint, size=shares.transactions)
        self.outage = Outage()
        self._schema_checked = False
        self.may_migrate = False
        """Whether the first use may migrate a missing or older schema; launch allows it."""
        self.recorder = GroupCommit[steps.NewStep, bool](self._record, lambda: self.io.loop)
        self.beginner = GroupCommit[waits.Wait, waits.Begun](self._begin, lambda: self.io.loop)
        self.caller = GroupCommit[waits.Wait, bool](self._call_me, lambda: self.io.loop)
        self.dropper = GroupCommit[waits.Wait, bool](self._drop, lambda: self.io.loop)
        self.hub = WaitHub(self._look, listens=not settings.endpoint.pooled)
        self._listener = WaitListener(
            settings.endpoint,
            self.statements.waits_channel,
            told=self.hub.told,
            look_again=self.hub.look_again,
        )
        self.hub.interested = self._listener.interested
        self.time_of_starts: Callable[[], float] = time.monotonic
        """When a function begins, to compare with its date; under a test's clock no time passes till then."""
        self.length_of_pauses = 1.0
        """How long the pauses between tries of steps are, to their declared lengths: 0 under a test's clock."""
        self.boundary: Callable[..., None] | None = None
        """Called with an attempt, a position, a name and a `Moment` at each write; a test's, else None."""

    def shares_database(self, other: Engine) -> bool:
        """Tell whether both work on one schema of one database, as far as their URIs tell."""
        return other is self or (
            self.settings.schema == other.settings.schema
            and self.settings.endpoint.source() == other.settings.endpoint.source()
        )

    def new_secret(self) -> int:
        """Return 64 random bits, signed, for a generated id."""
        return secrets.randbits(64) - (1 << 63)

    # -- the two faces of a verb

    def run(self, verb: Verb[T]) -> T:
        """Run a verb in the caller's thread, over a blocking connection.

        Raises:
            DatabaseUnreachableError: Postgres cannot be reached.
            SchemaError: the schema is missing, older or newer than this library serves.
        """
        if not self._schema_checked:
            self.io.submit(self._check_schema()).result()
        try:
            return self._blocking.run(verb)
        except psycopg.errors.DeadlockDetected:  # Postgres has undone it: as if it had not begun
            return self.run(verb)
        except psycopg.OperationalError as error:
            raise DatabaseUnreachableError(reason=reason_of(error)) from None

    async def run_async(self, verb: Verb[T]) -> T:
        """Run a verb on the library's loop and await it on the caller's."""
        refuse_in_transaction("a verb of Towpath")
        return await self.on_io(self.on_loop(verb))

    def wait_for(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the library's loop and block until it is done.

        Raises:
            ShutDownError: the App was shut down meanwhile.
        """
        try:
            return self.io.submit(coroutine).result()
        except concurrent.futures.CancelledError:
            raise ShutDownError from None

    async def on_io(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the library's loop and await it on the caller's.

        Raises:
            ShutDownError: the App was shut down meanwhile.
        """
        if self.io.is_current:
            return await coroutine
        try:
            return await asyncio.wrap_future(self.io.submit(coroutine))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self.io.stopped and (task is None or not task.cancelling()):
                raise ShutDownError from None
            raise

    async def on_loop(self, verb: Verb[T]) -> T:
        """As `run`, on the library's own loop."""
        await self._check_schema()
        try:
            return await self._async.run(verb)
        except psycopg.errors.DeadlockDetected:  # as in `run`
            return await self.on_loop(verb)
        except psycopg.OperationalError as error:
            raise DatabaseUnreachableError(reason=reason_of(error)) from None

    async def persist(self, verb: Verb[T]) -> T:
        """As `on_loop`, and again until it is done: for what may be done twice and must not be lost."""
        back_off = BackOff(self.outage)
        while True:
            try:
                result = await self.on_loop(verb)
            except DatabaseUnreachableError as error:
                back_off.failed(error)
                await back_off.pause()
                continue
            back_off.over()
            return result

    async def _check_schema(self) -> None:
        if self._schema_checked:
            return
        await self._async.run(self._prepare_schema_by)

    async def _prepare_schema_by(self, session: Session) -> None:
        assert isinstance(session, AsyncSession)  # noqa: S101 - it is a verb of the loop's alone
        await self.prepare_schema(session.connection)

    async def prepare_schema(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Make sure that the schema serves this library; migrate it where that is allowed.

        Raises:
            SchemaError: it is missing or older and may not be migrated, or is too new.
        """
        schema = self.settings.schema
        try:
            (await schema_state(connection, schema)).check()
        except (SchemaMissingError, SchemaOlderError):
            if not self.may_migrate:
                raise
            applied = await migrate(connection, schema)
            logger.info("schema migrated", extra={"schema": schema, "applied": list(applied)})
        self._schema_checked = True

    # -- what the parts above write and read

    async def _record(self, new: Sequence[steps.NewStep]) -> Mapping[Key, bool]:
        return await self.persist(lambda session: steps.record(session, self.statements, new))

    async def _begin(self, new: Sequence[waits.Wait]) -> Mapping[Key, waits.Begun]:
        return await self.persist(lambda session: waits.begin(session, self.statements, new))

    async def _call_me(self, new: Sequence[waits.Wait]) -> Mapping[Key, bool]:
        return await self.persist(lambda session: waits.call_me(session, self.statements, new))

    async def _drop(self, old: Sequence[waits.Wait]) -> Mapping[Key, bool]:
        return await self.persist(lambda session: waits.drop(session, self.statements, old))

    async def _look(self, at: Sequence[waits.Wait]) -> Mapping[Key, waits.Look]:
        return await self.persist(lambda session: waits.look(session, self.statements, at))

    def close(self) -> None:
        """Close the connections and end the loops."""
        if self.pid != os.getpid():
            return
        self._blocking.close()
        self.transactions.close()
        self.io.submit(self._close()).result(timeout=10)
        self.workflow_loop.stop()
        self.io.stop()

    async def _close(self) -> None:
        self._listener.close()
        await self._async.close()
