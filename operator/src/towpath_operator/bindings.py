"""The only file that imports kopf: it watches our three kinds and hands each event on.

`@kopf.on.event` alone: every other kind of handler puts kopf's finalizer or annotations on objects,
and with the operator gone a namespace would hang (docs/decisions/0004-kopf-for-events-alone.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

import kopf

from towpath_operator.ports.cluster import OUR_KINDS, Kind, Manifest

logger = logging.getLogger(__name__)

LOGIN_LIVES: Final = timedelta(minutes=10)
"""A pod's token is replaced on disk well before it runs out; it is read again this often."""

PAUSE_SECONDS: Final = (0.5, 10.0)
ENDS_WITHIN_SECONDS: Final = 3.0
TOLD_AGAIN_SECONDS: Final = 0.5
LOOK_FOR_KINDS_SECONDS: Final = 2.0
SERVER_TIMEOUT: Final = 290  # an int: kopf puts it into the URL as it is
CLIENT_TIMEOUT: Final = 600


class Listener(Protocol):
    """Takes in what happens to our objects."""

    def noticed(self, kind: Kind, manifest: Manifest) -> None:
        """Take in an object as it is now."""
        ...

    def removed(self, kind: Kind, manifest: Manifest) -> None:
        """Take in that an object is gone."""
        ...


class Login(Protocol):
    """How to reach the API server, as the `kubernetes` client's configuration has it."""

    host: str
    ssl_ca_cert: str | None
    cert_file: str | None
    key_file: str | None
    verify_ssl: bool

    def get_api_key_with_prefix(self, identifier: str, alias: str | None = None) -> str | None:
        """Return the Authorization header's value."""
        ...


def registry_for(listener: Listener, login: Callable[[], Login]) -> kopf.OperatorRegistry:
    """Return kopf's handlers: events of our kinds, and how to log in."""
    registry = kopf.OperatorRegistry()

    def bind(kind: Kind) -> None:
        group, version = kind.api_version.split("/")

        @kopf.on.event(group, version, kind.plural, id=f"notice-{kind.plural}", registry=registry)
        async def notice(event: kopf.RawEvent, **_: Any) -> None:
            manifest: Manifest = dict(event["object"])
            if event["type"] == "DELETED":
                listener.removed(kind, manifest)
            else:
                listener.noticed(kind, manifest)

    for kind in OUR_KINDS:
        bind(kind)

    @kopf.on.login(registry=registry, id="login")
    def log_in(**_: Any) -> kopf.ConnectionInfo:
        return connection_from(login())

    return registry


def connection_from(login: Login) -> kopf.ConnectionInfo:
    """Translate the client's configuration into kopf's."""
    # The client's versions differ in the name under which they keep the token.
    header = login.get_api_key_with_prefix("BearerToken") or login.get_api_key_with_prefix(
        "authorization"
    )
    scheme, _, token = (header or "").rpartition(" ")
    return kopf.ConnectionInfo(
        server=login.host,
        ca_path=login.ssl_ca_cert,
        insecure=not login.verify_ssl,
        certificate_path=login.cert_file,
        private_key_path=login.key_file,
        scheme=scheme or None,
        token=token or None,
        expiration=datetime.now(UTC) + LOGIN_LIVES,
    )


def kopf_settings() -> kopf.OperatorSettings:
    """Return settings with which kopf only watches: it writes nothing, on no object."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.process.ultimate_exiting_timeout = None  # it would kill the process, not kopf alone
    # Whether a CRD is there is looked at once; scanning would need the right to watch all of them.
    settings.scanning.disabled = True
    settings.watching.server_timeout = SERVER_TIMEOUT
    settings.watching.client_timeout = CLIENT_TIMEOUT
    settings.networking.request_timeout = 30.0
    # An event is handed on at once: nothing is left to be finished, when idle or at the end.
    settings.queueing.idle_timeout = settings.queueing.exit_timeout = 0.2
    # Read for the objects' marks of kopf's own, of which there are none.
    settings.persistence.finalizer = "towpath.dev/none"
    return settings


class Watch:
    """Runs kopf in a thread and a loop of its own, and hands events to the loop that started it.

    Apart, because kopf takes the process's signals where it can, and at its end cancels what else
    runs in its loop.
    """

    def __init__(
        self,
        listener: Listener,
        login: Callable[[], Login],
        namespaces: Sequence[str] = (),
        *,
        served: Callable[[], bool],
    ) -> None:
        """Watch some namespaces; none named is all. Where our kinds are not `served`, wait for them."""
        self._listener = listener
        self._login = login
        self._namespaces = namespaces
        self._served = served
        self._stop: Callable[[], object] = lambda: None
        self._stopped = threading.Event()
        self._ready = threading.Event()

    @property
    def ready(self) -> bool:
        """Whether kopf has begun to watch."""
        return self._ready.is_set()

    async def run(self) -> None:
        """Watch until stopped, and begin anew where kopf gives up on a request or a stream."""
        loop = asyncio.get_running_loop()
        registry = registry_for(_Post(loop, self._listener), self._login)
        ended = asyncio.Event()

        def run() -> None:
            self._run(registry)
            with contextlib.suppress(RuntimeError):  # nobody waits any more
                loop.call_soon_threadsafe(ended.set)

        # A daemon: it writes nothing, and may take many seconds to end after a request that failed.
        threading.Thread(target=run, name="kopf", daemon=True).start()
        await ended.wait()

    def stop(self) -> None:
        """Have `run` return soon."""
        self._stopped.set()
        with contextlib.suppress(RuntimeError):  # kopf's loop has ended by itself
            self._stop()

    def _run(self, registry: kopf.OperatorRegistry) -> None:
        least, most = PAUSE_SECONDS
        pause = 0.0
        while not self._stopped.is_set():
            if not self._served():
                # kopf looks once for the kinds, and would watch those that are there alone.
                logger.warning("watch waits for kinds", extra={"after": LOOK_FOR_KINDS_SECONDS})
                self._stopped.wait(LOOK_FOR_KINDS_SECONDS)
                continue
            began = time.monotonic()
            why = self._watch_until_it_ends(registry)
            if self._stopped.is_set():
                return
            lasted = time.monotonic() - began > most
            pause = least if lasted else min(most, max(least, pause * 2))
            logger.warning("watch begins anew", extra={"error": why, "after": pause})
            self._stopped.wait(pause)

    def _watch_until_it_ends(self, registry: kopf.OperatorRegistry) -> str:
        """Run kopf in a loop of its own, and return why it has ended.

        To kopf a stream that is cut inside a line, an error told in one, and a long row of refusals
        are the end of the operator. What it saw is seen again at the next begin, and at each relist.
        """
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(_note_what_kopf_left)
        try:
            return loop.run_until_complete(self._watch(registry))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is not the end of us
            return f"{type(error).__name__}: {error}"
        finally:
            # Not by asyncio.run, which would wait for what kopf does not end.
            loop.close()

    async def _watch(self, registry: kopf.OperatorRegistry) -> str:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        self._stop = lambda: loop.call_soon_threadsafe(stop.set)
        if self._stopped.is_set():
            return ""
        tasks = await kopf.spawn_tasks(
            registry=registry,
            settings=kopf_settings(),
            clusterwide=not self._namespaces,
            namespaces=self._namespaces,
            standalone=True,
            ready_flag=self._ready,
        )
        stopping = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait({*tasks, stopping}, return_when=asyncio.FIRST_COMPLETED)
        await _cancel_what_runs()
        errors = [task.exception() for task in done if not task.cancelled()]
        told = next((error for error in errors if error is not None), None)
        return "kopf has ended" if told is None else f"{type(told).__name__}: {told}"


async def _cancel_what_runs() -> None:
    """End what kopf has begun, for so long: a request that is tried again may wait for ever to log in.

    It is told more than once, since kopf passes over a cancellation while it finishes something.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + ENDS_WITHIN_SECONDS
    while (left := asyncio.all_tasks() - {asyncio.current_task()}) and loop.time() < deadline:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=TOLD_AGAIN_SECONDS)


def _note_what_kopf_left(loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
    """Note what kopf left unawaited or open: why it ended is told when it does."""
    del loop
    error = context.get("exception") or context.get("message")
    logger.debug("watch left something", extra={"error": f"{error}"})


class _Post:
    """A listener that lives in another loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, listener: Listener) -> None:
        self._loop = loop
        self._listener = listener

    def noticed(self, kind: Kind, manifest: Manifest) -> None:
        """Hand on an object as it is now."""
        self._loop.call_soon_threadsafe(self._listener.noticed, kind, manifest)

    def removed(self, kind: Kind, manifest: Manifest) -> None:
        """Hand on that an object is gone."""
        self._loop.call_soon_threadsafe(self._listener.removed, kind, manifest)
