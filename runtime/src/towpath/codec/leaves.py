"""Types beyond JSON without parts: how each is written under its tag, and read again."""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import uuid
import zoneinfo
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeVar

TAG: Final = "$towpath"
"""The key that marks a type beyond JSON; a value of the user's must not hold it."""

Tagged = dict[str, Any]
Clock = TypeVar("Clock", dt.datetime, dt.time)


class Leaf(NamedTuple):
    """One type: its tag, the way to JSON and back, and why a value of it may be refused."""

    tag: str
    write: Callable[[Any], Any]
    read: Callable[[Tagged], Any]
    refuse: Callable[[Any], str | None] = lambda _: None


def write_leaf(leaf: Leaf, value: object) -> Tagged:
    """Return the tagged dict of a value; `leaf.refuse` has let it pass."""
    record = {TAG: leaf.tag, "value": leaf.write(value)}
    if isinstance(value, dt.datetime | dt.time):
        if isinstance(value.tzinfo, zoneinfo.ZoneInfo):
            record["zone"] = value.tzinfo.key
        if value.fold:
            record["fold"] = 1
    return record


def _in_its_zone(value: Clock, record: Tagged) -> Clock:
    """The wall clock decides and not the offset: it alone brings back times in a zone's gaps."""
    if "zone" in record:
        value = value.replace(tzinfo=zoneinfo.ZoneInfo(record["zone"]))
    return value.replace(fold=1) if record.get("fold") else value


def _read_datetime(record: Tagged) -> dt.datetime:
    return _in_its_zone(dt.datetime.fromisoformat(record["value"]), record)


def _read_time(record: Tagged) -> dt.time:
    return _in_its_zone(dt.time.fromisoformat(record["value"]), record)


def _refuse_zone(value: dt.datetime | dt.time) -> str | None:
    zone = value.tzinfo
    if type(zone) is dt.timezone:
        # Python reads 00:00:00.5 as no offset at all.
        fraction = zone.utcoffset(None).microseconds
        return "its offset has a fraction of a second; use whole seconds" if fraction else None
    if zone is None or (type(zone) is zoneinfo.ZoneInfo and zone.key is not None):
        return None
    return "its time zone is recorded only as a datetime.timezone or a zoneinfo.ZoneInfo with a key"


def _refuse_nan(value: decimal.Decimal) -> str | None:
    return "a NaN equals nothing, not even itself; pass None" if value.is_nan() else None


def _write_timedelta(value: dt.timedelta) -> list[int]:
    return [value.days, value.seconds, value.microseconds]


LEAVES: Final[Mapping[type, Leaf]] = {
    dt.datetime: Leaf("datetime", dt.datetime.isoformat, _read_datetime, _refuse_zone),
    dt.date: Leaf("date", dt.date.isoformat, lambda r: dt.date.fromisoformat(r["value"])),
    dt.time: Leaf("time", dt.time.isoformat, _read_time, _refuse_zone),
    dt.timedelta: Leaf("timedelta", _write_timedelta, lambda r: dt.timedelta(*r["value"])),
    uuid.UUID: Leaf("uuid", str, lambda r: uuid.UUID(r["value"])),
    decimal.Decimal: Leaf("decimal", str, lambda r: decimal.Decimal(r["value"]), _refuse_nan),
    bytes: Leaf(
        "bytes",
        lambda value: base64.b64encode(value).decode(),
        lambda r: base64.b64decode(r["value"], validate=True),
    ),
}
