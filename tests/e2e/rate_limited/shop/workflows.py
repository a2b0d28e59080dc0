"""A workflow that says to a table of the test's own when it began and ended."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psycopg

import towpath

SECONDS = 0.5


@towpath.workflow()
def rate_limited_operation(data: str) -> str:
    """Take a while, and leave what an observer needs."""
    began = time.time()
    with psycopg.connect(_database_url(), autocommit=True) as connection:
        connection.execute(
            "INSERT INTO observed.operation (data, began) VALUES (%s, %s)", (data, began)
        )
        time.sleep(SECONDS)
        ended = "UPDATE observed.operation SET ended = %s WHERE data = %s AND began = %s"
        connection.execute(ended, (time.time(), data, began))
    return data


def _database_url() -> str:
    file = os.environ.get("TOWPATH_DATABASE_URL_FILE")
    return Path(file).read_text("utf-8").strip() if file else os.environ["TOWPATH_DATABASE_URL"]
