"""A forecast as text for people and as plain data for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Final

from towpath_operator.what_if.changes import Change, FieldChange, Verb
from towpath_operator.what_if.planning import Forecast

NOTHING: Final = "Nothing would change."
LONGEST_VALUE: Final = 60


def to_text(forecast: Forecast) -> str:
    """Return a paragraph a change, then what each object's Ready condition would say."""
    parts = ["\n".join(_paragraph(change)) for change in forecast.changes] or [NOTHING]
    parts += [
        f"{one.about}: Ready={one.ready} {one.reason}. {one.message}".rstrip()
        for one in forecast.verdicts
    ]
    return "\n".join(parts)


def to_data(forecast: Forecast) -> dict[str, Any]:
    """Return the forecast as plain data; the keys are the Python names."""
    return {
        "changes": [asdict(change) for change in forecast.changes],
        "objects": [
            {
                "about": str(one.about),
                "ready": one.ready,
                "reason": one.reason,
                "message": one.message,
            }
            for one in forecast.verdicts
        ],
    }


def to_line(change: Change) -> str:
    """Return a change as one line, as status.plan has it."""
    said = ", ".join(map(_field, change.fields)) if change.verb is Verb.CHANGE else ""
    note = f" ({change.note})" if change.note else ""
    return f"{change.verb} {change.about}{f': {said}' if said else ''}{note}"


def _paragraph(change: Change) -> Iterator[str]:
    note = f"   {change.note}" if change.note else ""
    yield f"{change.verb} {change.about}{note}"
    if change.verb is Verb.CHANGE:
        for field in change.fields:
            yield f"    {_field(field)}"


def _field(change: FieldChange) -> str:
    if change.before is None:
        return f"{change.path}: {_value(change.after)} (new)"
    if change.after is None:
        return f"{change.path}: {_value(change.before)} (gone)"
    return f"{change.path}: {_value(change.before)} -> {_value(change.after)}"


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 3]}..."
