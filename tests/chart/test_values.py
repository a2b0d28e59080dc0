"""The values' page, their defaults and their schema say the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import yaml

from tests.chart.reference import CHART, PAGE, page

SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text("utf-8"))
FREE = {"global", "affinity"}
"""What is Helm's own, or a part of a pod that Kubernetes checks."""


def schemas(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each schema of a property with its path."""
    for name, one in schema.get("properties", {}).items():
        yield f"{path}{name}", one
        yield from schemas(one, f"{path}{name}.")


def test_the_reference_page_is_as_the_schema_is() -> None:
    """Try: python -m tests.chart.reference."""
    assert PAGE.read_text("utf-8") == page()


def test_no_object_takes_what_it_does_not_know() -> None:
    """A misspelled value must not be a default that nobody asked for."""
    assert SCHEMA["additionalProperties"] is False
    for path, one in schemas(SCHEMA):
        assert one["description"].endswith("."), path
        if one.get("type") == "object" and path not in FREE:
            assert one["additionalProperties"] is not True, path
            assert "additionalProperties" in one, path


def test_every_value_of_the_schema_stands_in_the_values_file_or_is_helms() -> None:
    """The file is what people read first."""
    values = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    helms = {"global", "nameOverride", "fullnameOverride"}
    assert set(SCHEMA["properties"]) == {*values, *helms}
    for name, value in values.items():
        known = SCHEMA["properties"][name].get("properties", {})
        if isinstance(value, dict) and known and value:
            assert set(value) <= set(known)
