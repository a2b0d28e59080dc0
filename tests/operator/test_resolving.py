"""Databases whose host's name nobody answers for, beside one that is well."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from towpath_operator.adapters.postgres import PostgresDatabases
from towpath_operator.adapters.resolving import resolve_side_by_side
from towpath_operator.plan.observed import DatabaseTarget
from towpath_operator.ports.cluster import ObjectKey

DEAD = 40


@pytest.fixture
def silent_name_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Semaphore]:
    """Let look-ups of `.invalid` hang until the test is over; tell how many do."""
    over, hanging, resolve = threading.Event(), threading.Semaphore(0), socket.getaddrinfo

    def look_up(host: Any, *arguments: Any, **more: Any) -> Any:
        if str(host).endswith(".invalid"):
            hanging.release()
            over.wait(60)
            raise socket.gaierror(socket.EAI_AGAIN, "no answer")
        return resolve(host, *arguments, **more)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    yield hanging
    over.set()


def target(name: str, url: str) -> DatabaseTarget:
    """Return the target of a database."""
    return DatabaseTarget(key=ObjectKey("shop", name), schema="towpath", uri=url)


def test_names_that_nobody_answers_for_delay_no_other_database(
    silent_name_server: threading.Semaphore, database_url: str
) -> None:
    """The good one is looked at while every look at the others hangs."""

    async def scenario() -> None:
        resolve_side_by_side()
        databases = PostgresDatabases()

        async def look(name: str, url: str) -> bool:
            seen = await databases.look(target(name, url), cluster="here", queue_names=[])
            return seen.state.problem is None

        dead = [
            asyncio.create_task(look(f"dead-{n}", f"postgresql://a:b@host-{n}.invalid/shop"))
            for n in range(DEAD)
        ]
        for _ in range(DEAD):
            while not silent_name_server.acquire(blocking=False):
                assert not any(one.done() for one in dead)
                await asyncio.sleep(0)
        good = database_url.replace("127.0.0.1", "localhost")
        assert await look("good", good)
        assert not any(one.done() for one in dead)
        for one in dead:
            one.cancel()
        await asyncio.gather(*dead, return_exceptions=True)
        await databases.close()

    loop = asyncio.new_event_loop()  # closed without waiting for the look-ups that hang
    try:
        loop.run_until_complete(scenario())
    finally:
        loop.close()
