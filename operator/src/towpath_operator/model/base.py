"""What all typed manifests share: strict parsing with field paths, and rules that CEL has too.

A rule is declared once, as a `Rule`: its CEL text goes into the CRD, its Python twin is called when
a manifest is parsed. Both say the same message about the same field.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import (
    BaseModel,
    ConfigDict,
    GetJsonSchemaHandler,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema

VALIDATIONS = "x-kubernetes-validations"
DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
DNS_SUBDOMAIN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule over several fields of one object.

    Attributes:
        field: The field that the error names, relative to the object that has the rule ("" = itself).
        message: Names the fields and what is allowed.
        cel: The rule for the API server.
        holds: Its Python twin; None for rules about a change.
        unchanged: For rules about a change: what must be the same before and after.
        of_value: Whether `self` in the CEL is the field's value rather than the object. An error
            while it is evaluated names the field then, which a fieldPath does not bring about.
    """

    field: str
    message: str
    cel: str
    holds: Callable[[Any], bool] | None = None
    unchanged: Callable[[Any], object] | None = None
    of_value: bool = False

    def to_cel(self) -> dict[str, str]:
        """Write the rule as an entry of x-kubernetes-validations."""
        entry = {"rule": self.cel, "message": self.message}
        if not self.field or self.of_value:
            return entry
        return {**entry, "fieldPath": f".{self.field}"}


class Model(BaseModel):
    """A typed part of a manifest: camelCase in YAML, frozen, unknown fields refused."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=False,
        extra="forbid",
        frozen=True,
        strict=True,
    )

    rules: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _null_means_absent(cls, data: Any) -> Any:
        """Take a null for a field that is left out, as the API server does."""
        if not isinstance(data, Mapping):
            return data
        optional = {info.alias for info in cls.model_fields.values() if not info.is_required()}
        return {name: v for name, v in data.items() if v is not None or name not in optional}

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Put the rules into the schema, where the API server evaluates them."""
        schema = handler.resolve_ref_schema(handler(core_schema))
        of_object = [rule.to_cel() for rule in cls.rules if not rule.of_value]
        if of_object:
            schema[VALIDATIONS] = of_object
        for rule in cls.rules:
            if rule.of_value:
                schema["properties"][rule.field][VALIDATIONS] = [rule.to_cel()]
        return schema

    def broken_rules(self) -> Iterable[Rule]:
        """Yield the rules over several fields that this object breaks."""
        return (rule for rule in self.rules if rule.holds is not None and not rule.holds(self))

    def to_manifest(self) -> dict[str, Any]:
        """Write the object as it stands in a manifest: aliases, without what is None."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)
