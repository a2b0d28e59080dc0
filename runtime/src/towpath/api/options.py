"""The options of an enqueue: checked when they are given, and again by the queue's row."""

from __future__ import annotations

import contextvars
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Literal, Self

from towpath.domain.errors import EnqueueOptionError, UsageError
from towpath.domain.ids import MAX_NAME_LENGTH, storable_text

OnDuplicate = Literal["raise", "return"]

MAX_PRIORITY: Final = 2_147_483_647
MAX_DELAY_SECONDS: Final = 3_155_760_000
_ALLOWED_TEXT: Final = "a str of 1 to 255 characters"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnqueueOptions:
    """What an enqueue asks for beside the function and its arguments; None is not asked for.

    Attributes:
        priority: 1 to 2,147,483,647, higher is more urgent; only on a queue with priority.
        deduplication_id: While a workflow of the queue holds it, a second enqueue is a duplicate.
        on_duplicate: Whether a duplicate raises (the default), or the holder's handle is returned.
        queue_partition_key: Required on a partitioned queue, an error on any other.
        delay_seconds: How long the workflow waits before it joins the line.
        start_at: When it joins the line; an aware datetime, not beside delay_seconds.
        timeout_seconds: How long after its first start it is cancelled, unless it has ended; over that of
            `SetWorkflowTimeout`.
        app_version: The application version that alone may run it.
        connection: The caller's own psycopg connection, to the App's database, or SQLAlchemy's
            session or connection over one: the workflow is enqueued in its transaction, which the
            caller commits; a worker sees it after that.
    """

    priority: int | None = None
    deduplication_id: str | None = None
    on_duplicate: OnDuplicate | None = None
    queue_partition_key: str | None = None
    delay_seconds: float | None = None
    start_at: datetime | None = None
    timeout_seconds: float | None = None
    app_version: str | None = None
    connection: Any = None

    def over(self, outer: EnqueueOptions) -> EnqueueOptions:
        """Return these options with the outer ones where nothing is asked for."""
        if self is NO_OPTIONS:
            return outer
        given = {
            f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None
        }
        if given.keys() & {"delay_seconds", "start_at"}:
            outer = replace(outer, delay_seconds=None, start_at=None)
        return replace(outer, **given)


NO_OPTIONS: Final = EnqueueOptions()


def check_options(options: EnqueueOptions) -> EnqueueOptions:
    """Return the options when each is one that some queue may take.

    Raises:
        EnqueueOptionError: naming the option, its value and what is allowed.
    """
    check_priority(options.priority)
    for name in ("deduplication_id", "queue_partition_key", "app_version"):
        _check_text(name, getattr(options, name))
    if options.on_duplicate not in (None, "raise", "return"):
        raise _refusal("on_duplicate", options.on_duplicate, "'raise' or 'return'")
    check_delay(options.delay_seconds, options.start_at)
    check_timeout(options.timeout_seconds)
    return options


def check_priority(priority: object) -> None:
    """Raise unless it is None or a priority.

    Raises:
        EnqueueOptionError: it is out of range, or not an int.
    """
    if priority is None or (type(priority) is int and 1 <= priority <= MAX_PRIORITY):
        return
    raise _refusal("priority", priority, f"an int from 1 to {MAX_PRIORITY}")


def check_delay(delay_seconds: object, start_at: object) -> None:
    """Raise unless at most one is given and it is a time from now on.

    Raises:
        EnqueueOptionError: naming the one that is not.
    """
    if delay_seconds is not None and (
        isinstance(delay_seconds, bool)
        or not isinstance(delay_seconds, int | float)
        or not 0 <= delay_seconds <= MAX_DELAY_SECONDS
    ):
        allowed = f"a number of seconds from 0 to {MAX_DELAY_SECONDS} (100 years)"
        raise _refusal("delay_seconds", delay_seconds, allowed)
    if start_at is None:
        return
    if not isinstance(start_at, datetime) or start_at.utcoffset() is None:
        raise _refusal("start_at", start_at, "a datetime with a time zone")
    if delay_seconds is not None:
        raise _refusal("start_at", start_at, "none beside delay_seconds")


def check_timeout(seconds: object) -> None:
    """Raise unless it is None or a time.

    Raises:
        EnqueueOptionError: it is not.
    """
    number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if seconds is None or (number and 0 < seconds <= MAX_DELAY_SECONDS):  # type: ignore[operator]
        return
    allowed = f"a number of seconds above 0, up to {MAX_DELAY_SECONDS} (100 years)"
    raise _refusal("timeout_seconds", seconds, allowed)


def _check_text(name: str, value: object) -> None:
    if value is None:
        return
    if (
        not isinstance(value, str)
        or not 1 <= len(value) <= MAX_NAME_LENGTH
        or not storable_text(value)
    ):
        shown = value[:40] if isinstance(value, str) else value
        allowed = f"{_ALLOWED_TEXT} without NUL or lone surrogates"
        raise _refusal(name, shown, allowed)


def _refusal(field_name: str, value: object, allowed: str) -> EnqueueOptionError:
    return EnqueueOptionError(queue_name=None, field=field_name, value=value, allowed=allowed)


_blocks: contextvars.ContextVar[tuple[EnqueueOptions, ...]] = contextvars.ContextVar(
    "towpath_enqueue_options", default=(NO_OPTIONS,)
)
"""The options in force in each block around the caller, the innermost last."""


def current_options() -> EnqueueOptions:
    """Return the options of the `SetEnqueueOptions` blocks around the caller."""
    return _blocks.get()[-1]


class SetEnqueueOptions:
    """A block whose enqueues have options. An inner block overrides an outer one field by field.

    The workflows that are started inherit none of them, and `start_workflow`, which has no queue,
    takes none. One object may be entered by several threads and tasks at once.

    Raises:
        EnqueueOptionError: an option that no queue takes; nothing is written.
    """

    def __init__(
        self,
        *,
        priority: int | None = None,
        deduplication_id: str | None = None,
        on_duplicate: OnDuplicate | None = None,
        queue_partition_key: str | None = None,
        delay_seconds: float | None = None,
        start_at: datetime | None = None,
        timeout_seconds: float | None = None,
        app_version: str | None = None,
        connection: Any = None,
    ) -> None:
        self.options = check_options(
            EnqueueOptions(
                priority=priority,
                deduplication_id=deduplication_id,
                on_duplicate=on_duplicate,
                queue_partition_key=queue_partition_key,
                delay_seconds=delay_seconds,
                start_at=start_at,
                timeout_seconds=timeout_seconds,
                app_version=app_version,
                connection=connection,
            )
        )

    def __enter__(self) -> Self:
        around = _blocks.get()
        _blocks.set((*around, self.options.over(around[-1])))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _blocks.set(_blocks.get()[:-1])


@dataclass(frozen=True, slots=True)
class EnqueueItem:
    """One workflow of `enqueue_many`: its arguments, and what it asks for beyond the others.

    Attributes:
        options: Its own options, over those of the call; `app_version` and `connection` belong to
            the whole call.
    """

    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    workflow_id: str | None = None
    options: SetEnqueueOptions | EnqueueOptions | None = None

    @property
    def own_options(self) -> EnqueueOptions:
        """The options as such.

        Raises:
            EnqueueOptionError: one that no queue takes, or that belongs to the whole call.
            UsageError: they are no options.
        """
        given = self.options
        if given is None:
            return NO_OPTIONS
        options = given.options if isinstance(given, SetEnqueueOptions) else given
        if not isinstance(options, EnqueueOptions):
            raise UsageError(
                f"options of an EnqueueItem are {given!r}; pass EnqueueOptions(priority=..., ...)."
            )
        for name in ("app_version", "connection"):
            if getattr(options, name) is not None:
                raise _refusal(name, getattr(options, name), "none in an item: give it to the call")
        return check_options(options)
