"""Verbs that meet: one's transaction is held open between its own statements while another goes on."""

from __future__ import annotations

import pytest

from tests.store.acts import (
    KEYED,
    LIMITED,
    MAIL,
    WAYS,
    cancel,
    claim,
    come,
    end,
    meanwhile,
    on,
    options_of,
    rows,
    seqs_of,
    status,
    take,
    turn_of,
)
from tests.store.holding import COMMIT, SCHEMA, held, opened, until_locked
from towpath.domain.queue import UNLIMITED, QueueSettings
from towpath.store import queues
from towpath.store.session import AsyncSession, Session


@pytest.mark.parametrize("undo", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_two_claimers_never_take_one_head(database_url: str, way: str, *, undo: bool) -> None:
    """Without a gate the second takes what the first leaves; behind one it waits, and counts anew."""

    async def body(session: AsyncSession) -> None:
        first, second = await seqs_of(session, *[options_of(WAYS[way])] * 2)
        turns = [await turn_of(session, await come(session), 1) for _ in range(2)]
        async with held(database_url, lambda s: take(s, turns[0]), undo=undo) as earlier:
            later = meanwhile(take(session, turns[1]))
            if way == "free":
                assert await later == [second]
            else:
                await until_locked(database_url)
        assert await earlier == [first]
        free = [second]
        assert await later == (free if way == "free" else [first] if undo else [])
        running = [seq for (seq,) in await rows(session, "SELECT seq FROM towpath.running")]
        assert sorted(running) == sorted(set(await later) | set([] if undo else await earlier))

    on(database_url, WAYS[way], body)


@pytest.mark.parametrize("key", ["a", "b", "c"])
def test_a_more_urgent_row_that_arrives_between_fold_and_claim(database_url: str, key: str) -> None:
    """At a key that is open it goes first, since it is committed when the claim looks; else it is next."""

    async def body(session: AsyncSession) -> None:
        low = {"partition_key": "a", "priority": 2}
        first, second = await seqs_of(session, low, {"partition_key": "b", "priority": 1})
        who = await come(session)
        turn = await turn_of(session, who, 1)
        ahead = "claim_partitioned"
        async with held(database_url, lambda s: take(s, turn), before=ahead) as earlier:
            (urgent,) = await seqs_of(session, {"partition_key": key, "priority": 9})
        taken = await earlier
        while more := await claim(session, who, 1):
            taken += more
        expected = {"a": [urgent, second], "b": [urgent, first], "c": [first, urgent, second]}
        assert taken == expected[key]

    on(database_url, KEYED, body)


@pytest.mark.parametrize("way", ["free", "keyed"])
def test_each_claims_its_own_application_version(database_url: str, way: str) -> None:
    """Nobody waits for another version's rows; in a partition another version's head closes the key."""

    async def body(session: AsyncSession) -> None:
        option = options_of(WAYS[way])
        aside = {"partition_key": "b"} if option else {}
        (old,) = await seqs_of(session, option, version="v1")
        (behind,) = await seqs_of(session, option, version="v2")
        (apart,) = await seqs_of(session, aside, version="v2")
        turns = [
            await turn_of(session, await come(session, version=v), 9, versions=(v,))
            for v in ("v1", "v2")
        ]
        async with held(database_url, lambda s: take(s, turns[0])) as earlier:
            later = meanwhile(take(session, turns[1]))
            if way == "keyed":
                await until_locked(database_url)
            else:
                assert await later == [behind, apart]
        assert await earlier == [old]
        assert await later == ([behind, apart] if way == "free" else [apart])

    on(database_url, WAYS[way], body)


@pytest.mark.parametrize("undo", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_a_cancel_that_meets_a_claim(database_url: str, way: str, *, undo: bool) -> None:
    """It waits for the claim, and finds the workflow where the claim has put it."""

    async def body(session: AsyncSession) -> None:
        (seq,) = await seqs_of(session, options_of(WAYS[way]))
        who = await come(session)
        turn = await turn_of(session, who, 1)
        async with held(database_url, lambda s: take(s, turn), undo=undo) as claiming:
            cancelling = meanwhile(cancel(session, seq))
            await until_locked(database_url)
        assert await claiming == [seq]
        assert await cancelling == ("ENQUEUED" if undo else "PENDING")
        places = await rows(session, "SELECT seq, fenced FROM towpath.running")
        assert places == ([] if undo else [(seq, True)])
        if not undo:
            assert await end(session, who, (seq, 1)) == {(seq, 1)}
        assert await rows(session, "SELECT seq FROM towpath.running") == []
        assert await status(session, seq) == "CANCELLED"

    on(database_url, WAYS[way], body)


@pytest.mark.parametrize("undo", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_a_claim_that_meets_a_cancel(database_url: str, way: str, *, undo: bool) -> None:
    """It passes over what is being cancelled and waits for nobody; in a partition the key stays shut."""

    async def body(session: AsyncSession) -> None:
        first, second = await seqs_of(session, *[options_of(WAYS[way])] * 2)
        who = await come(session)
        async with held(database_url, lambda s: cancel(s, first), undo=undo) as cancelling:
            began = await claim(session, who, 1)
            assert began == ([] if way == "keyed" else [second])
        assert await cancelling == "ENQUEUED"
        await end(session, who, *[(seq, 1) for seq in began])
        left = [seq for seq in (first, second) if seq not in began and (undo or seq != first)]
        assert await claim(session, who, 1) == ([] if way == "limited" else left[:1])

    on(database_url, WAYS[way], body)


def test_a_head_that_is_being_changed_closes_its_key_and_stalls_nobody(database_url: str) -> None:
    """Forty keys whose heads a caller's open transaction moves; the key behind them all is served."""

    async def body(session: AsyncSession) -> None:
        keys = [f"k{n:02}" for n in range(40)]
        heads = await seqs_of(session, *[{"partition_key": k, "priority": 5} for k in keys])
        await seqs_of(session, *[{"partition_key": k} for k in keys])
        (free,) = await seqs_of(session, {"partition_key": "z"})
        who = await come(session)
        moved = [(SCHEMA["set_priority"], {"seq": seq, "priority": 6}) for seq in heads]

        async def move(own: Session) -> None:
            await own.run(*moved)

        async with held(database_url, move):
            assert await claim(session, who, 1) == [free]
        assert await claim(session, who, 40) == heads

    on(database_url, KEYED, body)


@pytest.mark.parametrize("way", ["free", "gated"])
def test_a_line_whose_head_is_locked_leaves_its_room_to_other_names(
    database_url: str, way: str
) -> None:
    """What a name's line cannot give goes to the others, in order."""

    async def body(session: AsyncSession) -> None:
        (locked,) = await seqs_of(session, {})
        free = await seqs_of(session, {}, {}, {}, name="other")
        who = await come(session)
        limit = 1 if way == "gated" else 2
        async with held(database_url, lambda s: cancel(s, locked)):
            assert await claim(session, who, limit) == free[:limit]

    on(database_url, WAYS[way], body)


@pytest.mark.parametrize("before", ["claim", COMMIT])
@pytest.mark.parametrize(
    "wanted", [WAYS["gated"], LIMITED, QueueSettings(worker_concurrency=1), KEYED]
)
def test_a_limit_that_comes_while_a_claim_is_under_way(
    database_url: str, wanted: QueueSettings, before: str
) -> None:
    """It waits for the claim; whoever claims next sees its places, and the settings."""

    async def body(session: AsyncSession) -> None:
        await seqs_of(session, *[{}] * 9)
        who = await come(session)
        turn = await turn_of(session, who, 3)
        async with opened(database_url) as other:
            async with held(database_url, lambda s: take(s, turn), before=before) as claiming:
                declaring = meanwhile(queues.declare(other, SCHEMA, MAIL, wanted))
                await until_locked(database_url)
                late = meanwhile(take(session, turn))
                await until_locked(database_url, 2)
            assert len(await claiming) == 3
            await declaring
        assert await late == []
        # starts before the first limiter do not count; strays of a partitioned queue are not gathered
        assert len(await claim(session, who, 3)) == (1 if wanted == LIMITED else 0)

    on(database_url, UNLIMITED, body)


@pytest.mark.parametrize("undo", [False, True])
def test_a_claim_while_a_limit_is_being_declared(database_url: str, *, undo: bool) -> None:
    """It waits, and is made under the settings that are in force then, or not at all."""

    async def body(session: AsyncSession) -> None:
        await seqs_of(session, *[{}] * 9)
        turn = await turn_of(session, await come(session), 3)
        wanted = WAYS["gated"]
        async with held(database_url, lambda s: queues.declare(s, SCHEMA, MAIL, wanted), undo=undo):
            claiming = meanwhile(take(session, turn))
            await until_locked(database_url)
        assert len(await claiming) == (3 if undo else 0)

    on(database_url, UNLIMITED, body)
