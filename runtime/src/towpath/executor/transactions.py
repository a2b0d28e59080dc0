"""Transactional steps: what a function writes and the record of its step commit together, exactly once.

As with steps, one coroutine serves both kinds of functions (docs/decisions/0003-one-core-two-faces.md).
While the function runs, its transaction locks nothing of Towpath's: a recovery never waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, ClassVar

import psycopg
from psycopg.pq import TransactionStatus

from towpath.codec import encode_failure
from towpath.domain.errors import (
    DatabaseUnreachableError,
    TransactionAbortedError,
    TransactionEndedError,
)
from towpath.domain.retry import Backoff
from towpath.executor.boundaries import Moment
from towpath.executor.context import Execution
from towpath.executor.engine import Engine
from towpath.executor.inside_transaction import in_transaction
from towpath.executor.positions import in_step
from towpath.executor.steps import LEASE_LOOK, Pace, replay, value_of
from towpath.store import transactions
from towpath.store.connect import AnyConnection, reason_of
from towpath.store.session import Session
from towpath.store.steps import NewStep, RecordedStep
from towpath.store.transactions import Isolation, Lender, TransactionSession

Invoke = Callable[[Any], Awaitable[Any]]
"""Calls the function with the connection that it is lent."""

logger = logging.getLogger("towpath.workflow")
_random = random.SystemRandom()


@dataclass(frozen=True, slots=True)
class TransactionDefinition:
    """A transactional step's function."""

    name: str
    function: Callable[..., Any]
    is_async: bool
    isolation: Isolation
    database_url: str | None


class _TryAgain(Exception):  # noqa: N818 - it never leaves this module
    """Nothing was committed, or nobody knows: the transaction is looked at, and run, again."""

    pauses: ClassVar[Backoff]


class _Conflict(_TryAgain):
    """Another transaction was faster."""

    pauses = Backoff(
        initial=timedelta(milliseconds=4), maximum=timedelta(seconds=1), factor=1.5, jitter=1.0
    )


class _ConnectionLost(_TryAgain):
    """The server cannot be reached, or has ended the connection."""

    pauses = Backoff(initial=timedelta(milliseconds=50), maximum=timedelta(seconds=2), jitter=0.5)


async def perform_transaction(
    execution: Execution,
    position: str,
    definition: TransactionDefinition,
    invoke: Invoke,
    pace: Pace,
    lender: Lender,
) -> Any:
    """Return what the function returned when it was committed, now or in an earlier attempt.

    Raises:
        NonDeterminismError: another step is recorded at this position.
        WorkflowInterrupted: the attempt must end here; nothing of it is committed.
        TransactionDatabaseError: its database_url leads to another database.
        Exception: what the function raised, in the form in which it was recorded.
    """
    recorded = replay(execution, position, definition.name)
    if recorded is None:
        run = _Run(execution, position, definition, invoke, pace, lender)
        recorded = await run.until_recorded()
    return value_of(execution, recorded)


class _Run:
    """One transaction of an attempt, until it is recorded how it ended.

    Its tries share what the function failed with, once it has: that is only to be recorded.
    """

    def __init__(
        self,
        execution: Execution,
        position: str,
        definition: TransactionDefinition,
        invoke: Invoke,
        pace: Pace,
        lender: Lender,
    ) -> None:
        self._execution = execution
        self._engine = execution.engine
        self._position = position
        self._definition = definition
        self._invoke = invoke
        self._pace = pace
        self._lender = lender
        self._failed: NewStep | None = None

    async def until_recorded(self) -> RecordedStep:
        """Try until a commit is known to be done, or the attempt to be over."""
        tries = 0
        while True:
            while self._execution.lease.lapsed:
                await self._pace.pause(self._execution, LEASE_LOOK)
                self._execution.check()
            self._execution.check()
            try:
                recorded: RecordedStep = await self._lender.run(self._try)
            except (_TryAgain, DatabaseUnreachableError) as reason:
                tries += 1
                await self._pause(tries, reason)
            else:
                self._execution.reach(self._position, self._definition.name, Moment.AFTER)
                return recorded

    async def _pause(self, tries: int, reason: Exception) -> None:
        pauses = reason.pauses if isinstance(reason, _TryAgain) else _ConnectionLost.pauses
        if pauses is _ConnectionLost.pauses and tries == 1:
            logger.warning(
                "transaction is tried again",
                extra={
                    "workflow_id": self._execution.workflow_id,
                    "step": self._definition.name,
                    "reason": str(reason),
                },
            )
        await self._pace.pause(self._execution, pauses.pause(tries, _random.random()))

    async def _try(self, session: TransactionSession) -> RecordedStep:
        """Run the function and commit, over a connection that is lent for it."""
        recorded = await self._begin(session)
        if recorded is not None:  # a commit whose answer was lost
            return recorded
        if self._failed is None:
            step = await self._call(session)
            self._execution.reach(self._position, self._definition.name, Moment.BEFORE)
            if step.failure is None:
                failure = await self._commit(session, step)
                if failure is None:
                    return _as_recorded(step)
                step = replace(step, output=None, failure=failure)
            self._failed = step
        await self._commit_failure(session, self._failed)
        return _as_recorded(self._failed)

    async def _begin(self, session: TransactionSession) -> RecordedStep | None:
        """Begin the transaction; return what is recorded at its position, if something is.

        Raises:
            WorkflowInterrupted: the attempt no longer holds its place, or must end here.
        """
        execution = self._execution
        try:
            await self._check_database(session)
            look = await transactions.begin_for_step(
                session,
                self._engine.statements,
                self._definition.isolation,
                seq=execution.seq,
                attempt=execution.attempt,
                position=self._position,
            )
        except psycopg.Error as error:
            raise _judged(session, error) from error
        if not look.held:
            raise execution.fenced()
        execution.check()
        return look.recorded

    async def _check_database(self, session: TransactionSession) -> None:
        """See, once in the life of an engine, that a URL leads to the database of its workflows."""
        url, known = self._definition.database_url, self._engine.transactions.verified
        if url is not None and url not in known:
            statements = self._engine.statements
            own = await self._pace.verb(
                self._engine, lambda verb: transactions.identify(verb, statements)
            )
            own.check(await transactions.identify(session, statements))
            known.add(url)

    async def _call(self, session: TransactionSession) -> NewStep:
        """Run the function: the step with what it returned, or what it failed with."""
        execution, name = self._execution, self._definition.name
        began = time.monotonic()
        output = failure = None
        try:
            with in_step(name):
                value = await _call(self._definition, session.connection, self._invoke)
            output = self._engine.codec.encode(value, "result")
        except (Exception, SystemExit) as error:
            if isinstance(error, _TryAgain):
                raise
            if (again := _reason_to_try_again(session.connection, error)) is not None:
                await transactions.roll_back(session)
                raise again from error
            failure = encode_failure(error)
        took = timedelta(seconds=time.monotonic() - began)
        return NewStep(
            execution.seq, execution.attempt, self._position, name, output, failure, took
        )

    async def _commit(self, session: TransactionSession, step: NewStep) -> str | None:
        """Commit with the step's record; return the failure where Postgres refuses to."""
        try:
            await transactions.commit_with_record(session, self._engine.statements, step)
        except psycopg.Error as error:
            judged = self._judge_commit(session, error)
            if judged is not error:
                await transactions.roll_back(session)
                raise judged from error
            return encode_failure(error)
        return None

    async def _commit_failure(self, session: TransactionSession, step: NewStep) -> None:
        """Roll back, and commit the record of the failure alone."""
        if session.connection.closed:
            raise _ConnectionLost("its function has closed the connection")
        try:
            await transactions.commit_failure(session, self._engine.statements, step)
        except psycopg.Error as error:
            judged = self._judge_commit(session, error)
            await transactions.roll_back(session)
            raise judged from error

    def _judge_commit(self, session: TransactionSession, error: psycopg.Error) -> BaseException:
        """Return what an error of the last message means: a stale attempt, another try, or itself."""
        schema = self._engine.settings.schema
        if transactions.is_stale(error, schema):
            return self._execution.fenced()
        if transactions.is_recorded_already(error, schema):
            return _Conflict("its record is there already")
        return _judged(session, error)


def _as_recorded(step: NewStep) -> RecordedStep:
    return RecordedStep(step.position, step.name, step.output, step.failure, None)


async def call_in_transaction(
    definition: TransactionDefinition,
    invoke: Invoke,
    lender: Lender,
    pause: Callable[[float], Awaitable[None]],
) -> Any:
    """Run the function in a transaction of its own, of no step, and return what it returned.

    Raises:
        DatabaseUnreachableError: no connection, or it was lost; if so in the commit, that may be done.
        Exception: what the function raised; it is rolled back.
    """

    async def work(session: TransactionSession) -> Any:
        return await _run_and_commit(definition, invoke, session)

    tries = 0
    while True:
        try:
            return await lender.run(work)
        except _Conflict:
            tries += 1
            await pause(_Conflict.pauses.pause(tries, _random.random()).total_seconds())
        except _ConnectionLost as lost:
            raise DatabaseUnreachableError(reason=str(lost)) from lost.__cause__


async def _run_and_commit(
    definition: TransactionDefinition, invoke: Invoke, session: TransactionSession
) -> Any:
    try:
        await transactions.begin(session, definition.isolation)
        value = await _call(definition, session.connection, invoke)
    except Exception as error:
        again = _reason_to_try_again(session.connection, error)
        await transactions.roll_back(session)
        if again is not None:
            raise again from error
        raise
    try:
        await transactions.commit(session)
    except psycopg.Error as error:
        if session.connection.broken:
            raise _ConnectionLost(
                f"{reason_of(error)}, while transaction {definition.name!r} committed; whether it "
                "has is not known"
            ) from error
        await transactions.roll_back(session)
        raise _judged(session, error) from error
    return value


async def _call(definition: TransactionDefinition, connection: Any, invoke: Invoke) -> Any:
    """Call the function, and see that it has left its transaction open and able to commit.

    Raises:
        TransactionEndedError: it has ended the transaction itself.
        TransactionAbortedError: it went on after a failed statement.
    """
    name = definition.name
    connection.lend(name)
    with in_transaction(name):
        value = await invoke(connection)
    if connection.broken:
        raise _ConnectionLost("the connection was lost")
    if connection.closed:
        raise TransactionEndedError(transaction_name=name, how="closed the connection")
    status = connection.info.transaction_status
    if status == TransactionStatus.IDLE:
        raise TransactionEndedError(transaction_name=name, how="ended the transaction itself")
    if status == TransactionStatus.INERROR:
        raise TransactionAbortedError(transaction_name=name)
    return value


def _judged(session: TransactionSession, error: psycopg.Error) -> Exception:
    """Return what an error of a statement of ours means: a reason to try again, or itself."""
    return _reason_to_try_again(session.connection, error) or error


def _reason_to_try_again(connection: AnyConnection, error: BaseException) -> _TryAgain | None:
    """Return why the transaction is tried again rather than failed, if it is."""
    states = {e.sqlstate for e in _causes(error) if isinstance(e, psycopg.Error)}
    if states & transactions.CONFLICTS:
        return _Conflict(str(error))
    if connection.broken and not states & transactions.OWN_TIMEOUTS:
        return _ConnectionLost(
            reason_of(error) if isinstance(error, psycopg.Error) else "the connection was lost"
        )
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what it came of: code may raise its own in the place of the driver's."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


async def check_databases(engine: Engine, own: Session) -> None:
    """See that the database_url of every transaction leads to the database of a worker.

    Raises:
        TransactionDatabaseError: one does not.
        DatabaseUnreachableError: one leads nowhere at this moment.
    """
    for url in engine.registry.transaction_urls - engine.transactions.verified:
        found = await engine.transactions.fresh(url).run(
            lambda session: transactions.identify(session, engine.statements)
        )
        (await transactions.identify(own, engine.statements)).check(found)
        engine.transactions.verified.add(url)


async def pause_blocking(seconds: float) -> None:
    """Block the caller's thread."""
    time.sleep(seconds)  # noqa: ASYNC251 - never awaited on a loop


async def pause_suspending(seconds: float) -> None:
    """Suspend on the caller's loop."""
    await asyncio.sleep(seconds)
