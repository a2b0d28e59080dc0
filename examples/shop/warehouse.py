"""A warehouse's HTTP API, which allows three calls at a time: `python warehouse.py`.

It stands for somebody else's service, knows nothing of Towpath, and needs Python alone. A fourth call
in flight is refused with 429. A call is in flight until its client's connection closes. GET /report
tells what was seen: the most calls at once, the refused ones, and each call with who made it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from typing import Any

LONGEST_BODY = 65_536
PATIENCE_SECONDS = 10.0


@dataclass(slots=True)
class Call:
    """One call of a client."""

    number: int
    action: str
    order: int
    worker: str
    began: float
    ended: float | None = None
    outcome: str = "in flight"
    """`in flight`, `answered`, `refused`, or `cut off` where the client went away first."""


@dataclass(slots=True)
class Request:
    """What a client asked."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True, kw_only=True)
class Warehouse:
    """The API and its own log of what happened."""

    limit: int
    seconds: float
    calls: list[Call] = field(default_factory=list)
    in_flight: int = 0
    most_at_once: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection: one request, then its end."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                request = await _read(reader)
            if request.path == "/report":
                await _answer(writer, HTTPStatus.OK, self.report())
            else:
                await self._call(request, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            pass  # the client went away
        except (ValueError, KeyError, TypeError, asyncio.LimitOverrunError) as error:
            await _answer(writer, HTTPStatus.BAD_REQUEST, {"error": str(error)})
        finally:
            writer.close()

    def report(self) -> dict[str, Any]:
        """Return what was seen since the start."""
        return {
            "limit": self.limit,
            "in_flight": self.in_flight,
            "most_at_once": self.most_at_once,
            "now": _now(),
            "calls": [asdict(call) for call in self.calls],
        }

    async def _call(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        call = Call(
            number=len(self.calls) + 1,
            action=request.path.removeprefix("/"),
            order=int(json.loads(request.body)["order"]),
            worker=request.headers.get("worker", ""),
            began=_now(),
        )
        self.calls.append(call)
        if self.in_flight >= self.limit:
            call.outcome, call.ended = "refused", _now()
            await _answer(writer, HTTPStatus.TOO_MANY_REQUESTS, {"error": "too many calls at once"})
            return
        self.in_flight += 1
        self.most_at_once = max(self.most_at_once, self.in_flight)
        gone = asyncio.create_task(_closed(reader))
        try:
            await asyncio.wait({gone}, timeout=self.seconds)
            if gone.done():
                call.outcome = "cut off"
                return
            call.outcome = "answered"
            await _answer(writer, HTTPStatus.OK, {"receipt": f"{call.action}-{call.order}"})
            await asyncio.wait({gone}, timeout=PATIENCE_SECONDS)
        finally:
            gone.cancel()
            call.ended = _now()
            self.in_flight -= 1


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _read(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.strip().split("\r\n")
    method, path, _ = first.split(" ")
    pairs = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    length = int(headers.get("content-length", "0"))
    if not 0 <= length <= LONGEST_BODY:
        raise ValueError(f"a body of {length} bytes")
    return Request(method, path, headers, await reader.readexactly(length))


async def _answer(writer: asyncio.StreamWriter, status: HTTPStatus, value: Any) -> None:
    body = json.dumps(value).encode()
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    writer.write(head.encode() + body)
    await writer.drain()


async def _closed(reader: asyncio.StreamReader) -> None:
    """Return when the client has closed its connection, in order or not."""
    try:
        await reader.read()
    except ConnectionError:
        return


async def main() -> None:
    """Serve until told to stop; the first line on stdout is the address."""
    parser = argparse.ArgumentParser(description="A warehouse that allows a few calls at a time.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8765, help="0 takes a free one")
    parser.add_argument("--limit", type=int, default=3, help="calls at a time")
    parser.add_argument("--seconds", type=float, default=0.4, help="how long a call takes")
    options = parser.parse_args()
    warehouse = Warehouse(limit=options.limit, seconds=options.seconds)
    server = await asyncio.start_server(warehouse.serve, options.host, options.port)
    host, port = server.sockets[0].getsockname()[:2]
    sys.stdout.write(f"http://{host}:{port}\n")
    sys.stdout.flush()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()


if __name__ == "__main__":
    asyncio.run(main())
