"""Shows the output of several processes in one stream, each line prefixed by its process's name."""

from __future__ import annotations

import contextlib
import os
import zlib
from typing import TextIO

COLOURS = ("36", "33", "32", "35", "34", "96", "93", "92", "95", "94")
LONGEST_LINE = 16_384


class LineLog:
    """Writes prefixed lines. Colour is for terminals that want it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._colour = wants_colour(stream)
        self._width = 0

    def write(self, name: str, line: str) -> None:
        """Write one line of the named process."""
        self._width = max(self._width, len(name))
        prefix = f"{name:<{self._width}} |"
        if self._colour:
            colour = COLOURS[zlib.crc32(name.encode()) % len(COLOURS)]
            prefix = f"\x1b[{colour}m{prefix}\x1b[0m"
        write_line(self._stream, f"{prefix} {line}")


class LineSplitter:
    """Cuts a byte stream into lines; one that never ends is cut at a length."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[str]:
        """Return the lines that this chunk completes."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > LONGEST_LINE:
            lines.append(self._rest)
            self._rest = b""
        return [self._text(line) for line in lines]

    def flush(self) -> list[str]:
        """Return what is left at the end of the stream."""
        rest, self._rest = self._rest, b""
        return [self._text(rest)] if rest else []

    @staticmethod
    def _text(line: bytes) -> str:
        return line.decode(errors="replace").removesuffix("\r")


def write_line(stream: TextIO, line: str) -> None:
    """Write a line at once and as one, so that lines of several writers do not mix.

    Where nobody reads any more (a closed terminal, `| head`), what runs goes on all the same.
    """
    with contextlib.suppress(OSError, ValueError):
        stream.write(f"{line}\n")
        stream.flush()


def wants_colour(stream: TextIO) -> bool:
    """Tell whether to colour: NO_COLOR and FORCE_COLOR decide, else whether it is a terminal."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"
