"""Notes when each of many things is first seen: Deployments by a watch, rows by looking often."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import psycopg

from tests.operator.running import Api
from towpath_operator.adapters.kubernetes import path_of
from towpath_operator.ports.cluster import Kind

LOOK_SECONDS = 0.02
WATCH_SECONDS = 900


class Sightings:
    """First sightings by name, on the monotonic clock."""

    def __init__(self) -> None:
        self._seen: dict[str, float] = {}
        self._changed = threading.Condition()

    def note(self, name: str) -> None:
        """Note that something is there."""
        with self._changed:
            if name not in self._seen:
                self._seen[name] = time.monotonic()
                self._changed.notify_all()

    def wait(self, names: Collection[str], *, seconds: float) -> dict[str, float]:
        """Return when each of the names was first seen; raises TimeoutError with what is missing."""
        wanted = set(names)
        with self._changed:
            if not self._changed.wait_for(lambda: wanted <= self._seen.keys(), seconds):
                missing = wanted - self._seen.keys()
                raise TimeoutError(f"{len(missing)} of {len(wanted)} not seen in {seconds} s")
            return {name: self._seen[name] for name in wanted}


@contextmanager
def watching(api: Api, kind: Kind, *, ready: bool) -> Iterator[Sightings]:
    """Watch the objects of a kind in a namespace: when they are made, or when they are available.

    The server ends the watch; to close a response that a thread is reading would wait for it.
    """
    sightings = Sightings()
    path = path_of(kind, namespace=api.namespace)
    response = api.requests.open(
        "get", path, watch="true", timeout_seconds=WATCH_SECONDS, _request_timeout=WATCH_SECONDS
    )

    def read() -> None:
        rest = b""
        for chunk in response.stream(amt=None, decode_content=False):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in filter(None, lines):
                found = json.loads(line)["object"]
                if not ready or (found.get("status") or {}).get("availableReplicas"):
                    sightings.note(found["metadata"]["name"])

    threading.Thread(target=read, daemon=True).start()
    yield sightings


@contextmanager
def looking_at_rows(url: str) -> Iterator[Sightings]:
    """Look for queues' rows every 20 ms."""
    sightings, stop = Sightings(), threading.Event()

    def look() -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            while not stop.wait(LOOK_SECONDS):
                try:
                    rows = connection.execute(
                        "SELECT name FROM towpath.queue WHERE owner_uid IS NOT NULL"
                    ).fetchall()
                except psycopg.errors.UndefinedTable:
                    continue  # the operator is still to migrate
                for (name,) in rows:
                    sightings.note(name)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield sightings
    finally:
        stop.set()
        thread.join()
