"""Failures as JSON text: what a workflow or a step raised, recorded so that it can be raised again.

A failure is decoded in the first run too, so that a replay raises exactly the same:

- the recorded class, if it is an Exception that is imported already; nothing is imported for it,
  and none of its code runs: not `__init__`, not `__new__`, no `__setattr__`;
- else StepFailedError with the type's name, the message and the traceback. That is what becomes of
  SystemExit, KeyboardInterrupt and every other BaseException that is not an Exception, of classes
  made in functions, and of those that cannot be built empty, such as exception groups.

Arguments and attributes are values as any other (`plain.py`). An argument that is not recorded, or
whose own class is not imported where it is read, comes back as text; such an attribute is left out.

A record is small, whatever the error holds: a row must not fail to be written because of what failed.
"""

from __future__ import annotations

import contextlib
import json
import traceback
from collections.abc import Callable, Iterator
from types import BuiltinFunctionType, GetSetDescriptorType, MemberDescriptorType
from typing import Any, Final

from towpath.codec.classes import find_class, name_class
from towpath.codec.json_codec import JsonCodec
from towpath.codec.protocol import ValueNotDecodableError
from towpath.domain.errors import StepFailedError

MAX_TRACEBACK: Final = 16 * 1024
MAX_MESSAGE: Final = 64 * 1024
MAX_PART: Final = 1024 * 1024
"""Of one argument or attribute, in bytes of JSON."""
MAX_FAILURE: Final = 8 * 1024 * 1024
"""Of all of it, in characters."""

_json = JsonCodec(max_bytes=MAX_PART)
_Member = MemberDescriptorType | GetSetDescriptorType
# The fields themselves, past whatever properties and __setattr__ a subclass has.
_args = vars(BaseException)["args"]
_cause = vars(BaseException)["__cause__"]


class RecordedTraceback(Exception):  # noqa: N818 - it is shown as a cause and never raised
    """Where a recorded failure was first raised; stands as its cause, so that logs show it."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


def encode_failure(error: BaseException) -> str:
    """Return the JSON text that records `error`; never raises, whatever the error holds."""
    kind = type(error)
    record = {
        "type": name_class(kind),
        "message": _describe(error),
        "args": [_record_argument(arg) for arg in _args.__get__(error)],
        "attributes": dict(_record_attributes(error)),
        "traceback": _format_traceback(error),
    }
    text = _to_text(record)
    if len(text) <= MAX_FAILURE:
        return text
    return _to_text({**record, "args": [record["message"]], "attributes": {}})


def _to_text(record: Any) -> str:
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"))


def decode_failure(text: str) -> Exception:
    """Return the exception that a recorded failure raises, in its first run and in every replay."""
    try:
        record = json.loads(text)
    except ValueError as unreadable:
        reason = str(unreadable)
        raise ValueNotDecodableError(codec=_json.name, reason=reason) from unreadable
    error = _rebuild(record)
    if error is None:
        error = StepFailedError(record["type"], record["message"], record["traceback"])
    elif _describe(error) != record["message"]:
        # What the message was made of could not be recorded; the message itself was.
        notes = error.__dict__.setdefault("__notes__", [])
        if record["message"] not in notes:
            notes.append(record["message"])
    if record["traceback"]:
        _cause.__set__(error, RecordedTraceback(record["traceback"]))
    return error


def _describe(value: object) -> str:
    """Return `str(value)` as text that can be stored."""
    try:
        text = str(value)
    except Exception:  # noqa: BLE001 - a user's __str__ may raise anything
        text = f"<unprintable {type(value).__qualname__}>"
    if len(text) > MAX_MESSAGE:
        end = f"... ({len(text)} characters)"
        text = text[: MAX_MESSAGE - len(end)] + end
    return _clean(text)


def _clean(text: str) -> str:
    return text.encode(errors="backslashreplace").decode().replace("\0", "\\x00")


def _record(value: object) -> Any:
    """Return the plain form of a value, or raise whatever its class raises."""
    return json.loads(_json.encode(value))


def _record_argument(value: object) -> Any:
    try:
        return _record(value)
    except Exception:  # noqa: BLE001 - a value of the user's that is refused, or fails when looked at
        return _describe(value)


def _record_attributes(error: BaseException) -> Iterator[tuple[str, Any]]:
    for name, value in _list_attributes(error):
        try:
            yield _record(name), _record(value)
        except Exception:  # noqa: BLE001, S112 - as above
            continue


def _read(plain: Any) -> Any:
    return _json.decode(_to_text(plain))


def _read_argument(plain: Any) -> Any:
    try:
        return _read(plain)
    except ValueNotDecodableError:
        return _to_text(plain)


def _read_attributes(attributes: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, plain in attributes.items():
        with contextlib.suppress(ValueNotDecodableError):
            yield name, _read(plain)


def _format_traceback(error: BaseException) -> str:
    try:
        text = "".join(traceback.format_exception(error))
    except Exception:  # noqa: BLE001 - formatting calls code of the user's
        text = "".join(traceback.format_tb(error.__traceback__))
    text = _clean(text)
    # The end says what was raised, and where; what is cut off are the callers and causes.
    return text if len(text) <= MAX_TRACEBACK else "...\n" + text[4 - MAX_TRACEBACK :]


def _list_attributes(error: BaseException) -> Iterator[tuple[str, object]]:
    yield from vars(error).items()
    for name, member in _list_members(type(error)).items():
        try:
            value = member.__get__(error, type(error))
        except Exception:  # noqa: BLE001, S112 - an attribute that is not set
            continue
        if value is not None:
            yield name, value


def _list_members(kind: type[BaseException]) -> dict[str, _Member]:
    """Return the attributes that live outside `__dict__`: `errno` of OSError, a class's slots."""
    members: dict[str, _Member] = {}
    for base in kind.__mro__[: kind.__mro__.index(BaseException)]:
        for name, member in vars(base).items():
            # `obj` of AttributeError is whatever was looked at: for a debugger, not for a record.
            if isinstance(member, _Member) and not name.startswith("__") and name != "obj":
                members.setdefault(name, member)
    return members


def _rebuild(record: dict[str, Any]) -> Exception | None:
    kind = find_class(record["type"])
    if kind is None or not issubclass(kind, Exception):
        return None
    args = tuple(map(_read_argument, record["args"]))
    try:
        error = _find_new(kind)(kind, *args)
    except Exception:  # noqa: BLE001 - a class that cannot be built empty
        return None
    if type(error) is not kind:
        return None
    _args.__set__(error, args)
    members = _list_members(kind)
    for name, value in _read_attributes(record["attributes"]):
        if name not in members:
            error.__dict__[name] = value
            continue
        try:
            members[name].__set__(error, value)
        except Exception:  # noqa: BLE001, S112 - a computed attribute
            continue
    return error


def _find_new(kind: type[Exception]) -> Callable[..., Exception]:
    """Return the `__new__` of the builtin that `kind` descends from, past every one in Python."""
    for base in kind.__mro__:
        new = vars(base).get("__new__")
        if isinstance(new, BuiltinFunctionType):
            return new
    return Exception.__new__
