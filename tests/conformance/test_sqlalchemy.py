"""connection= with SQLAlchemy's sessions and connections: both commit, or neither does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from towpath import App, EnqueueItem, SetEnqueueOptions, Workflow
from towpath.errors import QueueDeduplicatedError, UsageError


class Base(DeclarativeBase):
    """The application's own tables."""


class Order(Base):
    """An order that is stored together with its workflow."""

    __tablename__ = "orders"
    number: Mapped[int] = mapped_column(primary_key=True)


def psycopg_url(database_url: str) -> str:
    """Return the URL as SQLAlchemy wants it."""
    return database_url.replace("postgresql://", "postgresql+psycopg://", 1)


@pytest.fixture
def engine(database_url: str) -> Iterator[sa.Engine]:
    """Return an engine over psycopg 3, with the application's tables."""
    made = sa.create_engine(psycopg_url(database_url))
    Base.metadata.create_all(made)
    yield made
    made.dispose()


@pytest.fixture
def fulfil(app: App) -> Workflow[[int], int]:
    """Return a workflow of the App."""

    @app.workflow(name="fulfil")
    def fulfil(number: int) -> int:
        return number

    return fulfil


def there(app: App, engine: sa.Engine) -> tuple[int, list[int]]:
    """Return how many workflows there are, and the orders."""
    with engine.connect() as connection:
        numbers = list(connection.scalars(sa.select(Order.number).order_by(Order.number)))
    return len(app.list_workflows()), numbers


Unwrapped = Callable[[Session], Any]


@pytest.mark.parametrize("given", [lambda session: session, lambda session: session.connection()])
def test_a_session_and_its_connection(
    app: App, engine: sa.Engine, fulfil: Workflow[[int], int], given: Unwrapped
) -> None:
    """What the session writes and the workflow are one transaction; a refusal leaves it usable."""
    queue = app.queue("orders")
    with Session(engine) as session, SetEnqueueOptions(connection=given(session)):
        session.add(Order(number=1))
        queue.enqueue(fulfil, 1)
        session.rollback()
    assert there(app, engine) == (0, [])
    with Session(engine) as session:
        session.add(Order(number=2))
        options = queue.options(connection=given(session), deduplication_id="two")
        handle = options.enqueue(fulfil, 2)
        with pytest.raises(QueueDeduplicatedError):
            options.enqueue(fulfil, 2)
        assert len(app.list_workflows()) == 0
        session.commit()
    assert there(app, engine) == (1, [2])
    assert handle.get_status().status == "ENQUEUED"


def test_a_connection_that_has_not_begun(
    app: App, engine: sa.Engine, fulfil: Workflow[[int], int]
) -> None:
    """The enqueue is its first statement, and its commit counts all the same."""
    queue = app.queue("orders")
    with engine.connect() as connection:
        queue.options(connection=connection).enqueue(fulfil, 1)
        connection.rollback()
        queue.options(connection=connection).enqueue(fulfil, 2)
        connection.commit()
        queue.options(connection=connection).enqueue(fulfil, 3)  # closed without a commit
    assert len(app.list_workflows()) == 1
    with engine.begin() as connection:
        bound = queue.options(connection=connection)
        assert len(bound.enqueue_many(fulfil, [(4,), EnqueueItem((5,), workflow_id="five")])) == 2
    assert len(app.list_workflows()) == 3


def test_a_savepoint_takes_its_workflows_back(
    app: App, engine: sa.Engine, fulfil: Workflow[[int], int]
) -> None:
    """A nested transaction that is rolled back, in one that commits."""
    queue = app.queue("orders")
    with Session(engine) as session:
        kept = queue.options(connection=session).enqueue(fulfil, 1)
        with session.begin_nested() as nested:
            queue.options(connection=session).enqueue(fulfil, 2)
            nested.rollback()
        session.commit()
    assert [info.workflow_id for info in app.list_workflows()] == [kept.workflow_id]


def test_autocommit_enqueues_at_once(
    app: App, engine: sa.Engine, fulfil: Workflow[[int], int]
) -> None:
    """As the connection's own statements would be."""
    queue = app.queue("orders")
    with engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        queue.options(connection=connection).enqueue(fulfil, 1)
        assert len(app.list_workflows()) == 1


AsyncUse = Callable[[AsyncEngine], Any]


def test_async_connections_and_sessions(
    app: App, engine: sa.Engine, fulfil: Workflow[[int], int], database_url: str
) -> None:
    """The same, awaited; with the session itself, too."""
    queue = app.queue("orders")

    async def use(connection: AsyncConnection) -> None:
        await queue.options(connection=connection).enqueue_async(fulfil, 1)
        await connection.rollback()
        await connection.execute(sa.insert(Order).values(number=2))
        await queue.options(connection=connection).enqueue_async(fulfil, 2)
        await connection.commit()

    async def use_session(session: AsyncSession) -> None:
        session.add(Order(number=3))
        await queue.options(connection=session).enqueue_async(fulfil, 3)
        await session.rollback()
        session.add(Order(number=4))
        connection = await session.connection()
        await queue.options(connection=connection).enqueue_async(fulfil, 4)
        await queue.options(connection=session).enqueue_async(fulfil, 4)
        await session.commit()

    async def use_all() -> None:
        made = create_async_engine(psycopg_url(database_url))
        async with made.connect() as connection:
            await use(connection)
        async with AsyncSession(made) as session:
            await use_session(session)
        await made.dispose()

    asyncio.run(use_all())
    assert there(app, engine) == (3, [2, 4])


def test_the_wrong_face_is_refused(
    app: App, engine: sa.Engine, fulfil: Workflow[[int], int], database_url: str
) -> None:
    """A blocking verb takes no async connection, nor the other way round."""
    queue = app.queue("orders")

    async def use_all() -> None:
        made = create_async_engine(psycopg_url(database_url))
        async with AsyncSession(made) as session:
            for given in (session, await session.connection()):
                with pytest.raises(UsageError, match=r"this call takes a psycopg\.Connection"):
                    queue.options(connection=given).enqueue(fulfil, 1)
        await made.dispose()
        with (
            Session(engine) as blocking,
            pytest.raises(UsageError, match=r"this call takes a psycopg\.AsyncConnection"),
        ):
            await queue.options(connection=blocking).enqueue_async(fulfil, 1)

    asyncio.run(use_all())
    assert app.list_workflows() == []


def test_another_driver_is_named_with_the_way_out(app: App, fulfil: Workflow[[int], int]) -> None:
    """The SQL function serves every driver."""
    queue = app.queue("orders")
    lite = sa.create_engine("sqlite://")
    with lite.connect() as connection:
        with pytest.raises(UsageError, match=r"driver 'sqlite3'.*SELECT towpath\.enqueue\("):
            queue.options(connection=connection).enqueue(fulfil, 1)
        with pytest.raises(UsageError, match="driver 'sqlite3'"):
            queue.options(connection=connection.connection.driver_connection).enqueue(fulfil, 1)
    lite.dispose()
