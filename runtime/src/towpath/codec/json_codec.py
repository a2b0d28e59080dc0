"""Values as JSON text: what is read back is equal in value and in type, at every level, or refused.

Python's JSON encoder alone is more generous than that: it turns tuples into lists, keys into text
and enum members into plain values. So a value is looked at before it is encoded. That look costs a
few C calls a container and none a leaf, because every input and every result passes here; only a
value with types beyond JSON, or one that is refused, is walked node by node (`plain.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NoReturn

from towpath.codec.leaves import TAG
from towpath.codec.plain import MAX_DEPTH, SCALARS, from_plain, to_plain
from towpath.codec.protocol import JSON, ValueNotDecodableError, foreign_text, writer_of
from towpath.codec.refusals import name_type
from towpath.domain.errors import ValueNotEncodableError, ValueTooLargeError

DEFAULT_MAX_BYTES: Final = 16 * 1024 * 1024
"""The largest value that is recorded: beyond it rows are slow to read for everybody."""

_PLAIN: Final = SCALARS | {list, dict}
_TEXT: Final = frozenset({str})
_SPACE: Final = frozenset(" \t\n\r")
_QUOTED_TAG: Final = f'"{TAG}"'


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


# Cycles need no tracking by the encoder, since the look bounds the depth. Text stays as it is, so
# that lone surrogates show (as escapes, two of them would be read back as one character).
_to_text = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":")
).encode
_plain_decoder = json.JSONDecoder(parse_constant=_refuse_constant)
_typed_decoder = json.JSONDecoder(parse_constant=_refuse_constant, object_hook=from_plain)


class JsonCodec:
    """The default codec: plain JSON, readable from SQL and from any language."""

    name: Final = JSON

    def __init__(self, *, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        self._max_bytes = max_bytes

    def encode_input(self, args: Sequence[object], kwargs: Mapping[str, object]) -> str:
        """Return `{"args":[...],"kwargs":{...}}`.

        Raises:
            ValueNotEncodableError: naming the place of what would not come back as it is.
            ValueTooLargeError: the arguments are beyond the bound.
        """
        positional = _encode(list(args), "args")
        named = _encode(dict(kwargs), "kwargs") if kwargs else "{}"
        return self._bounded(f'{{"args":{positional},"kwargs":{named}}}', "arguments")

    def decode_input(self, text: str) -> tuple[list[Any], dict[str, Any]]:
        """Return the positional and the keyword arguments of a recorded call."""
        call = self.decode(text)
        # SQL callers write this text too, so its shape is not taken for granted.
        if type(call) is dict and call.keys() == {"args", "kwargs"}:
            args, kwargs = call["args"], call["kwargs"]
            if type(args) is list and type(kwargs) is dict:
                return args, kwargs
        raise ValueNotDecodableError(
            codec=self.name, reason='an input has the shape {"args": [...], "kwargs": {...}}'
        )

    def encode(self, value: object, path: str = "result") -> str:
        """Return the value's JSON text; raises as `encode_input` does."""
        if value is None:
            return "null"
        return self._bounded(_encode(value, path), path)

    def _bounded(self, text: str, path: str) -> str:
        if len(text) * 4 > self._max_bytes and (size := len(text.encode())) > self._max_bytes:
            raise ValueTooLargeError(path=path, size=size, bound=self._max_bytes)
        return text

    def decode(self, text: str) -> Any:
        """Return the value of a JSON text, or raise ValueNotDecodableError."""
        # Another language may have written the key with escapes, hence the second test.
        typed = _QUOTED_TAG in text or "\\u" in text
        decoder = _typed_decoder if typed else _plain_decoder
        try:
            value, end = decoder.raw_decode(text) if text[:1] not in _SPACE else (None, 0)
            if end != len(text):  # other writers put white space around it
                value = decoder.decode(text)
        except (ValueError, RecursionError) as error:
            if writer_of(text) != JSON:
                raise foreign_text(JSON, writer_of(text)) from None
            raise ValueNotDecodableError(codec=self.name, reason=str(error)) from error
        return value


def as_recorded(text: str) -> Any:
    """Return what a text holds for people to look at: JSON with its tags as they stand, else the text.

    For values that cannot be read here, since their class is not imported or their codec is another's.
    """
    try:
        return _plain_decoder.decode(text)
    except (ValueError, RecursionError):
        return text


def _encode(value: object, path: str) -> str:
    if not _is_plain(value, MAX_DEPTH):
        return _to_text(to_plain(value, path))
    try:
        text = _to_text(value)
        if not text.isascii():
            text.encode()
    except (TypeError, ValueError, RecursionError, RuntimeError) as error:
        # NaN, an endless int, a lone surrogate, a stack that is nearly full, or another thread that
        # changes the value meanwhile.
        to_plain(value, path)
        raise ValueNotEncodableError(
            path=path, type_name=name_type(value), reason=str(error)
        ) from None
    # Either may be innocent (a value, not a key; a backslash, not an escape): a walk decides.
    if _QUOTED_TAG in text or "\\u0000" in text:
        to_plain(value, path)
    return text


def _is_plain(value: object, room: int) -> bool:
    """Tell whether `value` has only JSON's types, exactly, in at most `room` levels."""
    children: Iterable[object]
    if type(value) is list:
        children = value
    elif type(value) is dict:
        if value and set(map(type, value)) != _TEXT:
            return False
        children = value.values()
    else:
        return type(value) in SCALARS
    kinds = set(map(type, children))
    if room == 0 or not kinds <= _PLAIN:
        return False
    if kinds <= SCALARS:
        return True
    room -= 1
    for child in children:
        if (type(child) is dict or type(child) is list) and not _is_plain(child, room):
            return False
    return True
