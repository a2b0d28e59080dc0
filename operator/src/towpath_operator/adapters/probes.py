"""Asks local processes over HTTP whether they are ready, as a kubelet does."""

from __future__ import annotations

import asyncio
import contextlib

PERIOD_SECONDS = 1.0
TIMEOUT_SECONDS = 1.0
OK = range(200, 400)


async def answers(port: int, path: str) -> bool:
    """Tell whether a GET on loopback is answered with a success within a second."""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return await _status(port, path) in OK
    except (TimeoutError, OSError, ValueError):
        return False


async def _status(port: int, path: str) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"
        writer.write(request.encode())
        await writer.drain()
        # HTTP/1.1 200 OK
        return int((await reader.readline()).split(b" ", 2)[1])
    except IndexError:
        return 0
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
