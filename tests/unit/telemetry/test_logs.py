"""Logs as JSON lines for machines and as lines for people."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from towpath.telemetry import logs

logger = logging.getLogger("towpath.test")


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        """Say yes."""
        return True


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Leave logging as it was."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before


def test_a_record_is_one_json_object_on_one_line() -> None:
    """The event is constant; what varies is in fields beside it."""
    stream = io.StringIO()
    logs.configure(stream, {})
    logger.info("worker registered", extra={"worker_id": 7, "queues": ["a\nb"]})
    assert stream.getvalue().count("\n") == 1
    line = json.loads(stream.getvalue())
    assert line.pop("ts").endswith("+00:00")
    assert line == {
        "level": "info",
        "event": "worker registered",
        "logger": "towpath.test",
        "worker_id": 7,
        "queues": ["a\nb"],
    }


def test_a_traceback_stays_in_its_line() -> None:
    """And what JSON does not know is written as text."""
    stream = io.StringIO()
    logs.configure(stream, {})
    try:
        raise ValueError("no")  # noqa: TRY301 - the traceback is the test
    except ValueError:
        logger.exception("it failed", extra={"level": "a field of ours", "what": object})
    line = json.loads(stream.getvalue())
    assert line["traceback"].endswith("ValueError: no")
    assert line["level"] == "error"
    assert line["level_"] == "a field of ours"
    assert line["what"] == "<class 'object'>"


def test_people_get_lines_to_read() -> None:
    """On a terminal: the time, the level, the event, then the fields."""
    stream = Terminal()
    logs.configure(stream, {})
    fields = {"queue": "mail", "reason": "two words", "names": ["a", "b"], "n": 3}
    logger.warning("queue is slow", extra=fields)
    assert stream.getvalue().split(maxsplit=1)[1] == (
        'warning queue is slow  queue=mail  reason="two words"  names=a,b  n=3\n'
    )


@pytest.mark.parametrize(
    ("stream", "environ", "is_json"),
    [
        (Terminal(), {}, False),
        (io.StringIO(), {}, True),
        (Terminal(), {"TOWPATH_LOG_FORMAT": "json"}, True),
        (io.StringIO(), {"TOWPATH_LOG_FORMAT": "console"}, False),
    ],
)
def test_the_variable_beats_the_terminal(
    stream: io.StringIO, environ: dict[str, str], *, is_json: bool
) -> None:
    """JSON is for what is read by machines, which a pipe is unless told otherwise."""
    logs.configure(stream, environ)
    logger.info("hello")
    assert stream.getvalue().startswith("{") is is_json


def test_passwords_do_not_get_into_logs() -> None:
    """Neither those of URIs nor those of connection strings, in fields and in tracebacks."""
    for form in logs.FORMATS:
        stream = io.StringIO()
        logs.configure(stream, {"TOWPATH_LOG_FORMAT": form})
        try:
            raise ValueError("postgresql://me:hush@host/db")  # noqa: TRY301 - as above
        except ValueError:
            logger.exception("no", extra={"at": "host=h password='hush it' user=me", "n": "a:b@c"})
        assert "hush" not in stream.getvalue()
        assert "a:b@c" in stream.getvalue()
        if form == "json":
            json.loads(stream.getvalue())


def test_levels_are_chosen_by_a_variable() -> None:
    """INFO unless it is set; the pool's repeated warnings are left to our own log."""
    stream = io.StringIO()
    logs.configure(stream, {"TOWPATH_LOG_LEVEL": "warning"})
    logger.info("hidden")
    logging.getLogger("psycopg.pool").warning("error connecting in 'pool-1'")
    assert stream.getvalue() == ""


@pytest.mark.parametrize("variable", ["TOWPATH_LOG_LEVEL", "TOWPATH_LOG_FORMAT"])
def test_a_wrong_value_is_named(variable: str) -> None:
    """With what is allowed."""
    with pytest.raises(ValueError, match=f"{variable} is 'x'; allowed is "):
        logs.configure(io.StringIO(), {variable: "x"})
