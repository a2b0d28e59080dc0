"""Watches the children of pools: Pods, Deployments and ReplicaSets that carry our label.

One thread a kind lists page by page, then follows from there with bookmarks. It says which pool to
look at again; what is true is read anew by the reconcile that follows. Pods are handed on as they are
too: what a kubelet has reported of one that is deleted is nowhere to be read any more.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import urllib3

from towpath_operator.adapters.kubernetes import TIMEOUT_SECONDS, Requests, path_of
from towpath_operator.adapters.sightings import Sightings
from towpath_operator.ports.cluster import (
    DEPLOYMENT,
    POD,
    REPLICA_SET,
    ClusterError,
    Kind,
    Manifest,
    ObjectKey,
)

logger = logging.getLogger(__name__)

POOL_LABEL: Final = "towpath.dev/pool"
WATCHED: Final = (DEPLOYMENT, REPLICA_SET, POD)
SERVER_ENDS_AFTER_SECONDS: Final = 290
# The API server sends a bookmark about once a minute; a longer silence is a dead connection.
SILENCE_SECONDS: Final = 150.0
PAUSE_SECONDS: Final = (1.0, 10.0)
EXPIRED: Final = 410

_CONTAINER_STATE_FIELDS = ("reason", "message", "exitCode")


@dataclass(slots=True)
class _Known:
    """What the last event said of each object, and where to go on."""

    namespace: str | None = None
    version: str = ""
    signatures: dict[str, object] = field(default_factory=dict)
    pools: dict[str, ObjectKey] = field(default_factory=dict)


class ChildrenWatch:
    """Calls `wake(pool)` from its own threads for each change that a pool could care about.

    And `tell_pod(pool, pod)` where that is a Pod's; one that was deleted is told as it was last.
    """

    def __init__(
        self,
        requests: Requests,
        wake: Callable[[ObjectKey], None],
        namespaces: Sequence[str] = (),
        *,
        sightings: Sightings | None = None,
        tell_pod: Callable[[ObjectKey, Manifest], None] = lambda _pool, _pod: None,
    ) -> None:
        """Watch some namespaces; none named is all. What is seen is kept in `sightings`."""
        self._requests = requests
        self._sightings = sightings or Sightings(())
        self._wake = wake
        self._tell_pod = tell_pod
        self._stopped = threading.Event()
        places: Sequence[str | None] = namespaces or (None,)
        self._listed = {(kind, place): threading.Event() for kind in WATCHED for place in places}

    def start(self) -> None:
        """Start one thread a kind and namespace. They end with the process: a read may take minutes."""
        for kind, place in self._listed:
            threading.Thread(
                target=self._follow_for_ever,
                args=(kind, place),
                name=f"watch-{kind.plural}",
                daemon=True,
            ).start()

    def stop(self) -> None:
        """Wake nobody from now on."""
        self._stopped.set()

    @property
    def synced(self) -> bool:
        """Whether everything was listed once."""
        return all(event.is_set() for event in self._listed.values())

    def _follow_for_ever(self, kind: Kind, namespace: str | None) -> None:
        known = _Known(namespace)
        least, most = PAUSE_SECONDS
        pause = 0.0
        while not self._stopped.is_set():
            began = time.monotonic()
            asked_to_wait = self._follow_once(kind, known)
            # A watch that ends as it begins, whatever the answer, is not asked for in a tight circle.
            lasted = time.monotonic() - began > most
            pause = least if lasted else min(most, max(least, pause * 2))
            self._stopped.wait(max(pause, asked_to_wait))

    def _follow_once(self, kind: Kind, known: _Known) -> float:
        """List if need be, and watch until that ends; return how long the API server wants peace."""
        try:
            if not known.version:
                self._list(kind, known)
            self._follow(kind, known)
        except _Expired:
            known.version = ""
        except ClusterError as error:
            if error.status == EXPIRED:
                known.version = ""
            self._interrupted(kind, error)
            return error.retry_after
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            self._interrupted(kind, error)
        except Exception:
            # A bug must not end the thread, which nobody would miss: what it watches is listed anew.
            known.version = ""
            logger.exception("watch failed", extra={"kind": kind.plural})
        return 0.0

    def _interrupted(self, kind: Kind, error: Exception) -> None:
        logger.warning("watch interrupted", extra={"kind": kind.plural, "error": str(error)})

    def _list(self, kind: Kind, known: _Known) -> None:
        path = path_of(kind, namespace=known.namespace)
        items, version = self._requests.pages(path, label_selector=POOL_LABEL)
        self._sightings.saw_all(kind, items, version, namespace=known.namespace)
        vanished = set(known.signatures) - {item["metadata"]["uid"] for item in items}
        for item in items:
            self._note(kind, known, item)
        for uid in vanished:
            self._forget(known, uid)
        known.version = version
        self._listed[kind, known.namespace].set()

    def _follow(self, kind: Kind, known: _Known) -> None:
        response = self._requests.open(
            "get",
            path_of(kind, namespace=known.namespace),
            label_selector=POOL_LABEL,
            resource_version=known.version,
            timeout_seconds=SERVER_ENDS_AFTER_SECONDS,
            watch="true",
            allow_watch_bookmarks="true",
            _request_timeout=(TIMEOUT_SECONDS, SILENCE_SECONDS),
        )
        try:
            for line in _lines(response):
                if self._stopped.is_set():
                    return
                self._take(kind, known, json.loads(line))
        finally:
            response.close()

    def _take(self, kind: Kind, known: _Known, event: Mapping[str, Any]) -> None:
        subject = event["object"]
        if event["type"] == "ERROR":
            # Most often 410: what we would go on from is no longer kept, so list again.
            raise _Expired
        known.version = subject["metadata"]["resourceVersion"]
        if event["type"] == "DELETED":
            self._sightings.saw_go(kind, subject)
            if kind == POD:
                self._tell_pod(_pool_of(subject), subject)
            self._forget(known, subject["metadata"]["uid"])
        elif event["type"] != "BOOKMARK":
            self._sightings.saw(kind, subject)
            self._note(kind, known, subject)

    def _note(self, kind: Kind, known: _Known, subject: Mapping[str, Any]) -> None:
        metadata = subject["metadata"]
        signature = signature_of(kind, subject)
        pool = _pool_of(subject)
        before = known.signatures.get(metadata["uid"])
        known.signatures[metadata["uid"]] = signature
        known.pools[metadata["uid"]] = pool
        if signature != before:
            self._wake(pool)
            if kind == POD:
                self._tell_pod(pool, subject)

    def _forget(self, known: _Known, uid: str) -> None:
        known.signatures.pop(uid, None)
        pool = known.pools.pop(uid, None)
        if pool is not None:
            self._wake(pool)


class _Expired(Exception):  # noqa: N818 - it is the word of the API for it, and never leaves this file
    """The watch cannot go on from where it stood."""


def _pool_of(subject: Manifest) -> ObjectKey:
    metadata = subject["metadata"]
    return ObjectKey(metadata["namespace"], metadata["labels"][POOL_LABEL])


def signature_of(kind: Kind, subject: Mapping[str, Any]) -> object:
    """Return what a reconcile could care about; two equal signatures are one state to it."""
    metadata, status = subject["metadata"], subject.get("status", {})
    if kind == POD:
        return (
            metadata.get("deletionTimestamp"),
            status.get("phase"),
            status.get("reason"),
            _condition_texts(status),
            _container_texts(status),
        )
    return (
        metadata.get("generation"),
        metadata.get("deletionTimestamp"),
        json.dumps(metadata.get("annotations", {}), sort_keys=True),
        status.get("observedGeneration"),
        status.get("replicas"),
        status.get("readyReplicas"),
        status.get("updatedReplicas"),
        status.get("availableReplicas"),
        _condition_texts(status),
    )


def _condition_texts(status: Mapping[str, Any]) -> tuple[tuple[Any, ...], ...]:
    return tuple(
        (one.get("type"), one.get("status"), one.get("reason"))
        for one in status.get("conditions", ())
    )


def _container_texts(status: Mapping[str, Any]) -> tuple[tuple[Any, ...], ...]:
    return tuple(
        (
            one["name"],
            one.get("ready"),
            one.get("restartCount"),
            phase,
            *map(state.get, _CONTAINER_STATE_FIELDS),
        )
        for group in ("initContainerStatuses", "containerStatuses")
        for one in status.get(group, ())
        for phase, state in (*one.get("state", {}).items(), *one.get("lastState", {}).items())
    )


def _lines(response: urllib3.HTTPResponse) -> Any:
    """Yield each whole line as it arrives, however the chunks are cut."""
    rest = b""
    for chunk in response.stream(amt=None, decode_content=False):
        *whole, rest = (rest + chunk).split(b"\n")
        yield from filter(None, whole)
