"""A worker that starts in a pod where others were before it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg

from tests.fixtures.workers import worker_processes
from tests.store.acts import MAIL, NAMES, claim, on
from tests.store.holding import SCHEMA
from towpath import Client
from towpath.domain.ids import WorkerId
from towpath.domain.queue import QueueSettings
from towpath.store import workers
from towpath.store.session import AsyncSession

APPLICATION = """
import towpath

towpath.Queue("mail")


@towpath.workflow(name="send")
def send() -> str:
    return "sent"
"""


async def come(session: AsyncSession, name: str, began: datetime) -> WorkerId:
    """Register a worker of the pod, as one that has begun at that time and will never end by itself."""
    who = workers.WorkerIdentity(
        name=name, pool=None, pod_uid="pod-1", node=None, version="", library="0", code_hash="",
        slots=10, queues=[MAIL], names=NAMES, max_recoveries=[100, 100],
    )  # fmt: skip
    return await workers.register(session, SCHEMA, who, lease=timedelta(hours=1), node_time=began)


def test_it_ends_what_earlier_runs_of_its_container_left_and_nobody_beside_it(
    database_url: str, tmp_path: Path
) -> None:
    """Earlier runs have ended, or it would not have been started; a process beside it lives on."""
    long_ago = datetime(2001, 1, 1, tzinfo=UTC)

    async def leave_behind(session: AsyncSession) -> None:
        dead = await come(session, "dead", long_ago)
        await come(session, "beside", datetime.now(UTC))
        assert len(await claim(session, dead, 1)) == 1

    (tmp_path / "mailer.py").write_text(APPLICATION, "utf-8")
    environ = {"TOWPATH_DATABASE_URL": database_url, "TOWPATH_POD_UID": "pod-1"}
    only_one = QueueSettings(concurrency=1)
    with Client(database_url) as client:
        on(database_url, only_one, _nothing)
        handle = client.enqueue("mail", "send")
        on(database_url, only_one, leave_behind)
        with worker_processes(1, "mailer", tmp_path, environ, tmp_path):
            assert handle.get_result(timeout=30) == "sent"
            with psycopg.connect(database_url) as connection:
                found = connection.execute("SELECT name FROM towpath.worker ORDER BY id").fetchall()
    (beside,), *_ = found
    assert (beside, len(found)) == ("beside", 2)


async def _nothing(session: AsyncSession) -> None:
    """Declare the queue only."""
    del session
