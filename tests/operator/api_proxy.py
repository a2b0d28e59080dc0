"""A proxy in front of the API server that answers wrongly on demand, and notes what was asked.

It runs in a thread and a loop of its own. A fault is a function: it gets the request and a way to
send it on, and answers as it likes. Those that are on are looked at in the order they were switched on.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Self

import aiohttp
from aiohttp import web

HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "content-encoding", "host"}


@dataclass(frozen=True, slots=True)
class Seen:
    """One request of the operator."""

    method: str
    path: str
    watch: bool
    resource_version: str | None
    body: bytes = field(repr=False)
    at: float

    @property
    def plural(self) -> str:
        """The collection that it is about, as in `queues`."""
        parts = self.path.strip("/").split("/")
        rest = parts[3:] if parts[0] == "apis" else parts[2:]
        return rest[2] if rest[:1] == ["namespaces"] and len(rest) > 2 else (rest or [""])[0]

    @property
    def write(self) -> bool:
        """Whether it changes something."""
        return self.method not in {"GET", "HEAD"}

    @property
    def json(self) -> dict[str, Any]:
        """The body."""
        return dict(json.loads(self.body))


Onward = Callable[[], Any]
"""Sends the request on: an async context manager over the API server's answer."""

Fault = Callable[[web.Request, Onward], Awaitable[web.StreamResponse]]
About = Callable[[Seen], bool]


@dataclass(slots=True)
class Switched:
    """A fault that is on, and the requests that have met it."""

    fault: Fault
    about: About
    times: float
    met: list[Seen] = field(default_factory=list)


class ApiProxy:
    """Stands at `url` while entered."""

    def __init__(self, upstream: str, *, certificate_authority: Any) -> None:
        self._upstream = upstream.rstrip("/")
        self._ssl = certificate_authority
        self._faults: list[Switched] = []
        self._seen: list[Seen] = []
        self._open: dict[int, tuple[web.Request, Seen]] = {}
        self._lock = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self.url = ""

    def __enter__(self) -> Self:
        self._thread.start()
        port = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        self.url = f"http://127.0.0.1:{port}"
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    @contextmanager
    def fault(
        self, fault: Fault, about: About, *, times: float = float("inf")
    ) -> Iterator[Switched]:
        """Answer what it is about by a fault, so many times, while the block lasts.

        Streams that are open already are ended, so that a watch meets the fault too.
        """
        switched = Switched(fault, about, times)
        with self._lock:
            self._faults.append(switched)
        self.cut(about)
        try:
            yield switched
        finally:
            with self._lock:
                self._faults.remove(switched)

    def cut(self, about: About) -> None:
        """End the connections of what is being answered."""
        self._loop.call_soon_threadsafe(self._cut, about)

    def seen(self, about: About = lambda _: True) -> Sequence[Seen]:
        """Return the requests so far."""
        with self._lock:
            return [one for one in self._seen if about(one)]

    def _cut(self, about: About) -> None:
        for request, seen in list(self._open.values()):
            if about(seen) and request.transport is not None:
                request.transport.abort()

    async def _start(self) -> int:
        self._session = aiohttp.ClientSession(auto_decompress=False)
        self._runner = web.AppRunner(
            _application(self._answer), shutdown_timeout=0.1, handler_cancellation=True
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        return int(self._runner.addresses[0][1])

    async def _stop(self) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        seen = Seen(
            request.method,
            request.path,
            request.query.get("watch") == "true",
            request.query.get("resourceVersion"),
            body,
            time.monotonic(),
        )

        @asynccontextmanager
        async def onward() -> AsyncIterator[aiohttp.ClientResponse]:
            kept = {k: v for k, v in request.headers.items() if k.lower() not in HOP_BY_HOP}
            async with self._session.request(
                request.method,
                f"{self._upstream}{request.rel_url}",
                headers=kept,
                data=body or None,
                skip_auto_headers=["Content-Type"],
                ssl=self._ssl,
                timeout=aiohttp.ClientTimeout(total=None),
            ) as answer:
                yield answer

        self._open[id(request)] = (request, seen)
        try:
            return await self._choose(seen)(request, onward)
        finally:
            del self._open[id(request)]

    def _choose(self, seen: Seen) -> Fault:
        with self._lock:
            self._seen.append(seen)
            for one in self._faults:
                if len(one.met) < one.times and one.about(seen):
                    one.met.append(seen)
                    return one.fault
        return pass_on


def _application(answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.Application:
    application = web.Application(client_max_size=16 * 2**20)
    application.router.add_route("*", "/{path:.*}", answer)
    return application


async def _begin(request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
    kept = {k: v for k, v in answer.headers.items() if k.lower() not in HOP_BY_HOP}
    response = web.StreamResponse(status=answer.status, headers=kept)
    await response.prepare(request)
    return response


async def pass_on(request: web.Request, onward: Onward) -> web.StreamResponse:
    """Answer as the API server does."""
    async with onward() as answer:
        response = await _begin(request, answer)
        async for chunk in answer.content.iter_any():
            await response.write(chunk)
        await response.write_eof()
        return response


def refuse(status: int, reason: str, *, retry_after: int | None = None) -> Fault:
    """Refuse by a Status of the API's."""

    async def answer(request: web.Request, onward: Onward) -> web.StreamResponse:
        del request, onward
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        told = HTTPStatus(status).phrase
        return web.json_response(_status(status, reason, told), status=status, headers=headers)

    return answer


async def reset(request: web.Request, onward: Onward) -> web.StreamResponse:
    """Break the connection before anything was done."""
    del onward
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def lose_answer(request: web.Request, onward: Onward) -> web.StreamResponse:
    """Do what is asked for, and break the connection instead of telling so."""
    async with onward() as answer:
        await answer.read()
    return await reset(request, onward)


def wait_before(seconds: float) -> Fault:
    """Answer rightly, and late."""

    async def answer(request: web.Request, onward: Onward) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return await pass_on(request, onward)

    return answer


async def cut_body(request: web.Request, onward: Onward) -> web.StreamResponse:
    """Send the first half of the answer as if it were the whole."""
    del request
    async with onward() as answer:
        body = await answer.read()
        return web.Response(
            status=answer.status,
            body=body[: len(body) // 2],
            content_type="application/json",
        )


async def break_off_body(request: web.Request, onward: Onward) -> web.StreamResponse:
    """Announce the whole answer, send half of it and break the connection."""
    async with onward() as answer:
        body = await answer.read()
        response = web.StreamResponse(status=answer.status)
        response.content_length = len(body)
        response.content_type = "application/json"
        await response.prepare(request)
        await response.write(body[: len(body) // 2])
        assert request.transport is not None
        request.transport.abort()
        return response


async def cut_stream(request: web.Request, onward: Onward) -> web.StreamResponse:
    """End a watch in the middle of its first line, in good order."""
    async with onward() as answer:
        response = await _begin(request, answer)
        chunk = await answer.content.readany()
        await response.write(chunk[: len(chunk) // 2] + b"\n")
        await response.write_eof()
        return response


async def say_nothing(request: web.Request, onward: Onward) -> web.StreamResponse:
    """Accept a watch, and send no event and no bookmark, ever."""
    del onward
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    await asyncio.sleep(3600)
    return response


async def end_at_once(request: web.Request, onward: Onward) -> web.StreamResponse:
    """Accept a watch and end it."""
    del request, onward
    return web.Response(content_type="application/json")


def tell_error(status: int, reason: str) -> Fault:
    """Accept a watch and tell an error in it, as for a resourceVersion that is kept no longer."""

    async def answer(request: web.Request, onward: Onward) -> web.StreamResponse:
        del request, onward
        event = {"type": "ERROR", "object": _status(status, reason, "too old resource version")}
        return web.Response(text=json.dumps(event) + "\n", content_type="application/json")

    return answer


def _status(status: int, reason: str, message: str) -> dict[str, Any]:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": status,
    }
