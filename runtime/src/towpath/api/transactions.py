"""What `transaction` makes: functions that get a connection from Towpath, and callers who omit it."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Coroutine
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    ParamSpec,
    TypeVar,
    cast,
    get_args,
    overload,
)

import psycopg

from towpath.api.functions import is_async_function
from towpath.domain.errors import ConfigurationError
from towpath.executor.context import current_execution, refuse_blocking, running_in_workflow
from towpath.executor.engine import Engine
from towpath.executor.inside_transaction import refuse_in_transaction
from towpath.executor.positions import take_position
from towpath.executor.registry import check_name
from towpath.executor.steps import Blocking, Suspending
from towpath.executor.transactions import (
    TransactionDefinition,
    call_in_transaction,
    pause_blocking,
    pause_suspending,
    perform_transaction,
)
from towpath.store.session import run_blocking
from towpath.store.transactions import Isolation

if TYPE_CHECKING:
    from towpath.api.app import App

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Transaction(Generic[P, R_co]):
    """A transactional step.

    In a workflow what it writes through its connection and its recorded result commit together, once.
    Elsewhere it is a plain call in a transaction of its own, which commits when it returns.
    """

    __wrapped__: Callable[..., R_co]
    __name__: str

    def __init__(self, app: App, definition: TransactionDefinition) -> None:
        self._app = app
        self.definition = definition
        functools.update_wrapper(cast("Callable[..., Any]", self), definition.function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Run the transaction (a coroutine where it is async); its connection is not passed."""
        name = self.definition.name
        refuse_in_transaction(f"transaction {name!r}")
        if self.definition.is_async:
            return cast("R_co", self._run_async(args, kwargs))
        refuse_blocking(f"transaction {name!r}", f"asyncio.to_thread({self.__name__}, ...)")
        return cast("R_co", run_blocking(self._run(args, kwargs)))

    async def _run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a sync one; nothing of this suspends."""
        definition = self.definition

        async def invoke(connection: Any) -> Any:
            return definition.function(connection, *args, **kwargs)

        engine, execution = self._engine(), running_in_workflow()
        lender = engine.transactions.blocking(definition.database_url)
        if execution is None:
            return await call_in_transaction(definition, invoke, lender, pause_blocking)
        return await perform_transaction(
            execution, take_position(), definition, invoke, Blocking(), lender
        )

    async def _run_async(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        definition = self.definition

        def invoke(connection: Any) -> Awaitable[Any]:
            return cast("Awaitable[Any]", definition.function(connection, *args, **kwargs))

        engine, execution = self._engine(), running_in_workflow()
        if execution is None:
            fresh = engine.transactions.fresh(definition.database_url)
            return await call_in_transaction(definition, invoke, fresh, pause_suspending)
        lender = engine.transactions.suspending(definition.database_url)
        return await perform_transaction(
            execution, take_position(), definition, invoke, Suspending(), lender
        )

    def _engine(self) -> Engine:
        """Return the engine of the workflow around the caller, whichever App it is of; else the own."""
        execution = current_execution()
        return self._app.engine if execution is None else execution.engine

    def __repr__(self) -> str:
        return f"<transaction {self.definition.name}>"


class TransactionDecorator:
    """Makes functions transactions; what `App.transaction` returns."""

    def __init__(
        self, app: App, *, isolation: Isolation, name: str | None, database_url: str | None
    ) -> None:
        if isolation not in get_args(Isolation):
            allowed = ", ".join(map(repr, get_args(Isolation)))
            raise ConfigurationError(f"isolation is {isolation!r}; allowed is one of {allowed}.")
        self._app = app
        self._isolation = isolation
        self._name = name
        self._database_url = database_url

    @overload
    def __call__(
        self,
        function: Callable[Concatenate[psycopg.AsyncConnection[Any], P], Coroutine[Any, Any, R]],
    ) -> Transaction[P, Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[psycopg.Connection[Any], P], R]
    ) -> Transaction[P, R]: ...
    def __call__(self, function: Callable[..., Any]) -> Transaction[..., Any]:
        """Make a function, whose first parameter is the connection, a transaction."""
        chosen = check_name(
            self._name if self._name is not None else function.__qualname__, kind="transaction"
        )
        if self._database_url is not None:
            self._app.registry.transaction_urls.add(self._database_url)
        return Transaction(
            self._app,
            TransactionDefinition(
                chosen, function, is_async_function(function), self._isolation, self._database_url
            ),
        )
