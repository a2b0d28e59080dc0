"""A queue that its manifest deletes with its workflows, a batch a call, each call its own transactions.

No call holds a lock for longer than a batch takes, and every one begins where the last has come to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from towpath.domain.deletion import Cleared, Clearing, Walk
from towpath.domain.ids import Seq
from towpath.store.session import Call, Session
from towpath.store.statements import Statements

WINDOW: Final = 2_000
"""So many workflows of all queues are looked at in one statement."""

WINDOWS: Final = 20
"""So many windows are walked through in one call, while nothing in them is the queue's."""

BATCH: Final = 200
"""So many workflows that have begun are deleted in one transaction: each is cancelled first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Window:
    """The queue's workflows in a part of the table; `last` is None behind the end."""

    last: Seq | None
    ended: list[Seq]
    waiting: list[Seq]
    in_memory: list[Seq]

    @property
    def empty(self) -> bool:
        return not (self.ended or self.waiting or self.in_memory)


@dataclass(frozen=True, slots=True)
class QueueClearing:
    """One queue's deletion, over a session: the row must record the owner for as long as it lasts."""

    session: Session
    statements: Statements
    queue_name: str
    owner_uid: str

    async def clear(self, walk: Walk, *, cancels_running: bool) -> Cleared:
        """Delete a batch of the queue's workflows, and the row when none is left.

        The queue is closed and paused at first. What a live worker has in memory is left to its end,
        until `cancels_running` has that deleted too; what has begun and sleeps is deleted.
        """
        if not await self._close(pauses=True):
            return Cleared(state=Clearing.NOT_OURS, walk=walk)
        for _ in range(WINDOWS):
            window = await self._look(walk)
            spared = () if cancels_running else window.in_memory
            unended = sorted({*window.waiting, *window.in_memory} - set(spared))
            left = tuple(sorted({*walk.left, *spared} if window.last is not None else spared))
            if window.ended or unended:
                deleted, whole = await self._delete(window.ended, unended)
                passed = walk.beyond if window.last is None or not whole else window.last
                walk = Walk(passed, left)
                return Cleared(state=Clearing.GOES_ON, walk=walk, deleted=deleted)
            if window.last is None:
                return await self._finish(replace(walk, left=left))
            walk = Walk(window.last, left)
        return Cleared(state=Clearing.GOES_ON, walk=walk)

    async def delete_if_empty(self, walk: Walk, *, reopens: bool) -> Cleared:
        """Look on whether the queue has any workflow, and delete the row if it has none.

        It is closed meanwhile; where it is kept it is open again with `reopens`.
        """
        if not await self._close(pauses=False):
            return Cleared(state=Clearing.NOT_OURS, walk=walk)
        for _ in range(WINDOWS):
            window = await self._look(walk)
            if not window.empty or not await self._idle():
                if reopens:
                    await self.session.run(self._hold(), self._call("open_kept"))
                return Cleared(state=Clearing.KEPT, walk=walk)
            if window.last is None:
                return await self._finish(walk)
            walk = Walk(window.last)
        return Cleared(state=Clearing.GOES_ON, walk=walk)

    async def _close(self, *, pauses: bool) -> bool:
        """Close the queue unless it is closed; tell whether it is the owner's."""
        *_, rows = await self.session.run(
            self._hold(), self._call("close_for_good", pauses=pauses), self._call("manifest_row")
        )
        return bool(rows) and rows[0][-1] == self.owner_uid

    async def _idle(self) -> bool:
        (rows,) = await self.session.run(self._call("queue_is_idle"))
        return bool(rows[0][0])

    async def _look(self, walk: Walk) -> _Window:
        """Look at the next window; behind the end, at what was left and came late."""
        look = self._call("queue_workflows_beyond", beyond=walk.beyond, window=WINDOW)
        (rows,) = await self.session.run(look)
        last, *found = rows[0]
        if last is None:
            (rows,) = await self.session.run(
                self._call("queue_workflows_left", left=list(walk.left))
            )
            found = list(rows[0])
        ended, waiting, in_memory = found
        return _Window(last=last, ended=ended, waiting=waiting, in_memory=in_memory)

    async def _delete(self, ended: Sequence[Seq], unended: Sequence[Seq]) -> tuple[int, bool]:
        """Delete what has ended, what has not begun, and a batch of the rest; tell if that was all."""
        deleted = 0
        if ended:
            seqs = list(ended)
            _, rows = await self.session.run(
                self._call("hold_ended", seqs=seqs), self._call("erase_ended", seqs=seqs)
            )
            deleted += rows[0][0]
        if unended:
            (rows,) = await self.session.run(self._call("forget_unbegun", seqs=list(unended)))
            unbegun = rows[0][0]
            deleted += unbegun
            if unbegun == len(unended):
                return deleted, True
            (rows,) = await self.session.run(
                self._call("forget_unended", seqs=list(unended), batch=BATCH)
            )
            deleted += rows[0][0]
            return deleted, unbegun + rows[0][0] == len(unended)
        return deleted, True

    async def _finish(self, walk: Walk) -> Cleared:
        """Delete the row if nothing is left."""
        *_, gone = await self.session.run(
            self._hold(), self._call("delete_queue", beyond=walk.beyond)
        )
        return Cleared(state=Clearing.GONE if gone else Clearing.WAITS, walk=walk)

    def _hold(self) -> Call:
        return self._call("hold_settings")

    def _call(self, name: str, **parameters: object) -> Call:
        named = {"queue": self.queue_name, "owner_uid": self.owner_uid}
        return self.statements[name], {**named, **parameters}
