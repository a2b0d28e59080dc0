"""Values as pickles; for an App that is told so, and for no other."""

from __future__ import annotations

import base64
import pickle
from collections.abc import Mapping, Sequence
from typing import Any, Final

from towpath.codec.json_codec import DEFAULT_MAX_BYTES
from towpath.codec.protocol import ValueNotDecodableError
from towpath.codec.refusals import name_type
from towpath.domain.errors import ValueNotEncodableError, ValueTooLargeError


class PickleCodec:
    """Any value that Python can pickle, as base64 text: `App(codec=PickleCodec())`.

    Whoever can write to the schema can then run code in the workers: reading a pickle does what it
    says. No App reads pickles that is not made so, whatever a row says of itself. Neither SQL nor other
    languages read these values, and a class that moves makes its pickles unreadable.
    """

    name: Final = "pickle"

    def __init__(self, *, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        self._max_bytes = max_bytes

    def encode_input(self, args: Sequence[object], kwargs: Mapping[str, object]) -> str:
        """Return the text of a call's arguments; raises as `encode` does."""
        return self.encode((list(args), dict(kwargs)), "arguments")

    def decode_input(self, text: str) -> tuple[list[Any], dict[str, Any]]:
        """Return the positional and the keyword arguments of a recorded call."""
        args, kwargs = self.decode(text)
        return args, kwargs

    def encode(self, value: object, path: str = "result") -> str:
        """Return the text of one value.

        Raises:
            ValueNotEncodableError: it cannot be pickled.
            ValueTooLargeError: it is beyond the bound.
        """
        try:
            text = base64.b64encode(pickle.dumps(value)).decode()
        except Exception as error:  # an object says by any error that it cannot be pickled
            raise ValueNotEncodableError(
                path=path,
                type_name=name_type(value),
                reason=f"it cannot be pickled: {type(error).__name__}: {error}",
            ) from error
        if len(text) > self._max_bytes:
            raise ValueTooLargeError(path=path, size=len(text), bound=self._max_bytes)
        return text

    def decode(self, text: str) -> Any:
        """Return the value of a text that `encode` made, or raise ValueNotDecodableError."""
        try:
            return pickle.loads(base64.b64decode(text, validate=True))  # noqa: S301 - it is asked for
        except Exception as error:  # as above
            raise ValueNotDecodableError(
                codec=self.name, reason=f"{type(error).__name__}: {error}"
            ) from error
