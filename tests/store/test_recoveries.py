"""What counts as a recovery: leases that end under a workflow that has made no progress since the last."""

from __future__ import annotations

import pytest

from tests.store.acts import MAIL, NAMES, claim, come, hand_back, on, rows, seqs_of, turn_of
from tests.store.holding import SCHEMA
from towpath.domain.ids import Seq, WorkerId
from towpath.domain.queue import UNLIMITED
from towpath.store import claims, steps, waits, workers
from towpath.store.session import AsyncSession
from towpath.store.waits import Wait, WaitKind


async def recoveries(session: AsyncSession) -> int:
    """Return how many recoveries the one workflow that waits in line has."""
    ((found,),) = await rows(session, "SELECT recoveries FROM towpath.ready")
    return int(found)


async def record(session: AsyncSession, seq: Seq, attempt: int) -> None:
    """Record a step."""
    step = steps.NewStep(seq, attempt, "1", "charge", "1", None)
    assert await steps.record(session, SCHEMA, [step])


async def sleep(session: AsyncSession, seq: Seq, attempt: int) -> None:
    """Wait for a message that has come, and go out of memory."""
    wait = Wait(
        seq=seq,
        attempt=attempt,
        position="2",
        verb="towpath.recv",
        kind=WaitKind.MESSAGE,
        target=seq,
    )
    await waits.begin(session, SCHEMA, [wait])
    await rows(session, "SELECT towpath.deliver(%(s)s, '', 'json', '1', NULL, false)::text", s=seq)
    await waits.put_to_sleep(session, SCHEMA, [(seq, attempt)], [], [], [MAIL])


async def go_on(session: AsyncSession, who: WorkerId) -> None:
    """Claim what has slept."""
    (plain,) = (await turn_of(session, who, 1)).claims
    request = claims.ClaimRequest(
        queue=MAIL, limit=1, revision=plain.revision, way=claims.ClaimWay.AWAKE
    )
    turn = claims.Turn(worker=who, names=NAMES, claims=[request])
    assert len((await claims.take_turn(session, SCHEMA, turn)).claimed[MAIL]) == 1


@pytest.mark.parametrize("between", ["sleeps", "is handed back", "drains"])
@pytest.mark.parametrize("progress", [True, False])
def test_a_step_clears_the_count_whatever_comes_between_it_and_the_end_of_a_lease(
    database_url: str, between: str, *, progress: bool
) -> None:
    """One lease has ended before. Then a step, or none; a pause; and another lease ends."""

    async def body(session: AsyncSession) -> None:
        (seq,) = await seqs_of(session, {})
        who = await come(session)
        await claim(session, who, 1)
        await workers.end_own_lease(session, SCHEMA, who)
        assert await recoveries(session) == 1
        who, last = await come(session), await come(session)
        await claim(session, who, 1)
        if progress:
            await record(session, seq, 2)
        if between == "sleeps":
            await sleep(session, seq, 2)
            await go_on(session, last)
        else:
            if between == "drains":
                await workers.begin_draining(session, SCHEMA, who)
                await workers.end_own_lease(session, SCHEMA, who)
            else:
                await hand_back(session, who, (seq, 2))
            assert await recoveries(session) == (0 if progress else 1)
            await claim(session, last, 1)
        await workers.end_own_lease(session, SCHEMA, last)
        assert await recoveries(session) == (1 if progress else 2)

    on(database_url, UNLIMITED, body)
