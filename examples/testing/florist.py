"""A florist's orders: reserved and charged once, and a reminder three days before the flowers wither."""

from __future__ import annotations

from datetime import datetime

import towpath
from towpath import Queue

REMINDER_SECONDS = 3 * 24 * 3600

orders = Queue("orders", concurrency=5)
mail = Queue("mail", limiter={"limit": 2, "period": 60})

stock = {"tulips": 3}
charged: list[str] = []
sent: list[str] = []


class SoldOutError(Exception):
    """There are no more of these flowers."""


@towpath.step()
def reserve(flowers: str) -> int:
    """Take a bunch from the shelf; return how many are left."""
    if stock[flowers] == 0:
        raise SoldOutError(flowers)
    stock[flowers] -= 1
    return stock[flowers]


@towpath.step(retries=5)
def charge(customer: str) -> str:
    """Charge the customer's card: a call of somebody else's API."""
    charged.append(customer)
    return f"receipt-{len(charged)}"


@towpath.step()
def deliver(to: str, text: str) -> None:
    """Hand a message to the mail server."""
    sent.append(f"{to}: {text}")


@towpath.workflow()
def send_mail(to: str, text: str) -> None:
    """Send one mail, in line with all others."""
    deliver(to, text)


@towpath.workflow()
def order(customer: str, flowers: str) -> str:
    """Sell a bunch, and remind the customer of the next one unless they ask not to be."""
    reserve(flowers)
    receipt = charge(customer)
    mail.enqueue(send_mail, customer, f"thanks, {receipt}")
    if towpath.recv("no reminder", timeout_seconds=REMINDER_SECONDS) is None:
        mail.enqueue(send_mail, customer, f"time for new {flowers}")
    return receipt


@towpath.schedule("0 7 * * 1-5", timezone="Europe/Paris")
@towpath.workflow()
def count_stock(tick: datetime) -> None:
    """Every working day at seven, tell the owner what is left."""
    mail.enqueue(send_mail, "owner", f"{tick:%A}: {stock['tulips']} tulips")
