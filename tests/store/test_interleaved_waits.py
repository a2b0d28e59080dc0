"""Wake-ups that meet: a wait that begins, sleeps, or ends while others end, cancel or wake."""

from __future__ import annotations

from tests.store.acts import MAIL, NAMES, claim, come, on, rows, seqs_of, turn_of
from tests.store.holding import SCHEMA, held
from towpath.domain.ids import Seq
from towpath.domain.queue import QueueSettings
from towpath.domain.status import WorkflowStatus
from towpath.store import claims, waits
from towpath.store.session import AsyncSession
from towpath.store.waits import Wait, WaitKind


def wait_for_end(seq: Seq, target: Seq) -> Wait:
    """Return a workflow's wait for the end of another."""
    return Wait(
        seq=seq,
        attempt=1,
        position="1",
        verb="towpath.get_result",
        kind=WaitKind.END,
        target=target,
    )


async def awake(session: AsyncSession) -> list[Seq]:
    """Return the workflows that are to go on."""
    return [seq for (seq,) in await rows(session, "SELECT DISTINCT seq FROM towpath.awake")]


def test_a_parent_that_falls_asleep_while_its_childs_end_waits_for_a_gate_is_told(
    database_url: str,
) -> None:
    """The turn tells it at its very end, and not before it waits for others."""

    async def body(session: AsyncSession) -> None:
        who = await come(session)
        parent, child = await seqs_of(session, {}, {})
        assert await claim(session, who, 2) == [parent, child]
        turn = await turn_of(session, who, 1)
        ended = claims.Outcome(child, 1, MAIL, WorkflowStatus.SUCCESS, "null")
        turn = claims.Turn(worker=who, names=NAMES, outcomes=[ended], claims=turn.claims)
        async with held(database_url, lambda s: claims.take_turn(s, SCHEMA, turn), before="claim"):
            await waits.begin(session, SCHEMA, [wait_for_end(parent, child)])
            await waits.put_to_sleep(session, SCHEMA, [(parent, 1)], [], [MAIL])
            assert await rows(session, "SELECT seq FROM towpath.wait WHERE asleep") == [(parent,)]
            assert await awake(session) == []
        assert await awake(session) == [parent]

    on(database_url, QueueSettings(concurrency=9), body)
