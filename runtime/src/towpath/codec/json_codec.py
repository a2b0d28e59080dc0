"""Values as JSON text: what is read back is equal in value and in type, at every level, or refused.

Python's JSON encoder alone is more generous than that: it turns tuples into lists, keys into text
and enum members into plain values. So a value is looked at before it is encoded. That look costs a
few C calls a container and none a leaf, because every input and every result passes here; only a
value that is refused is walked node by node, to name the place.

A dict with the key `$towpath` is refused: that key marks types beyond JSON, of which there are
none yet.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NoReturn

from towpath.codec.protocol import ValueNotDecodableError
from towpath.codec.refusals import TAG, find_refusal, name_type
from towpath.domain.errors import ValueNotEncodableError, ValueTooLargeError

DEFAULT_MAX_BYTES: Final = 16 * 1024 * 1024
"""The largest value that is recorded: beyond it rows are slow to read for everybody."""

# Deep enough for any data, and far below where an encoder, a decoder or another language's parser
# overflows its stack: what was encoded near the top of a stack is decoded near the bottom of one.
MAX_DEPTH: Final = 200

_SCALARS: Final = frozenset({str, int, float, bool, type(None)})
_PLAIN: Final = _SCALARS | {list, dict}
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
_decoder = json.JSONDecoder(parse_constant=_refuse_constant)
_from_text = _decoder.raw_decode


class JsonCodec:
    """The default codec: plain JSON, readable from SQL and from any language."""

    name: Final = "json"

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
        try:
            value, end = _from_text(text) if text[:1] not in _SPACE else (None, 0)
            if end != len(text):  # other writers put white space around it
                value = _decoder.decode(text)
        except (ValueError, RecursionError) as error:
            raise ValueNotDecodableError(codec=self.name, reason=str(error)) from error
        # Another language may have written the key with escapes, hence the second test.
        if (_QUOTED_TAG in text or "\\u" in text) and _has_tag(value):
            raise ValueNotDecodableError(
                codec=self.name, reason=f"it holds a {TAG!r} type that this library does not know"
            )
        return value


def _encode(value: object, path: str) -> str:
    if not _is_plain(value, MAX_DEPTH):
        raise _make_error(value, path)
    try:
        text = _to_text(value)
        if not text.isascii():
            text.encode()
    except (TypeError, ValueError, RecursionError, RuntimeError) as error:
        # NaN, an endless int, a lone surrogate, a stack that is nearly full, or another thread that
        # changes the value meanwhile.
        raise _make_error(value, path, str(error)) from None
    # Either may be innocent (a value, not a key; a backslash, not an escape): a walk decides.
    if _QUOTED_TAG in text or "\\u0000" in text:
        refusal = find_refusal(value, path, MAX_DEPTH)
        if refusal is not None:
            raise ValueNotEncodableError(**refusal._asdict())
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
        return type(value) in _SCALARS
    kinds = set(map(type, children))
    if room == 0 or not kinds <= _PLAIN:
        return False
    if kinds <= _SCALARS:
        return True
    room -= 1
    for child in children:
        if (type(child) is dict or type(child) is list) and not _is_plain(child, room):
            return False
    return True


def _make_error(value: object, path: str, otherwise: str = "it changed meanwhile") -> Exception:
    refusal = find_refusal(value, path, MAX_DEPTH)
    if refusal is not None:
        return ValueNotEncodableError(**refusal._asdict())
    return ValueNotEncodableError(path=path, type_name=name_type(value), reason=otherwise)


def _has_tag(value: object) -> bool:
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if type(value) is dict:
            if TAG in value:
                return True
            waiting.extend(value.values())
        elif type(value) is list:
            waiting.extend(value)
    return False
