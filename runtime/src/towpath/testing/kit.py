"""An App under test: on a database of its own, its clock in the test's hand, launched."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal
from unittest import mock

from towpath.api.app import App
from towpath.api.connection import DEFAULT_SCHEMA
from towpath.domain.errors import AlreadyLaunchedError, ConfigurationError, UsageError
from towpath.testing.clock import Clock
from towpath.testing.crashes import CrashPlan
from towpath.testing.errors import TestFailure
from towpath.testing.server import URL_VARIABLE, DatabaseServer
from towpath.testing.standing import worker_of

ClockMode = Literal["automatic", "manual", "real"]
MODES: Final = ("automatic", "manual", "real")
SLOTS: Final = 10
READY_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Kit:
    """What a test has in hand.

    Attributes:
        database_url: Its database.
        clock: None where it runs on real time.
        automatic: Whether the clock moves by itself while the test waits.
        crashes: Where workflows are to crash.
        drained: The ids of those that `drain` has returned.
    """

    app: App
    database_url: str
    clock: Clock | None
    automatic: bool
    crashes: CrashPlan
    drained: set[str] = field(default_factory=set)


_in_use: list[Kit] = []


def in_use() -> Kit:
    """Return the kit of the running test.

    Raises:
        UsageError: no App is under test.
    """
    if not _in_use:
        raise UsageError(
            "no App is under test. Ask for the fixture towpath_app, or use towpath.testing.under_test()."
        )
    return _in_use[-1]


@contextlib.contextmanager
def under_test(
    app: App,
    server: DatabaseServer,
    *,
    clock: ClockMode = "automatic",
    launch: bool = True,
    slots: int = SLOTS,
) -> Iterator[Kit]:
    """Put an App on a fresh database for the time of the block, and back where it was after it.

    TOWPATH_* variables of the environment do not count meanwhile.

    Args:
        app: It must not be launched.
        server: Makes the database.
        clock: "automatic": time stands still, and goes from one thing that is due to the next while
            somebody waits for a result, an event or a stream. "manual": it moves when the test moves it.
            "real": as everywhere else.
        launch: Whether to launch it.
        slots: How many workflows run at once.

    Raises:
        AlreadyLaunchedError: the App is launched.
        TestFailure: it did not come to serve.
        ConfigurationError: there is no such clock.
    """
    if clock not in MODES:
        raise ConfigurationError(f"clock is {clock!r}; allowed is one of {', '.join(MODES)}.")
    schema = app._schema or DEFAULT_SCHEMA  # noqa: SLF001 - the kit is the library's own
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(server.database(schema))
        stack.enter_context(_environment())
        stack.enter_context(_placed(app, url, schema))
        crashes = stack.enter_context(CrashPlan(app))
        hand = stack.enter_context(_clock(app, clock))
        kit = Kit(
            app=app, database_url=url, clock=hand, automatic=clock == "automatic", crashes=crashes
        )
        _in_use.append(kit)
        stack.callback(_in_use.remove, kit)
        if launch and not app.launch(slots=slots).wait_until_ready(READY_SECONDS):
            raise TestFailure(f"the App under test did not serve within {READY_SECONDS:g} s")
        yield kit


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """Hide what the environment says of workers and databases."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("TOWPATH_") or name == URL_VARIABLE
    }
    with mock.patch.dict(os.environ, kept, clear=True):
        yield


@contextlib.contextmanager
def _placed(app: App, url: str, schema: str) -> Iterator[None]:
    if worker_of(app) is not None:
        raise AlreadyLaunchedError
    before = app._database_url, app._schema  # noqa: SLF001 - as above
    app.shutdown()  # its connections to where it was
    app._database_url, app._schema = url, schema  # noqa: SLF001 - as above
    try:
        yield
    finally:
        app.shutdown(drain=0)
        app._database_url, app._schema = before  # noqa: SLF001 - as above


@contextlib.contextmanager
def _clock(app: App, mode: ClockMode) -> Iterator[Clock | None]:
    if mode == "real":
        yield None
        return
    app.engine.length_of_pauses = 0.0
    app.engine.time_of_starts = lambda: 0.0
    clock = Clock(app)
    clock.begin()
    if mode == "automatic":
        clock.begin_automatic()
    try:
        yield clock
    finally:
        clock.end_automatic()
