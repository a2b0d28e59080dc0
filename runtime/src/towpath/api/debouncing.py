"""Debouncing through a queue: many calls in a short time start one workflow, with the last call's input."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from towpath.api.functions import Workflow
from towpath.api.handle import WorkflowHandle, WorkflowHandleAsync
from towpath.api.options import MAX_DELAY_SECONDS, EnqueueItem
from towpath.api.starting import Start
from towpath.domain.errors import EnqueueOptionError
from towpath.domain.ids import MAX_NAME_LENGTH, storable_text
from towpath.store.debounce import Bounce

if TYPE_CHECKING:
    from towpath.api.queue import Enqueuing

P = ParamSpec("P")
T = TypeVar("T")


class Debounced:
    """A queue whose enqueues of one key are debounced; `Queue.debounce` makes it."""

    def __init__(self, queue: Enqueuing, how: Bounce) -> None:
        self._queue = queue
        self._how = how

    @overload
    def enqueue(
        self, function: Workflow[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> WorkflowHandle[T]: ...
    @overload
    def enqueue(
        self, function: Workflow[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> WorkflowHandle[T]: ...
    def enqueue(
        self, function: Workflow[..., Any], *args: Any, **kwargs: Any
    ) -> WorkflowHandle[Any]:
        """Put a workflow in line later; one that waits under the key gets these arguments instead.

        Returns:
            The handle of the key's workflow: the same one until it has joined the line.

        Raises:
            EnqueueOptionError: an option that does not go with debouncing, or that the queue does not
                take; nothing is written.
            TowpathError: as `Queue.enqueue`.
        """
        return self._queue.find_app().start(self._start(function, args, kwargs))

    @overload
    async def enqueue_async(
        self, function: Workflow[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> WorkflowHandleAsync[T]: ...
    @overload
    async def enqueue_async(
        self, function: Workflow[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> WorkflowHandleAsync[T]: ...
    async def enqueue_async(
        self, function: Workflow[..., Any], *args: Any, **kwargs: Any
    ) -> WorkflowHandleAsync[Any]:
        """As `enqueue`, awaited from any loop."""
        return await self._queue.find_app().start_async(self._start(function, args, kwargs))

    def _start(
        self, function: Workflow[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Start:
        start = self._queue.start_of(function, [EnqueueItem(args, kwargs)], many=False)
        return replace(start, bounce=self._how)


def make_bounce(key: object, delay_seconds: object, at_most_seconds: object) -> Bounce:
    """Return how to debounce, when that can be.

    Raises:
        EnqueueOptionError: naming the value that cannot.
    """
    if not isinstance(key, str) or not 1 <= len(key) <= MAX_NAME_LENGTH or not storable_text(key):
        shown = key[:40] if isinstance(key, str) else key
        raise _refusal("key", shown, "a str of 1 to 255 characters without NUL or lone surrogates")
    delay = _seconds("delay_seconds", delay_seconds)
    at_most = _seconds("at_most_seconds", at_most_seconds)
    if at_most < delay:
        raise _refusal("at_most_seconds", at_most_seconds, f"no less than delay_seconds, {delay:g}")
    return Bounce(key=key, delay_seconds=delay, at_most_seconds=at_most)


def _seconds(field: str, value: object) -> float:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not 0 <= value <= MAX_DELAY_SECONDS
    ):
        allowed = f"a number of seconds from 0 to {MAX_DELAY_SECONDS} (100 years)"
        raise _refusal(field, value, allowed)
    return float(value)


def _refusal(field: str, value: object, allowed: str) -> EnqueueOptionError:
    return EnqueueOptionError(queue_name=None, field=field, value=value, allowed=allowed)
