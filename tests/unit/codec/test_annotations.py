"""Plain JSON becomes what a function's annotations say; what is typed already stays."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, NewType, Optional

import pydantic
import pytest

from towpath.codec import ArgumentMismatchError, JsonCodec, fit_arguments
from towpath.codec.annotations import _plan_of
from towpath.codec.hints import find_classes

if TYPE_CHECKING:
    from tests.nowhere import Unseen  # type: ignore[import-not-found]


class Colour(enum.Enum):
    """By its values."""

    RED = "red"
    ONE = 1


@dataclasses.dataclass
class Line:
    """A part."""

    name: str
    price: decimal.Decimal = decimal.Decimal(0)


@dataclasses.dataclass(frozen=True)
class Order:
    """A dataclass that holds others, and itself."""

    number: int
    lines: list[Line] = dataclasses.field(default_factory=list)
    at: dt.datetime | None = None
    parts: dict[str, Order] = dataclasses.field(default_factory=dict)
    count: int = dataclasses.field(init=False, default=0)

    def __post_init__(self) -> None:
        """Refuse what is no order."""
        if self.number < 0:
            raise ValueError("number is negative")


class Address(pydantic.BaseModel):
    """A strict model with an alias."""

    model_config = pydantic.ConfigDict(strict=True)

    city: str = pydantic.Field(alias="town")
    since: dt.date


Key = NewType("Key", uuid.UUID)
MOMENT = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
KEY = uuid.UUID(int=7)


def taking(annotation: Any) -> Callable[..., Any]:
    """Return a function with one parameter of that type."""

    def function(value: Any) -> Any:
        return value

    function.__annotations__ = {"value": annotation}
    return function


def fit(annotation: Any, value: Any) -> Any:
    """Return what becomes of a value for a parameter of that type, by position and by name."""
    function = taking(annotation)
    args, _ = fit_arguments(function, [value], {})
    _, kwargs = fit_arguments(function, [], {"value": value})
    assert args[0] == kwargs["value"]
    assert type(args[0]) is type(kwargs["value"])
    return args[0]


def mismatch(annotation: Any, value: Any) -> ArgumentMismatchError:
    """Return the error of a value that does not fit."""
    with pytest.raises(ArgumentMismatchError) as caught:
        fit(annotation, value)
    error = caught.value
    assert error.path in str(error)
    assert error.expected in str(error)
    assert "taking.<locals>.function" in str(error)
    return error


@pytest.mark.parametrize(
    ("annotation", "given", "expected"),
    [
        (dt.datetime, "2026-03-01T12:00:00Z", MOMENT),
        (dt.date, "2026-03-01", dt.date(2026, 3, 1)),
        (dt.time, "12:30", dt.time(12, 30)),
        (dt.timedelta, 90.5, dt.timedelta(seconds=90.5)),
        (uuid.UUID, str(KEY), KEY),
        (Key, str(KEY), KEY),
        (decimal.Decimal, "1.50", decimal.Decimal("1.50")),
        (decimal.Decimal, 2, decimal.Decimal(2)),
        (bytes, "/w==", b"\xff"),
        (Colour, "red", Colour.RED),
        (Colour, 1, Colour.ONE),
        (Line, {"name": "tea", "price": "2.5"}, Line("tea", decimal.Decimal("2.5"))),
        (Order, {"number": 1}, Order(1)),
        (
            Order,
            {"number": 1, "lines": [{"name": "a"}], "at": "2026-03-01T12:00:00+00:00"},
            Order(1, [Line("a")], MOMENT),
        ),
        (Order, {"number": 1, "parts": {"x": {"number": 2}}}, Order(1, parts={"x": Order(2)})),
        (
            Address,
            {"town": "Rome", "since": "2026-03-01"},
            Address(town="Rome", since=dt.date(2026, 3, 1)),
        ),
        (Annotated[dt.date, "a day"], "2026-03-01", dt.date(2026, 3, 1)),
        (Optional[dt.date], "2026-03-01", dt.date(2026, 3, 1)),  # noqa: UP045 - the older form
        (dt.date | None, None, None),
        (dt.date | None, "2026-03-01", dt.date(2026, 3, 1)),
        (list[dt.date], ["2026-03-01"], [dt.date(2026, 3, 1)]),
        (list[dt.date | None], ["2026-03-01", None], [dt.date(2026, 3, 1), None]),
        (Sequence[Line], [{"name": "a"}], [Line("a")]),
        (dict[str, list[Colour]], {"a": ["red"]}, {"a": [Colour.RED]}),
        (Mapping[str, uuid.UUID], {"a": str(KEY)}, {"a": KEY}),
        (tuple[int, dt.date], [1, "2026-03-01"], (1, dt.date(2026, 3, 1))),
        (tuple[Colour, ...], ["red", 1], (Colour.RED, Colour.ONE)),
        (tuple, [1, 2], (1, 2)),
        # a member that takes the value as it is goes before those that would change it
        (dt.date | str, "2026-03-01", "2026-03-01"),
        (dict[str, Any] | Order, {"number": 1}, {"number": 1}),
        (Order | Line, {"name": "a"}, Line("a")),
        (Literal["now"] | dt.datetime, "now", "now"),
        (Literal["now"] | dt.datetime, "2026-03-01T12:00:00Z", MOMENT),
        (float | dt.date, 3, 3),
        (list[Line] | Line, {"name": "a"}, Line("a")),
        # nothing to change
        (Any, {"number": 1}, {"number": 1}),
        (int, "x", "x"),
        (list, ["2026-03-01"], ["2026-03-01"]),
        (dict[str, int], {"a": 1}, {"a": 1}),
    ],
)
def test_plain_json_becomes_the_annotated_type(annotation: Any, given: Any, expected: Any) -> None:
    """As another language writes it, by position and by name."""
    given = json.loads(json.dumps(given))
    made = fit(annotation, given)
    assert made == expected
    assert type(made) is type(expected)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (dt.datetime, MOMENT),
        (dt.date, MOMENT),
        (decimal.Decimal, decimal.Decimal("1.50")),
        (Colour, Colour.RED),
        (Order, Order(1)),
        (Order, Line("a duck")),
        (list[Line], (Line("a"),)),
        (list[Line], [Line("a"), Line("b")]),
        (Order | None, Order(2)),
    ],
)
def test_what_is_typed_already_stays(annotation: Any, value: Any) -> None:
    """A Python caller's types are its own affair: mypy has checked them."""
    made = fit(annotation, value)
    assert made is value or made == value
    assert type(made) is type(value)


@pytest.mark.parametrize(
    ("annotation", "value", "path", "expected", "reason"),
    [
        (dt.datetime, "soon", "value", "a datetime (ISO 8601 text)", "soon"),
        (dt.datetime, 3, "value", "a datetime", "int"),
        (dt.datetime, None, "value", "a datetime", "NoneType"),
        (decimal.Decimal, 1.5, "value", "a Decimal (text", "float"),
        (decimal.Decimal, "x", "value", "a Decimal", "no number"),
        (decimal.Decimal, True, "value", "a Decimal", "bool"),
        (bytes, "%", "value", "bytes (base64 text)", ""),
        (uuid.UUID, "x", "value", "a UUID", "hexadecimal"),
        (dt.timedelta, 1e300, "value", "a timedelta", ""),
        (Colour, "blue", "value", "the enum Colour (one of 'red', 1)", "'blue'"),
        (Colour, True, "value", "the enum Colour", "True"),
        (Colour, ["red"], "value", "the enum Colour", "red"),
        (Order, 3, "value", "the dataclass Order (an object)", "int"),
        (Order, {}, "value", "the dataclass Order", "'number' is missing"),
        (Order, {"number": 1, "nmber": 2}, "value", "the dataclass Order", "no field 'nmber'"),
        (Order, {"number": 1, "count": 2}, "value", "the dataclass Order", "no field 'count'"),
        (Order, {"number": -1}, "value", "the dataclass Order", "number is negative"),
        (
            Order,
            {"number": 1, "lines": [{"name": "a", "price": []}]},
            "value.lines[0].price",
            "Decimal",
            "list",
        ),
        (Order, {"number": 1, "at": "x"}, "value.at", "a datetime", "x"),
        (
            Order | None,
            {"number": 1, "parts": {"a b": 3}},
            'value.parts["a b"]',
            "the dataclass Order",
            "int",
        ),
        (Address, {"town": "Rome", "since": "x"}, "value.since", "the model Address", "date"),
        (Address, [], "value", "the model Address", ""),
        (list[dt.date], "2026-03-01", "value", "a list", "str"),
        (list[dt.date], ["2026-03-01", 1], "value[1]", "a date", "int"),
        (dict[str, dt.date], [], "value", "an object", "list"),
        (tuple[int, dt.date], [1], "value", "a list of 2", "it has 1"),
        (dt.date | uuid.UUID, "x", "value", "a date (ISO 8601 text) or a UUID (text)", ""),
    ],
)
def test_what_does_not_fit_is_named(
    annotation: Any, value: Any, path: str, expected: str, reason: str
) -> None:
    """The parameter, the path, the expected type and what is wrong."""
    error = mismatch(annotation, value)
    assert (error.parameter, error.path) == ("value", path)
    assert expected in error.expected
    assert reason in error.reason


def test_every_kind_of_parameter_is_fitted() -> None:
    """By position, by name, the rest of both; a default of None allows null."""

    def function(
        day: dt.date,
        /,
        at: dt.datetime = None,  # type: ignore[assignment]  # noqa: RUF013 - as people write it
        *days: dt.date,
        key: uuid.UUID,
        **more: bytes,
    ) -> None: ...

    args, kwargs = fit_arguments(
        function, ["2026-03-01", None, "2026-03-02"], {"key": str(KEY), "x": "/w=="}
    )
    assert args == [dt.date(2026, 3, 1), None, dt.date(2026, 3, 2)]
    assert kwargs == {"key": KEY, "x": b"\xff"}
    with pytest.raises(ArgumentMismatchError) as caught:
        fit_arguments(function, ["2026-03-01", None, "x"], {})
    assert caught.value.parameter == "args[2]"
    with pytest.raises(ArgumentMismatchError) as caught:
        fit_arguments(function, [], {"x": 3})
    assert caught.value.parameter == "x"


def test_a_function_without_such_annotations_gets_its_arguments_untouched() -> None:
    """Not even a copy is made."""

    def function(number: int, *rest: Any, **more: list[str]) -> None: ...

    args: list[Any] = [{"a": 1}]
    kwargs: dict[str, Any] = {}
    fitted = fit_arguments(function, args, kwargs)
    assert fitted[0] is args
    assert fitted[1] is kwargs
    assert _plan_of(function) is None


def test_an_annotation_for_type_checkers_alone_hides_no_other() -> None:
    """What cannot be resolved when it runs is left as it came."""

    def function(unseen: Unseen, day: dt.date) -> None: ...

    assert fit_arguments(function, [{"a": 1}, "2026-03-01"], {})[0] == [
        {"a": 1},
        dt.date(2026, 3, 1),
    ]


def test_more_arguments_than_parameters_are_the_calls_error() -> None:
    """The call itself says it best."""
    assert fit_arguments(taking(dt.date), ["2026-03-01", 2], {"x": 1}) == (
        [dt.date(2026, 3, 1), 2],
        {"x": 1},
    )


def test_a_tagged_value_inside_plain_json_is_taken() -> None:
    """Another writer may use tags where it likes."""
    text = '{"args":[{"number":1,"at":{"$towpath":"datetime","value":"2026-03-01T12:00:00+00:00"}}],"kwargs":{}}'
    args, kwargs = JsonCodec().decode_input(text)
    assert fit_arguments(taking(Order), args, kwargs)[0] == [Order(1, at=MOMENT)]
    model = {"town": "Rome", "since": dt.date(2026, 3, 1)}
    assert fit(Address, model) == Address(town="Rome", since=dt.date(2026, 3, 1))


def test_the_classes_of_a_function_are_found_at_any_depth() -> None:
    """Also those of fields, and of a class that holds itself."""
    found = find_classes(taking(dict[str, list[Order]] | None))
    assert found == {"Order": Order, "Line": Line}
    assert find_classes(taking(Address | Colour)) == {"Address": Address, "Colour": Colour}
    other = dataclasses.make_dataclass("Line", ["x"])
    assert find_classes(taking(list[Line] | other)) == {}
