"""Arguments in plain JSON, as SQL and other languages write them, made what a function's annotations say.

Only what came as JSON's own types is changed. What a Python caller passed has its type already, and a
member of a union that takes the value as it is goes before those that would change it.
"""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import enum
import functools
import inspect
import json
import types
import typing
import uuid
from collections import abc
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from towpath.codec.hints import bare, read_hints
from towpath.codec.objects import is_dataclass_type, is_model_type
from towpath.codec.plain import SCALARS
from towpath.codec.protocol import ArgumentMismatchError
from towpath.codec.refusals import format_key, name_type

Fit = Callable[[Any, str], Any]
"""Takes a value and its path; returns what it stands for, or raises _Mismatch."""

_JSON_TYPES: Final = SCALARS | {list, dict}
_LISTS: Final = {list, abc.Sequence, abc.MutableSequence, abc.Collection, abc.Iterable}
_DICTS: Final = {dict, abc.Mapping, abc.MutableMapping}
_MAX_SHOWN: Final = 10


class _Mismatch(Exception):  # noqa: N818 - it becomes an ArgumentMismatchError
    def __init__(self, path: str, expected: str, reason: str) -> None:
        super().__init__(reason)
        self.path = path
        self.expected = expected
        self.reason = reason


class _Plan(NamedTuple):
    """The fits of a function's parameters, None where there is nothing to do."""

    names: tuple[str, ...]
    by_name: Mapping[str, Fit]
    rest: Fit | None
    more: Fit | None


def fit_arguments(
    function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments with plain JSON made what the annotations of `function` say.

    Raises:
        ArgumentMismatchError: naming the parameter, the path and the expected type.
    """
    plan = _plan_of(function)
    if plan is None:
        return args, kwargs
    parameter = ""
    try:
        args = list(args)
        for index, value in enumerate(args):
            known = index < len(plan.names)
            parameter = plan.names[index] if known else f"args[{index}]"
            fit = plan.by_name.get(parameter) if known else plan.rest
            if fit is not None:
                args[index] = fit(value, parameter)
        kwargs = dict(kwargs)
        for parameter, value in kwargs.items():
            fit = plan.by_name.get(parameter, plan.more)
            if fit is not None:
                kwargs[parameter] = fit(value, parameter)
    except _Mismatch as mismatch:
        raise ArgumentMismatchError(
            function=getattr(function, "__qualname__", repr(function)),
            parameter=parameter,
            path=mismatch.path,
            expected=mismatch.expected,
            reason=mismatch.reason,
        ) from None
    return args, kwargs


@functools.lru_cache(maxsize=4096)
def _plan_of(function: Callable[..., Any]) -> _Plan | None:
    try:
        parameters = inspect.signature(function).parameters.values()
    except Exception:  # noqa: BLE001 - a callable without a signature, annotations that fail
        return None
    hints = read_hints(function)
    by_name: dict[str, Fit] = {}
    others: dict[Any, Fit] = {}
    for parameter in parameters:
        fit = _fit_for(hints.get(parameter.name))
        if fit is None:
            continue
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            others[parameter.kind] = fit
        else:
            by_name[parameter.name] = _or_none(fit) if parameter.default is None else fit
    if not by_name and not others:
        return None
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return _Plan(
        tuple(p.name for p in parameters if p.kind in positional),
        by_name,
        others.get(inspect.Parameter.VAR_POSITIONAL),
        others.get(inspect.Parameter.VAR_KEYWORD),
    )


def _fit_for(annotation: Any) -> Fit | None:
    """Return how values become the annotated type, None where JSON's own is meant or all is taken."""
    annotation = bare(annotation)
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    kind = annotation if origin is None else origin
    fit: Fit | None = None
    if kind in (typing.Union, types.UnionType):
        fit = _fit_for_union(inner)
    elif not isinstance(kind, type):
        fit = None
    elif kind in _LISTS:
        fit = _fit_for_list(inner)
    elif kind in _DICTS:
        fit = _fit_for_dict(inner)
    elif kind is tuple:
        fit = _only_json(functools.partial(_fit_tuple, _fits_of_tuple(inner), _is_open(inner)))
    else:
        fit = _fit_for_class(kind)
    return fit


def _fit_for_class(kind: type) -> Fit | None:
    if kind in _TEXTS:
        return _only_json(functools.partial(_fit_text, kind))
    if issubclass(kind, enum.Enum):
        return _only_json(functools.partial(_fit_member, kind))
    if is_model_type(kind):
        return _only_json(functools.partial(_fit_model, kind))
    if is_dataclass_type(kind):
        return _only_json(functools.partial(_fit_dataclass, kind))
    return None


def _only_json(fit: Fit) -> Fit:
    def fit_json(value: Any, path: str) -> Any:
        return fit(value, path) if type(value) in _JSON_TYPES else value

    return fit_json


def _or_none(fit: Fit) -> Fit:
    return lambda value, path: None if value is None else fit(value, path)


# -- what has members


def _fit_for_union(members: Sequence[Any]) -> Fit | None:
    fits = [(member, _fit_for(member)) for member in members]
    changing = [fit for _, fit in fits if fit is not None]
    if not changing:
        return None
    keeping = [bare(member) for member, fit in fits if fit is None]

    def fit_union(value: Any, path: str) -> Any:
        if any(_takes(member, value) for member in keeping):
            return value
        mismatches = []
        for fit in changing:
            try:
                return fit(value, path)
            except _Mismatch as mismatch:
                mismatches.append(mismatch)
        # The one that came furthest says best what is wrong.
        furthest = max(mismatches, key=lambda mismatch: len(mismatch.path))
        if furthest.path != path:
            raise furthest
        expected = " or ".join(mismatch.expected for mismatch in mismatches)
        raise _Mismatch(path, expected, furthest.reason)

    return fit_union


def _takes(member: Any, value: Any) -> bool:
    """Tell whether a member of a union takes a value as it is."""
    origin = typing.get_origin(member)
    if origin is typing.Literal:
        return value in typing.get_args(member)
    kind = member if origin is None else origin
    if not isinstance(kind, type):
        return True  # Any, a type variable: nothing is known against it
    return isinstance(value, (int, float) if kind is float else kind)


def _fit_for_list(inner: Sequence[Any]) -> Fit | None:
    fit = _fit_for(inner[0]) if inner else None
    if fit is None:
        return None

    def fit_list(value: Any, path: str) -> Any:
        if type(value) is not list:
            raise _wrong(value, path, "a list")
        return [fit(child, f"{path}[{index}]") for index, child in enumerate(value)]

    return _only_json(fit_list)


def _fit_for_dict(inner: Sequence[Any]) -> Fit | None:
    fit = _fit_for(inner[1]) if inner else None
    if fit is None:
        return None

    def fit_dict(value: Any, path: str) -> Any:
        if type(value) is not dict:
            raise _wrong(value, path, "an object")
        return {key: fit(child, path + format_key(key)) for key, child in value.items()}

    return _only_json(fit_dict)


def _is_open(inner: Sequence[Any]) -> bool:
    return not inner or (len(inner) == 2 and inner[1] is Ellipsis)  # noqa: PLR2004 - tuple[X, ...]


def _fits_of_tuple(inner: Sequence[Any]) -> list[Fit | None]:
    return [_fit_for(member) for member in inner if member is not Ellipsis]


def _fit_tuple(fits: Sequence[Fit | None], is_open: bool, value: Any, path: str) -> tuple[Any, ...]:  # noqa: FBT001 - of tuple[X, ...]
    if type(value) is not list:
        raise _wrong(value, path, "a list")
    if is_open:
        fits = [fits[0] if fits else None] * len(value)
    elif len(fits) != len(value):
        raise _Mismatch(path, f"a list of {len(fits)}", f"it has {len(value)}")
    return tuple(
        child if fit is None else fit(child, f"{path}[{index}]")
        for index, (fit, child) in enumerate(zip(fits, value, strict=True))
    )


# -- classes


def _wrong(value: Any, path: str, expected: str) -> _Mismatch:
    return _Mismatch(path, expected, f"it is of type {name_type(value)}")


class _Text(NamedTuple):
    expected: str
    types: tuple[type, ...]
    read: Callable[[Any], Any]


_TEXTS: Final[Mapping[type, _Text]] = {
    dt.datetime: _Text("a datetime (ISO 8601 text)", (str,), dt.datetime.fromisoformat),
    dt.date: _Text("a date (ISO 8601 text)", (str,), dt.date.fromisoformat),
    dt.time: _Text("a time (ISO 8601 text)", (str,), dt.time.fromisoformat),
    dt.timedelta: _Text(
        "a timedelta (seconds)", (int, float), lambda seconds: dt.timedelta(seconds=seconds)
    ),
    uuid.UUID: _Text("a UUID (text)", (str,), uuid.UUID),
    # A number with a point has lost digits already when it is read.
    decimal.Decimal: _Text("a Decimal (text, or a whole number)", (str, int), decimal.Decimal),
    bytes: _Text("bytes (base64 text)", (str,), lambda text: base64.b64decode(text, validate=True)),
}


def _fit_text(kind: type, value: Any, path: str) -> Any:
    expected, allowed, read = _TEXTS[kind]
    if type(value) not in allowed:
        raise _wrong(value, path, expected)
    try:
        return read(value)
    except (ValueError, ArithmeticError) as error:
        reason = "it is no number" if isinstance(error, decimal.InvalidOperation) else str(error)
        raise _Mismatch(path, expected, reason) from None


def _fit_member(kind: type[enum.Enum], value: Any, path: str) -> enum.Enum:
    try:
        member = kind(value)
    except ValueError:
        member = None
    # 1 == True, but JSON has both.
    if member is None or isinstance(member.value, bool) != isinstance(value, bool):
        shown = ", ".join(repr(member.value) for member in list(kind)[:_MAX_SHOWN])
        raise _Mismatch(
            path, f"the enum {kind.__qualname__} (one of {shown})", f"it is {value!r:.100}"
        )
    return member


def _fit_model(kind: Any, value: Any, path: str) -> Any:
    try:
        try:
            text = json.dumps(value)
        except (TypeError, ValueError):  # it holds values that were tagged
            return kind.model_validate(value)
        # From JSON also strict models take times and ids as text.
        return kind.model_validate_json(text)
    except ValueError as error:
        place, reason = path, str(error)
        if hasattr(error, "errors"):
            first = error.errors()[0]
            place += "".join(
                format_key(part) if type(part) is str else f"[{part}]" for part in first["loc"]
            )
            reason = first["msg"]
        raise _Mismatch(place, f"the model {kind.__qualname__}", reason) from None


@functools.lru_cache(maxsize=4096)
def _constructor_of(kind: type) -> tuple[Mapping[str, inspect.Parameter], Mapping[str, Fit]]:
    """Return the parameters of a dataclass's constructor and their fits; late, for it may hold itself."""
    fits = {name: _fit_for(hint) for name, hint in read_hints(kind).items()}
    return (
        inspect.signature(kind).parameters,
        {name: fit for name, fit in fits.items() if fit is not None},
    )


def _fit_dataclass(kind: type, value: Any, path: str) -> Any:
    expected = f"the dataclass {kind.__qualname__}"
    if type(value) is not dict:
        raise _wrong(value, path, f"{expected} (an object)")
    parameters, fits = _constructor_of(kind)
    for name in value:
        if name not in parameters:
            raise _Mismatch(path, expected, f"it has no field {name!r:.100}")
    for name, parameter in parameters.items():
        if name not in value and parameter.default is parameter.empty:
            raise _Mismatch(path, expected, f"its field {name!r} is missing")
    given = {
        name: fits[name](child, f"{path}.{name}") if name in fits else child
        for name, child in value.items()
    }
    try:
        return kind(**given)
    except (TypeError, ValueError) as error:
        raise _Mismatch(path, expected, f"{type(error).__name__}: {error}") from None
