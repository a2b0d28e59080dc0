"""Schedules: what was declared wrongly, is not there, or is still declared."""

from __future__ import annotations

from collections.abc import Sequence

from towpath.domain.errors.base import TowpathError
from towpath.domain.errors.configuration import ConfigurationError


class ScheduleDeclarationError(ConfigurationError):
    """A schedule that cannot be: its cron expression, time zone, workflow or queue does not allow it.

    `field` is the name of the option of `schedule`, or "workflow".
    """

    def __init__(self, *, schedule_name: str, field: str, value: object, reason: str) -> None:
        super().__init__(f"schedule {schedule_name!r}: {field} is {value!r}; {reason}")
        self.schedule_name = schedule_name
        self.field = field
        self.value = value
        self.reason = reason


class ScheduleNotFoundError(TowpathError):
    """No schedule of that name was ever declared, or it was deleted. `nearest` are names like it."""

    def __init__(self, *, schedule_name: str, nearest: Sequence[str] = ()) -> None:
        hint = f" Did you mean {' or '.join(map(repr, nearest))}?" if nearest else ""
        super().__init__(
            f"schedule {schedule_name!r} was not found.{hint} Try: towpath schedule list"
        )
        self.schedule_name = schedule_name
        self.nearest = tuple(nearest)


class ScheduleDeclaredError(TowpathError):
    """A live worker declares the schedule, so that it cannot be deleted. `workers` are their names."""

    def __init__(self, *, schedule_name: str, workers: Sequence[str]) -> None:
        super().__init__(
            f"schedule {schedule_name!r} is declared by {', '.join(workers)}, which would only make it "
            "anew. Take it out of the code first, or stop it as it is: "
            f"towpath schedule pause {schedule_name}"
        )
        self.schedule_name = schedule_name
        self.workers = tuple(workers)
