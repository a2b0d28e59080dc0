"""Tables for people, JSON for programs, values from the command line."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from towpath.cli.output import age, moment, print_json, print_table, print_value, text
from towpath.cli.workflow import parse_value
from towpath.domain.status import WorkflowStatus
from towpath.insights.queues import LimiterInfo, QueueInfo

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("since", "shown"),
    [
        (timedelta(seconds=-3), "0s"),
        (timedelta(seconds=12), "12s"),
        (timedelta(minutes=4, seconds=12), "4m12s"),
        (timedelta(minutes=41, seconds=2), "41m02s"),
        (timedelta(hours=1, minutes=2), "1h02m"),
        (timedelta(days=3, hours=4), "3d4h"),
        (timedelta(days=12, hours=4), "12d"),
    ],
)
def test_ages_have_two_units(since: timedelta, shown: str) -> None:
    """As kubectl shows them; a clock that is ahead shows no negative age."""
    assert age(NOW - since, NOW) == shown


def test_no_moment_has_no_age() -> None:
    """It reads as any other thing that is not there."""
    assert age(None) == "<none>"


def test_a_moment_to_come_says_how_far_it_is() -> None:
    """A deadline is not so long ago, but as far ahead; a moment that has passed has an age."""
    said = moment(datetime.now(UTC) + timedelta(hours=2, seconds=30))
    assert said is not None
    assert said.endswith(" (in 2h00m)")
    said = moment(datetime.now(UTC) - timedelta(hours=2, seconds=30))
    assert said is not None
    assert said.endswith(" (2h00m ago)")


def test_tables_have_no_borders_and_no_trailing_spaces(capsys: pytest.CaptureFixture[str]) -> None:
    """Columns stand under their titles, as wide as the widest."""
    print_table(("NAME", "WAITING"), [("a-long-name", 3), ("b", None)])
    assert capsys.readouterr().out == (
        "NAME          WAITING\na-long-name   3\nb             <none>\n"
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "<none>"),
        ("", "<none>"),
        (0, "0"),
        (False, "false"),
        ([1, "x"], '[1, "x"]'),
        ({}, "{}"),
        ("two\nlines \x1b[31mred", "two\ufffdlines \ufffd[31mred"),
    ],
)
def test_a_cell_is_one_line(value: object, shown: str) -> None:
    """Names come from users: what a terminal would obey is not printed."""
    assert text(value) == shown


def test_json_has_the_python_names(capsys: pytest.CaptureFixture[str]) -> None:
    """Times are ISO 8601, statuses their text."""
    info = QueueInfo(
        name="mail",
        concurrency=3,
        limiter=LimiterInfo(limit=5, period_seconds=0.5),
        running=1,
        waiting=2,
        oldest_waiting=NOW,
        workers=1,
        owner="shop/mail",
    )
    print_json([info, {"status": WorkflowStatus.ENQUEUED, "took": timedelta(seconds=2)}])
    first, second = json.loads(capsys.readouterr().out)
    assert first["oldest_waiting"] == "2026-11-24T12:00:00+00:00"
    assert first["worker_concurrency"] is None
    assert first["limiter"] == {"limit": 5, "period_seconds": 0.5}
    assert second == {"status": "ENQUEUED", "took": 2.0}


def test_an_empty_list_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Programs need no special case."""
    print_json([])
    assert capsys.readouterr().out == "[]\n"


def test_a_result_is_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Text is quoted, so that it is told from a number; other alphabets stay readable."""
    print_value({"to": "Zoë", "n": 1})
    assert capsys.readouterr().out == '{"to": "Zoë", "n": 1}\n'


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ("42", 42),
        ("4.5", 4.5),
        ("true", True),
        ("null", None),
        ('"42"', "42"),
        ('{"a": [1]}', {"a": [1]}),
        ("hello", "hello"),
        ("a@example.org", "a@example.org"),
        ("True", "True"),
        ("NaN", "NaN"),
        ("[1, NaN]", "[1, NaN]"),
        ("{broken", "{broken"),
        ("", ""),
    ],
)
def test_an_argument_is_json_or_else_text(given: str, value: Any) -> None:
    """NaN is no JSON, whatever Python's parser says of it."""
    assert parse_value(given) == value
    assert type(parse_value(given)) is type(value)
