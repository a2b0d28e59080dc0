"""The operator's logs: the form of `towpath.telemetry.logs`, and quiet from what only repeats us."""

from __future__ import annotations

import logging
from typing import TextIO

from towpath.telemetry import logs


def configure(level: str, stream: TextIO | None = None) -> None:
    """Send the logs of everything in this process to a stream, stderr unless given.

    On a terminal they are lines for people, elsewhere JSON.
    """
    logs.configure(stream, {logs.LEVEL: level})
    # kopf tells of each event, and that it takes no signals, which is as wanted.
    logging.getLogger("kopf").setLevel(logging.WARNING)
    logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)
