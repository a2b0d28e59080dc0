"""`towpath dev` and what manifests say of rows: retention, drift, and a Queue that is taken out."""

from __future__ import annotations

from pathlib import Path

import psycopg

from tests.local.dev_process import running_dev, write
from tests.local.processes import eventually
from towpath import Client
from towpath.local.discovery import find_dev_url

KEPT = """
apiVersion: towpath.dev/v1alpha1
kind: Queue
metadata: {name: kept, namespace: shop}
spec: {concurrency: {global: 3}, retention: {succeeded: 24h}}
"""
GOING = """
---
apiVersion: towpath.dev/v1alpha1
kind: Queue
metadata:
  name: going
  namespace: shop
  annotations: {towpath.dev/confirm-delete: going}
spec: {deletionPolicy: Delete}
"""


def test_a_queue_that_is_taken_out_of_the_file_ends_as_its_policy_says(open_folder: Path) -> None:
    """Delete deletes row and workflows, Retain keeps both and frees the row; and drift is told."""
    with running_dev(open_folder, "-f", write(open_folder, KEPT + GOING)) as dev:
        dev.hears("stop  Ctrl-C")
        url = find_dev_url(open_folder)
        assert url is not None

        def ask(statement: str) -> list[tuple[object, ...]]:
            with psycopg.connect(url, autocommit=True) as connection:
                return connection.execute(statement.encode()).fetchall()

        kept = (
            "SELECT concurrency_global, retention_succeeded = '1 day', owner_name FROM towpath.queue"
            " WHERE name = 'kept'"
        )
        assert ask(kept) == [(3, True, "kept")]
        ask(
            "UPDATE towpath.queue SET concurrency_global = 9 WHERE name = 'kept'"
            " RETURNING pg_notify('towpath.towpath', 'kept,settings')"
        )
        dev.hears("concurrency.global 9 -> 3")
        eventually(lambda: ask(kept) == [(3, True, "kept")], "the limit is put back")
        with Client(url) as client:
            for queue in ("kept", "going"):
                client.enqueue(queue, "work")
        write(open_folder, "# nothing is declared any more\n")
        dev.hears("with 1 workflow.")
        left = "SELECT name, owner_name FROM towpath.queue WHERE name <> '_towpath'"
        eventually(lambda: ask(left) == [("kept", None)], "one row is gone, the other free")
        assert ask("SELECT queue FROM towpath.workflow") == [("kept",)]
