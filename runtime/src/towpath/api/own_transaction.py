"""Starting workflows in the caller's own transaction, over its own psycopg connection.

SQLAlchemy's sessions and connections are taken too, by what they look like: it is not imported.
The library neither commits nor rolls back there, and a refusal leaves the transaction usable. What
must outlive it, such as a missing queue's row, is written over the library's own connections: nobody
waits for the caller's commit.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from towpath.api.starting import Prepared, accepted, declare, may_be_declared
from towpath.domain.errors import UsageError
from towpath.executor.engine import Engine
from towpath.store.enqueue import Enqueued, enqueue
from towpath.store.lending import Verb
from towpath.store.session import AsyncSession, BlockingSession, Session, run_blocking

_checked: weakref.WeakSet[Engine] = weakref.WeakSet()
"""The engines whose schema is known to serve this library."""


def write_on_connection(engine: Engine, prepared: Prepared) -> list[Enqueued]:
    """Write workflows in the transaction of the caller's own connection.

    Raises:
        UsageError: it is not a blocking psycopg connection, or its database has no such schema.
        TowpathError: as `write_root`; the transaction can go on.
    """
    connection = _driver_connection(_connection_of_session(prepared.connection))
    if not isinstance(connection, psycopg.Connection):
        if inspect.iscoroutine(connection):
            connection.close()  # an async session's: its connection is not asked for
        raise _wrong_connection(engine, connection, "psycopg.Connection")

    async def over_own_connection(verb: Verb[None]) -> None:
        engine.run(verb)

    session = BlockingSession(connection, prepare=None)
    return run_blocking(_write(session, engine, prepared, over_own_connection))


async def write_on_connection_async(engine: Engine, prepared: Prepared) -> list[Enqueued]:
    """As `write_on_connection`, over an async connection, on the caller's loop."""
    given = _connection_of_session(prepared.connection)
    connection = _driver_connection(await given if inspect.iscoroutine(given) else given)
    if not isinstance(connection, psycopg.AsyncConnection):
        raise _wrong_connection(engine, connection, "psycopg.AsyncConnection")
    session = AsyncSession(connection, prepare=None)
    return await _write(session, engine, prepared, engine.run_async)


async def _write(
    session: Session,
    engine: Engine,
    prepared: Prepared,
    over_own_connection: Callable[[Verb[None]], Awaitable[None]],
) -> list[Enqueued]:
    """Write over the caller's session; what must outlive its transaction goes the library's own way."""
    if engine not in _checked:
        await over_own_connection(_nothing)
        _checked.add(engine)
    with _of_this_database(engine):
        done = await enqueue(session, engine.statements, prepared.new)
        if may_be_declared(done, prepared):
            await over_own_connection(lambda own: declare(own, engine, prepared))
            done = await enqueue(session, engine.statements, prepared.new)
    return accepted(done)


async def _nothing(session: Session) -> None:
    """The first use of an engine looks at the schema: a clear error, and no aborted transaction."""


@contextmanager
def _of_this_database(engine: Engine) -> Iterator[None]:
    try:
        yield
    except (psycopg.errors.InvalidSchemaName, psycopg.errors.UndefinedFunction) as error:
        raise UsageError(
            f"the database of connection= has no Towpath schema {engine.settings.schema!r}. "
            "Pass a connection to the App's own database."
        ) from error


def _connection_of_session(given: Any) -> Any:
    """Return a SQLAlchemy session's connection (an async session's, to be awaited); else what is given."""
    if hasattr(
        given, "sync_connection"
    ):  # an async connection, which has no such attribute to ask for
        return given
    method = getattr(given, "connection", None)
    return method() if callable(method) else given


def _driver_connection(given: Any) -> Any:
    """Return the driver's connection of a SQLAlchemy connection; else what is given.

    One without a transaction begins one, as its own statements make it do: else its commit would do
    nothing.
    """
    connection = getattr(given, "sync_connection", None) or given
    proxied = getattr(connection, "connection", None)
    driver = getattr(proxied if proxied is not None else connection, "driver_connection", None)
    if driver is None:
        return given
    if proxied is not None and not connection.in_transaction():
        connection.begin()
    return driver


def _wrong_connection(engine: Engine, connection: object, wanted: str) -> UsageError:
    driver = type(connection).__module__.partition(".")[0]
    if driver not in ("builtins", "psycopg", "towpath"):
        return UsageError(
            f"connection= is of the driver {driver!r}; Towpath writes over psycopg 3 "
            "(SQLAlchemy's postgresql+psycopg://). With another driver, call SELECT "
            f"{engine.settings.schema}.enqueue(queue => ..., workflow => ..., args => ...) in the same "
            "transaction."
        )
    return UsageError(
        f"connection= is a {type(connection).__name__}; this call takes a {wanted}. "
        "Use enqueue with a blocking connection and enqueue_async with an async one."
    )
