"""Cron schedules: which moments an expression names in a time zone.

Ticks are UTC. Where clocks are put forward, what names an hour that does not exist ticks once, when it
is over; where they are put back, what names an hour that comes twice ticks in the first one. An
expression with `*` as its hour or minute counts real time instead, and ticks in both. This is what
Debian's cron does, by cronsim, which is what it asks.
"""

from __future__ import annotations

import difflib
import itertools
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

from cronsim import CronSim, CronSimError

from towpath.domain.errors.schedules import ScheduleDeclarationError
from towpath.domain.ids import WorkflowId, storable_text

MAX_NAME_LENGTH: Final = 200
"""The id of a firing holds the schedule's name, and an id has at most 255 characters."""

# counted from the end: an expression may begin with seconds
_DAY: Final = -3
_MONTH: Final = -2
_ANY_DAY: Final = datetime(2024, 1, 1, tzinfo=UTC)
_FIELDS: Final = "minute hour day-of-month month day-of-week, and may begin with seconds"


@dataclass(frozen=True, slots=True)
class Cron:
    """An expression in a time zone, as `read_cron` returns it."""

    expression: str
    zone: tzinfo

    def after(self, moment: datetime) -> Iterator[datetime]:
        """Yield the ticks after a moment, in UTC, ever later; none for 50 years ends it."""
        last = moment
        for tick in CronSim(self.expression, moment.astimezone(self.zone)):
            # in the hour that comes a second time, the first one's ticks are behind
            if (found := tick.astimezone(UTC)) > last:
                yield found
                last = found

    def next_after(self, moment: datetime) -> datetime | None:
        """Return the first tick after a moment, in UTC."""
        return next(self.after(moment), None)

    def between(self, after: datetime, until: datetime, at_most: int) -> list[datetime]:
        """Return the first ticks after one moment and not after another, in UTC."""
        ticks = itertools.takewhile(lambda tick: tick <= until, self.after(after))
        return list(itertools.islice(ticks, at_most))


def read_cron(schedule_name: str, expression: object, timezone: object) -> Cron:
    """Read a cron expression of 5 fields, or 6 with seconds first, in a zone such as Europe/Berlin.

    Raises:
        ScheduleDeclarationError: it is none, it never ticks, or there is no such time zone.
    """
    zone = _read_zone(schedule_name, timezone)
    if not isinstance(expression, str):
        raise _bad_cron(schedule_name, expression, "it is not a str")
    text = " ".join(expression.split())
    try:
        if next(CronSim(text, _ANY_DAY), None) is None:
            raise _never(schedule_name, text)
    except CronSimError as error:
        if _reads_without(text, _DAY) and _reads_without(text, _MONTH):
            # each is one by itself: no such month has such a day
            raise _never(schedule_name, text) from None
        raise _bad_cron(schedule_name, text, str(error)) from None
    return Cron(text, zone)


def check_schedule_name(name: object) -> str:
    """Return the name when a schedule can have it: 1 to 200 characters.

    Raises:
        ScheduleDeclarationError: it cannot be a schedule's name.
    """
    if (
        not isinstance(name, str)
        or not 1 <= len(name) <= MAX_NAME_LENGTH
        or not storable_text(name)
    ):
        shown = name[:40] if isinstance(name, str) else name
        raise ScheduleDeclarationError(
            schedule_name=str(shown),
            field="name",
            value=shown,
            reason=f"allowed is a str of 1 to {MAX_NAME_LENGTH} characters without NUL or lone "
            "surrogates. Give it one with name=.",
        )
    return name


def id_of_firing(schedule_name: str, tick: datetime) -> WorkflowId:
    """Return the workflow id of a tick: one for each, so that it fires once.

    >>> id_of_firing("report", datetime(2026, 3, 29, 1, tzinfo=UTC))
    'schedule-report-2026-03-29T01:00:00Z'
    """
    moment = tick.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds")
    return WorkflowId(f"schedule-{schedule_name}-{moment}Z")


def before(moment: datetime) -> datetime:
    """Return the last moment before one, so that a tick at that one comes after it."""
    return moment - timedelta(microseconds=1)


def _read_zone(schedule_name: str, timezone: object) -> tzinfo:
    if timezone == "UTC":
        return UTC
    try:
        if isinstance(timezone, str):
            return zoneinfo.ZoneInfo(timezone)
        reason = "allowed is a str such as 'Europe/Berlin'."
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        reason = f"there is no such time zone here.{_nearest_zones(str(timezone))}"
    raise ScheduleDeclarationError(
        schedule_name=schedule_name, field="timezone", value=timezone, reason=reason
    ) from None


def _nearest_zones(asked: str) -> str:
    known = {name.lower(): name for name in zoneinfo.available_timezones()}
    if not known:
        return " The machine knows none at all: install the package tzdata."
    near = difflib.get_close_matches(asked.lower(), known, n=3)
    if not near:
        return " Use a name of the IANA database, such as 'Europe/Berlin'."
    return f" Did you mean {' or '.join(repr(known[name]) for name in near)}?"


def _reads_without(text: str, field: int) -> bool:
    fields = text.split()
    fields[field : field + 1] = ["*"]
    try:
        CronSim(" ".join(fields), _ANY_DAY)
    except CronSimError:
        return False
    return True


def _never(schedule_name: str, text: str) -> ScheduleDeclarationError:
    return ScheduleDeclarationError(
        schedule_name=schedule_name,
        field="cron",
        value=text,
        reason="it never fires: no month named has such a day. Change the day or the month.",
    )


def _bad_cron(schedule_name: str, value: object, why: str) -> ScheduleDeclarationError:
    return ScheduleDeclarationError(
        schedule_name=schedule_name,
        field="cron",
        value=value,
        reason=f"it cannot be read ({why}). Its fields are {_FIELDS}: '0 9 * * 1-5' is 9:00 on "
        "weekdays.",
    )
