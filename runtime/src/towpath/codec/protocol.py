"""What a codec is: how values become the text that is recorded, and values again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from towpath.domain.errors import TowpathError


class Codec(Protocol):
    """Turns values into text and back, so that the second is equal to the first in value and type."""

    @property
    def name(self) -> str:
        """The name that every row written by this codec carries."""
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

    def __init__(self, *, codec: str, reason: str) -> None:
        super().__init__(
            f"a recorded value cannot be read by codec {codec!r}: {reason}. "
            "Run it with the library that wrote it, or mend the row's text."
        )
        self.codec = codec
        self.reason = reason
