"""The work queue: order, dedup, back-off and bounds, on a loop whose clock the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from tests.operator.jumping import now, on_jumping_clock
from towpath_operator.work_queue import Again, WorkQueue


async def run_for(queue: WorkQueue[str], seconds: float) -> None:
    task = asyncio.create_task(queue.run())
    await asyncio.sleep(seconds)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def queue_of(
    handle: Callable[[str], Awaitable[Again]], *, in_flight: int = 4, resync: float = 60.0
) -> WorkQueue[str]:
    return WorkQueue(
        handle, in_flight=in_flight, resync=resync, back_off=(1.0, 8.0), chance=lambda: 0.5
    )


def test_a_key_woken_many_times_before_its_turn_is_handled_once() -> None:
    turns: list[str] = []

    async def handle(key: str) -> Again:
        turns.append(key)
        return Again()

    async def scenario() -> None:
        queue = queue_of(handle)
        for _ in range(5):
            queue.wake("a")
        queue.wake("b")
        await run_for(queue, 10)

    on_jumping_clock(scenario())
    assert turns == ["a", "b"]


def test_wakes_during_a_turn_are_one_more_turn_after_it() -> None:
    running, most, turns = 0, 0, 0

    async def scenario() -> None:
        async def handle(key: str) -> Again:
            nonlocal running, most, turns
            running += 1
            turns += 1
            most = max(most, running)
            if turns == 1:
                queue.wake(key)
                queue.wake(key)
            await asyncio.sleep(2)
            running -= 1
            return Again()

        queue = queue_of(handle)
        queue.wake("a")
        await run_for(queue, 30)

    on_jumping_clock(scenario())
    assert (turns, most) == (2, 1)


def test_no_more_turns_run_at_once_than_the_bound() -> None:
    running, most, done = 0, 0, 0

    async def handle(_key: str) -> Again:
        nonlocal running, most, done
        running += 1
        most = max(most, running)
        await asyncio.sleep(1)
        running -= 1
        done += 1
        return Again()

    async def scenario() -> None:
        queue = queue_of(handle, in_flight=3)
        for number in range(9):
            queue.wake(str(number))
        await run_for(queue, 20)

    on_jumping_clock(scenario())
    assert (most, done) == (3, 9)


def test_a_key_held_back_comes_again_later_each_time_and_at_once_when_woken() -> None:
    turns: list[float] = []

    async def handle(_key: str) -> Again:
        turns.append(now())
        return Again(retry=True)

    async def scenario() -> None:
        queue = queue_of(handle)
        queue.wake("a")
        asyncio.get_running_loop().call_later(4, queue.wake, "a")
        await run_for(queue, 10)

    on_jumping_clock(scenario())
    assert [round(turn) for turn in turns] == [0, 1, 3, 4]


def test_an_unexpected_error_is_tried_again_with_back_off(caplog: Any) -> None:
    turns: list[float] = []

    async def handle(_key: str) -> Again:
        turns.append(now())
        if len(turns) < 3:
            raise RuntimeError("a bug")
        return Again()

    async def scenario() -> None:
        queue = queue_of(handle)
        queue.wake("a")
        await run_for(queue, 50)

    on_jumping_clock(scenario())
    assert [round(turn) for turn in turns] == [0, 1, 3]
    assert [record.message for record in caplog.records] == ["reconcile failed"] * 2


def test_a_quiet_key_is_handled_at_each_resync_and_a_dropped_one_never() -> None:
    turns: list[str] = []

    async def handle(key: str) -> Again:
        turns.append(key)
        return Again(drop=key == "gone")

    async def scenario() -> None:
        queue = queue_of(handle, resync=60)
        queue.wake("kept")
        queue.wake("gone")
        await run_for(queue, 200)

    on_jumping_clock(scenario())
    assert turns == ["kept", "gone", "kept", "kept", "kept"]


def test_a_slow_key_holds_up_no_other() -> None:
    ends: dict[str, float] = {}

    async def handle(key: str) -> Again:
        await asyncio.sleep(100 if key == "slow" else 0)
        ends[key] = now()
        return Again(drop=True)

    async def scenario() -> None:
        queue = queue_of(handle)
        queue.wake("slow")
        queue.wake("quick", after=1)
        await run_for(queue, 150)

    on_jumping_clock(scenario())
    assert ends["quick"] < 3 < ends["slow"]


def test_a_wake_for_later_is_kept_when_the_key_is_handled_before_it() -> None:
    """What is to be told in ten seconds is not told by a turn now."""
    turns: list[float] = []

    async def handle(_key: str) -> Again:
        turns.append(now())
        return Again()

    async def scenario() -> None:
        queue = queue_of(handle)
        queue.wake("a", after=10)
        queue.wake("a")
        asyncio.get_running_loop().call_later(5, queue.wake, "a")
        await run_for(queue, 40)

    on_jumping_clock(scenario())
    assert [round(turn) for turn in turns] == [0, 5, 10]


def test_a_key_that_is_to_be_left_alone_is_not_tried_before_whoever_wakes_it() -> None:
    """A Retry-After of the API server holds for what it was said to, and for nothing else."""
    turns: list[tuple[str, float]] = []

    async def handle(key: str) -> Again:
        turns.append((key, now()))
        first = len(turns) == 1
        return Again(retry=first, at_least=7 if first else 0.0)

    async def scenario() -> None:
        queue = queue_of(handle)
        queue.wake("told")
        for second in (1, 2, 3):
            asyncio.get_running_loop().call_later(second, queue.wake, "told")
        asyncio.get_running_loop().call_later(2, queue.wake, "other")
        await run_for(queue, 20)

    on_jumping_clock(scenario())
    assert [(key, round(at)) for key, at in turns] == [("told", 0), ("other", 2), ("told", 7)]
