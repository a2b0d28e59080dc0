"""What a codec is: how values become the text that is recorded, and values again."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from towpath.domain.errors import TowpathError

JSON: Final = "json"
"""The name of the default codec, which SQL and other programs write too."""

_MARK: Final = re.compile(r"#([A-Za-z0-9_.-]{1,100}):")


class Codec(Protocol):
    """Turns values into text and back, so that the second is equal to the first in value and type.

    A codec of an application's own, for encryption or compression, may hold a `JsonCodec` and change
    its texts. Its texts have no U+0000. Failures and what SQL writes are JSON whatever the codec.
    """

    @property
    def name(self) -> str:
        """The name that every row written by this codec carries: letters, digits, `_`, `-`, `.`."""
        ...

    def encode_input(self, args: Sequence[object], kwargs: Mapping[str, object]) -> str:
        """Return the text of a call's arguments, or raise ValueNotEncodableError."""
        ...

    def decode_input(self, text: str) -> tuple[list[Any], dict[str, Any]]:
        """Return the positional and the keyword arguments of a recorded call."""
        ...

    def encode(self, value: object, path: str = "result") -> str:
        """Return the text of one value; `path` is what an error calls it."""
        ...

    def decode(self, text: str) -> Any:
        """Return the value of a text that `encode` made."""
        ...


class ValueNotDecodableError(TowpathError):
    """A recorded text that this codec does not read."""

    def __init__(
        self,
        *,
        codec: str,
        reason: str,
        next_step: str = "Run it with the library that wrote it, or mend the row's text.",
    ) -> None:
        super().__init__(
            f"a recorded value cannot be read by codec {codec!r}: {reason}. {next_step}"
        )
        self.codec = codec
        self.reason = reason


def mark_of(codec: str) -> str:
    """Return what stands before each text of a codec that is not JSON; no JSON text begins so."""
    return f"#{codec}:"


def writer_of(text: str) -> str:
    """Return the name of the codec that wrote a text."""
    marked = _MARK.match(text)
    return JSON if marked is None else marked[1]


def foreign_text(reader: str, writer: str) -> ValueNotDecodableError:
    """Return the error of a text that another codec wrote."""
    return ValueNotDecodableError(
        codec=reader,
        reason=f"it was written by codec {writer!r}",
        next_step="Give App(codec=...) here the codec that wrote it.",
    )


class ArgumentMismatchError(TowpathError):
    """An argument in plain JSON that is not what the function's annotation says."""

    def __init__(
        self, *, function: str, parameter: str, path: str, expected: str, reason: str
    ) -> None:
        super().__init__(
            f"argument {path} of {function!r} is not {expected}: {reason}. "
            "Pass the JSON form of the annotated type (see Values in the reference)."
        )
        self.function = function
        self.parameter = parameter
        self.path = path
        self.expected = expected
        self.reason = reason
