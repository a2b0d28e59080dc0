"""Values come back equal in value and in type, or they are refused with their place."""

import dataclasses
import enum
import json
import math
import pathlib
import sys
from collections import OrderedDict, namedtuple
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.codec import Codec, JsonCodec, ValueNotDecodableError
from towpath.codec.plain import MAX_DEPTH
from towpath.domain.errors import ValueNotEncodableError

CODEC: Codec = JsonCodec()

storable_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
keys = storable_text.filter(lambda key: key != "$towpath")
plain_leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=-(10**400), max_value=10**400)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([0.0, -0.0, 1.0, 5e-324, 1.7976931348623157e308])
    | storable_text
    | st.sampled_from(["$towpath", "\\u0000", '"$towpath"', "\u2028", "\U0001f600"])
)


def nest(leaves: st.SearchStrategy[Any], names: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return lists and dicts of `leaves`, some levels deep."""
    return st.recursive(
        leaves, lambda inner: st.lists(inner) | st.dictionaries(names, inner), max_leaves=30
    )


plain_values = nest(plain_leaves, keys)


class Colour(enum.StrEnum):
    """A str that would come back as a plain one."""

    RED = "red"


class Level(enum.IntEnum):
    """An int that would come back as a plain one."""

    LOW = 1


class Loud(str):
    """A subclass of str."""

    __slots__ = ()


Point = namedtuple("Point", "x y")  # noqa: PYI024 - the untyped kind


@dataclasses.dataclass
class Order:
    """What people try to pass first."""

    number: int


odd_leaves = st.sampled_from(
    [
        {1},
        bytearray(b"x"),
        math.nan,
        math.inf,
        "\0",
        "\ud800",
        "\ud83d\ude00",
        Loud("x"),
        Point(1, 2),
        OrderedDict(a=1),
        1j,
        int,
    ]
)
odd_keys = st.sampled_from(["$towpath", 1, 1.0, True, None, (1,), "\0", "\ud800", Loud("x")])
any_values = nest(plain_leaves | odd_leaves, keys | odd_keys)


def are_same(one: object, other: object) -> bool:
    """Tell whether two values are equal in value and type at every level, dicts in order."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(are_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return are_same(list(one), list(other)) and are_same(
            list(one.values()), list(other.values())
        )
    if isinstance(one, float) and isinstance(other, float):
        return one == other and math.copysign(1, one) == math.copysign(1, other)
    return one == other


def refuse(value: object, path: str = "result") -> ValueNotEncodableError:
    """Return the error that refuses `value`."""
    with pytest.raises(ValueNotEncodableError) as caught:
        CODEC.encode(value, path)
    return caught.value


@given(plain_values)
def test_a_plain_value_comes_back_with_equal_types(value: Any) -> None:
    """Every value of JSON's own types is recorded and read back exactly."""
    text = CODEC.encode(value)
    assert are_same(CODEC.decode(text), value)
    assert text.encode().decode() == text
    assert "\0" not in text


@given(any_values)
def test_any_value_comes_back_equal_or_is_refused(value: Any) -> None:
    """There is no third way: what is not refused is equal in value and type."""
    try:
        text = CODEC.encode(value)
    except ValueNotEncodableError as error:
        refusal = error
    else:
        assert are_same(CODEC.decode(text), value)
        return
    assert refusal.path.startswith("result")
    assert refusal.reason not in ("", "it changed meanwhile")


@given(st.lists(plain_values), st.dictionaries(keys, plain_values))
def test_an_input_comes_back_as_its_arguments(args: list[Any], kwargs: dict[str, Any]) -> None:
    """A call's arguments come back, positional and by name, in the documented JSON shape."""
    text = CODEC.encode_input(tuple(args), kwargs)
    assert json.loads(text).keys() == {"args", "kwargs"}
    decoded_args, decoded_kwargs = CODEC.decode_input(text)
    assert are_same(decoded_args, args)
    assert are_same(decoded_kwargs, kwargs)


def test_the_text_is_what_sql_and_other_languages_expect() -> None:
    """The recorded text is compact JSON in UTF-8."""
    assert CODEC.name == "json"
    assert CODEC.encode_input((1, "é"), {"to": None}) == '{"args":[1,"é"],"kwargs":{"to":null}}'
    assert CODEC.encode_input((), {}) == '{"args":[],"kwargs":{}}'
    assert CODEC.encode(None) == "null"
    assert CODEC.encode({"a": [True, 1, 1.0]}) == '{"a":[true,1,1.0]}'


@pytest.mark.parametrize(
    ("value", "type_name", "reason"),
    [
        (Point(1, 2), f"{__name__}.Point", "tuple(...)"),
        ({1}, "set", "sorted(...)"),
        (frozenset(), "frozenset", "sorted(...)"),
        (bytearray(b"x"), "bytearray", "bytes(...)"),
        (math.nan, "float", "nan is no JSON number"),
        (-math.inf, "float", "-inf is no JSON number"),
        ("a\0b", "str", "U+0000"),
        ("\ud800", "str", "surrogate"),
        ("\ud83d\ude00", "str", "surrogate"),
        (Loud("x"), f"{__name__}.Loud", "subclass"),
        (OrderedDict(), "collections.OrderedDict", "subclass"),
        (Order, "type", "no recorded form"),
        (1j, "complex", "z.real"),
        (pathlib.PurePosixPath("x"), "pathlib.PurePosixPath", "str(...)"),
        (object(), "object", "no recorded form"),
        ({"$towpath": "set", "value": []}, "dict", "reserved"),
        ({1: "a"}, "dict", "key 1 is of type int"),
        ({None: "a"}, "dict", "key None is of type NoneType"),
        ({True: "a"}, "dict", "key True is of type bool"),
        ({1.5: "a"}, "dict", "key 1.5 is of type float"),
        ({(1,): "a"}, "dict", "key one is of type tuple"),
        ({Colour.RED: "a"}, "dict", "Colour"),
        ({"\0": "a"}, "dict", "U+0000"),
        ({"\udfff": "a"}, "dict", "surrogate"),
    ],
)
def test_a_value_beyond_json_is_refused_with_its_place(
    value: object, type_name: str, reason: str
) -> None:
    """The error names the path, the type and what to pass instead, at any depth."""
    for whole, path in [
        (value, "result"),
        ([1, value], "result[1]"),
        ({"a": {"b": [0, [value]]}}, "result.a.b[1][0]"),
    ]:
        refusal = refuse(whole)
        assert refusal.path == path
        assert refusal.type_name == type_name
        assert reason in refusal.reason
        assert f"{path} ({type_name})" in str(refusal)
        str(refusal).encode()


def test_a_coroutine_is_refused_as_not_awaited() -> None:
    """The commonest slip with async steps has its own words."""

    async def step() -> None: ...

    coroutine = step()
    try:
        assert "await it" in refuse([coroutine]).reason
    finally:
        coroutine.close()


@pytest.mark.parametrize(
    ("args", "kwargs", "path"),
    [
        ((1, {"items": [0, 1, 2, {1}]}), {}, "args[1].items[3]"),
        (({1},), {}, "args[0]"),
        ((), {"data": {1}}, "kwargs.data"),
        ((), {"data": {"a key": {1}}}, 'kwargs.data["a key"]'),
        ((), {"data": {'"': {1}}}, 'kwargs.data["\\""]'),
        ((), {"data": {"é": {1}}}, 'kwargs.data["\\u00e9"]'),
        ((), {"data": {"": {1}}}, 'kwargs.data[""]'),
    ],
)
def test_a_refused_argument_is_named_by_its_path(
    args: tuple[object, ...], kwargs: dict[str, object], path: str
) -> None:
    """The path reads as the caller would write it."""
    with pytest.raises(ValueNotEncodableError) as caught:
        CODEC.encode_input(args, kwargs)
    assert caught.value.path == path


def test_the_first_offence_in_reading_order_is_named() -> None:
    """Several offences give one error, the same every time."""
    assert refuse([[1, [2, 1j]], {3}, object()]).path == "result[0][1][1]"


def test_long_paths_and_keys_stay_readable() -> None:
    """The error of a hostile value is short."""
    value: object = 1j
    for _ in range(100):
        value = {"k" * 1000: value}
    assert len(str(refuse(value))) < 600


def test_a_cyclic_value_is_refused() -> None:
    """A cycle ends in an error, not in a hang or a full stack."""
    loop: list[object] = []
    loop.extend([loop, loop])
    assert "cyclic" in refuse(loop).reason
    table: dict[str, object] = {}
    table["self"] = table
    assert "cyclic" in refuse({"a": table}).reason


def test_depth_is_bounded_exactly() -> None:
    """The limit is the same for every interpreter, so that what is encoded can be decoded."""

    def nest_lists(levels: int) -> list[Any]:
        value: list[Any] = []
        for _ in range(levels - 1):
            value = [value]
        return value

    assert are_same(CODEC.decode(CODEC.encode(nest_lists(MAX_DEPTH))), nest_lists(MAX_DEPTH))
    assert "nested deeper" in refuse(nest_lists(MAX_DEPTH + 1)).reason
    assert "nested deeper" in refuse(nest_lists(100_000)).reason


def test_a_full_stack_is_a_clean_refusal() -> None:
    """A caller deep in its own recursion gets this library's error, or its own."""

    def descend(levels: int) -> None:
        if levels:
            descend(levels - 1)
        else:
            CODEC.encode([[[[[[[[]]]]]]]])

    outcomes = set()
    for levels in range(sys.getrecursionlimit()):
        try:
            descend(levels)
            outcomes.add("encoded")
        except ValueNotEncodableError:
            outcomes.add("refused")
        except RecursionError:
            outcomes.add("full")
    assert "encoded" in outcomes


def test_an_endless_int_is_refused() -> None:
    """An int with more digits than Python converts is refused where it stands."""
    refusal = refuse([1, 10**5000])
    assert refusal.path == "result[1]"
    assert "digits" in refusal.reason
    assert CODEC.decode(CODEC.encode(10**4000)) == 10**4000


def test_text_that_only_looks_reserved_is_recorded() -> None:
    """The reserved key as a value, and a backslash before u0000, are plain text."""
    for value in ["$towpath", ["$towpath"], {"a": "$towpath"}, "\\u0000", {"\\u0000": "\\\\u0000"}]:
        assert are_same(CODEC.decode(CODEC.encode(value)), value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "nul",
        "NaN",
        "[Infinity]",
        "1 2",
        "[1],",
        '{"$towpath": "set", "value": []}',
        '[{"\\u0024towpath": "set"}]',
        '{"a": {"$tow\\u0070ath": 1}}',
        "[" * 100_000,
    ],
)
def test_a_text_that_is_not_ours_is_an_error(text: str) -> None:
    """Broken JSON, and types of a later version, are refused rather than misread."""
    with pytest.raises(ValueNotDecodableError):
        CODEC.decode(text)


def test_json_from_elsewhere_is_read() -> None:
    """Whitespace and escapes of other writers are JSON too."""
    assert CODEC.decode(' {"a" : "\\u00e9"}\n') == {"a": "é"}


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{}",
        "null",
        '{"args": []}',
        '{"args": {}, "kwargs": {}}',
        '{"args": [], "kwargs": []}',
        '{"args": [], "kwargs": {}, "more": 1}',
    ],
)
def test_an_input_of_another_shape_is_an_error(text: str) -> None:
    """An input written by hand in SQL has the documented shape, or is refused."""
    with pytest.raises(ValueNotDecodableError):
        CODEC.decode_input(text)
