"""`towpath dev` and a worker that is killed: what it ran goes on at once, not when its lease has ended."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psycopg
import pytest

from tests.local.dev_process import Dev, running_dev
from tests.local.processes import eventually
from towpath import Client
from towpath.local.discovery import find_dev_url

SHOP = """
import os, time
import towpath

towpath.Queue("mail")


@towpath.step()
def stride() -> int:
    time.sleep(0.1)
    return os.getpid()


@towpath.workflow()
def walk() -> list[int]:
    return [stride() for _ in range(30)]
"""
MANIFESTS = """
apiVersion: towpath.dev/v1alpha1
kind: Queue
metadata: {name: mail}
spec:
  workers:
    application: shop
    autoscaling: {min: 2, max: 2}
    template:
      spec: {containers: [{name: worker, image: "shop:1", env: [{name: TOWPATH_LEASE_SECONDS, value: "600"}]}]}
"""
BEGAN = """
SELECT extract(epoch FROM clock_timestamp() - w.started_at)::float8
FROM towpath.running r JOIN towpath.worker w ON w.id = r.worker
"""


def _client(folder: Path) -> Client:
    url = find_dev_url(folder)
    assert url is not None
    return Client(url)


def _first_pid(dev: Dev, url: str) -> int:
    """Return who runs the workflow, once it has lived for more than the second that is told of its end."""

    def old_enough() -> bool:
        with psycopg.connect(url) as connection:
            found = connection.execute(BEGAN).fetchone()
        return found is not None and found[0] > 1.5

    eventually(old_enough, f"a worker that has begun: {dev.said}")
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT output FROM towpath.step LIMIT 1").fetchone()
    assert found is not None
    return int(found[0])


@pytest.mark.parametrize("with_manifests", [True, False])
def test_what_a_killed_worker_ran_goes_on_at_once(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch, *, with_manifests: bool
) -> None:
    """With a pool, and with an application alone, whose one worker is started again."""
    monkeypatch.setenv("TOWPATH_LEASE_SECONDS", "600")
    (open_folder / "shop.py").write_text(SHOP, "utf-8")
    (open_folder / "queue.yaml").write_text(MANIFESTS, "utf-8")
    arguments = ["-f", "queue.yaml"] if with_manifests else ["--app", "shop"]
    with running_dev(open_folder, *arguments) as dev:
        dev.hears("worker registered", times=2 if with_manifests else 1)
        with _client(open_folder) as client:
            handle = client.enqueue("mail", "walk")
            killed = _first_pid(dev, find_dev_url(open_folder) or "")
            os.kill(killed, signal.SIGKILL)
            pids = handle.get_result(timeout=60)
        assert pids[0] == killed
        assert pids[-1] != killed
        assert pids == sorted(pids, key=lambda pid: pid != killed)
