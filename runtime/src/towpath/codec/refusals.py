"""Why a value cannot be recorded, and how its place is written."""

from __future__ import annotations

import datetime as dt
import decimal
import inspect
import json
import math
import pathlib
import uuid
from collections.abc import Mapping
from typing import Any, Final

from towpath.codec.leaves import TAG

_SCALARS: Final = frozenset({str, int, float, bool, type(None)})
_MAX_PATH: Final = 200
_MAX_KEY: Final = 40

# What to pass instead, by the first class that fits.
_INSTEAD: Final[tuple[tuple[type | tuple[type, ...], str], ...]] = (
    (tuple, "a subclass of tuple would come back as its base; pass tuple(...) or a dataclass"),
    (
        (set, frozenset),
        "the order of a set differs from process to process, so that a replay could; pass sorted(...)",
    ),
    ((bytearray, memoryview), "its content may change; pass bytes(...)"),
    (pathlib.PurePath, "a path has no recorded form; pass str(...)"),
    (complex, "a complex number has no recorded form; pass [z.real, z.imag]"),
    (
        (
            str,
            int,
            float,
            bytes,
            list,
            dict,
            dt.date,
            dt.time,
            dt.timedelta,
            decimal.Decimal,
            uuid.UUID,
        ),
        "a subclass would come back as its plain base; convert it",
    ),
)


def name_type(value: object) -> str:
    """Return the name of a value's type, with its module unless it is a builtin."""
    kind = type(value)
    if kind.__module__ == "builtins":
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def format_key(key: str) -> str:
    """Return a key as a part of a path."""
    if key.isascii() and key.isidentifier() and len(key) <= _MAX_KEY:
        return f".{key}"
    shown = key if len(key) <= _MAX_KEY else key[:_MAX_KEY] + "..."
    return f"[{json.dumps(shown)}]"


def shorten(path: str) -> str:
    """Return a path, its middle left out where it is long."""
    if len(path) <= _MAX_PATH:
        return path
    half = _MAX_PATH // 2
    return f"{path[:half]}...{path[-half:]}"


def reason_against_scalar(value: object) -> str | None:
    """Return what is wrong with one of JSON's leaves, or None."""
    if type(value) is str:
        return _reason_against_text(value)
    if type(value) is float and not math.isfinite(value):
        return f"{value} is no JSON number; pass None or text"
    if type(value) is int:
        return _reason_against_int(value)
    return None


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


def reason_against_keys(value: Mapping[Any, object]) -> str | None:
    """Return what is wrong with a dict's keys, or None."""
    for key in value:
        if type(key) is not str:
            shown = shorten(ascii(key)) if type(key) in _SCALARS else "one"
            return f"its key {shown} is of type {name_type(key)}; JSON's keys are text: pass str"
        reason = _reason_against_text(key)
        if reason is not None:
            return f"its key {shorten(ascii(key))} is refused: {reason}"
        if key == TAG:
            return f"the key {TAG!r} is reserved for types beyond JSON; rename it"
    return None


def reason_against_type(value: object) -> str:
    """Return why a value of this type has no form that is recorded."""
    if inspect.isawaitable(value):
        return "it was not awaited; await it and pass its result"
    for kinds, reason in _INSTEAD:
        if isinstance(value, kinds):
            return reason
    return "its type has no recorded form"
