"""The florist's tests: `pip install 'towpath[local]' pytest`, then `python -m pytest`."""

from __future__ import annotations

from datetime import timedelta

import florist
import pytest

import towpath
from towpath.testing import Clock, assert_enqueued, crash_after, crash_before, drain, enqueued

REMINDER = "time for new tulips"

pytestmark = pytest.mark.usefixtures("towpath_app")


@pytest.fixture(autouse=True)
def shelf() -> None:
    """Begin each test with three bunches, and nobody charged."""
    florist.stock["tulips"] = 3
    florist.charged.clear()
    florist.sent.clear()


def test_a_customer_is_reminded_after_three_days(towpath_clock: Clock) -> None:
    """The test waits for the result, so time goes on by itself."""
    ordered = towpath_clock.now
    handle = florist.orders.enqueue(florist.order, "ada", "tulips")
    assert handle.get_result() == "receipt-1"
    assert towpath_clock.now == ordered + timedelta(days=3)
    drain(florist.mail)
    to_ada = [mail for mail in florist.sent if mail.startswith("ada")]
    assert to_ada == ["ada: thanks, receipt-1", f"ada: {REMINDER}"]


def test_who_does_not_want_it_is_not_reminded(towpath_clock: Clock) -> None:
    """Between two calls of the test time stands still, so the message comes before the time is over."""
    handle = florist.orders.enqueue(florist.order, "ada", "tulips")
    towpath_clock.advance(timedelta(days=2))
    towpath.send(handle.workflow_id, "please", "no reminder")
    handle.get_result()
    assert_enqueued(florist.mail, florist.send_mail, args=["ada", "thanks, receipt-1"])
    assert_enqueued(florist.mail, florist.send_mail, args=["ada", REMINDER], times=0)


def test_a_crash_charges_nobody_twice() -> None:
    """The worker dies once the receipt is recorded; another goes on from there."""
    with crash_after(florist.charge):
        florist.orders.enqueue(florist.order, "ada", "tulips").get_result()
    assert florist.charged == ["ada"]
    assert florist.stock == {"tulips": 2}


def test_a_step_that_was_cut_off_runs_again() -> None:
    """The worker dies in the midst of the charge: what is not recorded may have happened."""
    with crash_before(florist.charge):
        florist.orders.enqueue(florist.order, "ada", "tulips").get_result()
    assert florist.charged == ["ada", "ada"]
    assert florist.stock == {"tulips": 2}


def test_the_fourth_customer_gets_none() -> None:
    """`drain` runs all that is there, over three days, and returns it."""
    for customer in ("ada", "bob", "cyd", "dan"):
        florist.orders.enqueue(florist.order, customer, "tulips")
    ended = drain(florist.orders)
    assert sorted(done.status.value for done in ended) == ["ERROR", *["SUCCESS"] * 3]
    assert [done.error for done in ended if done.error] == ["SoldOutError: tulips"]
    assert florist.stock == {"tulips": 0}


def test_mails_keep_to_the_limiter(towpath_clock: Clock) -> None:
    """Six mails at two a minute take two minutes of the clock, and none of yours."""
    began = towpath_clock.now
    for number in range(6):
        florist.mail.enqueue(florist.send_mail, "ada", str(number))
    drain(florist.mail)
    assert timedelta(minutes=2) <= towpath_clock.now - began < timedelta(minutes=3)


def test_the_owner_is_told_on_working_days(towpath_clock: Clock) -> None:
    """A week has five of them."""
    towpath_clock.advance(timedelta(days=7))
    told = [info.args[1].split(":")[0] for info in enqueued(florist.mail)]
    assert sorted(told) == ["Friday", "Monday", "Thursday", "Tuesday", "Wednesday"]


@pytest.mark.towpath(launch=False)
def test_what_an_order_costs_in_line() -> None:
    """Without a worker nothing runs: only what was put in line is looked at."""
    florist.orders.enqueue(florist.order, "ada", flowers="tulips")
    assert_enqueued(florist.orders, florist.order, args=["ada"], kwargs={"flowers": "tulips"})
