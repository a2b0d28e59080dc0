"""Serves /healthz and /readyz: whether to restart the operator, and whether it is at work."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final

READ_SECONDS: Final = 5.0

Check = Callable[[], Mapping[str, bool]]
"""Names what is looked at and says whether it is well."""


class HealthServer:
    """Answers probes; anything else is not found."""

    def __init__(self, *, alive: Check, ready: Check) -> None:
        self._checks = {"/healthz": alive, "/readyz": ready}
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

    def _response(self, path: list[bytes]) -> bytes:
        check = self._checks.get(path[0].decode("latin-1").partition("?")[0]) if path else None
        if check is None:
            return _http(HTTPStatus.NOT_FOUND, {})
        results = check()
        well = all(results.values())
        return _http(HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE, results)


def _listen(port: int) -> socket.socket:
    """Return one socket for both families: two sockets would take two different free ports."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


def _http(status: HTTPStatus, body: Mapping[str, bool]) -> bytes:
    text = json.dumps(body).encode()
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(text)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + text
