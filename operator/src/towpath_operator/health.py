"""Serves /healthz, /readyz and /metrics: whether to restart the operator, whether it is at work, how."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

READ_SECONDS: Final = 5.0

Check = Callable[[], Mapping[str, object]]
"""Names what is looked at: False is not well; what is neither True nor False is for people to read."""

JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Page:
    """A text and what it is."""

    content_type: str
    body: bytes


class HealthServer:
    """Answers probes and the scrape of metrics; anything else is not found."""

    def __init__(self, *, alive: Check, ready: Check, metrics: Callable[[], Page]) -> None:
        self._checks = {"/healthz": alive, "/readyz": ready}
        self._metrics = metrics
        self._server: asyncio.Server | None = None

    async def start(self, port: int) -> int:
        """Listen on every address, and return the port. Raises OSError where it is in use."""
        listening = _listen(port)
        self._server = await asyncio.start_server(self._answer, sock=listening)
        bound: int = listening.getsockname()[1]
        return bound

    async def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(READ_SECONDS):
                request = await reader.readline()
                while (await reader.readline()).strip():
                    pass  # headers say nothing to us
            writer.write(self._response(request.split()[1:2]))
            await writer.drain()
        except (TimeoutError, ConnectionError, ValueError):
            pass  # whoever asked has gone
        finally:
            writer.close()

    def _response(self, words: list[bytes]) -> bytes:
        path = words[0].decode("latin-1").partition("?")[0] if words else ""
        if path == "/metrics":
            return _http(HTTPStatus.OK, self._metrics())
        check = self._checks.get(path)
        if check is None:
            return _http(HTTPStatus.NOT_FOUND, Page(JSON, b"{}"))
        results = check()
        well = not any(result is False for result in results.values())
        status = HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE
        return _http(status, Page(JSON, json.dumps(results).encode()))


def _listen(port: int) -> socket.socket:
    """Return one socket for both families: two sockets would take two different free ports."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


def _http(status: HTTPStatus, page: Page) -> bytes:
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {page.content_type}\r\n"
        f"Content-Length: {len(page.body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + page.body
