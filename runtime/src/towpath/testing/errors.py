"""What the kit says when a test finds other than it asked for: failures of the test, as pytest has them."""

from __future__ import annotations

from collections.abc import Sequence

from towpath.domain.errors import TowpathError


class TestFailure(TowpathError, AssertionError):  # noqa: N818 - it is no fault of the code
    """A test that fails."""

    __test__ = False


class StillBusyError(TestFailure):
    """Workflows did not come to rest in time; `left` has a sentence for each of them."""

    def __init__(self, *, what: str, seconds: float, left: Sequence[str]) -> None:
        lines = "".join(f"\n  {sentence}" for sentence in left) or "\n  nothing runs or waits now"
        super().__init__(f"{what} within {seconds:g} s; left are:{lines}")
        self.seconds = seconds
        self.left = list(left)


class NotDrainedError(TestFailure):
    """Workflows of a queue cannot end; `left` says for each what it waits for."""

    def __init__(self, *, queue_name: str, left: Sequence[str]) -> None:
        lines = "".join(f"\n  {sentence}" for sentence in left)
        super().__init__(f"queue {queue_name!r} cannot be drained; left are:{lines}")
        self.queue_name = queue_name
        self.left = list(left)


class NotCrashedError(TestFailure):
    """The code under test did not come to the steps where it was to crash."""

    def __init__(self, *, where: str, wanted: int, crashed: int, reached: Sequence[str]) -> None:
        seen = ", ".join(reached) or "none"
        super().__init__(
            f"{wanted} crashes were wanted {where}, and there were {crashed}. Steps that were reached in "
            f"the block: {seen}. Wait for the workflow's result inside of the block."
        )
        self.wanted = wanted
        self.crashed = crashed
        self.reached = list(reached)


class NotEnqueuedError(TestFailure):
    """A queue was not given what the test expects; the message lists what it was given."""

    def __init__(self, *, queue_name: str, expected: str, found: Sequence[str]) -> None:
        lines = "".join(f"\n  {call}" for call in found) or "\n  nothing"
        super().__init__(f"queue {queue_name!r}: expected {expected}; it was given:{lines}")
        self.queue_name = queue_name
        self.found = list(found)
