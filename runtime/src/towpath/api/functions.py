"""What the decorators make: workflows and steps that are called like the functions they were."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast

from towpath.domain.errors import StartInsideStepError
from towpath.executor.context import refuse_blocking, running_in_workflow
from towpath.executor.inside_transaction import refuse_in_transaction
from towpath.executor.positions import current_step, take_position
from towpath.executor.registry import WorkflowDefinition
from towpath.executor.steps import Blocking, StepDefinition, Suspending, perform
from towpath.store.session import run_blocking

if TYPE_CHECKING:
    from towpath.api.app import App

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)


class Workflow(Generic[P, R_co]):
    """A registered workflow.

    Called outside a workflow it is started and its result awaited; inside, it is an awaited child;
    inside a step it is an error. `__wrapped__` is the bare function.
    """

    __wrapped__: Callable[P, R_co]
    __name__: str

    def __init__(self, app: App, definition: WorkflowDefinition) -> None:
        self._app = app
        self.definition = definition
        functools.update_wrapper(cast("Callable[..., Any]", self), definition.function)

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

    def __repr__(self) -> str:
        return f"<workflow {self.name}>"


class Step(Generic[P, R_co]):
    """A step: in a workflow its result is recorded and replayed; elsewhere it is a plain call."""

    __wrapped__: Callable[P, R_co]
    __name__: str

    def __init__(self, app: App, definition: StepDefinition) -> None:
        self._app = app
        self.definition = definition
        functools.update_wrapper(cast("Callable[..., Any]", self), definition.function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Run the step (a coroutine where it is async)."""
        refuse_in_transaction(f"step {self.definition.name!r}")
        execution = running_in_workflow()
        function = self.definition.function
        if execution is None:
            return cast("R_co", function(*args, **kwargs))
        if self.definition.is_async:
            return cast("R_co", self._run_async(*args, **kwargs))
        refuse_blocking(
            f"step {self.definition.name!r}", f"asyncio.to_thread({self.__name__}, ...)"
        )

        async def invoke() -> Any:
            return function(*args, **kwargs)

        return cast(
            "R_co",
            run_blocking(perform(execution, take_position(), self.definition, invoke, Blocking())),
        )

    async def _run_async(self, *args: Any, **kwargs: Any) -> Any:
        execution = running_in_workflow()
        if execution is None:
            return await self.definition.function(*args, **kwargs)

        def invoke() -> Awaitable[Any]:
            return cast("Awaitable[Any]", self.definition.function(*args, **kwargs))

        return await perform(execution, take_position(), self.definition, invoke, Suspending())

    def __repr__(self) -> str:
        return f"<step {self.definition.name}>"


def is_async_function(function: Callable[..., Any]) -> bool:
    """Tell whether calling the function makes a coroutine."""
    return inspect.iscoroutinefunction(inspect.unwrap(function))
