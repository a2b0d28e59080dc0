"""The annotations of functions and classes as types, as far as they can be resolved."""

from __future__ import annotations

import enum
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

from towpath.codec.objects import is_dataclass_type, is_model_type


def read_hints(owner: Callable[..., Any] | type) -> dict[str, Any]:
    """Return the annotated types by name, without those that name what only a type checker sees."""
    try:
        return typing.get_type_hints(owner)
    except Exception:  # noqa: BLE001 - an annotation may be any expression
        return dict(_read_one_by_one(owner))


def _read_one_by_one(owner: Callable[..., Any] | type) -> Iterator[tuple[str, Any]]:
    names = getattr(owner, "__globals__", None)
    if names is None:
        names = vars(sys.modules.get(owner.__module__, types.ModuleType("")))
    try:
        annotations: dict[str, Any] = owner.__annotations__
    except Exception:  # noqa: BLE001 - as above, where it is evaluated late
        return
    for name, annotation in annotations.items():
        try:
            resolved = eval(annotation, names) if isinstance(annotation, str) else annotation  # noqa: S307 - the code's own text
        except Exception:  # noqa: BLE001, S112 - as above
            continue
        yield name, resolved


def bare(annotation: Any) -> Any:
    """Return the type behind `Annotated`, `NewType` and `type` aliases."""
    while True:
        if typing.get_origin(annotation) is Annotated:
            annotation = annotation.__origin__
        elif hasattr(annotation, "__supertype__"):
            annotation = annotation.__supertype__
        elif type(annotation).__name__ == "TypeAliasType":
            annotation = annotation.__value__
        else:
            return annotation


def find_classes(owner: Callable[..., Any]) -> Mapping[str, type]:
    """Return the classes that a function's annotations mention, at any depth, by their qualname.

    Two of one name are left out: the name does not say which.
    """
    found: dict[str, type] = {}
    ambiguous: set[str] = set()
    seen: list[Any] = []
    waiting = list(read_hints(owner).values())
    while waiting:
        annotation = bare(waiting.pop())
        if any(annotation is known for known in seen):
            continue
        seen.append(annotation)
        waiting.extend(typing.get_args(annotation))
        kind = typing.get_origin(annotation) or annotation
        if not isinstance(kind, type) or not has_parts(kind):
            continue
        if found.setdefault(kind.__qualname__, kind) is not kind:
            ambiguous.add(kind.__qualname__)
        waiting.extend(read_hints(kind).values())
    return {name: kind for name, kind in found.items() if name not in ambiguous}


def has_parts(kind: type) -> bool:
    """Tell whether values of the class are recorded with its name."""
    return issubclass(kind, enum.Enum) or is_dataclass_type(kind) or is_model_type(kind)
