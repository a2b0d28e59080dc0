"""The lines of the table of goals: what is compared, and what it must be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

Record = dict[str, Any]
Value = Callable[[Record], float | None]


def number(name: str) -> Value:
    """Return a number of the record."""

    def value(record: Record) -> float | None:
        found: float | None = record.get(name)
        return found

    return value


def yards(name: str) -> Value:
    """Return the record's rate in yards of the very same measurement."""

    def value(record: Record) -> float | None:
        rate: float | None = record.get("rate")
        return None if rate is None else rate / float(record[f"{name}_yards"])

    return value


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line: a value of each system, and the bound that towpath's must keep."""

    name: str
    what: str
    workload: str
    value: Value
    bound: float
    case: str = ""
    base_case: str | None = None
    """Where it is a growth: the case whose value it is divided by."""
    at_least: bool = False
    of_raw: bool = False
    """The bound is a multiple of what raw has in the same run."""
    worst: bool = False
    """Of several runs the largest counts, not the median: it must never be exceeded."""

    @property
    def goal(self) -> str:
        """Return the bound in words."""
        sign = ">=" if self.at_least else "<="
        return f"{sign} {self.bound:g}{'x raw' if self.of_raw else ''}"

    def of(self, records: Sequence[Record], system: str) -> float | None:
        """Return a system's value of these runs; None where it has none."""
        here = self._of_case(records, system, self.case)
        if self.base_case is None or here is None:
            return here
        base = self._of_case(records, system, self.base_case)
        return here / base if base else None

    def ratio(self, records: Sequence[Record], system: str) -> float | None:
        """Return what is compared with the bound."""
        value = self.of(records, system)
        if not self.of_raw or value is None:
            return value
        raw = self.of(records, "raw")
        return value / raw if raw else None

    def reached(self, ratio: float) -> bool:
        """Tell whether a value, as it is shown, keeps the bound."""
        ratio = float(f"{ratio:.3g}")
        return ratio >= self.bound if self.at_least else ratio <= self.bound

    def _of_case(self, records: Sequence[Record], system: str, case: str) -> float | None:
        wanted = (self.workload, system, case)
        found = [
            value
            for r in records
            if (r["workload"], r["system"], r["case"]) == wanted
            and (value := self.value(r)) is not None
        ]
        if not found:
            return None
        return max(found) if self.worst else median(found)
