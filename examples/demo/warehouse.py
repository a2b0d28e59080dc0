"""Reads what the warehouse saw: its log is the witness, for it knows nothing of Towpath."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Self
from urllib.request import urlopen

ACTIONS = ("reserve", "charge", "ship")


class Outcome(StrEnum):
    """How a call ended, by the warehouse's words."""

    IN_FLIGHT = "in flight"
    ANSWERED = "answered"
    CUT_OFF = "cut off"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call; `worker` is what the client says it is, as pod/pid."""

    number: int
    action: str
    order: int
    worker: str
    began: float
    ended: float | None
    outcome: Outcome

    @property
    def pod(self) -> str:
        """The name of the pod, or of the process that stands for one."""
        return self.worker.rpartition("/")[0]

    @property
    def pid(self) -> int:
        """The process that made the call."""
        return int(self.worker.rpartition("/")[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the warehouse saw until `now`, on its own clock."""

    limit: int
    in_flight: int
    most_at_once: int
    now: float
    calls: Sequence[Call]

    @classmethod
    def read(cls, url: str) -> Self:
        """Ask the warehouse."""
        with urlopen(f"{url}/report", timeout=5) as response:
            return cls.of_text(response.read())

    @classmethod
    def of_text(cls, text: str | bytes) -> Self:
        """Read the warehouse's answer."""
        said = json.loads(text)
        calls = [Call(**{**call, "outcome": Outcome(call["outcome"])}) for call in said["calls"]]
        return cls(**{**said, "calls": calls})

    def of(self, order: int) -> list[Call]:
        """Return the calls for one order, in their sequence."""
        return [call for call in self.calls if call.order == order]

    def shipped(self) -> int:
        """Count the orders that are through."""
        last = ACTIONS[-1]
        return sum(c.action == last and c.outcome is Outcome.ANSWERED for c in self.calls)

    def so_far(self) -> str:
        """Say in a line how far the work is."""
        answered = sum(call.outcome is Outcome.ANSWERED for call in self.calls)
        shipped = f"{self.shipped():>3} orders shipped"
        return f"{shipped}, {answered:>3} calls answered, {self.in_flight} in flight"
