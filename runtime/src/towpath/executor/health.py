"""Serves /livez and /readyz to the kubelet, in a thread of its own and without Postgres.

Alive: the library's loop has turned within 90 s. Ready: the worker has registered once and still
takes work. An outage of Postgres changes neither.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from towpath.domain.errors import PortInUseError

SILENT_SECONDS: Final = 90.0
BEAT_SECONDS: Final = 5.0
REQUEST_SECONDS: Final = 5.0

Probe = Callable[[], str | None]
"""Returns None where all is well, else what is not, in a few words."""


class Pulse:
    """Tells whether a loop still turns."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._beat_at = clock()
        loop.call_soon_threadsafe(self._beat)

    def _beat(self) -> None:
        self._beat_at = self._clock()
        self._loop.call_later(BEAT_SECONDS, self._beat)

    def silent_for(self) -> float:
        """Return the seconds since the loop last turned; it does so every 5 s at least."""
        return self._clock() - self._beat_at

    def probe(self) -> str | None:
        """Say that the loop has stood still for too long."""
        seconds = self.silent_for()
        return None if seconds < SILENT_SECONDS else f"the loop stands still for {seconds:.0f} s"


class ProbeServer:
    """Answers probes from a daemon thread.

    Raises:
        PortInUseError: the port cannot be had.
    """

    def __init__(self, port: int, *, alive: Probe, ready: Probe) -> None:
        handler = type("Handler", (_Handler,), {"probes": {"/livez": alive, "/readyz": ready}})
        try:
            self._server = _Server(("", port), handler)
        except OSError as error:
            raise PortInUseError(port=port, reason=error.strerror or str(error)) from None
        threading.Thread(
            target=self._server.serve_forever, name="towpath-probes", daemon=True
        ).start()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: whoever asked has gone."""


class _Handler(BaseHTTPRequestHandler):
    probes: dict[str, Probe]
    timeout = REQUEST_SECONDS
    protocol_version = "HTTP/1.1"
    server_version = "towpath"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer one probe."""
        probe = self.probes.get(self.path.partition("?")[0])
        if probe is None:
            self._answer(HTTPStatus.NOT_FOUND, {"error": "not found"})
            return
        trouble = probe()
        if trouble is None:
            self._answer(HTTPStatus.OK, {"ok": True})
        else:
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, {"ok": False, "reason": trouble})

    do_HEAD = do_GET  # noqa: N815 - http.server's name

    def _answer(self, status: HTTPStatus, body: dict[str, Any]) -> None:
        text = json.dumps(body).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        """Log nothing: a probe a second says nothing."""
