"""A workflow's recorded input as the arguments of its function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from towpath.codec.annotations import fit_arguments
from towpath.codec.choosing import codec_for
from towpath.codec.classes import annotated_classes
from towpath.codec.hints import find_classes
from towpath.codec.protocol import Codec, ValueNotDecodableError


def read_call(
    app_codec: Codec, row_codec: str, text: str, function: Callable[..., Any]
) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments of `function`, the same in the first run and in every replay.

    Raises:
        ValueNotDecodableError: another codec wrote the row, or its text is not readable here.
        ArgumentMismatchError: an argument is not what the function's annotation says.
    """
    codec = codec_for(row_codec, app_codec)
    try:
        args, kwargs = codec.decode_input(text)
    except ValueNotDecodableError:
        # Perhaps for a class that was recorded under another module's name. It is rare, so that the
        # ordinary call does not pay for it.
        with annotated_classes(find_classes(function)):
            args, kwargs = codec.decode_input(text)
    return fit_arguments(function, args, kwargs)
