"""The operator's logs: the form of `towpath.telemetry.logs`, and quiet from what only repeats us."""

from __future__ import annotations

import logging
import sys
from typing import TextIO

from towpath.telemetry import logs

logger = logging.getLogger(__name__)


class _AsWarnings(logging.Handler):
    """Hands records on to the root's handlers, as warnings at most.

    To kopf a request that failed is an error even where it is tried again. In our log an error is a
    bug, which wakes somebody; what the watch could not do is told by `bindings`.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a record on."""
        if record.levelno > logging.WARNING:
            record.levelno, record.levelname = logging.WARNING, "WARNING"
        logging.getLogger().handle(record)


def log_what_python_tells() -> None:
    """Make lines of the log of Python's warnings and of errors that it can only tell of.

    What kopf leaves behind when a watch of it is given up ends in these.
    """
    logging.captureWarnings(capture=True)
    sys.unraisablehook = _note_unraisable


def _note_unraisable(told: sys.UnraisableHookArgs) -> None:
    where = {"error": repr(told.exc_value), "object": repr(told.object)}
    logger.warning("exception ignored", extra=where)


def configure(level: str, stream: TextIO | None = None) -> None:
    """Send the logs of everything in this process to a stream, stderr unless given.

    On a terminal they are lines for people, elsewhere JSON.
    """
    logs.configure(stream, {logs.LEVEL: level})
    # kopf tells of each event, and that it takes no signals, which is as wanted.
    kopf = logging.getLogger("kopf")
    kopf.setLevel(logging.WARNING)
    kopf.handlers, kopf.propagate = [_AsWarnings()], False
    logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)
