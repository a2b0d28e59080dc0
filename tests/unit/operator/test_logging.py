"""The operator's logs: constant events, and what varies in fields."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import towpath_operator

SOURCES = Path(towpath_operator.__file__).parent
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
RESERVED = {"ts", "level", "event", "logger", "traceback", "name", "msg", "args", "message"}


def calls() -> Iterator[tuple[str, ast.Call, int]]:
    """Yield each call of a logger, with its place and the position of its event."""
    for file in sorted(SOURCES.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            owner = node.func.value
            if isinstance(owner, ast.Name) and owner.id == "logger":
                place = f"{file.relative_to(SOURCES)}:{node.lineno}"
                yield place, node, 1 if node.func.attr == "log" else 0


CALLS = list(calls())


def test_the_operator_logs() -> None:
    """The scan below sees the calls that there are."""
    assert len(CALLS) > 20
    assert {call.func.attr for _, call, _ in CALLS if isinstance(call.func, ast.Attribute)} <= {
        *LEVELS,
        "log",
    }


@pytest.mark.parametrize(("place", "call", "at"), CALLS, ids=[place for place, _, _ in CALLS])
def test_an_event_is_a_constant_and_its_fields_are_no_words_of_the_record(
    place: str, call: ast.Call, at: int
) -> None:
    """So that a search finds every one of a kind; `_tell` hands on constants of its own file."""
    event = call.args[at]
    if place.startswith("account.py"):
        assert isinstance(event, ast.Name)
        return
    assert isinstance(event, ast.Constant)
    assert isinstance(event.value, str)
    assert event.value == event.value.lower()
    assert not event.value.endswith(".")
    assert len(call.args) == at + 1, "values belong into extra="
    extra = next((word.value for word in call.keywords if word.arg == "extra"), None)
    keys = extra.keys if isinstance(extra, ast.Dict) else []
    names = {key.value for key in keys if isinstance(key, ast.Constant)}
    assert not names & RESERVED
