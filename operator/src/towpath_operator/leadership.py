"""Holds the Lease, in a thread of its own, and the fence that every write asks.

The thread renews whatever the event loop is at. Where it cannot, the fence falls by itself: time is
what ends the right to write, and no message has to come through for it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from towpath_operator.election import (
    RENEW_DEADLINE_SECONDS,
    RETRY_SECONDS,
    LeaseRecord,
    Sighting,
    epoch_number,
    free_in,
    see,
)
from towpath_operator.ports.cluster import ClusterError
from towpath_operator.ports.fence import Epoch, LeadershipLostError
from towpath_operator.ports.lease import Lease, LeaseMovedError

logger = logging.getLogger(__name__)

NEVER: Final = float("-inf")
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def moment() -> float:
    """Return the seconds of a clock that goes on while the process is stopped or the machine sleeps."""
    return time.clock_gettime(_CLOCK)


class LeaseFence:
    """Lets writes begin until the Lease's renewal is overdue (see the port).

    `ended` is called once, in the thread that finds it out, when the right to write was lost. It
    should end the process.
    """

    def __init__(self, ended: Callable[[str], None], clock: Callable[[], float] = moment) -> None:
        self._ended = ended
        self._clock = clock
        self._until = NEVER
        self._closed = False
        self._lost = False
        self._lock = threading.Lock()
        self.epoch: Epoch | None = None

    @property
    def leads(self) -> bool:
        """Whether a write may begin now."""
        return self._clock() < self._until

    @property
    def held(self) -> bool:
        """Whether we led until now, or lead still."""
        return self._until > NEVER

    @property
    def closed(self) -> bool:
        """Whether we stop, and want to lead no more."""
        return self._closed

    def hold(self, epoch: Epoch, until: float) -> None:
        """Let writes begin in an epoch, until a moment that each renewal puts off."""
        with self._lock:
            if not (self._closed or self._lost):
                self.epoch, self._until = epoch, until

    def check(self) -> None:
        """Return if a write may begin now."""
        if not self.leads:
            self.lose(f"the Lease was not renewed for {RENEW_DEADLINE_SECONDS:.0f} s")
            raise LeadershipLostError("this operator does not lead")

    def check_renewal(self) -> None:
        """Return if a write of the Lease itself may begin now: one who does not lead may take it."""
        if self.held or self._lost:
            self.check()

    def lose(self, why: str) -> None:
        """Begin no write from now on, and have the process end."""
        with self._lock:
            lost, self._lost = self.held, self._lost or self.held
            self._until = NEVER
        if lost:
            self._ended(why)

    def close(self) -> None:
        """Begin no write any more, because we stop; the Lease itself may be given up."""
        with self._lock:
            self._until, self._closed = NEVER, True


class Elector:
    """Tries to get the Lease, then to keep it, and gives it up when it is stopped."""

    def __init__(
        self,
        lease: Lease,
        fence: LeaseFence,
        *,
        identity: str,
        led: Callable[[], object],
        clock: Callable[[], float] = moment,
    ) -> None:
        self._lease = lease
        self._fence = fence
        self._identity = identity
        self._led = led
        self._clock = clock
        self._seen: Sighting | None = None
        self._mine: LeaseRecord | None = None
        self._stopped = threading.Event()
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="election", daemon=True)
        self._beat = clock()

    @property
    def silent_for(self) -> float:
        """How long ago the thread last turned, in seconds."""
        return self._clock() - self._beat

    def start(self) -> None:
        """Begin; `led` is called in the thread once we lead."""
        self._thread.start()

    def stop(self, *, within: float) -> None:
        """Give up the Lease where we have it; whoever else wants it has it within a second."""
        self._stopped.set()
        self._thread.join(within)

    def _run(self) -> None:
        while not self._stopped.is_set():
            began = self._beat = self._clock()
            self.try_turn()
            self._stopped.wait(max(0.0, began + RETRY_SECONDS - self._clock()))
        self._give_up()

    def try_turn(self) -> None:
        """Do once what is done each second: look at the Lease, take it, or renew it."""
        try:
            self._turn()
            self._failing = False
        except LeaseMovedError:
            self._mine = None  # read it again: an answer of ours may have been lost on its way
        except LeadershipLostError:
            self._stopped.set()
        except ClusterError as error:
            self._note_failure(error)

    def _turn(self) -> None:
        if self._fence.held:
            self._keep()
            return
        if self._fence.closed:
            return  # what is under way ends well within the Lease, which is given up then
        self._seen = see(self._seen, self._lease.read(), self._clock())
        if free_in(self._seen, self._identity, self._clock()) > 0.0:
            return
        began = self._clock()
        self._mine = self._lease.take(self._seen.record, holder=self._identity)
        self._hold(self._mine, began)
        logger.info("leading", extra={"lease": self._lease.name, "identity": self._identity})
        self._led()

    def _keep(self) -> None:
        self._fence.check()
        if self._mine is None:
            found = self._lease.read()
            if found is None or found.holder != self._identity:
                holder = "nobody" if found is None else repr(found.holder)
                self._fence.lose(f"the Lease is held by {holder}")
                return
            self._mine = found
        began = self._clock()
        self._mine = self._lease.renew(self._mine)
        self._hold(self._mine, began)

    def _hold(self, record: LeaseRecord, began: float) -> None:
        # What was sent may be in force from that moment on, and another's patience counts from there.
        epoch = Epoch(self._lease.name, epoch_number(record))
        self._fence.hold(epoch, began + RENEW_DEADLINE_SECONDS)

    def _give_up(self) -> None:
        if self._mine is None or self._fence.held:
            return
        try:
            self._lease.give_up(self._mine)
        except (LeaseMovedError, ClusterError) as error:
            logger.warning("lease not given up", extra={"error": str(error)})

    def _note_failure(self, error: ClusterError) -> None:
        if not self._failing:
            logger.warning("lease not reached", extra={"error": error.message})
        self._failing = True
