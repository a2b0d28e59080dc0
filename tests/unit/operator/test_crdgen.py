"""The generated files, and what Kubernetes asks of a CRD."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from towpath_operator.crdgen import (
    DEFINITIONS,
    FOLDERS,
    REFERENCE,
    Definition,
    generated_files,
    main,
    root_schema,
    stale_files,
)
from towpath_operator.model.conditions import REASON_DOCS, Reason

ROOT = Path(__file__).parents[3]
LARGEST = 200_000


def test_the_committed_files_are_as_the_models_generate_them() -> None:
    assert list(stale_files(ROOT)) == []


def test_the_charts_crds_are_byte_equal_to_the_top_level_ones() -> None:
    top, chart = (
        {path.name: path.read_bytes() for path in (ROOT / folder).glob("*.yaml")}
        for folder in FOLDERS
    )
    assert top == chart
    assert len(top) == len(DEFINITIONS)


def test_the_check_tells_which_files_are_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["--check"]) == 1
    assert REFERENCE in capsys.readouterr().err
    assert main([]) == 0
    assert main(["--check"]) == 0


def _definition(definition: Definition) -> str:
    return definition.kind.name


@pytest.mark.parametrize("definition", DEFINITIONS, ids=_definition)
def test_every_field_has_a_sentence(definition: Definition) -> None:
    for path, node in _fields(root_schema(definition)):
        if path.startswith("metadata"):
            continue
        description = node.get("description", "")
        assert description.endswith("."), f"{path} has no sentence: {description!r}"
        assert description[0].isupper() or description.startswith("metadata."), path


@pytest.mark.parametrize("definition", DEFINITIONS, ids=_definition)
def test_every_list_text_and_number_of_a_spec_has_a_bound(definition: Definition) -> None:
    for path, node in _fields(root_schema(definition)["properties"]["spec"]):
        if node.get("type") == "array":
            assert "maxItems" in node, path
            assert node["x-kubernetes-list-type"] in {"map", "set"}, path
        if node.get("type") == "string":
            assert "maxLength" in node or "enum" in node, path
        if node.get("type") in (None, "integer"):  # without a type: a number or a part
            assert {"minimum", "maximum"} <= set(node), path


@pytest.mark.parametrize("definition", DEFINITIONS, ids=_definition)
def test_a_schema_is_structural(definition: Definition) -> None:
    text = yaml.safe_dump(root_schema(definition))
    for word in ("$ref", "anyOf", "additionalProperties", "title:", "const:", "prefixItems"):
        assert word not in text


@pytest.mark.parametrize("definition", DEFINITIONS, ids=_definition)
def test_each_rule_names_its_field_in_its_message(definition: Definition) -> None:
    for rule in (*definition.rules, *definition.spec.rules):
        assert rule.field.removeprefix("spec.") in rule.message


def test_each_crd_is_small_enough_to_be_applied() -> None:
    for path, text in generated_files().items():
        assert len(text.encode()) < LARGEST, path


def test_no_crd_has_an_alias() -> None:
    for path, text in generated_files().items():
        if path.endswith(".yaml"):
            tokens = {type(token) for token in yaml.scan(text)}
            assert not {yaml.AnchorToken, yaml.AliasToken} & tokens, path


def test_names_and_categories_are_those_of_the_documentation() -> None:
    names = {d.kind.name: d.short_name for d in DEFINITIONS}
    assert names == {"Queue": "tq", "WorkerPool": "twp", "QueueDatabase": "tqdb"}


def test_every_reason_is_explained() -> None:
    assert set(REASON_DOCS) == set(Reason)
    page = (ROOT / REFERENCE).read_text(encoding="utf-8")
    for reason in Reason:
        assert f"| `{reason}` | {reason.doc} |" in page


def _fields(node: dict[str, Any], path: str = "") -> Iterable[tuple[str, dict[str, Any]]]:
    for name, child in node.get("properties", {}).items():
        here = f"{path}.{name}".removeprefix(".")
        yield here, child
        yield from _fields(child, here)
        if "items" in child:
            yield from _fields(child["items"], f"{here}[]")
