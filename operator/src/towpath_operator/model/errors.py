"""The error of a manifest that cannot be: it names the field, the reason and the next step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong in a manifest, at a field path such as `spec.concurrency.global`."""

    field: str
    reason: str

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}"


class ManifestError(Exception):
    """A manifest breaks a rule of its kind; `problems` has every rule that it breaks."""

    def __init__(self, *, subject: str, problems: Sequence[Problem], next_step: str) -> None:
        shown = "; ".join(str(problem).rstrip(".") for problem in problems)
        super().__init__(f"{subject}: {shown}. {next_step}")
        self.subject = subject
        self.problems = tuple(problems)
        self.next_step = next_step

    @property
    def field(self) -> str:
        """The path of the first field that is wrong."""
        return self.problems[0].field

    @property
    def reason(self) -> str:
        """What is wrong with the first field."""
        return self.problems[0].reason
