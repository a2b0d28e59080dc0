"""Why and where a value cannot be recorded; the slow half of the JSON codec, for errors only."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import inspect
import json
import math
import pathlib
import uuid
from collections.abc import Iterator
from typing import Final, NamedTuple

TAG: Final = "$towpath"
"""The key that marks a type beyond JSON; a value of the user's must not hold it."""

_SCALARS: Final = frozenset({str, int, float, bool, type(None)})
_MAX_PATH: Final = 200
_MAX_KEY: Final = 40

# What to pass instead, by the first class that fits.
_INSTEAD: Final[tuple[tuple[type | tuple[type, ...], str], ...]] = (
    (enum.Enum, "an enum member would not come back as one; pass its .value"),
    (tuple, "a tuple would come back as a list; pass list(...)"),
    ((set, frozenset), "a set has no JSON form; pass sorted(...)"),
    ((bytes, bytearray, memoryview), "bytes have no JSON form; pass base64 text"),
    ((dt.date, dt.time), "a time has no JSON form; pass .isoformat()"),
    (dt.timedelta, "a duration has no JSON form; pass .total_seconds()"),
    ((decimal.Decimal, uuid.UUID, pathlib.PurePath), "it has no JSON form; pass str(...)"),
    (complex, "a complex number has no JSON form; pass [z.real, z.imag]"),
    ((str, int, float, list, dict), "a subclass would come back as its plain base; convert it"),
)


class Refusal(NamedTuple):
    """The first thing in a value that cannot be recorded."""

    path: str
    type_name: str
    reason: str


def find_refusal(value: object, path: str, max_depth: int) -> Refusal | None:
    """Return the first offence in `value` in reading order, or None if there is none."""
    # A stack of our own: the caller's may be nearly full, and the value is as deep as it likes.
    waiting = [(value, path, 0)]
    while waiting:
        value, path, depth = waiting.pop()
        reason = _reason_against(value, depth, max_depth)
        if reason is not None:
            return Refusal(_shorten(path), name_type(value), reason)
        if type(value) is list or type(value) is dict:
            waiting.extend(reversed([(child, at, depth + 1) for child, at in _below(value, path)]))
    return None


def name_type(value: object) -> str:
    """Return the name of a value's type, with its module unless it is a builtin."""
    kind = type(value)
    if kind.__module__ == "builtins":
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def _below(value: list[object] | dict[str, object], path: str) -> Iterator[tuple[object, str]]:
    if type(value) is list:
        for index, child in enumerate(value):
            yield child, f"{path}[{index}]"
    elif type(value) is dict:
        for key, child in value.items():
            yield child, path + _format_key(key)


def _format_key(key: str) -> str:
    if key.isascii() and key.isidentifier() and len(key) <= _MAX_KEY:
        return f".{key}"
    shown = key if len(key) <= _MAX_KEY else key[:_MAX_KEY] + "..."
    return f"[{json.dumps(shown)}]"


def _shorten(path: str) -> str:
    if len(path) <= _MAX_PATH:
        return path
    half = _MAX_PATH // 2
    return f"{path[:half]}...{path[-half:]}"


def _reason_against(value: object, depth: int, max_depth: int) -> str | None:
    """Return what is wrong with this one node, or None; its children are looked at by themselves."""
    reason = None
    if type(value) is str:
        reason = _reason_against_text(value)
    elif type(value) is float:
        if not math.isfinite(value):
            reason = f"{value} is no JSON number; pass None or text"
    elif type(value) is int:
        reason = _reason_against_int(value)
    elif type(value) is list or type(value) is dict:
        if depth >= max_depth:
            reason = f"it is cyclic or nested deeper than {max_depth} levels; pass a flatter value"
        elif type(value) is dict:
            reason = _reason_against_keys(value)
    elif type(value) not in _SCALARS:
        reason = _reason_against_type(value)
    return reason


def _reason_against_text(text: str) -> str | None:
    if "\0" in text:
        return "text with U+0000 cannot be stored in Postgres; remove it, or pass base64 text"
    try:
        text.encode()
    except UnicodeEncodeError:
        return (
            "text with a lone surrogate is not Unicode; pass bytes decoded without surrogateescape"
        )
    return None


def _reason_against_int(number: int) -> str | None:
    try:
        int.__repr__(number)
    except ValueError:
        return "it has more digits than Python converts to text; pass hex(...)"
    return None


def _reason_against_keys(value: dict[object, object]) -> str | None:
    for key in value:
        if type(key) is not str:
            shown = _shorten(ascii(key)) if type(key) in _SCALARS else "one"
            return f"its key {shown} is of type {name_type(key)}; JSON's keys are text: pass str"
        reason = _reason_against_text(key)
        if reason is not None:
            return f"its key {_shorten(ascii(key))} is refused: {reason}"
        if key == TAG:
            return f"the key {TAG!r} is reserved for types beyond JSON; rename it"
    return None


def _reason_against_type(value: object) -> str:
    if inspect.isawaitable(value):
        return "it was not awaited; await it and pass its result"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return "a dataclass has no JSON form; pass dataclasses.asdict(...)"
    for kinds, reason in _INSTEAD:
        if isinstance(value, kinds):
            return reason
    return "its type has no JSON form"
