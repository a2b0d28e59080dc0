"""Enum members, dataclasses and pydantic models: their parts, and the objects again.

An object is made as `copy` makes one: without its constructor, its validators and its `__post_init__`,
so that it is what was recorded and none of its effects happen twice. Pydantic is never imported here;
where there is a model, it is imported already.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from towpath.codec.classes import find_annotated_class, find_class, name_class
from towpath.codec.protocol import JSON, ValueNotDecodableError

_HEAP_TYPE: Final = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made by a class statement


class Parts(NamedTuple):
    """What of an object is recorded.

    Attributes:
        fields: By name; they are looked at as a dict of the user's would be.
        more: Further keys of the record, each such a dict too, or a plain list of names.
    """

    tag: str
    fields: Mapping[str, object]
    more: Mapping[str, dict[str, object] | list[str]]


class NotRecordable(Exception):  # noqa: N818 - a reason on its way, never seen outside
    """Why an object would not come back as it is."""


def is_dataclass_type(kind: type) -> bool:
    """Tell whether instances of `kind` are a dataclass's."""
    return hasattr(kind, "__dataclass_fields__")


def is_model_type(kind: type) -> bool:
    """Tell whether `kind` is a pydantic model, of version 2 or later."""
    main = sys.modules.get("pydantic.main")
    return main is not None and vars(main).get("BaseModel") in kind.__mro__


def take_apart(value: object) -> Parts | None:
    """Return the parts of a dataclass or model, None of anything else.

    Raises:
        NotRecordable: it would not come back as it is.
    """
    kind = type(value)
    if is_model_type(kind):
        return _model_parts(value)
    if is_dataclass_type(kind):
        return _dataclass_parts(value)
    return None


def check_name(kind: type) -> str:
    """Return the name of a class under which it is found again.

    Raises:
        NotRecordable: there is none.
    """
    name = name_class(kind)
    if find_class(name) is not kind:
        raise NotRecordable(
            f"its class is not found as {name!r}; define it at the top level of a module"
        )
    return name


def member_name(member: enum.Enum) -> str:
    """Return the name of an enum's member.

    Raises:
        NotRecordable: it has none, as combinations of flags do.
    """
    if type(member).__members__.get(member.name) is not member:
        raise NotRecordable("it is no member by itself; pass its .value")
    return member.name


def _dataclass_parts(value: Any) -> Parts:
    kind = type(value)
    if not all(base is object or base.__flags__ & _HEAP_TYPE for base in kind.__mro__):
        raise NotRecordable("a dataclass that is a builtin type too has content beyond its fields")
    names = [field.name for field in dataclasses.fields(value)]
    for name in getattr(value, "__dict__", {}):
        if name not in names and not name.startswith("__") and not _is_cached(kind, name):
            raise NotRecordable(
                f"its attribute {name!r} is no field and would be lost; declare it, as "
                "field(init=False) where it is computed"
            )
    try:
        return Parts("dataclass", {name: getattr(value, name) for name in names}, {})
    except AttributeError as error:
        raise NotRecordable(f"a field has no value: {error}") from None


def _is_cached(kind: type, name: str) -> bool:
    return isinstance(getattr(kind, name, None), functools.cached_property)


def _model_parts(value: Any) -> Parts:
    state, extra, private = value.__dict__, value.__pydantic_extra__, value.__pydantic_private__
    fields = {name: state[name] for name in type(value).model_fields if name in state}
    more: dict[str, dict[str, object] | list[str]] = {}
    given = value.__pydantic_fields_set__
    if given != fields.keys() | (extra or {}).keys():
        more["set"] = sorted(given)
    if extra:
        more["extra"] = extra
    if private is not None:
        more["private"] = {n: v for n, v in private.items() if not _is_undefined(v)}
    return Parts("model", fields, more)


def _is_undefined(value: object) -> bool:
    return type(value).__name__ == "PydanticUndefinedType"


# -- and back


def read_member(record: dict[str, Any]) -> enum.Enum:
    """Return the member that a record names.

    Raises:
        ValueNotDecodableError: its class is not here.
        KeyError: there is no such member.
    """
    kind: Any = _find(record, lambda kind: issubclass(kind, enum.Enum))
    return kind.__members__[record["value"]]  # type: ignore[no-any-return]


def read_dataclass(record: dict[str, Any]) -> object:
    """Return the dataclass that a record holds.

    A field that the class has had no more since is left out, and a newer one gets its default, so that
    old and new code read each other's records.

    Raises:
        ValueNotDecodableError: its class is not here.
        ValueError: a field without a default is not in the record.
    """
    kind: Any = _find(record, is_dataclass_type)
    made: object = object.__new__(kind)
    for field in dataclasses.fields(kind):
        if field.name in record["value"]:
            value = record["value"][field.name]
        elif field.default is not dataclasses.MISSING:
            value = field.default
        elif field.default_factory is not dataclasses.MISSING:
            value = field.default_factory()
        else:
            raise ValueError(f"{record['type']} has a field {field.name!r} that is not recorded")
        object.__setattr__(made, field.name, value)  # past a frozen class's refusal
    return made


def read_model(record: dict[str, Any]) -> object:
    """Return the pydantic model that a record holds; fields come and go as in `read_dataclass`."""
    kind: Any = _find(record, is_model_type)
    fields = {name: record["value"][name] for name in kind.model_fields if name in record["value"]}
    extra, private = record.get("extra", {}), record.get("private")
    given = set(record.get("set", fields.keys() | extra.keys()))
    if len(fields) < len(kind.model_fields) or (private is None and kind.__private_attributes__):
        _check_defaults(record["type"], kind, fields)
        fresh = kind.model_construct(**fields)
        fields = {**fresh.__dict__, **fields}
        private = fresh.__pydantic_private__ if private is None else private
    made = object.__new__(kind)
    for name, value in (
        ("__dict__", fields),
        ("__pydantic_fields_set__", given),
        ("__pydantic_extra__", extra if kind.model_config.get("extra") == "allow" else None),
        ("__pydantic_private__", private),
    ):
        object.__setattr__(made, name, value)  # past a frozen model's refusal
    return made


def _check_defaults(type_name: str, kind: Any, fields: Mapping[str, object]) -> None:
    for name, field in kind.model_fields.items():
        if name not in fields and field.is_required():
            raise ValueError(f"{type_name} has a field {name!r} that is not recorded")


def _find(record: dict[str, Any], fits: Callable[[type], bool]) -> type:
    type_name = record["type"]
    for find in (find_class, find_annotated_class):
        kind = find(type_name)
        if kind is not None and fits(kind):
            return kind
    raise ValueNotDecodableError(
        codec=JSON,
        reason=f"its type {type_name!r} is not imported here",
        next_step=f"Import {type_name.partition(':')[0]!r} in this process, or annotate the "
        "workflow's parameter with the class where it is now.",
    )
