"""One workflow of each way to reach the database: steps, children, waits, transactions, both faces."""

import asyncio
from typing import Any

import psycopg

import towpath

queue = towpath.Queue("pooled")


@towpath.step()
def double(number: int) -> int:
    """Return twice the number."""
    return 2 * number


@towpath.step()
async def double_async(number: int) -> int:
    """Return twice the number."""
    return 2 * number


@towpath.transaction()
def sell(connection: psycopg.Connection[Any], item: str) -> str:
    """Write a row, by a statement that psycopg would prepare after a few times."""
    for _ in range(8):
        connection.execute("INSERT INTO sold VALUES (%s)", (item,))
    return item


@towpath.transaction()
async def sell_async(connection: psycopg.AsyncConnection[Any], item: str) -> str:
    """Write a row."""
    await connection.execute("INSERT INTO sold VALUES (%s)", (item,))
    return item


@towpath.workflow()
def child(number: int) -> int:
    """Return twice the number."""
    return double(number)


@towpath.workflow()
def order(number: int) -> list[Any]:
    """Use everything that sync code has."""
    towpath.set_event("begun", number)
    sold = sell(f"order-{number}")
    handle = queue.enqueue(child, number)
    towpath.sleep(0.2)
    message = towpath.recv("topic", timeout_seconds=20)
    return [double(number), sold, handle.get_result(), message]


@towpath.workflow()
async def order_async(number: int) -> list[Any]:
    """Use everything that async code has, several at once."""
    doubled = await asyncio.gather(*(double_async(number + n) for n in range(4)))
    sold = await asyncio.gather(*(sell_async(f"async-{number}-{n}") for n in range(4)))
    return [sum(doubled), len(sold)]
