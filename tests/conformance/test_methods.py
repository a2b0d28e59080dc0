"""Methods as steps and workflows: of instances, of classes, and static ones."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from towpath import App, Step, Workflow
from towpath.errors import ConfigurationError, ValueNotEncodableError

shop = App()
orders = shop.queue("orders")
runs: list[str] = []


@dataclass
class Order:
    """An order; its workflows are found by name in whatever process has imported this module."""

    number: int
    items: list[str] = field(default_factory=list)

    @shop.step()
    def charge(self, amount: int, *, currency: str = "EUR") -> str:
        """Take the money."""
        runs.append("charge")
        return f"{self.number}: {amount} {currency}"

    @shop.step()
    async def acharge(self, amount: int) -> str:
        """Take the money."""
        return f"{self.number}: {amount}"

    @staticmethod
    @shop.step()
    def tax(amount: int) -> int:
        """Name the tax."""
        return amount // 5

    @shop.step()
    @staticmethod
    def weigh(pieces: int) -> int:
        """Weigh them."""
        return pieces * 2

    @classmethod
    @shop.step()
    def describe(cls, most: int) -> str:
        """Describe the class."""
        return f"{cls.__name__} {most}"

    @shop.workflow()
    def ship(self, days: int, *, fast: bool = False) -> list[Any]:
        """Ship it."""
        charged = self.charge(days, currency="USD" if fast else "EUR")
        return [charged, self.tax(days), self.weigh(days), self.describe(days), *self.items]

    @shop.workflow()
    async def aship(self, days: int) -> str:
        """Ship it."""
        return await self.acharge(days)

    @shop.workflow()
    def ship_twice(self, days: int) -> list[Any]:
        """Ship it by a child and by an awaited child."""
        started = orders.enqueue(self.ship, days)
        return [started.get_result(), self.ship(days, fast=True)]

    @staticmethod
    @shop.workflow()
    def refund(number: int) -> int:
        """Give it back."""
        return -number

    @shop.workflow()
    @staticmethod
    def give_back(number: int) -> int:
        """Give it back."""
        return -number

    @classmethod
    @shop.workflow()
    def restock(cls, number: int) -> int:
        """A workflow cannot be a class's: the class is no value."""
        return number


@dataclass
class Express(Order):
    """Inherits, and has its own way to describe itself."""

    hours: int = 1

    @shop.workflow()
    def hurry(self) -> list[Any]:
        """Ship it fast."""
        return [self.hours, *super().ship(1, fast=True)]


class Parcel(BaseModel):
    """A pydantic model is told that decorated methods are no fields."""

    model_config = ConfigDict(ignored_types=(Step, Workflow))

    weight: float

    @shop.step()
    def price(self) -> float:
        """Name the price."""
        return self.weight * 2

    @shop.workflow()
    def send(self, days: int) -> list[float]:
        """Send it."""
        return [self.price(), days]


class Cart:
    """Neither a dataclass nor a model."""

    @shop.step()
    def pack(self) -> str:
        """Pack it."""
        return "packed"

    @shop.workflow()
    def check_out(self, number: int) -> int:
        """It cannot start: a cart has no recorded form."""
        return number


@shop.workflow()
def pack_a_cart() -> str:
    """The instance of a step's method may be any object."""
    return Cart().pack()


@pytest.fixture
def app(database_url: str) -> Iterator[None]:
    """Launch the module's App on a fresh database."""
    runs.clear()
    assert shop.launch(database_url).wait_until_ready(20)
    yield
    shop.shutdown(drain=0)


NO_TEXTS: Any = [object()]
SHIPPED = ["7: 3 EUR", 0, 6, "Order 3", "book"]


def ways_to_start(order: Order) -> list[Callable[[], list[Any]]]:
    """Return the ways that are the same."""
    bound, debounced = orders.options(workflow_id="one"), orders.debounce("k", delay_seconds=0)
    return [
        lambda: orders.enqueue(order.ship, 3).get_result(timeout=20),
        lambda: orders.enqueue(Order.ship, order, 3).get_result(timeout=20),
        lambda: bound.enqueue(order.ship, 3).get_result(timeout=20),
        lambda: debounced.enqueue(order.ship, 3).get_result(timeout=20),
        lambda: orders.enqueue_many(order.ship, [(3,)])[0][0].get_result(timeout=20),
        lambda: orders.enqueue_many(Order.ship, [(order, 3)])[0][0].get_result(timeout=20),
        lambda: shop.start_workflow(order.ship, 3).get_result(timeout=20),
        lambda: order.ship(3),
        lambda: Order.ship(order, 3),
    ]


@pytest.mark.usefixtures("app")
def test_every_way_to_start_a_method_is_the_same() -> None:
    """Bound or not, enqueued or called: the instance is the first recorded argument."""
    order = Order(7, ["book"])
    for start in ways_to_start(order):
        assert start() == SHIPPED
    infos = shop.list_workflows()
    assert [(i.name, i.args, i.kwargs) for i in infos] == [("Order.ship", [order, 3], {})] * 9
    assert runs == ["charge"] * 9


@pytest.mark.usefixtures("app")
def test_async_methods_keep_their_instance_too() -> None:
    """An async workflow of an instance awaits an async step of it."""
    assert orders.enqueue(Order(7).aship, 3).get_result(timeout=20) == "7: 3"
    assert asyncio.run(_await_ship(Order(8))) == "8: 4"


async def _await_ship(order: Order) -> str:
    return await order.aship(4)


@pytest.mark.usefixtures("app")
def test_children_that_are_methods_are_started_once() -> None:
    """In a workflow, an enqueued method and a called one are children with the same instance."""
    order = Order(7)
    handle = orders.enqueue(order.ship_twice, 3)
    slow, fast = handle.get_result(timeout=20)
    assert (slow[0], fast[0]) == ("7: 3 EUR", "7: 3 USD")
    children = shop.list_workflows(parent_workflow_id=handle.workflow_id)
    assert [(c.name, c.args[0]) for c in children] == [("Order.ship", order)] * 2


@pytest.mark.usefixtures("app")
def test_a_steps_instance_is_not_recorded() -> None:
    """It may be any object, and the record has the name and the result alone."""
    handle = orders.enqueue(pack_a_cart)
    assert handle.get_result(timeout=20) == "packed"
    (step,) = shop.list_workflow_steps(handle.workflow_id)
    assert (step.name, step.output) == ("Cart.pack", "packed")


@pytest.mark.usefixtures("app")
def test_static_methods_have_no_instance_whatever_the_order_of_decorators() -> None:
    """Read from the class or from an instance."""
    for workflow in (Order.refund, Order(7).refund, Order.give_back, Order(7).give_back):
        assert orders.enqueue(workflow, 3).get_result(timeout=20) == -3
    assert {(i.name, *i.args) for i in shop.list_workflows()} == {
        ("Order.refund", 3), ("Order.give_back", 3),
    }  # fmt: skip


@pytest.mark.usefixtures("app")
def test_inherited_methods_keep_the_name_of_the_class_that_defines_them() -> None:
    """The instance is one of the class that inherits, also through super()."""
    express = Express(7, ["book"], hours=2)
    handle = orders.enqueue(express.ship, 3)
    shipped = ["7: 3 EUR", 0, 6, "Express 3", "book"]
    assert handle.get_result(timeout=20) == shipped
    assert handle.get_status().name == "Order.ship"
    assert orders.enqueue(express.hurry).get_result(timeout=20) == [
        2, "7: 1 USD", 0, 2, "Express 1", "book",
    ]  # fmt: skip


@pytest.mark.usefixtures("app")
def test_a_pydantic_models_method_is_a_workflow() -> None:
    """The model is recorded, and decoded in the worker."""
    assert orders.enqueue(Parcel(weight=1.5).send, 3).get_result(timeout=20) == [3.0, 3]


@pytest.mark.usefixtures("app")
@pytest.mark.parametrize(
    ("start", "path"),
    [
        (lambda: orders.enqueue(Cart().check_out, 3), "self"),
        (lambda: orders.enqueue(Cart.check_out, Cart(), 3), "self"),
        (lambda: Cart().check_out(3), "self"),
        (lambda: orders.enqueue(Order(7, NO_TEXTS).ship, 3), "self.items[0]"),
        (lambda: orders.enqueue(Order.ship, Order(7), {1}), "args[1]"),  # type: ignore[call-overload]
        (lambda: orders.enqueue(Order.restock, 3), "cls"),  # type: ignore[call-overload]
    ],
)
def test_an_instance_that_cannot_be_recorded_is_called_self(
    start: Callable[[], object], path: str
) -> None:
    """In the caller's stack, before anything is written."""
    with pytest.raises(ValueNotEncodableError, match=rf"^{re.escape(path)} ") as caught:
        start()
    assert caught.value.path == path
    assert shop.list_workflows() == []


@pytest.mark.usefixtures("app")
def test_the_item_of_an_enqueue_many_is_named_beside_its_instance() -> None:
    """What the error says of the item is kept."""
    carts = [(Order(1), 1), (Cart(), 2)]
    with pytest.raises(ValueNotEncodableError, match=r"^self ") as caught:
        orders.enqueue_many(Order.ship, carts)
    assert caught.value.__notes__ == ["in item 1 of enqueue_many, counted from 0"]


def test_outside_of_workflows_steps_of_methods_are_plain_calls() -> None:
    """Also inherited ones, and those of a class."""
    assert Order(7).charge(3) == "7: 3 EUR"
    assert Order.charge(Express(8), 3, currency="USD") == "8: 3 USD"
    assert (Express.describe(1), Order(7).describe(2)) == ("Express 1", "Order 2")
    assert (Order(7).tax(10), Order.weigh(2)) == (2, 4)
    assert asyncio.run(Order(7).acharge(3)) == "7: 3"


def test_the_bare_function_is_bound_as_well() -> None:
    """So that a workflow's code can be tried without a database."""
    assert Order(7).ship.__wrapped__(3) == ["7: 3 EUR", 0, 6, "Order 3"]
    assert (
        str(inspect.signature(Order(7).ship))
        == "(days: 'int', *, fast: 'bool' = False) -> 'list[Any]'"
    )


def test_a_class_method_is_decorated_from_within() -> None:
    """The other order is refused with the right one."""
    for decorator in (shop.step(name="describes"), shop.workflow(name="describes")):
        with pytest.raises(ConfigurationError, match="Put @classmethod above"):
            decorator(vars(Order)["describe"])
