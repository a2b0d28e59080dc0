"""The annotations by which people ask something of the operator; it writes none on our kinds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

CONFIRM_DELETE: Final = "towpath.dev/confirm-delete"
"""On a Queue: confirms its deletionPolicy; the value is the queue's name."""

PLAN_ONLY: Final = "towpath.dev/plan-only"
"""Where it is "true", what the operator would do stands in status.plan, and nothing is done."""

TRACE: Final = "towpath.dev/trace"
"""Each new value has one reconcile of the object written to the log, step by step."""

ASKED_BY_PEOPLE: Final = (CONFIRM_DELETE, PLAN_ONLY, TRACE)


def asked(annotations: Mapping[str, str] | None) -> dict[str, str]:
    """Return those of an object's annotations that ask something of the operator."""
    found = annotations or {}
    return {name: found[name] for name in ASKED_BY_PEOPLE if name in found}
