"""Says what a write changes in a row that was there already: events, as a person would ask for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from towpath_operator.model.queue import Queue
from towpath_operator.model.queue_status import effective_configuration
from towpath_operator.plan.actions import Event
from towpath_operator.plan.observed import Owner, QueueRow

ADOPTED: Final = "RowAdopted"
DRIFT_REPAIRED: Final = "DriftRepaired"

NONE: Final = "none"
"""Stands for a setting that is not there."""


def told_of_write(queue: Queue, row: QueueRow | None, owner: Owner) -> tuple[Event, ...]:
    """Return the events of writing what a Queue declares over a row; a changed spec makes none."""
    if row is None:
        return _told_of_missing(queue)
    if row.owner != owner:
        return (_told_of_adoption(queue, row),)
    if not _was_in_force(queue):
        return ()
    before, after = _flat(_effective(row)), _flat(_declared(queue, row))
    said = _flat(queue.status.get("effective") or {})
    changes = [
        _change(path, before.get(path), after.get(path))
        for path in sorted({*before, *after})
        if before.get(path) != after.get(path) and before.get(path) != said.get(path)
    ]
    if not changes:
        return ()
    message = (
        f"The row of queue {queue.queue_name!r} was changed by hand; the manifest decides, so it was "
        f"put back: {', '.join(changes)}."
    )
    return (Event(reason=DRIFT_REPAIRED, message=message, warning=False),)


def _told_of_missing(queue: Queue) -> tuple[Event, ...]:
    """A row that is not there was deleted by hand, if it was in force before."""
    if not _was_in_force(queue):
        return ()
    message = (
        f"The row of queue {queue.queue_name!r} was gone from the database; it is written anew."
    )
    return (Event(reason=DRIFT_REPAIRED, message=message, warning=True),)


def _told_of_adoption(queue: Queue, row: QueueRow) -> Event:
    before, after = _flat(_effective(row)), _flat(_declared(queue, row))
    changes = [
        _change(path, before.get(path), after.get(path))
        for path in sorted({*before, *after})
        if before.get(path) != after.get(path)
    ]
    whose = "was declared by code" if row.owner is None else f"was of Queue {row.owner}, now gone,"
    said = f"changed: {', '.join(changes)}" if changes else "no setting has changed"
    message = f"Queue {queue.queue_name!r} {whose} and is this manifest's from now on; {said}."
    return Event(reason=ADOPTED, message=message, warning=False)


def _was_in_force(queue: Queue) -> bool:
    """Tell whether the status speaks of this spec, and of a row that was this Queue's."""
    status = queue.status
    return (
        status.get("observedGeneration") == queue.metadata.generation
        and status.get("effective") is not None
    )


def _effective(row: QueueRow) -> Mapping[str, Any]:
    return effective_configuration(row.settings, paused=row.paused, closed=row.closed)


def _declared(queue: Queue, row: QueueRow) -> Mapping[str, Any]:
    """Return what the row will say; what the manifest leaves open stays as it is."""
    spec = queue.spec
    return effective_configuration(
        queue.settings,
        paused=row.paused if spec.paused is None else spec.paused,
        closed=row.closed if spec.closed is None else spec.closed,
    )


def _flat(fields: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    return dict(_leaves(fields, above))


def _leaves(fields: Mapping[str, Any], above: str) -> Iterator[tuple[str, Any]]:
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def _change(path: str, before: Any, after: Any) -> str:
    return f"{path} {_shown(before)} -> {_shown(after)}"


def _shown(value: Any) -> str:
    if value is None:
        return NONE
    return str(value).lower() if isinstance(value, bool) else str(value)
