"""Named SQL statements, read from the `.sql` files beside this module, with the schema composed in.

A file holds blocks that begin with `-- name: some_name`; a statement's parameters are psycopg's
`%(name)s`. `{schema}` stands for the schema's identifier, `{channel}` and `{waits}` for the literal names
of its channels, so a literal brace is doubled.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib import resources

from psycopg import sql

MAX_CHANNEL_BYTES = 63
_MARK = "-- name: "


@cache
def _blocks() -> Mapping[str, str]:
    """Read every named block of every file; a name is unique over all of them."""
    found: dict[str, str] = {}
    for file in sorted(
        resources.files("towpath.store").joinpath("sql").iterdir(), key=lambda f: f.name
    ):
        if not file.name.endswith(".sql"):
            continue
        for block in ("\n" + file.read_text("utf-8")).split("\n" + _MARK)[1:]:
            name, _, body = block.partition("\n")
            if name.strip() in found:
                raise ValueError(f"statement {name.strip()!r} is named twice, again in {file.name}")
            found[name.strip()] = _without_comments(body)
    return found


def _without_comments(body: str) -> str:
    """Return a statement without indents and lines of comment.

    psycopg keeps what it has read of a text only up to 4,096 bytes, and reads a longer one at every call.
    """
    lines = (line.strip() for line in body.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("--"))


def statement_names() -> list[str]:
    """Name every statement, for tests that prepare and explain each of them."""
    return sorted(_blocks())


class Statements:
    """The named statements of one schema, as bytes that psycopg can prepare.

    Attributes:
        schema: The schema's name, unquoted.
        channel: The channel that tells workers of queues; the payload begins with a queue's name.
        waits_channel: The channel that tells those who wait for something: a kind, a seq, a topic.
    """

    def __init__(self, schema: str) -> None:
        self.schema = schema
        self.channel = channel_of(schema)
        self.waits_channel = channel_of(schema, "towpath-waits")
        self._composed: dict[str, bytes] = {}

    def __getitem__(self, name: str) -> bytes:
        """Return a statement by name; a KeyError names one that no file holds."""
        text = self._composed.get(name)
        if text is None:
            text = compose(_blocks()[name], self.schema)
            self._composed[name] = text
        return text


def compose(text: str, schema: str) -> bytes:
    """Put the schema's quoted identifier, and its channels' literals, in their places."""
    return (
        sql.SQL(text)
        .format(
            schema=sql.Identifier(schema),
            channel=sql.Literal(channel_of(schema)),
            waits=sql.Literal(channel_of(schema, "towpath-waits")),
        )
        .as_bytes()
    )


def channel_of(schema: str, kind: str = "towpath") -> str:
    """Name one of the schema's channels within Postgres's limit of 63 bytes."""
    plain = f"{kind}.{schema}"
    if len(plain.encode()) <= MAX_CHANNEL_BYTES:
        return plain
    return f"{kind}.{hashlib.sha256(schema.encode()).hexdigest()[:32]}"
