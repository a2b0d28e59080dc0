"""What the Kubernetes adapter sends that is no manifest: Events, and patches of finalizers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from towpath_operator.ports.cluster import FIELD_MANAGER, Manifest

EVENT_NOTE_LENGTH: Final = 1000


def event_body(
    about: Manifest, reason: str, message: str, *, warning: bool, instance: str
) -> dict[str, Any]:
    """Return an Event about an object."""
    metadata = about["metadata"]
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {
            "generateName": f"{metadata['name'][:40]}-",
            "namespace": metadata["namespace"],
        },
        "eventTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "reportingController": FIELD_MANAGER,
        "reportingInstance": instance[:128],
        "action": "Reconcile",
        "reason": reason,
        "type": "Warning" if warning else "Normal",
        "note": message[:EVENT_NOTE_LENGTH],
        "regarding": {
            "apiVersion": about["apiVersion"],
            "kind": about["kind"],
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
        },
    }


def finalizers_patch(uid: str, before: Sequence[str], after: Sequence[str]) -> list[dict[str, Any]]:
    """Return the JSON patch from one list of finalizers to another.

    It fails where the list is not as it was read, or the object is another by now: a finalizer that
    somebody has put there meanwhile is never lost.
    """
    place = "/metadata/finalizers"
    # Where there are none the field is absent, which a test for null means.
    tests: list[dict[str, Any]] = [
        {"op": "test", "path": "/metadata/uid", "value": uid},
        {"op": "test", "path": place, "value": list(before) or None},
    ]
    return [*tests, {"op": "add", "path": place, "value": list(after)}]
