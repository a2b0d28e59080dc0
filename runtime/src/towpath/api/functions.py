"""What the decorators make: workflows and steps that are called like the functions they were."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    ParamSpec,
    Self,
    TypeVar,
    cast,
    overload,
)

from towpath.api.options import EnqueueItem
from towpath.domain.errors import (
    ConfigurationError,
    StartInsideStepError,
    ValueNotEncodableError,
)
from towpath.executor.context import refuse_blocking, running_in_workflow
from towpath.executor.inside_transaction import refuse_in_transaction
from towpath.executor.positions import current_step, take_position
from towpath.executor.registry import WorkflowDefinition
from towpath.executor.steps import Blocking, StepDefinition, Suspending, perform
from towpath.store.session import run_blocking

if TYPE_CHECKING:
    from towpath.api.app import App

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
S = TypeVar("S")


class Binding(Generic[P, R_co]):
    """What a decorator makes of a function: in a class, what is read from an instance is bound to it.

    `__wrapped__` is the bare function.
    """

    __wrapped__: Callable[P, R_co]
    __name__: str

    def __init__(self, app: App, function: Callable[..., Any]) -> None:
        self._app = app
        self._bound: tuple[Any, ...] = ()
        self._binds = not isinstance(function, staticmethod)
        if isinstance(function, classmethod):
            raise ConfigurationError(
                f"{function.__qualname__!r} is a class method already. Put @classmethod above the "
                "decorator of a step; make a workflow a static method."
            )
        functools.update_wrapper(cast("Callable[..., Any]", self), function)

    def bind(self, instance: object) -> Self:
        """Return itself with an instance as its first argument; as it is without one, as functions are."""
        if instance is None or not self._binds:
            return self
        bound = object.__new__(type(self))
        bound.__dict__.update(self.__dict__)
        bound._bound = (*self._bound, instance)
        bound.__wrapped__ = functools.partial(cast("Any", self.__wrapped__), instance)
        return bound


class Workflow(Binding[P, R_co]):
    """A registered workflow.

    Called outside a workflow it is started and its result awaited; inside, it is an awaited child;
    inside a step it is an error. A method's first recorded argument is its instance.
    """

    def __init__(self, app: App, definition: WorkflowDefinition) -> None:
        super().__init__(app, definition.function)
        self.definition = definition

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(
        self: Callable[Concatenate[S, Q], R], instance: S, owner: type | None = None
    ) -> Workflow[Q, R]: ...
    @overload
    def __get__(self, instance: object, owner: type | None = None) -> Self: ...
    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """Return the workflow as it is in a class, or of an instance."""
        return self.bind(instance)

    @property
    def name(self) -> str:
        """The name under which workers know it."""
        return self.definition.name

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Run the workflow durably and return its result (a coroutine where it is async)."""
        refuse_in_transaction(f"workflow {self.name!r}")
        if current_step() is not None:
            raise StartInsideStepError(workflow_name=self.name, step_name=str(current_step()))
        if self.definition.is_async:
            return cast("R_co", self._run_async(*args, **kwargs))
        refuse_blocking(f"workflow {self.name!r}", f"start_workflow_async({self.name}, ...)")
        return self._app.start_workflow(self, *args, **kwargs).get_result()

    async def _run_async(self, *args: Any, **kwargs: Any) -> Any:
        handle = await self._app.start_workflow_async(
            cast("Workflow[..., Any]", self), *args, **kwargs
        )
        return await handle.get_result()

    def complete(self, item: EnqueueItem) -> EnqueueItem:
        """Return a start's item with the instance, where the workflow is bound to one."""
        return replace(item, args=(*self._bound, *item.args)) if self._bound else item

    def __repr__(self) -> str:
        return f"<workflow {self.name}>"


class Step(Binding[P, R_co]):
    """A step: in a workflow its result is recorded and replayed; elsewhere it is a plain call.

    What it is called with is not recorded, so that a method may be any object's.
    """

    def __init__(self, app: App, definition: StepDefinition) -> None:
        super().__init__(app, definition.function)
        self.definition = definition

    @overload
    def __get__(  # type: ignore[misc] # what a class method binds is its class
        self: Callable[Concatenate[type[S], Q], R], instance: S | None, owner: type[S]
    ) -> Step[Q, R]: ...
    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(
        self: Callable[Concatenate[S, Q], R], instance: S, owner: type | None = None
    ) -> Step[Q, R]: ...
    @overload
    def __get__(self, instance: object, owner: type | None = None) -> Self: ...
    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """Return the step as it is in a class, or of an instance."""
        return self.bind(instance)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Run the step (a coroutine where it is async)."""
        refuse_in_transaction(f"step {self.definition.name!r}")
        execution = running_in_workflow()
        function = self.definition.function
        if execution is None:
            return cast("R_co", function(*self._bound, *args, **kwargs))
        if self.definition.is_async:
            return cast("R_co", self._run_async(*args, **kwargs))
        refuse_blocking(
            f"step {self.definition.name!r}", f"asyncio.to_thread({self.__name__}, ...)"
        )

        async def invoke() -> Any:
            return function(*self._bound, *args, **kwargs)

        return cast(
            "R_co",
            run_blocking(perform(execution, take_position(), self.definition, invoke, Blocking())),
        )

    async def _run_async(self, *args: Any, **kwargs: Any) -> Any:
        execution = running_in_workflow()
        if execution is None:
            return await self.definition.function(*self._bound, *args, **kwargs)

        def invoke() -> Awaitable[Any]:
            return cast("Awaitable[Any]", self.definition.function(*self._bound, *args, **kwargs))

        return await perform(execution, take_position(), self.definition, invoke, Suspending())

    def __repr__(self) -> str:
        return f"<step {self.definition.name}>"


def is_async_function(function: Callable[..., Any]) -> bool:
    """Tell whether calling the function makes a coroutine."""
    return inspect.iscoroutinefunction(inspect.unwrap(function))


def name_instance(
    definition: WorkflowDefinition | None, error: ValueNotEncodableError
) -> ValueNotEncodableError:
    """Return the error of an argument that cannot be recorded; a method's instance is called `self`."""
    code = getattr(inspect.unwrap(definition.function), "__code__", None) if definition else None
    first = code.co_varnames[0] if code is not None and code.co_argcount else ""
    if first not in ("self", "cls") or not error.path.startswith("args[0]"):
        return error
    named = ValueNotEncodableError(
        path=first + error.path.removeprefix("args[0]"),
        type_name=error.type_name,
        reason=error.reason,
    )
    for note in getattr(error, "__notes__", ()):
        named.add_note(note)
    return named
