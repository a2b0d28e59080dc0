"""Reads parts of a user's template, whatever their types, and says which part cannot be used."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


class TemplateError(ValueError):
    """The pod template cannot be used; `field` is the path of the part that is wrong."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


def object_at(parent: Json, name: str, path: str) -> Json:
    """Return an object of the template, an empty one where it is silent.

    Raises:
        TemplateError: it is something else.
    """
    value = parent.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise TemplateError(f"{path}.{name}", "must be an object")
    return value


def objects_at(parent: Json, name: str, path: str) -> list[Json]:
    """Return a list of objects of the template, an empty one where it is silent.

    Raises:
        TemplateError: it is something else.
    """
    value = parent.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise TemplateError(f"{path}.{name}", "must be a list of objects")
    return value
