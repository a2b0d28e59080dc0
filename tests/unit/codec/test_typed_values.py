"""Types beyond JSON: equal in value and type when they come back, or refused with their place."""

import dataclasses
import datetime as dt
import decimal
import enum
import functools
import json
import sys
import types
import uuid
import zoneinfo
from typing import Any, ClassVar, Generic, TypeVar

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.codec import JsonCodec, ValueNotDecodableError
from towpath.codec.classes import annotated_classes, name_class
from towpath.codec.plain import MAX_DEPTH
from towpath.domain.errors import ValueNotEncodableError

CODEC = JsonCodec()
T = TypeVar("T")


class Colour(enum.StrEnum):
    """Text that is a member."""

    RED = "red"
    ROT = "red"


class Right(enum.Flag):
    """Members that combine."""

    READ = enum.auto()
    WRITE = enum.auto()


@dataclasses.dataclass
class Line:
    """A plain dataclass."""

    name: str
    price: decimal.Decimal = decimal.Decimal(1)
    tags: list[Any] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, slots=True)
class Order:
    """A frozen one with slots, and with another inside."""

    number: int
    lines: tuple[Line, ...]
    colour: Colour = Colour.RED
    total: decimal.Decimal = dataclasses.field(init=False, default=decimal.Decimal(0))


@dataclasses.dataclass
class Counting:
    """One whose constructor has an effect, and that caches."""

    made: ClassVar[int] = 0
    number: int

    def __post_init__(self) -> None:
        """Count."""
        Counting.made += 1

    @functools.cached_property
    def double(self) -> int:
        """Return twice the number."""
        return self.number * 2


@dataclasses.dataclass
class Box(Generic[T]):
    """A generic one."""

    content: T


class Address(pydantic.BaseModel):
    """A model."""

    city: str
    since: dt.date | None = None


class Customer(pydantic.BaseModel):
    """A frozen model with an alias, a model inside, and a private attribute."""

    model_config = pydantic.ConfigDict(frozen=True)

    name: str = pydantic.Field(alias="fullName")
    address: Address
    limit: decimal.Decimal = decimal.Decimal(100)
    _seen: int = 0


class Open(pydantic.BaseModel):
    """A model that takes what it does not know."""

    model_config = pydantic.ConfigDict(extra="allow")

    name: str


class Positive(pydantic.BaseModel):
    """A model with a validator that has an effect."""

    checked: ClassVar[int] = 0
    number: int

    @pydantic.field_validator("number")
    @classmethod
    def check(cls, number: int) -> int:
        """Count."""
        Positive.checked += 1
        return number


zones = (
    st.none()
    | st.timezones()
    | st.integers(-86399, 86399).map(lambda seconds: dt.timezone(dt.timedelta(seconds=seconds)))
)
folds = st.sampled_from([0, 1])
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
leaves = (
    st.builds(dt.datetime.replace, st.datetimes(timezones=zones), fold=folds)
    | st.builds(dt.time.replace, st.times(timezones=zones), fold=folds)
    | st.dates()
    | st.timedeltas()
    | st.uuids()
    | st.decimals(allow_nan=False)
    | st.binary()
    | st.sampled_from([*Colour, *Right])
    | texts
    | st.integers()
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(texts.filter(lambda key: key != "$towpath"), inner)
        | st.builds(Line, texts, st.decimals(allow_nan=False), st.lists(inner))
        | st.builds(Box, inner)
        | st.builds(Open, name=texts, more=inner)
    ),
    max_leaves=20,
)


def same(one: Any, other: Any) -> bool:  # noqa: PLR0911 - one for each kind
    """Tell whether two values are equal in value and type at every level."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return same(list(one.items()), list(other.items()))
    if isinstance(one, dt.datetime | dt.time):
        return (one.replace(tzinfo=None), one.fold, one.utcoffset(), str(one.tzinfo)) == (
            other.replace(tzinfo=None),
            other.fold,
            other.utcoffset(),
            str(other.tzinfo),
        )
    if isinstance(one, decimal.Decimal):
        return str(one) == str(other)
    if isinstance(one, pydantic.BaseModel):
        return bool(one == other) and same(one.model_extra, other.model_extra)
    if isinstance(one, Line | Box):
        return same(vars(one), vars(other))
    equal: bool = one == other
    return equal


def again(value: Any) -> Any:
    """Return a value as it is after it was recorded."""
    return CODEC.decode(CODEC.encode(value))


def refuse(value: object) -> ValueNotEncodableError:
    """Return the error that refuses `value`."""
    with pytest.raises(ValueNotEncodableError) as caught:
        CODEC.encode(value)
    return caught.value


def misread(text: str) -> ValueNotDecodableError:
    """Return the error of a text that is not read."""
    with pytest.raises(ValueNotDecodableError) as caught:
        CODEC.decode(text)
    return caught.value


@given(values)
def test_a_typed_value_comes_back_with_equal_types(value: Any) -> None:
    """Whatever is not refused is the same, at every level, and so is its text."""
    text = CODEC.encode(value)
    assert same(CODEC.decode(text), value)
    assert CODEC.encode(CODEC.decode(text)) == text
    json.loads(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (
            dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC),
            '{"$towpath":"datetime","value":"2026-03-01T12:00:00+00:00"}',
        ),
        (
            dt.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
            '{"$towpath":"datetime","value":"2026-10-25T02:30:00+01:00","zone":"Europe/Berlin","fold":1}',
        ),
        (dt.date(2026, 3, 1), '{"$towpath":"date","value":"2026-03-01"}'),
        (dt.time(12, 30), '{"$towpath":"time","value":"12:30:00"}'),
        (dt.timedelta(hours=25), '{"$towpath":"timedelta","value":[1,3600,0]}'),
        (uuid.UUID(int=1), f'{{"$towpath":"uuid","value":"{uuid.UUID(int=1)}"}}'),
        (decimal.Decimal("1.50"), '{"$towpath":"decimal","value":"1.50"}'),
        (b"\xff", '{"$towpath":"bytes","value":"/w=="}'),
        ((1, ()), '{"$towpath":"tuple","value":[1,{"$towpath":"tuple","value":[]}]}'),
        (Colour.ROT, f'{{"$towpath":"enum","type":"{__name__}:Colour","value":"RED"}}'),
        (
            Line("tea"),
            f'{{"$towpath":"dataclass","type":"{__name__}:Line","value":{{"name":"tea","price":{{"$towpath":"decimal","value":"1"}},"tags":[]}}}}',
        ),
        (
            Address(city="Rome"),
            f'{{"$towpath":"model","type":"{__name__}:Address","value":{{"city":"Rome","since":null}},"set":["city"]}}',
        ),
    ],
)
def test_the_forms_are_those_that_are_documented(value: object, text: str) -> None:
    """Other languages and later versions rely on them."""
    assert CODEC.encode(value) == text
    assert again(value) == value
    assert type(again(value)) is type(value)


def test_a_frozen_dataclass_with_slots_comes_back() -> None:
    """Also what its constructor does not take."""
    order = Order(1, (Line("a"),))
    object.__setattr__(order, "total", decimal.Decimal("2.5"))
    assert again(order) == order
    assert type(again(order).lines) is tuple


def test_no_constructor_and_no_validator_runs_again() -> None:
    """An object is what was recorded; making it has no effects, and what it has cached is not kept."""
    counting, positive = Counting(4), Positive(number=1)
    assert counting.double == 8
    before = Counting.made, Positive.checked
    assert again([counting, positive]) == [counting, positive]
    assert (Counting.made, Positive.checked) == before
    assert vars(again(counting)) == {"number": 4}


def test_a_model_comes_back_with_all_of_its_state() -> None:
    """Aliases, models inside, private attributes, and which fields were given."""
    customer = Customer(fullName="Ada", address=Address(city="Rome", since=dt.date(2026, 1, 1)))
    customer._seen = 3
    back = again(customer)
    assert back == customer
    assert back._seen == 3
    assert back.model_fields_set == {"name", "address"}
    assert type(back.limit) is decimal.Decimal
    assert back.model_dump_json() == customer.model_dump_json()
    open_ = Open(name="x", at=dt.date(2026, 1, 1))  # type: ignore[call-arg]
    assert again(open_).model_extra == {"at": dt.date(2026, 1, 1)}
    assert again(open_).model_fields_set == open_.model_fields_set


def test_a_generic_dataclass_comes_back() -> None:
    """What `typing` notes on the instance is no attribute of the user's."""
    box = Box[int](3)
    assert again(box) == box


@dataclasses.dataclass
class Text(str):
    """A dataclass that is text too."""

    __slots__ = ("number",)
    number: int


class Meddling(dt.tzinfo):
    """A time zone of somebody's own."""

    def utcoffset(self, _: dt.datetime | None) -> dt.timedelta:
        """Return an hour."""
        return dt.timedelta(hours=1)

    def dst(self, _: dt.datetime | None) -> dt.timedelta:
        """Return nothing."""
        return dt.timedelta(0)

    def tzname(self, _: dt.datetime | None) -> str:
        """Return a name."""
        return "X"


def grown() -> Line:
    """Return a dataclass with an attribute that is no field."""
    line = Line("a")
    line.extra = 1  # type: ignore[attr-defined]
    return line


def hollow() -> Line:
    """Return a dataclass with a field that has no value."""
    line = Line("a")
    del line.name
    return line


def local() -> object:
    """Return an instance of a class that nobody finds."""

    @dataclasses.dataclass
    class Local:
        number: int = 0

    return Local()


@pytest.mark.parametrize(
    ("value", "path", "reason"),
    [
        (decimal.Decimal("NaN"), "", "NaN"),
        (dt.datetime(2026, 1, 1, tzinfo=Meddling()), "", "datetime.timezone"),
        (dt.time(1, tzinfo=Meddling()), "", "zoneinfo.ZoneInfo"),
        (dt.time(1, tzinfo=dt.timezone(dt.timedelta(microseconds=1))), "", "fraction"),
        (Right.READ | Right.WRITE, "", ".value"),
        (local(), "", "top level of a module"),
        (Box[Any]({1}), ".content", "sorted(...)"),
        ((1, {1}), "[1]", "sorted(...)"),
        (Order(1, (Line("a", tags=[0, 1j]),)), ".lines[0].tags[1]", "complex"),
        (Open(name="x", more={"a": 1j}), ".more.a", "complex"),  # type: ignore[call-arg]
        (grown(), "", "'extra' is no field"),
        (hollow(), "", "no value"),
        (Text(3), "", "builtin type"),
    ],
)
def test_what_would_not_come_back_is_refused_with_its_place(
    value: object, path: str, reason: str
) -> None:
    """The path goes through objects as a caller would write it."""
    for whole, start in ((value, "result"), ({"a": [value]}, "result.a[0]")):
        refusal = refuse(whole)
        assert refusal.path.replace(".extra", "") == start + path
        assert reason in refusal.reason


def test_a_class_that_another_took_the_place_of_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its name the other one would come back."""
    line = Line("a")
    monkeypatch.setattr(sys.modules[__name__], "Line", Order)
    assert "is not found" in refuse(line).reason


def test_depth_counts_what_tags_add() -> None:
    """What is encoded can be decoded, whatever it is made of."""

    def nest(levels: int) -> Any:
        value: Any = ()
        for _ in range(levels - 1):
            value = (value,)
        return value

    assert same(again(nest(MAX_DEPTH // 2)), nest(MAX_DEPTH // 2))
    assert "nested deeper" in refuse(nest(MAX_DEPTH // 2 + 1)).reason
    assert "nested deeper" in refuse(nest(100_000)).reason
    cycle = Box[Any](None)
    cycle.content = [cycle]
    assert "cyclic" in refuse(cycle).reason


@pytest.mark.parametrize(
    ("text", "reason", "next_step"),
    [
        ('{"$towpath":"matrix","value":[]}', "'matrix'", "Upgrade towpath"),
        ('[{"$towpath":["x"],"value":1}]', "['x']", "Upgrade towpath"),
        ('{"\\u0024towpath":"matrix"}', "'matrix'", "Upgrade towpath"),
        ('{"$towpath":"uuid","value":3}', "'uuid'", "mend"),
        ('{"$towpath":"uuid"}', "'uuid'", "mend"),
        ('{"$towpath":"decimal","value":"x"}', "'decimal'", "mend"),
        ('{"$towpath":"bytes","value":"%%"}', "'bytes'", "mend"),
        ('{"$towpath":"datetime","value":"2026-01-01T00:00:00","zone":"No/Where"}', "No/Where", ""),
        ('{"$towpath":"timedelta","value":[1e400,0,0]}', "'timedelta'", "mend"),
        ('{"$towpath":"tuple","value":3}', "'tuple'", "mend"),
        ('{"$towpath":"dataclass","type":"nowhere:Line","value":{}}', "nowhere:Line", "'nowhere'"),
        ('{"$towpath":"dataclass","type":"builtins:dict","value":{}}', "builtins:dict", "Import"),
        ('{"$towpath":"model","type":"nowhere:M","value":{}}', "nowhere:M", "Import"),
        ('{"$towpath":"enum","type":"os:environ","value":"A"}', "os:environ", "Import"),
        (f'{{"$towpath":"enum","type":"{__name__}:Colour","value":"BLUE"}}', "BLUE", "mend"),
        (f'{{"$towpath":"dataclass","type":"{__name__}:Line","value":{{}}}}', "'name'", "mend"),
        (f'{{"$towpath":"model","type":"{__name__}:Address","value":{{}}}}', "'city'", "mend"),
        (f'{{"$towpath":"model","type":"{__name__}:Line","value":{{}}}}', ":Line", "Import"),
    ],
)
def test_a_payload_that_is_not_known_here_says_what_to_do(
    text: str, reason: str, next_step: str
) -> None:
    """A tag of a newer library, a class that is not here, a value that is not its tag's."""
    error = misread(text)
    assert reason in error.reason
    assert next_step in str(error)
    assert error.codec == "json"


def test_nothing_is_imported_for_a_payload() -> None:
    """A row cannot make a worker import a module."""
    before = set(sys.modules)
    misread('{"$towpath":"dataclass","type":"wave:Wave_read","value":{}}')
    assert set(sys.modules) == before


def test_fields_come_and_go_between_versions() -> None:
    """Old code leaves out what it does not know; new code gives a new field its default."""
    text = CODEC.encode(Line("tea", tags=[1])).replace('"tags"', '"labels"')
    assert CODEC.decode(text) == Line("tea")
    text = CODEC.encode(Address(city="Rome")).replace('"since"', '"until"')
    assert CODEC.decode(text) == Address(city="Rome")
    assert CODEC.decode(text).model_fields_set == {"city"}


def test_a_class_that_moved_is_found_by_the_annotations() -> None:
    """By its qualname, where its old module has it no more."""
    text = CODEC.encode(Line("tea")).replace(f"{__name__}:", "old_shop:")
    with annotated_classes({"Line": Line}):
        assert CODEC.decode(text) == Line("tea")
    misread(text)


def test_a_class_of_the_program_is_recorded_as_others_import_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`python shop.py` and a worker that imports shop read each other's values."""
    main = types.ModuleType("__main__")
    main.__file__ = "/srv/shop.py"
    kind = dataclasses.make_dataclass("Parcel", ["weight"])
    kind.__module__ = "__main__"
    main.Parcel = kind  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert name_class(kind) == "shop:Parcel"
    text = CODEC.encode(kind(3))
    assert CODEC.decode(text) == kind(3)

    imported = types.ModuleType("shop")
    other = dataclasses.make_dataclass("Parcel", ["weight"])
    imported.Parcel = other  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "shop", imported)
    assert type(CODEC.decode(text)) is other
    # both are here: each is recorded as itself
    assert name_class(kind) == "__main__:Parcel"
    assert type(CODEC.decode(CODEC.encode(kind(3)))) is kind
