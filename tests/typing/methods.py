"""What type checkers must make of methods; checked by mypy and pyright, never run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_type

import towpath
from towpath import Queue, WorkflowHandle, WorkflowHandleAsync

queue = Queue("orders")


@dataclass
class Order:
    """Methods, static and class methods, sync and async."""

    number: int

    @towpath.step(retries=3)
    def charge(self, amount: int, *, currency: str = "EUR") -> str:
        """A sync step."""
        return f"{self.number} {amount} {currency}"

    @towpath.step()
    async def acharge(self, amount: int) -> bytes:
        """An async step."""
        return bytes(amount)

    @staticmethod
    @towpath.step()
    def tax(amount: int) -> float:
        """A step that has no instance."""
        return amount / 5

    @towpath.step()
    @staticmethod
    def weigh(pieces: int) -> float:
        """The decorators' order does not matter."""
        return pieces * 2.5

    @classmethod
    @towpath.step()
    def count(cls, most: int) -> str:
        """A step of the class."""
        return f"{cls.__name__} {most}"

    @towpath.workflow()
    def ship(self, days: int, *, fast: bool = False) -> str:
        """A sync workflow."""
        assert_type(self.charge(days, currency="USD"), str)
        assert_type(self.tax(days), float)
        return self.charge(days) if fast else ""

    @towpath.workflow()
    async def aship(self, days: int) -> bytes:
        """An async workflow."""
        handle = await queue.enqueue_async(self.ship, days, fast=True)
        assert_type(handle, WorkflowHandleAsync[str])
        return await self.acharge(days)

    @staticmethod
    @towpath.workflow()
    def refund(number: int) -> int:
        """A workflow that has no instance."""
        return number


class Express(Order):
    """Methods are inherited."""


order, express = Order(1), Express(2)

assert_type(order.charge(1, currency="USD"), str)
assert_type(Order.charge(order, 1), str)
assert_type(order.tax(1), float)
assert_type(Order.tax(1), float)
assert_type(order.weigh(1), float)
assert_type(Order.weigh(1), float)
assert_type(Order.count(1), str)
assert_type(order.count(1), str)
assert_type(express.charge(1), str)
assert_type(order.ship(1, fast=True), str)
assert_type(Order.ship(order, 1), str)
assert_type(Order.refund(1), int)
assert_type(order.refund(1), int)

assert_type(queue.enqueue(order.ship, 3, fast=True), WorkflowHandle[str])
assert_type(queue.enqueue(Order.ship, order, 3), WorkflowHandle[str])
assert_type(queue.enqueue(Order.ship, express, 3), WorkflowHandle[str])
assert_type(queue.enqueue(express.ship, 3), WorkflowHandle[str])
assert_type(queue.enqueue(order.aship, 3).get_result(), bytes)
assert_type(queue.enqueue(Order.refund, 3), WorkflowHandle[int])
assert_type(queue.enqueue(order.refund, 3), WorkflowHandle[int])
assert_type(towpath.start_workflow(order.aship, 3), WorkflowHandle[bytes])
assert_type(queue.options(priority=1).enqueue(order.ship, 3), WorkflowHandle[str])
assert_type(queue.enqueue_many(order.ship, [(1,), (2,)]), list[tuple[WorkflowHandle[str], bool]])

order.charge("no")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
order.charge(order, 1)  # type: ignore[arg-type, call-arg]  # pyright: ignore[reportCallIssue]
order.tax("no")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Order.charge(1)  # type: ignore[arg-type, call-arg]  # pyright: ignore[reportCallIssue]
queue.enqueue(order.ship, "no")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
queue.enqueue(order.ship)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
queue.enqueue(order.ship, order, 3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
queue.enqueue(Order.ship, 3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
queue.enqueue(Order.ship, "no", 3)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
queue.enqueue(Order.refund, order, 3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
