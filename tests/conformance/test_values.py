"""Values through the public API: their types, plain JSON from SQL, codecs, and what cannot be read."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import json
import uuid
import zoneinfo
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pydantic
import pytest

import towpath
from tests.fixtures.codecs import ZlibCodec
from towpath import App
from towpath.codec import Codec, PickleCodec
from towpath.errors import (
    ArgumentMismatchError,
    ConfigurationError,
    ValueNotDecodableError,
    ValueNotEncodableError,
)

Launch = Callable[..., towpath.Worker]


class Colour(enum.Enum):
    """A member."""

    RED = "red"


@dataclasses.dataclass(frozen=True)
class Line:
    """A part."""

    name: str
    price: decimal.Decimal


@dataclasses.dataclass(frozen=True)
class Order:
    """A dataclass with another inside."""

    number: int
    lines: list[Line]
    due: dt.date | None = None


class Customer(pydantic.BaseModel):
    """A model."""

    name: str
    since: dt.date


class LateError(Exception):
    """An error with fields beyond JSON."""

    def __init__(self, order: Order, at: dt.datetime) -> None:
        super().__init__(f"order {order.number} is late", at)
        self.order = order
        self.at = at


MOMENT = dt.datetime(2026, 3, 1, 12, 30, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))
ORDER = Order(7, [Line("tea", decimal.Decimal("1.50"))], dt.date(2026, 3, 1))
VALUES: list[Any] = [
    MOMENT,
    dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC),
    dt.datetime(2026, 3, 1),  # noqa: DTZ001 - a naive one is a value too
    dt.date(2026, 3, 1),
    dt.time(12, 30),
    dt.timedelta(days=1, microseconds=1),
    uuid.UUID(int=7),
    decimal.Decimal("1.50"),
    b"\x00\xff",
    (1, ("a",)),
    Colour.RED,
    ORDER,
    Customer(name="Ada", since=dt.date(2026, 3, 1)),
    {"orders": [ORDER], "plain": [None, 1.5, True]},
]


@contextmanager
def app_with(database_url: str, codec: Codec | None) -> Iterator[App]:
    """Yield an App with a codec."""
    made = App(database_url=database_url, codec=codec)
    try:
        yield made
    finally:
        made.shutdown(drain=0)


def run_sql(database_url: str, statement: str, *parameters: object) -> None:
    """Do what somebody else does to the tables."""
    with psycopg.connect(database_url) as connection:
        connection.execute(statement, parameters)


def as_sql_writes(database_url: str, workflow_id: str, text: str, codec: str = "json") -> None:
    """Give a waiting workflow the input that a SQL caller would have written."""
    run_sql(
        database_url,
        "UPDATE towpath.workflow SET input = %s, codec = %s WHERE id = %s",
        text,
        codec,
        workflow_id,
    )


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_value_keeps_its_type_as_argument_step_and_result(
    app: App, launched: Launch, value: Any
) -> None:
    """The code sees the decoded one on the first run too; the handle's is equal to it."""
    queue = app.queue("values")
    seen: list[Any] = []

    @app.step(name="keep")
    def keep(given: Any) -> Any:
        return given

    @app.workflow(name="pass_on")
    def pass_on(given: Any, *, named: Any) -> Any:
        seen.extend([given, named, keep(given)])
        return {"result": seen[-1]}

    launched()
    result = queue.enqueue(pass_on, value, named=value).get_result(timeout=20)
    assert result == {"result": value}
    assert seen == [value] * 3
    assert {type(one) for one in [*seen, result["result"]]} == {type(value)}
    assert all(one is not value for one in seen) or isinstance(value, enum.Enum)


def test_what_would_not_come_back_is_refused_where_it_is_passed(app: App, launched: Launch) -> None:
    """In the caller's stack for an argument; as the step's and the workflow's error for theirs."""
    queue = app.queue("values")

    @app.step(name="make")
    def make() -> Any:
        return {"order": Order(1, [Line("tea", decimal.Decimal("NaN"))])}

    @app.workflow(name="take")
    def take(_: Any) -> Any:
        return make()

    launched()
    with pytest.raises(ValueNotEncodableError, match=r"args\[0\]\.tags \(set\)"):
        queue.enqueue(take, {"tags": {1}})
    with pytest.raises(ValueNotEncodableError, match=r"result\.order\.lines\[0\]\.price"):
        queue.enqueue(take, 1).get_result(timeout=20)


def test_an_error_keeps_the_types_of_what_it_holds(app: App, launched: Launch) -> None:
    """The step's error in the workflow, and the workflow's from its handle."""
    queue = app.queue("values")
    caught: list[LateError] = []

    @app.step(name="deliver")
    def deliver(order: Order) -> None:
        raise LateError(order, MOMENT)

    @app.workflow(name="sell")
    def sell(order: Order) -> None:
        try:
            deliver(order)
        except LateError as error:
            caught.append(error)
            raise

    launched()
    with pytest.raises(LateError) as raised:
        queue.enqueue(sell, ORDER).get_result(timeout=20)
    for error in (raised.value, *caught):
        assert (error.order, error.at, error.args[1]) == (ORDER, MOMENT, MOMENT)
        assert type(error.order.lines[0].price) is decimal.Decimal


def test_a_replay_sees_the_values_and_errors_of_the_first_run(app: App, launched: Launch) -> None:
    """Typed arguments, recorded steps and a caught error are the same when the code runs again."""
    queue = app.queue("values")
    seen: list[tuple[Any, ...]] = []
    broken = [True]

    @app.step(name="keep")
    def keep(given: Any) -> Any:
        return given

    @app.step(name="deliver")
    def deliver(order: Order) -> None:
        raise LateError(order, MOMENT)

    @app.step(name="pay")
    def pay() -> None:
        if broken:
            raise OSError("the bank is closed")

    @app.workflow(name="sell")
    def sell(order: Order, more: Any) -> None:
        with pytest.raises(LateError) as late:
            deliver(order)
        error = late.value
        seen.append((order, keep(more), type(error), error.args, vars(error), str(error)))
        pay()

    launched()
    handle = queue.enqueue(sell, ORDER, VALUES)
    with pytest.raises(OSError, match="closed"):
        handle.get_result(timeout=20)
    broken.clear()
    app.retry_workflow(handle.workflow_id).get_result(timeout=20)
    first, replay = seen
    assert first == replay
    assert first[1] == VALUES
    assert [*map(type, replay[1])] == [*map(type, VALUES)]


def test_plain_json_from_sql_becomes_what_the_function_says(
    app: App, launched: Launch, database_url: str
) -> None:
    """Each annotated parameter, by position and by name."""
    app.queue("values")

    @app.workflow(name="take")
    async def take(
        order: Order, customers: list[Customer], *, key: uuid.UUID, at: dt.datetime
    ) -> Any:
        return [order, customers, key, at]

    order = {"number": 7, "lines": [{"name": "tea", "price": "1.50"}], "due": "2026-03-01"}
    args = [order, [{"name": "Ada", "since": "2026-03-01"}]]
    kwargs = {"key": str(uuid.UUID(int=7)), "at": "2026-03-01T12:30:00+01:00"}
    launched()
    run_sql(
        database_url,
        "SELECT towpath.enqueue(workflow => 'take', queue => 'values', args => %s::jsonb,"
        " kwargs => %s::jsonb, workflow_id => 'w')",
        json.dumps(args),
        json.dumps(kwargs),
    )
    assert app.retrieve_workflow("w").get_result(timeout=20) == [
        ORDER,
        [Customer(name="Ada", since=dt.date(2026, 3, 1))],
        uuid.UUID(int=7),
        MOMENT,
    ]


def test_plain_json_that_does_not_fit_fails_the_workflow_with_its_place(
    app: App, launched: Launch, database_url: str
) -> None:
    """Before any of its code has run."""
    queue = app.queue("values")
    began: list[Order] = []

    @app.workflow(name="take")
    def take(order: Order) -> None:
        began.append(order)

    handle = queue.options(workflow_id="w").enqueue(take, ORDER)
    as_sql_writes(
        database_url,
        "w",
        '{"args":[{"number":7,"lines":[{"name":"tea","price":1.5}]}],"kwargs":{}}',
    )
    launched()
    with pytest.raises(ArgumentMismatchError) as caught:
        handle.get_result(timeout=20)
    assert (caught.value.parameter, caught.value.path) == ("order", "order.lines[0].price")
    assert "Decimal" in caught.value.expected
    assert began == []


@pytest.mark.parametrize("codec", [ZlibCodec(), PickleCodec()], ids=lambda codec: codec.name)
def test_an_app_with_a_codec_of_its_own(database_url: str, codec: Codec) -> None:
    """Arguments, steps, children and results go through it, and plain JSON is read beside it."""
    with app_with(database_url, codec) as app:
        queue = app.queue("values")

        @app.step(name="keep")
        def keep(given: Any) -> Any:
            return given

        @app.workflow(name="child")
        def child(given: Any) -> Any:
            return keep(given)

        @app.workflow(name="parent")
        def parent(order: Order) -> Any:
            return [queue.enqueue(child, order).get_result(), keep(order)]

        handle = queue.enqueue(parent, ORDER)
        plain = queue.options(workflow_id="plain").enqueue(parent, ORDER)
        as_sql_writes(database_url, "plain", '{"args":[{"number":1,"lines":[]}],"kwargs":{}}')
        assert app.launch().wait_until_ready(20)
        assert handle.get_result(timeout=20) == [ORDER, ORDER]
        assert plain.get_result(timeout=20) == [Order(1, []), Order(1, [])]
        assert handle.get_status().result == [ORDER, ORDER]
        assert plain.get_status().args == [{"number": 1, "lines": []}]
        with psycopg.connect(database_url) as connection:
            texts = connection.execute(
                "SELECT input FROM towpath.workflow WHERE codec <> 'json'"
                " UNION ALL SELECT output FROM towpath.result"
            ).fetchall()
    assert len(texts) == 7
    assert all(text.startswith(f"#{codec.name}:") and "tea" not in text for (text,) in texts)


def test_a_row_of_a_codec_that_the_app_was_not_given(
    app: App, launched: Launch, database_url: str
) -> None:
    """The error names both; a row cannot have itself unpickled."""
    queue = app.queue("values")

    @app.workflow(name="take")
    def take(_: Any) -> str:
        return "ran"

    pickled = "#pickle:" + PickleCodec().encode_input((1,), {})
    rows = {"pickle": pickled, "gzip": '{"args":[1],"kwargs":{}}'}
    handles = {codec: queue.options(workflow_id=codec).enqueue(take, 1) for codec in rows}
    for codec, text in rows.items():
        as_sql_writes(database_url, codec, text, codec)
    launched()
    for codec, handle in handles.items():
        with pytest.raises(ValueNotDecodableError) as caught:
            handle.get_result(timeout=20)
        assert caught.value.codec == "json"
        assert f"written by codec {codec!r}" in str(caught.value)
        assert len(handle.get_status().args) == 1


def test_a_result_of_another_codec_is_named_by_its_reader(app: App, database_url: str) -> None:
    """Its row does not tell, so the text does."""
    with app_with(database_url, ZlibCodec()) as other:
        other.queue("values")

        @other.workflow(name="make")
        def make() -> Order:
            return ORDER

        with towpath.SetWorkflowID("w"):
            handle = other.start_workflow(make)
        assert other.launch().wait_until_ready(20)
        assert handle.get_result(timeout=20) == ORDER
        with pytest.raises(ValueNotDecodableError, match="written by codec 'zlib'"):
            app.retrieve_workflow("w").get_result(timeout=20)


def test_a_payload_of_a_newer_library_is_a_clear_error(
    app: App, launched: Launch, database_url: str
) -> None:
    """It names the tag and the next step, and whoever looks sees what is recorded."""
    queue = app.queue("values")

    @app.workflow(name="take")
    def take(_: Any) -> None: ...

    handle = queue.options(workflow_id="w").enqueue(take, 1)
    call = {"args": [{"$towpath": "matrix", "value": [[1]]}], "kwargs": {}}
    as_sql_writes(database_url, "w", json.dumps(call))
    assert handle.get_status().args == call["args"]
    launched()
    with pytest.raises(ValueNotDecodableError, match=r"'matrix'.*Upgrade towpath here"):
        handle.get_result(timeout=20)


def test_a_codec_must_have_a_name_of_its_own(database_url: str) -> None:
    """Said where the App is made, before anything is written."""
    codec = ZlibCodec()
    codec.name = "json"
    with pytest.raises(ConfigurationError, match="codec name 'json'"):
        App(database_url=database_url, codec=codec)
