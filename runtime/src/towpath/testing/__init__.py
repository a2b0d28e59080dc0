"""The test kit: an App on a throw-away database, a clock that is moved, crashes where a test wants them.

With pytest its fixtures are there once towpath is installed, see `towpath.testing.plugin`; others use
`under_test`. A name is loaded when it is first used, since pytest imports this package wherever it runs.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from towpath.testing.clock import Clock
    from towpath.testing.crashes import Arrival, Boundary, CrashPlan, Moment
    from towpath.testing.draining import drain
    from towpath.testing.errors import (
        NotCrashedError,
        NotDrainedError,
        NotEnqueuedError,
        StillBusyError,
        TestFailure,
    )
    from towpath.testing.expecting import assert_enqueued, enqueued
    from towpath.testing.interrupting import crash_after, crash_before
    from towpath.testing.kit import Kit, under_test
    from towpath.testing.server import DatabaseServer, database_server

__all__ = [
    "Arrival",
    "Boundary",
    "Clock",
    "CrashPlan",
    "DatabaseServer",
    "Kit",
    "Moment",
    "NotCrashedError",
    "NotDrainedError",
    "NotEnqueuedError",
    "StillBusyError",
    "TestFailure",
    "assert_enqueued",
    "crash_after",
    "crash_before",
    "database_server",
    "drain",
    "enqueued",
    "under_test",
]

_HOMES = {
    "clock": ["Clock"],
    "crashes": ["Arrival", "Boundary", "CrashPlan", "Moment"],
    "draining": ["drain"],
    "expecting": ["assert_enqueued", "enqueued"],
    "errors": [
        "NotCrashedError",
        "NotDrainedError",
        "NotEnqueuedError",
        "StillBusyError",
        "TestFailure",
    ],
    "interrupting": ["crash_after", "crash_before"],
    "kit": ["Kit", "under_test"],
    "server": ["DatabaseServer", "database_server"],
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Load a public name, once."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value
