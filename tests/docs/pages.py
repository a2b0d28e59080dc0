"""Reads the code blocks of a page: files to write, and commands with what they print.

A block that begins with a comment of a file's name (`# app.py`) is that file. In a `console` block a
line that begins with `$ ` is a command, and the lines below it are what it prints, where `...` stands
for anything.
"""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
FILE_NAME = re.compile(r"# (\S+\.(?:py|yaml))\n")
CONTINUED = re.compile(r"\\\n\s*")


@dataclass(frozen=True, slots=True)
class FileBlock:
    """A file of the page."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Command:
    """A command of the page, and what it prints."""

    argv: list[str]
    prints: str


def blocks(page: Path) -> Iterator[FileBlock | Command]:
    """Yield the files and commands of a page in their order."""
    for _, language, indented in BLOCK.findall(page.read_text("utf-8")):
        text = textwrap.dedent(indented)
        named = FILE_NAME.match(text)
        if language in ("python", "yaml") and named is not None:
            yield FileBlock(named[1], text)
        elif language == "console":
            yield from _commands(text)


def _commands(text: str) -> Iterator[Command]:
    for part in re.split(r"^\$ ", CONTINUED.sub("", text), flags=re.MULTILINE)[1:]:
        line, _, prints = part.partition("\n")
        yield Command(shlex.split(line.partition("   #")[0]), prints)
