"""Logs of a whole process: JSON lines for machines, one readable line for people.

A record's message is a constant event; what varies is in its extra fields. Loggers are the standard
library's, so that the records of an application come out in the same form.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TextIO

FORMAT: Final = "TOWPATH_LOG_FORMAT"
LEVEL: Final = "TOWPATH_LOG_LEVEL"
FORMATS: Final = ("json", "console")

_STANDARD: Final = frozenset(
    vars(logging.LogRecord("", 0, "", 0, "", None, None))
) | {"message", "asctime", "taskName"}  # fmt: skip
_OWN: Final = frozenset({"ts", "level", "event", "logger", "traceback"})

# Libraries that repeat, a line per try, what our own log says once.
_QUIET: Final = {"psycopg.pool": logging.ERROR, "urllib3": logging.WARNING}

_PASSWORD_IN_URL: Final = re.compile(r"(\w[\w+.-]*://[^\s:/@\"']*):[^\s@\"']+@")
_PASSWORD_IN_WORDS: Final = re.compile(r"(\bpassword\s*=\s*)('[^']*'|[^\s&\"']+)", re.IGNORECASE)


def redact(text: str) -> str:
    """Return the text without the passwords of URIs and connection strings."""
    return _PASSWORD_IN_WORDS.sub(r"\1***", _PASSWORD_IN_URL.sub(r"\1:***@", text))


def extra_fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return what a record carries beside the standard fields, in the order it was given."""
    return {
        key + "_" if key in _OWN else key: value
        for key, value in vars(record).items()
        if key not in _STANDARD
    }


class JsonLines(logging.Formatter):
    """Writes a record as one JSON object on one line: ts, level, event, logger, then its fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line."""
        line: dict[str, Any] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "logger": record.name,
            **extra_fields(record),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return redact(json.dumps(line, default=str, ensure_ascii=False))


class ConsoleLines(logging.Formatter):
    """Writes a record for people: time, level, event, fields as name=value; a traceback below."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as a line, with its traceback if it has one."""
        time = datetime.fromtimestamp(record.created, UTC).astimezone()
        fields = "".join(f"  {k}={_shown(v)}" for k, v in extra_fields(record).items())
        line = f"{time:%H:%M:%S} {record.levelname.lower():<8}{record.getMessage()}{fields}"
        if record.exc_info:
            line = f"{line}\n{self.formatException(record.exc_info)}"
        return redact(line)


def _shown(value: object) -> str:
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        value = ",".join(value)
    if not isinstance(value, str):
        return json.dumps(value, default=str, ensure_ascii=False)
    return json.dumps(value, ensure_ascii=False) if not value or re.search(r"\s", value) else value


_FORMATTERS: Final[Mapping[str, Callable[[], logging.Formatter]]] = {
    "json": JsonLines,
    "console": ConsoleLines,
}


def chosen_format(stream: TextIO, environ: Mapping[str, str]) -> str:
    """Return TOWPATH_LOG_FORMAT where it is set; else console on a terminal, and JSON elsewhere.

    Raises:
        ValueError: the variable names no format.
    """
    named = environ.get(FORMAT, "")
    if not named:
        return "console" if stream.isatty() else "json"
    if named not in FORMATS:
        raise ValueError(f"{FORMAT} is {named!r}; allowed is {' or '.join(FORMATS)}.")
    return named


def chosen_level(environ: Mapping[str, str]) -> int:
    """Return TOWPATH_LOG_LEVEL where it is set, else INFO.

    Raises:
        ValueError: the variable names no level.
    """
    named = environ.get(LEVEL, "") or "INFO"
    level = logging.getLevelNamesMapping().get(named.upper())
    if level is None:
        raise ValueError(f"{LEVEL} is {named!r}; allowed is DEBUG, INFO, WARNING or ERROR.")
    return level


def configure(stream: TextIO | None = None, environ: Mapping[str, str] | None = None) -> None:
    """Send the logs of everything in this process to a stream, stderr unless given.

    An application that configures logging itself afterwards has the last word.

    Raises:
        ValueError: TOWPATH_LOG_FORMAT or TOWPATH_LOG_LEVEL has a value that is not allowed.
    """
    stream = sys.stderr if stream is None else stream
    environ = os.environ if environ is None else environ
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_FORMATTERS[chosen_format(stream, environ)]())
    root = logging.getLogger()
    root.setLevel(chosen_level(environ))
    root.handlers[:] = [handler]
    for name, level in _QUIET.items():
        logging.getLogger(name).setLevel(level)
