"""Writes `schema.sql`, what all migrations together make, for people to read: `python -m towpath.store.dump`.

It is the output of pg_dump on a migrated schema, without what depends on the server. A test holds it
equal to the migrations by the catalogs, not by the text.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import psycopg

from towpath.store.migrate import migrate

# check_function_bodies stays off: functions come before the tables that they read
_NOISE = re.compile(
    r"^(SET (?!check_function_bodies)|SELECT pg_catalog\.set_config|\\(un)?restrict).*$",
    re.MULTILINE,
)
_HEAD = "-- What the migrations make, for reading. Written by `python -m towpath.store.dump`; do not edit.\n"


def dump(url: str, pg_dump: str = "pg_dump") -> str:
    """Return the DDL of a migrated schema `towpath`; the database must have none yet."""
    asyncio.run(_migrate(url))
    arguments = ["--schema=towpath", "--schema-only", "--no-owner", "--no-privileges"]
    done = subprocess.run(  # noqa: S603 - a developer's tool, on arguments of its own
        [pg_dump, *arguments, url], check=True, capture_output=True, text=True
    )
    lines = [line for line in _NOISE.sub("", done.stdout).splitlines() if not line.startswith("--")]
    return _HEAD + re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"


async def _migrate(url: str) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await migrate(connection, "towpath")


if __name__ == "__main__":
    text = dump(os.environ["TOWPATH_DATABASE_URL"], *sys.argv[1:])
    Path(__file__).with_name("schema.sql").write_text(text, "utf-8")
