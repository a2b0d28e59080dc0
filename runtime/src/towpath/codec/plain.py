"""Values beyond JSON as values of JSON's own types, and back; the slow half of the JSON codec.

A type beyond JSON is `{"$towpath": "<tag>", "value": ...}`, with further keys where it needs them: the
class of an object, the zone of a time. A dict of the user's with that key is refused, so that a tag is
never mistaken.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from towpath.codec.leaves import LEAVES, TAG, Tagged, write_leaf
from towpath.codec.objects import (
    NotRecordable,
    check_name,
    member_name,
    read_dataclass,
    read_member,
    read_model,
    take_apart,
)
from towpath.codec.protocol import JSON, ValueNotDecodableError
from towpath.codec.refusals import (
    format_key,
    name_type,
    reason_against_keys,
    reason_against_scalar,
    reason_against_type,
    shorten,
)
from towpath.domain.errors import ValueNotEncodableError

# Deep enough for any data, and far below where an encoder, a decoder or another language's parser
# overflows its stack: what was encoded near the top of a stack is decoded near the bottom of one.
MAX_DEPTH: Final = 200

SCALARS: Final = frozenset({str, int, float, bool, type(None)})


class _Offence(Exception):  # noqa: N818 - it becomes a ValueNotEncodableError
    """What cannot be recorded; its place is gathered on the way up, which costs the others nothing."""

    def __init__(self, value: object, reason: str) -> None:
        super().__init__(reason)
        self.type_name = name_type(value)
        self.reason = reason
        self.place: list[str] = []


def to_plain(value: object, path: str) -> Any:
    """Return `value` in JSON's own types, tagged where it is beyond them.

    Raises:
        ValueNotEncodableError: naming the first place, in reading order, that would not come back.
    """
    try:
        return _plain(value, MAX_DEPTH)
    except _Offence as offence:
        place = shorten(path + "".join(reversed(offence.place)))
        reason, type_name = offence.reason, offence.type_name
    except RecursionError:
        place, type_name = path, name_type(value)
        reason = "the stack is nearly full; call from a shallower one"
    except RuntimeError as error:  # a dict that another thread changes meanwhile
        place, type_name, reason = path, name_type(value), str(error)
    raise ValueNotEncodableError(path=place, type_name=type_name, reason=reason)


def _plain(value: object, room: int) -> Any:
    kind = type(value)
    if kind in SCALARS:
        reason = reason_against_scalar(value)
        if reason is not None:
            raise _Offence(value, reason)
        return value
    if kind is list:
        return _plain_list(value, room)  # type: ignore[arg-type]
    if kind is dict:
        return _plain_dict(value, value, room)  # type: ignore[arg-type]
    _check_room(value, room)
    leaf = LEAVES.get(kind)
    if leaf is None:
        return _plain_object(value, room - 1)
    reason = leaf.refuse(value)
    if reason is not None:
        raise _Offence(value, reason)
    return write_leaf(leaf, value)


def _check_room(value: object, room: int) -> None:
    if room <= 0:
        raise _Offence(
            value,
            f"it is cyclic or nested deeper than {MAX_DEPTH} levels; pass a flatter value",
        )


def _plain_list(values: Iterable[object], room: int) -> list[Any]:
    _check_room(values, room)
    plain: list[Any] = []
    for child in values:
        try:
            plain.append(_plain(child, room - 1))
        except _Offence as offence:
            offence.place.append(f"[{len(plain)}]")
            raise
    return plain


def _plain_dict(owner: object, values: Mapping[Any, object], room: int) -> dict[str, Any]:
    _check_room(owner, room)
    reason = reason_against_keys(values)
    if reason is not None:
        raise _Offence(owner, reason)
    plain: dict[str, Any] = {}
    for key, child in values.items():
        try:
            plain[key] = _plain(child, room - 1)
        except _Offence as offence:
            offence.place.append(format_key(key))
            raise
    return plain


def _plain_object(value: object, room: int) -> Tagged:
    kind = type(value)
    if kind is tuple:
        return {TAG: "tuple", "value": _plain_list(value, room)}  # type: ignore[arg-type]
    try:
        if isinstance(value, enum.Enum):
            return {TAG: "enum", "type": check_name(kind), "value": member_name(value)}
        parts = take_apart(value)
        if parts is None:
            raise _Offence(value, reason_against_type(value))
        tagged: Tagged = {TAG: parts.tag, "type": check_name(kind)}
    except NotRecordable as refusal:
        raise _Offence(value, str(refusal)) from None
    tagged["value"] = _plain_dict(value, parts.fields, room)
    for key, more in parts.more.items():
        tagged[key] = more if type(more) is list else _plain_dict(value, more, room)  # type: ignore[arg-type]
    return tagged


# -- and back

_READERS: Final[Mapping[str, Callable[[Tagged], Any]]] = {
    **{leaf.tag: leaf.read for leaf in LEAVES.values()},
    "tuple": lambda record: tuple(record["value"]),
    "enum": read_member,
    "dataclass": read_dataclass,
    "model": read_model,
}


def from_plain(record: dict[str, Any]) -> Any:
    """Return what a dict stands for: itself, unless it is tagged. Its values are read already.

    Raises:
        ValueNotDecodableError: the tag is not known here, or what it holds is not its type's.
    """
    if TAG not in record:
        return record
    tag = record[TAG]
    reader = _READERS.get(tag) if type(tag) is str else None
    if reader is None:
        raise ValueNotDecodableError(
            codec=JSON,
            reason=f"it holds a {TAG!r} type {tag!r:.100} that this library does not know",
            next_step="Upgrade towpath here to the version that wrote it.",
        )
    try:
        return reader(record)
    except ValueNotDecodableError:
        raise
    except Exception as error:  # what lies under a tag may be anything
        reason = f"what it holds as {tag!r} is none: {type(error).__name__}: {error}"
        raise ValueNotDecodableError(codec=JSON, reason=reason) from error
