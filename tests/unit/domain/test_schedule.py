"""Which moments a cron expression names, and what is no schedule."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest

from towpath.domain.errors import ScheduleDeclarationError
from towpath.domain.schedule import MAX_NAME_LENGTH, check_schedule_name, id_of_firing, read_cron

# Clocks are put forward at 2:00 and back at 3:00 in Berlin, at 2:00 and back at 2:00 in New York.
BERLIN_FORWARD, BERLIN_BACK = "2026-03-29", "2026-10-25"
NEW_YORK_FORWARD, NEW_YORK_BACK = "2026-03-08", "2026-11-01"

CHANGES = [
    # in the hour that is left out: once, when it is over
    ("Europe/Berlin", "30 2 * * *", BERLIN_FORWARD, ["01:00"]),
    ("Europe/Berlin", "0,30 2 * * *", BERLIN_FORWARD, ["01:00"]),
    ("Europe/Berlin", "30 2,3 * * *", BERLIN_FORWARD, ["01:00", "01:30"]),
    ("America/New_York", "30 2 * * *", NEW_YORK_FORWARD, ["07:00"]),
    # at its edges
    ("Europe/Berlin", "59 1 * * *", BERLIN_FORWARD, ["00:59"]),
    ("Europe/Berlin", "0 3 * * *", BERLIN_FORWARD, ["01:00"]),
    ("America/New_York", "0 3 * * *", NEW_YORK_FORWARD, ["07:00"]),
    # in the hour that comes twice: in the first of the two
    ("Europe/Berlin", "30 2 * * *", BERLIN_BACK, ["00:30"]),
    ("Europe/Berlin", "0 3 * * *", BERLIN_BACK, ["02:00"]),
    ("America/New_York", "30 1 * * *", NEW_YORK_BACK, ["05:30"]),
    ("America/New_York", "0 2 * * *", NEW_YORK_BACK, ["07:00"]),
    # every so many minutes and every hour: as real time goes
    ("Europe/Berlin", "30 * * * *", BERLIN_FORWARD, [f"{h:02}:30" for h in range(22)]),
    ("America/New_York", "*/30 1-2 * * *", NEW_YORK_FORWARD, ["06:00", "06:30"]),
    (
        "America/New_York",
        "*/30 1-2 * * *",
        NEW_YORK_BACK,
        ["05:00", "05:30", "06:00", "06:30", "07:00", "07:30"],
    ),
    # and where no clock changes
    ("UTC", "30 2 * * *", BERLIN_FORWARD, ["02:30"]),
    ("Europe/Berlin", "0 0 12 * * *", "2026-07-01", ["10:00"]),
]


@pytest.mark.parametrize(("zone", "expression", "day", "times"), CHANGES)
def test_ticks_where_clocks_change(zone: str, expression: str, day: str, times: list[str]) -> None:
    """The ticks of a day, in UTC."""
    cron = read_cron("report", expression, zone)
    begin = datetime.fromisoformat(f"{day}T00:00:00+00:00")
    ticks = cron.between(
        begin - timedelta(seconds=1), begin + timedelta(hours=21, minutes=59), 1000
    )
    assert [t.strftime("%H:%M") for t in ticks] == times
    assert {t.strftime("%Y-%m-%d") for t in ticks} == {day}
    assert {t.utcoffset() for t in ticks} == {timedelta(0)}


@pytest.mark.parametrize("expression", ["50 2 * * *", "*/20 * * * *", "30 */2 * * *"])
@pytest.mark.parametrize("day", [BERLIN_FORWARD, BERLIN_BACK])
def test_whoever_looks_in_the_midst_sees_the_same_ticks(expression: str, day: str) -> None:
    """Begun at any minute of the change, a schedule goes on as if it had run before."""
    cron = read_cron("report", expression, "Europe/Berlin")
    begin = datetime.fromisoformat(f"{day}T00:00:00+00:00") - timedelta(hours=2)
    whole = cron.between(begin, begin + timedelta(days=5), 1000)
    for minute in range(6 * 60):
        moment = begin + timedelta(minutes=minute)
        expected = [t for t in whole if t > moment][:3]
        assert list(islice(cron.after(moment), 3)) == expected


def test_ticks_are_after_one_moment_and_until_another() -> None:
    """The first is left out, the last is not; no more than were asked for."""
    cron = read_cron("report", "* * * * *", "UTC")
    noon = datetime(2026, 5, 1, 12, tzinfo=UTC)
    hour = cron.between(noon, noon + timedelta(hours=1), 1000)
    assert (hour[0], hour[-1], len(hour)) == (
        noon + timedelta(minutes=1),
        noon + timedelta(hours=1),
        60,
    )
    assert cron.between(noon, noon + timedelta(hours=1), 7) == hour[:7]
    assert cron.between(noon, noon, 7) == []
    assert cron.next_after(noon) == hour[0]


REFUSED = [
    ("cron", "61 * * * *", "UTC", "Bad minute"),
    ("cron", "* * * *", "UTC", "Wrong number of fields"),
    ("cron", "", "UTC", "Wrong number of fields"),
    ("cron", "0 0 30 13 *", "UTC", "Bad month"),
    ("cron", "@daily", "UTC", "'0 9 \\* \\* 1-5' is 9:00 on weekdays"),
    ("cron", 5, "UTC", "it is not a str"),
    ("cron", "0 0 30 2 *", "UTC", "it never fires.*Change the day or the month"),
    ("cron", "0 0 31 4,6,9,11 *", "UTC", "it never fires"),
    ("cron", "0 0 0 31 2 *", "UTC", "it never fires"),
    ("timezone", "* * * * *", "Europe/Berln", "Did you mean 'Europe/Berlin'"),
    ("timezone", "* * * * *", "Europe", "there is no such time zone"),
    ("timezone", "* * * * *", "/etc/passwd", "there is no such time zone"),
    ("timezone", "* * * * *", "", "Use a name of the IANA database"),
    ("timezone", "* * * * *", "a\0", "there is no such time zone"),
    ("timezone", "* * * * *", 1, "allowed is a str such as"),
]


@pytest.mark.parametrize(("field", "expression", "zone", "words"), REFUSED)
def test_what_is_no_schedule_is_refused(
    field: str, expression: object, zone: object, words: str
) -> None:
    """With the field, its value, and what to do."""
    with pytest.raises(ScheduleDeclarationError, match=words) as caught:
        read_cron("report", expression, zone)
    assert caught.value.schedule_name == "report"
    assert (caught.value.field, caught.value.value) == (
        field,
        expression if field == "cron" else zone,
    )


@pytest.mark.parametrize("expression", ["0 0 29 2 *", "0 0 30 2 MON", "0 0 31 1,2 *", "0 0 L 2 *"])
def test_what_fires_rarely_is_a_schedule(expression: str) -> None:
    """A leap day, a day or a weekday, a day that one of the months has, the last day."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert read_cron("report", expression, "UTC").next_after(now) is not None


@pytest.mark.parametrize("name", ["", "x" * (MAX_NAME_LENGTH + 1), "a\0", "\ud800", None, 7])
def test_what_is_no_name_is_refused(name: object) -> None:
    """The id of a firing holds the name, so it is shorter than an id."""
    with pytest.raises(ScheduleDeclarationError, match="a str of 1 to 200 characters"):
        check_schedule_name(name)


def test_the_longest_name_makes_an_id() -> None:
    """Of at most 255 characters; the same moment has one id in every zone."""
    name = check_schedule_name("x" * MAX_NAME_LENGTH)
    tick = datetime.fromisoformat("2026-03-29T09:00:00+02:00")
    assert len(id_of_firing(name, tick)) <= 255
    assert id_of_firing("report", tick) == "schedule-report-2026-03-29T07:00:00Z"
    assert id_of_firing("report", tick.astimezone(UTC)) == id_of_firing("report", tick)
