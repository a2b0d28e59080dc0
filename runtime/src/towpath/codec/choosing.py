"""Which codec reads a text: the one that wrote it, if this App has it; JSON always; no other ever.

A workflow's row names the codec of its input. Results and steps have no such column, and what stands
there need not be of the reader's codec: a child's result of another App, a start that SQL recorded, what
was written before the App got its codec. So a text that is not JSON says by itself whose it is: it begins
with `#<codec>:`, which no JSON text does. A row can thereby never choose more than between the codec that
the App was given and JSON; in particular none can have itself unpickled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from towpath.codec.json_codec import JsonCodec
from towpath.codec.protocol import Codec, ValueNotDecodableError, foreign_text, mark_of, writer_of
from towpath.domain.errors import ConfigurationError, TowpathError, ValueNotEncodableError

_JSON: Final[Codec] = JsonCodec()


def codec_for(writer: str, app_codec: Codec) -> Codec:
    """Return the codec that reads what `writer` wrote, the name in a row or before a text.

    Raises:
        ValueNotDecodableError: it is neither the App's nor JSON.
    """
    if writer == app_codec.name:
        return app_codec
    if writer == _JSON.name:
        return _JSON
    raise foreign_text(app_codec.name, writer)


class ChosenCodec:
    """The codec that an App was given: its texts say whose they are, and JSON is read beside them.

    Raises:
        ConfigurationError: its name is JSON's, or cannot stand before a text.
    """

    def __init__(self, codec: Codec) -> None:
        if codec.name == _JSON.name or writer_of(mark_of(codec.name)) != codec.name:
            raise ConfigurationError(
                f"codec name {codec.name!r} must be 1 to 100 letters, digits, '_', '-' or '.', and not "
                f"{_JSON.name!r}, under which SQL and other programs write."
            )
        self._codec = codec
        self.name: Final = codec.name
        self._mark: Final = mark_of(codec.name)

    def encode_input(self, args: Sequence[object], kwargs: Mapping[str, object]) -> str:
        """Return the text of a call's arguments."""
        return self._marked(self._codec.encode_input(args, kwargs), "args")

    def decode_input(self, text: str) -> tuple[list[Any], dict[str, Any]]:
        """Return the positional and the keyword arguments of a recorded call."""
        codec, text = self._choose(text)
        try:
            args, kwargs = codec.decode_input(text)
        except Exception as error:  # the application's own code
            raise self._unreadable(error) from error
        return list(args), dict(kwargs)

    def encode(self, value: object, path: str = "result") -> str:
        """Return the text of one value."""
        return self._marked(self._codec.encode(value, path), path)

    def decode(self, text: str) -> Any:
        """Return the value of a text that this codec, or JSON, wrote."""
        codec, text = self._choose(text)
        try:
            return codec.decode(text)
        except Exception as error:  # as above
            raise self._unreadable(error) from error

    def _marked(self, text: str, path: str) -> str:
        if "\0" in text:
            raise ValueNotEncodableError(
                path=path,
                type_name="str",
                reason=f"codec {self.name!r} made a text with U+0000, which Postgres cannot store",
            )
        return self._mark + text

    def _choose(self, text: str) -> tuple[Codec, str]:
        codec = codec_for(writer_of(text), self._codec)
        return codec, text.removeprefix(self._mark)

    def _unreadable(self, error: Exception) -> TowpathError:
        if isinstance(error, TowpathError):
            return error
        return ValueNotDecodableError(codec=self.name, reason=f"{type(error).__name__}: {error}")
