"""Probes: what the kubelet is told, whatever the library's loop does."""

from __future__ import annotations

import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from towpath.domain.errors import PortInUseError
from towpath.executor.health import SILENT_SECONDS, ProbeServer, Pulse
from towpath.executor.loops import LoopThread


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    """Return a loop in a thread of its own."""
    made = LoopThread("test-loop")
    yield made
    made.stop()


def test_a_loop_that_stands_still_is_dead_after_90_seconds(loop: LoopThread) -> None:
    """It is alive again with its next turn."""
    now = 1000.0
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        release.wait(20)

    pulse = Pulse(loop.loop, clock=lambda: now)
    loop.loop.call_soon_threadsafe(hold)
    assert held.wait(20)
    now += SILENT_SECONDS - 1
    assert pulse.probe() is None
    now += 2
    assert pulse.probe() == "the loop stands still for 91 s"
    loop.loop.call_soon_threadsafe(pulse._beat)
    turned = threading.Event()
    loop.loop.call_soon_threadsafe(turned.set)
    release.set()
    assert turned.wait(20)
    assert pulse.probe() is None


def test_probes_answer_by_path() -> None:
    """200 where all is well, 503 with the reason where it is not, 404 for anything else."""
    trouble: list[str] = []
    server = ProbeServer(0, alive=lambda: None, ready=lambda: trouble[0] if trouble else None)
    try:
        assert _ask(server.port, "/livez") == (200, '{"ok": true}\n')
        assert _ask(server.port, "/readyz?verbose") == (200, '{"ok": true}\n')
        trouble.append("the worker drains")
        assert _ask(server.port, "/readyz") == (
            503,
            '{"ok": false, "reason": "the worker drains"}\n',
        )
        assert _ask(server.port, "/livez", method="HEAD") == (200, "")
        assert _ask(server.port, "/metrics")[0] == 404
        assert _ask(server.port, "/")[0] == 404
    finally:
        server.close()


def test_a_client_that_says_nothing_keeps_no_other_waiting() -> None:
    """Each has its own thread."""
    server = ProbeServer(0, alive=lambda: None, ready=lambda: None)
    try:
        with socket.create_connection(("127.0.0.1", server.port)):
            assert _ask(server.port, "/livez")[0] == 200
    finally:
        server.close()


def test_a_port_in_use_is_an_error_that_names_it() -> None:
    """And what to set."""
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortInUseError, match=f"port {port}: Address already in use"):
            ProbeServer(port, alive=lambda: None, ready=lambda: None)


def _ask(port: int, path: str, *, method: str = "GET") -> tuple[int, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
