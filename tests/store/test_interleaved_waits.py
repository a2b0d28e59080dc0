"""Wake-ups that meet: a wait that begins, sleeps, or ends while others end, cancel or wake."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from tests.store.acts import MAIL, NAMES, claim, come, forget, meanwhile, on, rows, seqs_of, turn_of
from tests.store.holding import SCHEMA, held, opened, until_locked
from towpath.domain.ids import Seq
from towpath.domain.queue import UNLIMITED, QueueSettings
from towpath.domain.status import WorkflowStatus
from towpath.store import claims, waits, workers
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


async def until_due(session: AsyncSession) -> None:
    """Wait until the times of all waits have passed."""
    while await rows(session, "SELECT 1 FROM towpath.wait WHERE due > towpath.clock()"):  # noqa: ASYNC110
        await asyncio.sleep(0.005)


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
            await waits.put_to_sleep(session, SCHEMA, [(parent, 1)], [], [], [MAIL])
            assert await rows(session, "SELECT seq FROM towpath.wait WHERE asleep") == [(parent,)]
            assert await awake(session) == []
        assert await awake(session) == [parent]

    on(database_url, QueueSettings(concurrency=9), body)


def test_looks_at_waits_and_ends_of_workflows_lock_in_one_order(database_url: str) -> None:
    """Whoever ends a family holds one after the other, by seq; waits are looked at in any order."""

    async def body(session: AsyncSession) -> None:
        who = await come(session)
        first, second, target = await seqs_of(session, {}, {}, {})
        await claim(session, who, 3)
        both = [wait_for_end(second, target), wait_for_end(first, target)]
        await waits.begin(session, SCHEMA, both)
        async with opened(database_url) as one:
            await one.run((b"BEGIN", {}))
            await one.run((b"SELECT towpath.hold(%(seq)s)", {"seq": first}))
            looking = meanwhile(waits.look(session, SCHEMA, both))
            await until_locked(database_url)
            await one.run((b"SELECT towpath.hold(%(seq)s)", {"seq": second}))
            await one.run((b"COMMIT", {}))
        assert {look.state for look in (await looking).values()} == {None}

    on(database_url, UNLIMITED, body)


def test_a_wake_up_and_a_time_that_comes_at_once_do_not_wait_for_each_other(
    database_url: str,
) -> None:
    """One turn rouses and then waits for the gate that another has, which takes the same workflow."""

    async def body(session: AsyncSession) -> None:
        who, other = await come(session), await come(session)
        (seq,) = await seqs_of(session, {})
        assert await claim(session, who, 1) == [seq]
        wait = Wait(
            seq=seq, attempt=1, position="1", verb="towpath.recv", kind=WaitKind.MESSAGE,
            target=seq, topic="", seconds=0.05,
        )  # fmt: skip
        await waits.begin(session, SCHEMA, [wait])
        await waits.put_to_sleep(session, SCHEMA, [(seq, 1)], [], [], [MAIL])
        await rows(
            session, "SELECT towpath.deliver(%(s)s, '', 'json', '1', NULL, false)::text", s=seq
        )
        await until_due(session)
        request = claims.ClaimRequest(
            queue=MAIL,
            limit=1,
            revision=(await turn_of(session, other, 1)).claims[0].revision,
            way=claims.ClaimWay.AWAKE,
        )
        awaking = claims.Turn(worker=other, names=NAMES, claims=[request])
        rousing = await turn_of(session, who, 1)
        async with held(
            database_url, lambda s: claims.take_turn(s, SCHEMA, awaking), before="claim_awake"
        ) as goes_on:
            roused = meanwhile(claims.take_turn(session, SCHEMA, rousing))
            await until_locked(database_url)
        assert [c.seq for c in (await goes_on).claimed[MAIL]] == [seq]
        await roused

    on(database_url, QueueSettings(concurrency=9), body)


def test_a_message_of_before_the_start_wakes_nobody_of_another_version(database_url: str) -> None:
    """It was sent to a workflow without a version, and is there when one has begun it; another begins now."""

    async def body(session: AsyncSession) -> None:
        old, new = await come(session, version="1"), await come(session, version="2")
        (seq,) = await seqs_of(session, {})
        async with opened(database_url) as sender:
            await sender.run((b"BEGIN", {}))
            await sender.run((SEND, {"seq": seq}))
            begins = replace(await turn_of(session, old, 1, versions=("", "1")), stamp="1")
            await claims.take_turn(session, SCHEMA, begins)
            wait = Wait(
                seq=seq,
                attempt=1,
                position="1",
                verb="towpath.recv",
                kind=WaitKind.MESSAGE,
                target=seq,
            )
            await waits.begin(session, SCHEMA, [wait])
            await waits.put_to_sleep(session, SCHEMA, [(seq, 1)], [], [], [MAIL])
            await sender.run((b"COMMIT", {}))
        (plain,) = begins.claims
        awaking = replace(plain, way=claims.ClaimWay.AWAKE)
        of_new = claims.Turn(
            worker=new, names=NAMES, versions=("", "2"), stamp="2", claims=[awaking]
        )
        assert (await claims.take_turn(session, SCHEMA, of_new)).claimed[MAIL] == []
        of_old = claims.Turn(worker=old, names=NAMES, versions=("1",), stamp="1", claims=[awaking])
        claimed = (await claims.take_turn(session, SCHEMA, of_old)).claimed[MAIL]
        assert [c.seq for c in claimed] == [seq]
        assert await awake(session) == []

    on(database_url, UNLIMITED, body)


SEND = b"SELECT towpath.deliver(%(seq)s, '', 'json', '1', NULL, true)::text"
SEND_FROM = b"""
SELECT towpath.send_from_workflow(%(seq)s, 1, '1', %(destination)s, '', 'json', '1', %(key)s)
"""


def test_a_send_that_waits_for_an_open_transaction_of_its_key_holds_up_no_recovery(
    database_url: str,
) -> None:
    """Its worker is dead meanwhile; what comes of it is a stale attempt's, and changes nothing."""

    async def body(session: AsyncSession) -> None:
        who = await come(session)
        seq, destination = await seqs_of(session, {}, {})
        await claim(session, who, 1)
        async with opened(database_url) as user, opened(database_url) as own:
            await user.run((b"BEGIN", {}))
            await user.run(
                (
                    b"SELECT towpath.deliver(%(to)s, '', 'json', '1', 'k', true)::text",
                    {"to": destination},
                )
            )
            parameters = {"seq": seq, "destination": destination, "key": "k"}
            sending = meanwhile(own.run((SEND_FROM, parameters)))
            await until_locked(database_url)
            async with asyncio.timeout(10):
                await workers.end_own_lease(session, SCHEMA, who)
            await user.run((b"ROLLBACK", {}))
            assert (await sending)[0] == [("stale",)]
        assert await rows(session, "SELECT seq FROM towpath.sent") == []
        assert await rows(session, "SELECT seq FROM towpath.message") == []

    on(database_url, UNLIMITED, body)


def test_a_workflow_that_sends_to_itself_while_it_is_deleted_is_stale(database_url: str) -> None:
    """The send waits for the delete, and the delete not for the send."""

    async def body(session: AsyncSession) -> None:
        who = await come(session)
        (seq,) = await seqs_of(session, {})
        await claim(session, who, 1)
        async with opened(database_url) as own:
            await session.run((b"BEGIN", {}))
            await rows(
                session, "SELECT 1 FROM towpath.workflow WHERE seq = %(s)s FOR UPDATE", s=seq
            )
            sending = meanwhile(own.run((SEND_FROM, {"seq": seq, "destination": seq, "key": None})))
            await until_locked(database_url)
            assert await forget(session, seq)
            await session.run((b"COMMIT", {}))
            assert (await sending)[0] == [("stale",)]

    on(database_url, UNLIMITED, body)
