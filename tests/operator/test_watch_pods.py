"""Which Pods the watch of children hands on, from an API server that a test scripts."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from towpath_operator.adapters.kubernetes import Requests
from towpath_operator.adapters.kubernetes_watch import ChildrenWatch
from towpath_operator.adapters.sightings import Sightings
from towpath_operator.ports.cluster import Manifest, ObjectKey

RECORDED: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "unit/operator/recorded_pods.json").read_text("utf-8")
)


class Scripted:
    """Lists some Pods, and then tells of events on them; of other kinds there are none."""

    def __init__(self, listed: list[str], told: list[tuple[str, str]]) -> None:
        self._listed = [self._pod(what) for what in listed]
        self._told = [{"type": kind, "object": self._pod(what)} for kind, what in told]
        self._closed = threading.Event()

    def pages(self, path: str, **_: object) -> tuple[list[dict[str, Any]], str]:
        """Answer a list."""
        return (self._listed if path.endswith("/pods") else []), "1"

    def open(self, _method: str, path: str, **_: object) -> Scripted | Silent:
        """Begin a watch."""
        return self if path.endswith("/pods") else Silent()

    def stream(self, **_: object) -> Iterator[bytes]:
        """Tell of each event, and then of nothing."""
        for event in self._told:
            yield json.dumps(event).encode() + b"\n"
        self._closed.wait(20)

    def close(self) -> None:
        """End the watch."""
        self._closed.set()

    @staticmethod
    def _pod(what: str) -> dict[str, Any]:
        pod = RECORDED[what]
        return {**pod, "metadata": {**pod["metadata"], "resourceVersion": "1"}}


class Silent:
    """A watch that tells of nothing."""

    def stream(self, **_: object) -> Iterator[bytes]:
        """Wait."""
        threading.Event().wait(20)
        yield b""

    def close(self) -> None:
        """End it."""


def test_pods_are_handed_on_when_they_change_and_as_they_were_when_they_were_deleted() -> None:
    """Once for each state; what is listed at a start proves again."""
    told: list[tuple[str, str]] = []
    last = threading.Event()

    def tell(pool: ObjectKey, pod: Manifest) -> None:
        told.append((str(pool), f"{pod['metadata']['name']} {pod['status']['phase']}"))
        if pod["metadata"].get("deletionGracePeriodSeconds") == 0:
            last.set()

    scripted = Scripted(
        listed=["killed and backing off", "draining"],
        told=[
            ("MODIFIED", "killed and backing off"),
            ("MODIFIED", "drained"),
            ("DELETED", "drained and deleted"),
        ],
    )
    watch = ChildrenWatch(
        cast(Requests, scripted), lambda _pool: None, sightings=Sightings(()), tell_pod=tell
    )
    watch.start()
    assert last.wait(20)
    watch.stop()
    scripted.close()
    assert told == [
        ("proofs/mailers", "crash Running"),
        ("proofs/mailers", "graceful Running"),
        ("proofs/mailers", "graceful Succeeded"),
        ("proofs/mailers", "graceful Succeeded"),
    ]
