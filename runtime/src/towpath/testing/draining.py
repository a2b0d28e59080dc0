"""Running a queue until it is empty."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from towpath.api.queue import Queue
from towpath.domain.ids import QueueName
from towpath.domain.status import WorkflowStatus
from towpath.insights.workflows import WorkflowInfo
from towpath.testing.clock import PATIENCE_SECONDS
from towpath.testing.errors import NotDrainedError, StillBusyError
from towpath.testing.kit import Kit, in_use
from towpath.testing.unfinished import sentences_about, unfinished

LOOK_SECONDS: Final = 0.005
ENDED: Final = (
    WorkflowStatus.SUCCESS,
    WorkflowStatus.ERROR,
    WorkflowStatus.CANCELLED,
    WorkflowStatus.MAX_RECOVERY_ATTEMPTS_EXCEEDED,
)
MOST: Final = 10_000


def drain(queue: Queue | str, *, patience: float = PATIENCE_SECONDS) -> list[WorkflowInfo]:
    """Run until nothing of a queue waits or runs, and return what has ended, oldest first.

    What an earlier call has returned is not returned again. Under an automatic clock time passes as it must; under a manual one it does not.

    Args:
        queue: The queue, or its name.
        patience: Real seconds without any progress after which it is given up.

    Raises:
        NotDrainedError: what is left cannot end, and why.
        StillBusyError: what is left did not end in time.
    """
    kit = in_use()
    name = queue.name if isinstance(queue, Queue) else QueueName(queue)
    return kit.app.engine.io.submit(_Drain(kit, name, patience).run()).result()


class _Drain:
    """One call; on the library's loop."""

    def __init__(self, kit: Kit, name: QueueName, patience: float) -> None:
        self._kit, self._name, self._patience = kit, name, patience

    async def run(self) -> list[WorkflowInfo]:
        """Return what has ended once there is nothing else."""
        ends, left = 0.0, {""}
        while now_left := {i.workflow_id for i in await unfinished(self._kit.app, self._name)}:
            if now_left != left:
                ends, left = time.monotonic() + self._patience, now_left
            elif time.monotonic() > ends:
                raise StillBusyError(
                    what=f"queue {self._name!r} was not drained",
                    seconds=self._patience,
                    left=await self._sentences(),
                )
            await self._go_on()
        ended = [i for i in await self._ended() if i.workflow_id not in self._kit.drained]
        self._kit.drained.update(info.workflow_id for info in ended)
        return ended

    async def _go_on(self) -> None:
        clock = self._kit.clock
        if clock is None:
            await asyncio.sleep(LOOK_SECONDS)
            return
        standing = await clock.rest(self._patience)
        if not await unfinished(self._kit.app, self._name, limit=1):
            return
        if not self._kit.automatic or standing.due is None:
            raise NotDrainedError(queue_name=self._name, left=await self._sentences())
        await clock.move(standing.due)

    async def _sentences(self) -> list[str]:
        return await sentences_about(self._kit.app, self._name)

    async def _ended(self) -> list[WorkflowInfo]:
        return await self._kit.app.list_workflows_async(
            status=ENDED, queue_name=self._name, order="oldest", limit=MOST
        )
