"""The structural schema of a model, as a CRD holds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from towpath_operator.model.base import Model

Schema = dict[str, Any]

_LEFT_OUT = frozenset(
    {"title", "additionalProperties", "$defs", "const", "anyOf", "$ref", "default"}
)


@cache
def structural_schema(model: type[Model]) -> Schema:
    """Return the schema of a model: no references, no unions, what Kubernetes accepts."""
    schema = model.model_json_schema(by_alias=True, mode="validation")
    return _structural(schema, schema.get("$defs", {}))


def known_fields(model: type[Model], location: Sequence[str | int]) -> Sequence[str]:
    """Name the fields that the object at a location of a model has."""
    node: Mapping[str, Any] = structural_schema(model)
    for part in location:
        node = node.get("items", {}) if isinstance(part, int) else node["properties"].get(part, {})
    return sorted(node.get("properties", ()))


def _structural(node: Schema, definitions: Mapping[str, Schema]) -> Schema:
    node = _without_references(node, definitions)
    result = {key: value for key, value in node.items() if key not in _LEFT_OUT}
    if "const" in node:
        result["enum"] = [node["const"]]
    default = node.get("default")
    if isinstance(default, dict):
        # Whole, since the API server tries the rules on a default before it fills it in.
        default = {name: value for name, value in default.items() if value is not None}
    if default not in (None, [], {}):
        result["default"] = default
    if node.get("type") == "integer":
        result.setdefault("format", "int32")
    if "properties" in node:
        result["properties"] = {
            name: _structural(child, definitions) for name, child in node["properties"].items()
        }
    if "items" in node:
        result["items"] = _structural(node["items"], definitions)
    return result


def _without_references(node: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """Put a referenced schema, and the one alternative to null, in the place of the reference."""
    if "$ref" in node:
        target = definitions[node["$ref"].rpartition("/")[2]]
        return _without_references(target, definitions) | _beside(node, "$ref")
    if "anyOf" in node:
        (choice,) = (option for option in node["anyOf"] if option.get("type") != "null")
        return _without_references(choice, definitions) | _beside(node, "anyOf")
    return node


def _beside(node: Schema, key: str) -> Schema:
    return {k: v for k, v in node.items() if k != key}
