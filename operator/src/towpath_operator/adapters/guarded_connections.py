"""Connections that ask before each piece of a write that they send, as late as can be.

A process may be stopped between any two of its lines, and go on minutes later. Between this question
and the request's first byte there is nothing but the call that sends it: no connect, no handshake, no
wait for a free thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def guarded_pools(guard: Callable[[], None]) -> dict[str, type[HTTPConnectionPool]]:
    """Return urllib3's pools by scheme, with connections that call `guard` before a write is sent.

    What it raises ends the request, of which the server has then seen nothing, or no end.
    """

    class _Guard:
        _writes = False

        def putrequest(self, method: str, *args: Any, **kwargs: Any) -> None:
            self._writes = method.upper() not in READS
            super().putrequest(method, *args, **kwargs)  # type: ignore[misc]

        def send(self, data: Any) -> None:
            if self._writes:
                guard()
            super().send(data)  # type: ignore[misc]

    class _Plain(_Guard, HTTPConnection):
        pass

    class _Secure(_Guard, HTTPSConnection):
        pass

    class _PlainPool(HTTPConnectionPool):
        ConnectionCls = _Plain

    class _SecurePool(HTTPSConnectionPool):
        ConnectionCls = _Secure

    return {"http": _PlainPool, "https": _SecurePool}
