"""A failure is raised again as it was, the same in the first run and in a replay."""

import dataclasses
import datetime as dt
import decimal
import json
import sys
import traceback
import types
import uuid
from typing import Any, NoReturn, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.codec import decode_failure, encode_failure
from towpath.codec.failures import MAX_FAILURE, MAX_MESSAGE, MAX_PART, MAX_TRACEBACK
from towpath.domain import errors
from towpath.domain.errors import StepFailedError


class DeclinedError(Exception):
    """An error with fields, as applications write them."""

    def __init__(self, card: str, *, code: int) -> None:
        super().__init__(f"card {card} was declined")
        self.card = card
        self.code = code
        self.connection = object()


class SlottedError(ValueError):
    """An error whose field lies in a slot."""

    __slots__ = ("field",)

    def __init__(self, field: str) -> None:
        super().__init__(field)
        self.field = field


class StrictError(Exception):
    """An error that runs its own code when it is made."""

    made = 0

    def __new__(cls, *_: object, **__: object) -> Self:
        """Count, so that a test can see that a replay does not."""
        StrictError.made += 1
        return super().__new__(cls)

    def __init__(self, need: str) -> None:
        StrictError.made += 1
        self.need = need

    def __setattr__(self, name: str, value: object) -> None:
        """Count as well."""
        StrictError.made += 1
        super().__setattr__(name, value)


class OutagesError(OSError):
    """An OSError with an own constructor, which disables the builtin's parsing."""

    def __init__(self, host: str) -> None:
        super().__init__(111, f"{host} refused")
        self.host = host


class BrokenError(Exception):
    """An error that cannot be printed."""

    def __str__(self) -> NoReturn:
        """Fail."""
        raise RuntimeError("no text")


class TellingError(Exception):
    """An error whose message needs an attribute that cannot be recorded."""

    def __init__(self, request: object) -> None:
        super().__init__()
        self.request = request

    def __str__(self) -> str:
        """Tell what was asked, if it is known."""
        return f"asked {type(getattr(self, 'request', None)).__name__}"


@dataclasses.dataclass
class Place:
    """A value of the application's."""

    city: str


TYPED = (
    dt.date(2026, 1, 1),
    decimal.Decimal("1.50"),
    uuid.UUID(int=7),
    b"\xff",
    (1, (2,)),
    Place("Rome"),
)


class DatedError(Exception):
    """An error whose fields are beyond JSON."""

    def __init__(self, at: dt.datetime, place: Place) -> None:
        super().__init__(f"late at {at}")
        self.at = at
        self.place = place


class Outer:
    """A class with an error inside."""

    class InnerError(Exception):
        """An error with a dotted name."""


def catch(error: BaseException) -> BaseException:
    """Return `error` as it is after it was raised."""
    try:
        raise error  # noqa: TRY301 - so that it has a traceback
    except BaseException as caught:  # noqa: BLE001 - also the exits
        return caught


def describe(error: BaseException) -> tuple[Any, ...]:
    """Return everything by which two exceptions are equal."""
    members = {
        name: getattr(error, name, None)
        for name in ("errno", "strerror", "filename", "name", "code", "value", "field", "start")
    }
    try:
        message = str(error)
    except RuntimeError:
        message = "unprintable"
    return type(error), error.args, message, dict(vars(error)), members, str(error.__cause__)


def run_twice(error: BaseException) -> Exception:
    """Return what a failed step raises, after checking that its replay raises the same."""
    text = encode_failure(catch(error))
    text.encode()
    assert "\\u0000" not in text
    first, replay = decode_failure(text), decode_failure(text)
    assert describe(first) == describe(replay)
    assert first is not replay
    # What a workflow lets through is recorded once more, as the workflow's own failure.
    again = decode_failure(encode_failure(catch(first)))
    assert describe(again)[:-1] == describe(first)[:-1]
    return decode_failure(text)


@pytest.mark.parametrize(
    "error",
    [
        ValueError(),
        ValueError("bad"),
        ValueError("bad", 1, None, ["x"], {"a": 1.5}),
        KeyError("key"),
        LookupError("é\U0001f600"),
        ZeroDivisionError("division by zero"),
        SlottedError("colour"),
        Outer.InnerError("dotted"),
        OSError(2, "No such file", "a.txt"),
        ConnectionRefusedError(111, "refused"),
        FileNotFoundError("only text"),
        OutagesError("db"),
        ImportError("no module", name="x", path="y"),
        StopIteration(3),
        SyntaxError("bad", ("f.py", 1, 2, "text", 1, 3)),
        ValueError(*TYPED),
        DatedError(dt.datetime(2026, 1, 1, tzinfo=dt.UTC), Place("Kyiv")),
        errors.WorkflowNotFoundError(workflow_id="w"),
        errors.ResultTimeoutError(workflow_id="w", timeout_seconds=1.5),
        errors.StepRetriesExhaustedError(step_name="s", tries=["one", "two"]),
        errors.SyncCallInAsyncError(verb="f", twin="f_async"),
        StepFailedError("shop:Gone", "text", "trace"),
    ],
)
def test_an_imported_class_is_raised_again(error: Exception) -> None:
    """Class, arguments, attributes and message are those of the original."""
    again = run_twice(error)
    assert describe(again)[:5] == describe(error)[:5]


def test_attributes_come_back_and_what_cannot_be_recorded_is_dropped() -> None:
    """An application's error keeps its fields, without the objects in them."""
    again = run_twice(DeclinedError("4000", code=7))
    assert isinstance(again, DeclinedError)
    assert str(again) == "card 4000 was declined"
    assert vars(again) == {"card": "4000", "code": 7}


def test_notes_come_back() -> None:
    """Notes are attributes as well."""
    error = ValueError("bad")
    error.add_note("while at work")
    assert run_twice(error).__notes__ == ["while at work"]


def test_no_code_of_the_class_runs() -> None:
    """A replay makes the exception without its constructor, which may have effects."""
    text = encode_failure(catch(StrictError("money")))
    before = StrictError.made
    again = decode_failure(text)
    assert before == StrictError.made
    assert isinstance(again, StrictError)
    assert again.need == "money"


def test_arguments_that_cannot_be_recorded_come_back_as_their_text() -> None:
    """The class survives, and the message with it."""
    again = run_twice(RuntimeError(Outer))
    assert type(again) is RuntimeError
    assert str(again) == str(Outer)
    assert run_twice(ValueError(1j, "x")).args == ("1j", "x")


def test_a_message_that_cannot_be_made_again_is_kept_as_a_note() -> None:
    """An exception that computes its message from what is gone still tells it."""
    again = run_twice(TellingError(object()))
    assert type(again) is TellingError
    assert again.__notes__ == ["asked object"]


def test_an_unprintable_exception_is_recorded() -> None:
    """Nothing that an exception does makes its recording fail."""
    again = run_twice(BrokenError("x"))
    assert type(again) is BrokenError
    assert json.loads(encode_failure(BrokenError("x")))["message"] == "<unprintable BrokenError>"


def test_a_failure_is_small_whatever_it_holds() -> None:
    """Long texts are cut, what is large is left out: a failure can always be written."""
    again = run_twice(ValueError("x" * (20 << 20)))
    assert type(again) is ValueError
    assert len(str(again)) == MAX_MESSAGE
    assert str(again).endswith(f"... ({20 << 20} characters)")
    declined = DeclinedError("1234", code=7)
    declined.connection = "x" * MAX_PART
    again = run_twice(declined)
    assert isinstance(again, DeclinedError)
    assert (again.code, hasattr(again, "connection")) == (7, False)
    many = ValueError(*["x" * (MAX_PART - 10)] * 20)
    assert len(encode_failure(many)) < MAX_FAILURE
    assert type(run_twice(many)) is ValueError


@pytest.mark.parametrize(
    ("error", "type_name"),
    [
        (SystemExit(3), "builtins:SystemExit"),
        (KeyboardInterrupt(), "builtins:KeyboardInterrupt"),
        (GeneratorExit(), "builtins:GeneratorExit"),
        (
            errors.WorkflowInterrupted(workflow_id="w", reason="x"),
            f"{errors.WorkflowInterrupted.__module__}:WorkflowInterrupted",
        ),
        (ExceptionGroup("several", [ValueError("x")]), "builtins:ExceptionGroup"),
    ],
)
def test_what_cannot_be_raised_again_is_a_step_failed_error(
    error: BaseException, type_name: str
) -> None:
    """Exits never end the worker on a replay; they fail the step with their name."""
    again = run_twice(error)
    assert type(again) is StepFailedError
    assert again.type == type_name
    assert again.message == str(error)
    assert type(error).__name__ in again.traceback


def test_a_class_made_in_a_function_is_a_step_failed_error() -> None:
    """A class that has no importable name cannot be found again."""

    class LocalError(Exception):
        pass

    again = run_twice(LocalError("x"))
    assert type(again) is StepFailedError
    assert again.type == f"{__name__}:{LocalError.__qualname__}"


def test_a_class_that_is_not_imported_is_not_imported_for_it() -> None:
    """Reading a record imports nothing and follows no lazy module attribute."""
    record = json.loads(encode_failure(ValueError("x")))
    asked: list[str] = []
    module = types.ModuleType("lazy_shop")
    module.__getattr__ = asked.append  # type: ignore[method-assign]
    sys.modules["lazy_shop"] = module
    try:
        for type_name in ["wave:Error", "lazy_shop:Error", "nowhere:Error", ":", "", "builtins:"]:
            before = set(sys.modules)
            again = decode_failure(json.dumps({**record, "type": type_name}))
            assert type(again) is StepFailedError
            assert again.type == type_name
            assert set(sys.modules) == before
    finally:
        del sys.modules["lazy_shop"]
    assert asked == []


def test_what_an_error_holds_of_a_class_that_is_not_imported_is_left_out_or_text() -> None:
    """The error's own class survives: who catches it by its class still does."""
    record = json.loads(encode_failure(catch(DatedError(dt.datetime.now(dt.UTC), Place("Oslo")))))
    record["args"] = [record["attributes"]["place"]]
    for holder in (record["args"][0], record["attributes"]["place"]):
        holder["type"] = "nowhere:Place"
    again = decode_failure(json.dumps(record))
    assert type(again) is DatedError
    assert "nowhere:Place" in again.args[0]
    assert vars(again).keys() == {"at", "__notes__"}


class HostileError(Exception):
    """An error with an attribute that fails when it is looked at."""

    @dataclasses.dataclass
    class Part:
        """A field that is computed, and cannot be."""

        number: int = 0

        def __getattribute__(self, name: str) -> object:
            """Fail for the field."""
            if name == "number":
                raise OSError("gone")
            return super().__getattribute__(name)


def test_a_value_that_fails_when_it_is_looked_at_does_not_hinder_the_record() -> None:
    """Recording a failure never fails itself."""
    error = HostileError("bad")
    error.part = HostileError.Part()  # type: ignore[attr-defined]
    assert vars(run_twice(error)) == {}


@pytest.mark.parametrize("type_name", ["builtins:print", "os:environ", "builtins:int", "sys:path"])
def test_a_name_that_is_no_exception_is_not_called(type_name: str) -> None:
    """A row that somebody altered cannot name a function to call."""
    record = json.loads(encode_failure(ValueError("x")))
    assert type(decode_failure(json.dumps({**record, "type": type_name}))) is StepFailedError


def test_a_message_that_postgres_cannot_hold_is_cleaned() -> None:
    """NUL and lone surrogates come back as escapes that can be read."""
    again = run_twice(ValueError("a\0b\ud800"))
    assert str(again) == "a\\x00b\\ud800"


def test_the_recorded_traceback_is_shown_as_the_cause() -> None:
    """Whoever logs the replayed exception sees where it was first raised."""
    again = run_twice(ValueError("bad"))
    shown = "".join(traceback.format_exception(again))
    assert "in catch" in shown
    assert again.__traceback__ is None


def test_the_traceback_is_bounded_and_its_end_kept() -> None:
    """A deep failure does not fill the table."""

    def descend(levels: int) -> None:
        if levels:
            ascend(levels - 1)
        raise ValueError("deepest " + "x" * 100)

    def ascend(levels: int) -> None:
        descend(levels)

    try:
        descend(200)
    except ValueError as error:
        recorded = json.loads(encode_failure(error))["traceback"]
    assert len(recorded) == MAX_TRACEBACK
    assert recorded.startswith("...\n")
    assert recorded.endswith("x\n")


@given(st.text(), st.lists(st.text() | st.integers() | st.binary() | st.floats()))
def test_any_builtin_exception_survives_two_records(message: str, rest: list[Any]) -> None:
    """First run and replay agree, whatever the arguments."""
    run_twice(ValueError(message, *rest))
