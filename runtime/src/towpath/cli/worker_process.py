"""The life of a worker's process: signals, probes, the import, serving, the drain, the end."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from types import FrameType
from typing import TYPE_CHECKING, Final

from towpath.cli.application import load_application, put_working_directory_first
from towpath.cli.exits import CommandError, ExitCode
from towpath.domain.errors import ApplicationImportError, ConfigurationError
from towpath.executor.settings import WorkerSettings, read_worker_settings
from towpath.telemetry import logs

if TYPE_CHECKING:
    from towpath.api.app import App
    from towpath.executor.worker import Worker

GRACE_AFTER_DRAIN_SECONDS: Final = 20.0
HIGHEST_PORT: Final = 65_535

logger = logging.getLogger("towpath.worker")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command was given. `flags` beat the environment's variables of the same names."""

    application: str
    flags: Mapping[str, str | None]
    database_url: str | None = None
    schema: str | None = None


class _Phase(Enum):
    IMPORTING = auto()
    SERVING = auto()
    DRAINING = auto()


class _Call(Enum):
    """What the main thread is woken for."""

    STOP = auto()
    WORKER_ENDED = auto()


class Signals:
    """Takes SIGTERM and SIGINT from the first moment on.

    Handlers run between two instructions of the main thread, wherever it is: they use what is made
    for that, SimpleQueue.put, and no lock. A signal may reach any thread of the process, and one that
    reaches another leaves the main thread asleep; so the main thread sleeps in a read of a socket to
    which the interpreter writes at every signal.
    """

    def __init__(self) -> None:
        self.phase = _Phase.IMPORTING
        self._calls: queue.SimpleQueue[_Call] = queue.SimpleQueue()
        self._interrupts = 0
        self._woken, self._wake = socket.socketpair()
        self._wake.setblocking(False)  # noqa: FBT003 - the socket module's own signature

    def install(self) -> None:
        """Take the signals; again after the import, where an application may have taken them."""
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._handle)
        signal.signal(signal.SIGINT, self._handle)

    def call(self, why: _Call) -> None:
        """Wake the main thread; from any thread."""
        self._calls.put(why)
        # A full buffer wakes it as well.
        with contextlib.suppress(BlockingIOError):
            self._wake.send(b"\0")

    def wait(self) -> _Call:
        """Return what the main thread, which alone calls this, is woken for."""
        while True:
            # The handlers of signals that have come were run before this line is.
            with contextlib.suppress(queue.Empty):
                return self._calls.get_nowait()
            self._woken.recv(4096)

    def close(self) -> None:
        """Close the sockets, after somebody else has taken the signals."""
        self._woken.close()
        self._wake.close()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        if number == signal.SIGINT:
            self._interrupts += 1
        if self.phase is _Phase.IMPORTING:
            # nothing is claimed and nothing to finish; the import may take minutes more
            _exit_now(ExitCode.OK)
        if self._interrupts > 1:
            _exit_now(ExitCode.INTERRUPTED)
        self._calls.put(_Call.STOP)


def _exit_now(code: ExitCode) -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code)


def run_worker(options: Options) -> int:
    """Import the application, serve until told to stop, drain, and return the exit code."""
    signals = Signals()
    signals.install()
    process = _Process(options, signals)
    try:
        return process.run()
    except ApplicationImportError as error:
        _show_cause(error)
        raise


def _show_cause(error: ApplicationImportError) -> None:
    """Print the application's own traceback; the line with the error follows it as the last."""
    cause = error.__cause__
    if cause is not None and cause.__traceback__ is not None:
        traceback.print_exception(cause)


class _Process:
    def __init__(self, options: Options, signals: Signals) -> None:
        self._options = options
        self._signals = signals
        self._environ = dict(os.environ)
        self._environ.update({k: v for k, v in options.flags.items() if v is not None})
        self._worker: Worker | None = None

    def run(self) -> int:
        try:
            logs.configure(environ=self._environ)
        except ValueError as error:
            raise ConfigurationError(str(error)) from None
        settings = read_worker_settings(self._environ)
        self._serve_probes()
        put_working_directory_first()
        app = load_application(self._options.application)
        self._signals.install()
        self._launch(app, settings)
        call = self._signals.wait()
        if call is _Call.WORKER_ENDED:
            return self._failed()
        return self._drain(app, settings)

    def _launch(self, app: App, settings: WorkerSettings) -> None:
        self._signals.phase = _Phase.SERVING
        worker = app.launch(
            self._options.database_url,
            schema=self._options.schema,
            queues=settings.queues,
            slots=settings.slots,
        )
        from towpath.executor.health import Pulse

        self._pulse = Pulse(app.engine.io.loop)
        self._worker = worker
        worker.when_ended(lambda: self._signals.call(_Call.WORKER_ENDED))

    def _failed(self) -> int:
        error = self._worker.failure if self._worker is not None else None
        if error is None:
            raise CommandError("the worker ended without being told to.")
        raise error

    def _drain(self, app: App, settings: WorkerSettings) -> int:
        self._signals.phase = _Phase.DRAINING
        longest = settings.drain.total_seconds() + GRACE_AFTER_DRAIN_SECONDS
        timer = threading.Timer(longest, _give_up)
        timer.daemon = True
        timer.start()
        app.shutdown(settings.drain.total_seconds())
        return ExitCode.OK

    # -- probes

    def _serve_probes(self) -> None:
        port = _port(self._environ.get("TOWPATH_HTTP_PORT", ""))
        if port is None:
            return
        from towpath.executor.health import ProbeServer

        server = ProbeServer(port, alive=self._alive, ready=self._ready)
        logger.info("probes served", extra={"port": server.port})

    def _alive(self) -> str | None:
        if self._worker is None:
            return "the application is being imported"
        return self._pulse.probe()

    def _ready(self) -> str | None:
        worker = self._worker
        if worker is None:
            return "the application is being imported"
        if self._signals.phase is _Phase.DRAINING:
            return "the worker drains"
        return None if worker.ready or not worker.queues else "the worker has not registered yet"


def _port(value: str) -> int | None:
    if not value:
        return None
    if not value.isdecimal() or int(value) > HIGHEST_PORT:
        raise ConfigurationError(
            f"TOWPATH_HTTP_PORT is {value!r}; allowed is a port from 0 to {HIGHEST_PORT}."
        )
    return int(value)


def _give_up() -> None:
    """End the process under steps that go on; their places are kept until the lease ends."""
    logger.warning("steps still run after the drain; the process ends")
    _exit_now(ExitCode.TIMEOUT)
