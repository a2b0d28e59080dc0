"""One of many leads: decisions by a Lease in memory, on clocks that the test moves."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from towpath_operator.election import (
    DURATION_SECONDS,
    RENEW_DEADLINE_SECONDS,
    LeaseRecord,
    Sighting,
    epoch_number,
    free_in,
    next_transitions,
    see,
)
from towpath_operator.leadership import Elector, LeaseFence
from towpath_operator.ports.cluster import ClusterError
from towpath_operator.ports.fence import Epoch, LeadershipLostError
from towpath_operator.ports.lease import LeaseMovedError

MADE = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def record(**changes: object) -> LeaseRecord:
    """Return a Lease that another holds."""
    theirs = LeaseRecord(
        uid="uid-1", version="7", created_at=MADE, holder="other", transitions=3, duration=8.0
    )
    return replace(theirs, **changes)  # type: ignore[arg-type]


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@dataclass
class LeaseInMemory:
    """The Lease port; `lost` answers are done and not told, `down` ones are not done."""

    made: int = 0
    there: LeaseRecord | None = None
    blind: bool = False
    down: bool = False
    lost: int = 0
    writes: list[str] = field(default_factory=list)
    name = "cluster/space/towpath-operator"

    def read(self) -> LeaseRecord | None:
        """Return the Lease."""
        self._reach()
        return None if self.blind else self.there

    def take(self, before: LeaseRecord | None, *, holder: str) -> LeaseRecord:
        """Become its holder."""
        if before is None:
            self.made += 1
            before, made_at = None, MADE + timedelta(seconds=self.made)
            fresh = record(uid=f"made-{self.made}", version="0", created_at=made_at)
        else:
            fresh = before
        changed = replace(fresh, holder=holder, transitions=next_transitions(before))
        return self._write("take", before, changed)

    def renew(self, before: LeaseRecord) -> LeaseRecord:
        """Write a new version."""
        return self._write("renew", before, before)

    def give_up(self, before: LeaseRecord) -> None:
        """Let nobody hold it."""
        self._write("give up", before, replace(before, holder=""))

    def delete(self) -> None:
        """Delete it, as a hand would."""
        self.there = None

    def _write(self, verb: str, before: LeaseRecord | None, after: LeaseRecord) -> LeaseRecord:
        self._reach()
        if self.there != before:
            raise LeaseMovedError("it has another resourceVersion")
        self.writes.append(verb)
        self.there = replace(after, version=str(int(after.version) + 1))
        if self.lost:
            self.lost -= 1
            raise ClusterError("the API server could not be reached", status=0)
        return self.there

    def _reach(self) -> None:
        if self.down:
            raise ClusterError("the API server could not be reached", status=0)


@dataclass
class Candidate:
    """One operator: what it is told, and turns by hand."""

    lease: LeaseInMemory
    clock: Clock
    identity: str = "me"
    ended: list[str] = field(default_factory=list)
    led: int = 0

    def __post_init__(self) -> None:
        self.fence = LeaseFence(self.ended.append, self.clock)
        self.elector = Elector(
            self.lease, self.fence, identity=self.identity, led=self._lead, clock=self.clock
        )

    def _lead(self) -> None:
        self.led += 1

    def turn(self) -> None:
        """Turn once, as the thread does."""
        self.elector.try_turn()


@pytest.fixture
def lease() -> LeaseInMemory:
    """Return a cluster without a Lease."""
    return LeaseInMemory()


@pytest.fixture
def clock() -> Clock:
    """Return the clock of all."""
    return Clock()


@pytest.fixture
def me(lease: LeaseInMemory, clock: Clock) -> Candidate:
    """Return a candidate."""
    return Candidate(lease, clock)


def test_a_lease_of_another_is_free_once_we_saw_it_unchanged_for_its_duration() -> None:
    """Not a moment earlier, whatever times are written in it."""
    sighting = see(None, record(), 100.0)
    assert free_in(sighting, "me", 100.0) == DURATION_SECONDS
    sighting = see(sighting, record(), 107.0)
    assert free_in(sighting, "me", 107.5) == pytest.approx(0.5)
    assert free_in(see(sighting, record(version="8"), 107.5), "me", 107.5) == DURATION_SECONDS
    assert free_in(sighting, "me", 108.0) == 0.0


def test_a_lease_that_is_missing_given_up_or_our_own_is_free_at_once() -> None:
    """An identity is one process's: our own Lease is one whose taking we were not told of."""
    for found in (None, record(holder=""), record(holder="me")):
        assert free_in(Sighting(found, 100.0), "me", 100.0) == 0.0


def test_a_later_holder_has_a_larger_epoch_also_after_the_lease_was_deleted() -> None:
    """The count of a new Lease begins at 0; that it was made later counts more."""
    first = record(transitions=500)
    assert epoch_number(replace(first, transitions=501)) > epoch_number(first)
    made_anew = replace(first, created_at=MADE + timedelta(seconds=1), transitions=0)
    assert epoch_number(made_anew) > epoch_number(first)
    assert epoch_number(record(created_at=datetime(2100, 1, 1, tzinfo=UTC))) < 2**63


def test_who_finds_no_lease_makes_one_and_leads(lease: LeaseInMemory, me: Candidate) -> None:
    """Its fence stands, and says in which epoch."""
    with pytest.raises(LeadershipLostError):
        me.fence.check()
    assert me.ended == []
    me.turn()
    assert me.led == 1
    me.fence.check()
    assert lease.there is not None
    assert me.fence.epoch == Epoch(lease.name, epoch_number(lease.there))


def test_of_two_that_begin_at_once_one_leads(lease: LeaseInMemory, clock: Clock) -> None:
    """The other one's write is based on what is there no longer."""
    one, two = Candidate(lease, clock, "one"), Candidate(lease, clock, "two")
    lease.blind = True  # both looked before either wrote
    one.turn()
    two.turn()
    lease.blind = False
    two.turn()
    assert (one.fence.leads, two.fence.leads) == (True, False)


def test_a_leader_that_renews_leads_on_and_the_other_waits(
    lease: LeaseInMemory, clock: Clock
) -> None:
    """For a minute, in turns of a second."""
    one, two = Candidate(lease, clock, "one"), Candidate(lease, clock, "two")
    for _ in range(60):
        one.turn()
        two.turn()
        clock.now += 1.0
    assert (one.fence.leads, two.fence.leads, one.led) == (True, False, 1)
    assert (one.ended, two.ended) == ([], [])


def test_a_leader_that_is_gone_is_followed_within_nine_seconds(
    lease: LeaseInMemory, clock: Clock
) -> None:
    """The duration of its Lease, and a turn; the epoch is a later one."""
    one, two = Candidate(lease, clock, "one"), Candidate(lease, clock, "two")
    one.turn()
    two.turn()
    gone_at, before = clock.now, one.fence.epoch
    while not two.fence.leads:
        clock.now += 1.0
        two.turn()
    assert clock.now - gone_at <= DURATION_SECONDS + 1.0
    assert before is not None
    assert two.fence.epoch is not None
    assert two.fence.epoch.number > before.number


def test_a_leader_writes_no_more_before_another_can(lease: LeaseInMemory, clock: Clock) -> None:
    """At no moment may both write: what is on its way has three seconds to arrive."""
    one, two = Candidate(lease, clock, "one"), Candidate(lease, clock, "two")
    one.turn()
    two.turn()
    for _ in range(120):
        clock.now += 0.1
        two.turn()
        assert not (one.fence.leads and two.fence.leads)
        if two.fence.leads:
            break
    assert two.fence.leads


def test_a_frozen_leader_that_wakes_begins_no_write_and_ends(
    lease: LeaseInMemory, clock: Clock, me: Candidate
) -> None:
    """Whichever thread is first to ask; the process is ended once."""
    me.turn()
    clock.now += RENEW_DEADLINE_SECONDS
    with pytest.raises(LeadershipLostError):
        me.fence.check()
    with pytest.raises(LeadershipLostError):
        me.fence.check_renewal()
    assert me.ended == ["the Lease was not renewed for 5 s"]
    assert lease.writes == ["take"]


def test_a_leader_that_is_cut_off_ends_though_it_has_nothing_to_write(
    lease: LeaseInMemory, clock: Clock, me: Candidate
) -> None:
    """Its own turns find it out."""
    me.turn()
    lease.down = True
    for _ in range(4):
        clock.now += 1.0
        me.turn()
    assert me.ended == []
    clock.now += 1.0
    me.turn()
    assert len(me.ended) == 1


def test_a_short_trouble_ends_no_leader(lease: LeaseInMemory, clock: Clock, me: Candidate) -> None:
    """Three failed renewals, then one that succeeds."""
    me.turn()
    lease.down = True
    for _ in range(3):
        clock.now += 1.0
        me.turn()
    lease.down = False
    clock.now += 1.0
    me.turn()
    clock.now += RENEW_DEADLINE_SECONDS - 0.1
    me.fence.check()
    assert me.ended == []


def test_a_renewal_whose_answer_was_lost_is_found_to_be_ours(
    lease: LeaseInMemory, clock: Clock, me: Candidate
) -> None:
    """The next one is based on what is there no longer; the Lease is read, and renewed."""
    me.turn()
    lease.lost = 1
    for _ in range(4):
        clock.now += 1.0
        me.turn()
    assert me.fence.leads
    assert me.led == 1


def test_a_taking_whose_answer_was_lost_is_done_again(
    lease: LeaseInMemory, clock: Clock, me: Candidate
) -> None:
    """Without waiting for our own Lease to run out."""
    lease.lost = 1
    me.turn()
    assert not me.fence.leads
    clock.now += 1.0
    me.turn()
    assert me.fence.leads


def test_a_leader_whose_lease_another_holds_ends(
    lease: LeaseInMemory, clock: Clock, me: Candidate
) -> None:
    """A hand has written it, or it was deleted and another has made it."""
    me.turn()
    assert lease.there is not None
    lease.there = replace(lease.there, holder="other", version="99")
    for _ in range(2):
        clock.now += 1.0
        me.turn()
    assert me.ended == ["the Lease is held by 'other'"]
    assert not me.fence.leads


def test_a_leader_whose_lease_was_deleted_ends(
    lease: LeaseInMemory, clock: Clock, me: Candidate
) -> None:
    """Another may have made it meanwhile; the one that ends is started again and takes part."""
    me.turn()
    lease.delete()
    for _ in range(2):
        clock.now += 1.0
        me.turn()
    assert me.ended == ["the Lease is held by nobody"]


def test_a_leader_that_is_stopped_gives_the_lease_up(lease: LeaseInMemory) -> None:
    """After its fence was closed; the next one need not wait."""
    ended: list[str] = []
    fence = LeaseFence(ended.append)
    leads = threading.Event()
    elector = Elector(lease, fence, identity="me", led=leads.set)
    elector.start()
    assert leads.wait(10)
    fence.close()
    elector.stop(within=10)
    with pytest.raises(LeadershipLostError):
        fence.check()
    assert lease.there is not None
    assert free_in(Sighting(lease.there, 0.0), "other", 0.0) == 0.0
    assert ended == []


def test_a_closed_fence_stays_closed(me: Candidate) -> None:
    """A renewal that comes back after it opens nothing."""
    me.turn()
    me.fence.close()
    me.fence.hold(Epoch("lease", 1), 1e9)
    assert not me.fence.leads
    with pytest.raises(LeadershipLostError):
        me.fence.check()
    assert me.ended == []


def test_who_stops_takes_the_lease_no_more(lease: LeaseInMemory, me: Candidate) -> None:
    """Neither one who led, while its last requests end, nor one who stood by."""
    me.turn()
    before = lease.there
    me.fence.close()
    me.turn()
    assert (lease.there, me.led) == (before, 1)
    lease.there = None
    standby = Candidate(lease, me.clock, "standby")
    standby.fence.close()
    standby.turn()
    assert (lease.there, standby.led) == (None, 0)
