"""Which workflows a listing, or a verb on many, is about: checked before anything is asked."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final, Literal, TypedDict

from towpath.domain.errors import WorkflowFilterError
from towpath.domain.ids import storable_text
from towpath.domain.status import WorkflowStatus

Texts = str | Collection[str]
Order = Literal["newest", "oldest"]

MAX_PAGE: Final = 10_000
ALLOWED_TEXTS: Final = "a str or a list of them, without NUL or lone surrogates"
ALLOWED_STATUS: Final = ", ".join(WorkflowStatus)
ALLOWED_MOMENT: Final = "a datetime with a time zone"
ALLOWED_ORDER: Final = "'newest' or 'oldest'"
ALLOWED_LIMIT: Final = f"an int from 1 to {MAX_PAGE}"


class FilterOptions(TypedDict, total=False):
    """The filters as callers give them; those that are None, or not given, let everything through.

    Where a list may stand for a value, one of it must fit. Moments are aware datetimes: after is at that
    moment or later, before is before it.

    Attributes:
        status: Statuses, as `WorkflowStatus` or str.
        name: Of the function.
        app_version: The version that alone may run it, or that began it; "" for those without one.
        parent_workflow_id: The workflow that started it.
        forked_from: The workflow that it was forked from.
        workflow_id_prefix: What its id begins with.
        deduplication_id: As it was enqueued, held or not.
        has_parent: Whether a workflow started it.
        started_after: Of what runs now; an ended workflow does not tell when its last attempt began.
        completed_after: Of what has ended, however.
    """

    workflow_ids: Texts | None
    status: Texts | None
    name: Texts | None
    queue_name: Texts | None
    app_version: Texts | None
    parent_workflow_id: Texts | None
    forked_from: Texts | None
    workflow_id_prefix: str | None
    deduplication_id: Texts | None
    queue_partition_key: Texts | None
    has_parent: bool | None
    created_after: datetime | None
    created_before: datetime | None
    started_after: datetime | None
    started_before: datetime | None
    completed_after: datetime | None
    completed_before: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowFilter:
    """The filters of `FilterOptions`, checked; None lets everything through."""

    workflow_ids: tuple[str, ...] | None = None
    status: tuple[str, ...] | None = None
    name: tuple[str, ...] | None = None
    queue_name: tuple[str, ...] | None = None
    app_version: tuple[str, ...] | None = None
    parent_workflow_id: tuple[str, ...] | None = None
    forked_from: tuple[str, ...] | None = None
    workflow_id_prefix: str | None = None
    deduplication_id: tuple[str, ...] | None = None
    queue_partition_key: tuple[str, ...] | None = None
    has_parent: bool | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    started_after: datetime | None = None
    started_before: datetime | None = None
    completed_after: datetime | None = None
    completed_before: datetime | None = None


EVERY_WORKFLOW: Final = WorkflowFilter()
_FIELDS: Final = tuple(f.name for f in fields(WorkflowFilter))
_NO_TEXTS: Final = frozenset({"workflow_id_prefix", "has_parent", "status"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Which part of what a filter lets through.

    Attributes:
        limit: At most so many.
        order: By when they were enqueued.
        after: The id of the last workflow of the page before.
        load_input: Whether arguments are read.
        load_output: Whether results and errors are read.
    """

    limit: int = 100
    order: Order = "newest"
    after: str | None = None
    load_input: bool = True
    load_output: bool = True


def make_filter(given: FilterOptions) -> WorkflowFilter:
    """Check filters as callers give them.

    Raises:
        WorkflowFilterError: naming the field, its value and what is allowed.
        TypeError: there is no such filter.
    """
    unknown = given.keys() - set(_FIELDS)
    if unknown:
        raise TypeError(f"workflows cannot be filtered by {', '.join(sorted(unknown))}")
    checked: dict[str, Any] = {name: _check(name, given.get(name)) for name in _FIELDS}
    return WorkflowFilter(**checked)


def make_page(page: Page) -> Page:
    """Return the page when it is within bounds.

    Raises:
        WorkflowFilterError: naming the field that is not.
    """
    if type(page.limit) is not int or not 1 <= page.limit <= MAX_PAGE:
        raise WorkflowFilterError(field="limit", value=page.limit, allowed=ALLOWED_LIMIT)
    if page.order not in ("newest", "oldest"):
        raise WorkflowFilterError(field="order", value=page.order, allowed=ALLOWED_ORDER)
    return page


def _check(field: str, value: Any) -> Any:
    if value is None:
        return None
    if field.endswith(("_after", "_before")):
        if not isinstance(value, datetime) or value.utcoffset() is None:
            raise WorkflowFilterError(field=field, value=value, allowed=ALLOWED_MOMENT)
        return value
    if field not in _NO_TEXTS:
        return _texts(field, value, ALLOWED_TEXTS)
    if field == "status":
        found = tuple(v.upper() for v in _texts(field, value, ALLOWED_STATUS))
        if not set(found) <= set(WorkflowStatus):
            raise WorkflowFilterError(field=field, value=value, allowed=ALLOWED_STATUS)
        return found
    if field == "has_parent":
        if type(value) is not bool:
            raise WorkflowFilterError(field=field, value=value, allowed="True or False")
        return value
    if not isinstance(value, str) or not value or not storable_text(value):
        allowed = "a str of 1 character or more, without NUL or lone surrogates"
        raise WorkflowFilterError(field=field, value=value, allowed=allowed)
    return value


def _texts(field: str, value: object, allowed: str) -> tuple[str, ...]:
    given = (value,) if isinstance(value, str) else value
    if not isinstance(given, Collection):
        raise WorkflowFilterError(field=field, value=value, allowed=allowed)
    found = tuple(v for v in given if isinstance(v, str) and storable_text(v))
    if len(found) < len(given):
        raise WorkflowFilterError(field=field, value=value, allowed=allowed)
    return tuple(str(v) for v in found)
