"""A plain model of what the store must hold: places, lines, partitions, starts, ids."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime

from tests.store.model.limits import Starts
from tests.store.model.partitions import Partitions, Sight
from tests.store.model.workflows import BEGUN, OPEN, Workflow, fresh
from towpath.domain.ids import QueueName, Seq, WorkerId, WorkflowName
from towpath.domain.queue import QueueSettings

MAX_RECOVERIES = 1
GATHERED = "(none)"


@dataclass(frozen=True)
class Claiming:
    """What a claim asks: for whom, how many, and of what."""

    worker: WorkerId
    queue: QueueName
    limit: int
    names: Sequence[WorkflowName]
    versions: Sequence[str]
    passed: tuple[tuple[str, tuple[int, int]], ...] = ()

    def knows(self, w: Workflow) -> bool:
        """Tell whether the worker can run it."""
        return w.name in self.names and w.version in self.versions


@dataclass
class Living:
    """A worker that has a row."""

    draining: bool = False
    expired: bool = False


@dataclass
class Model:
    """What the database should hold."""

    now: datetime
    settings: dict[QueueName, QueueSettings]
    paused: set[QueueName] = field(default_factory=set)
    closed: set[QueueName] = field(default_factory=set)
    workflows: dict[Seq, Workflow] = field(default_factory=dict)
    workers: dict[WorkerId, Living] = field(default_factory=dict)
    partitions: dict[QueueName, Partitions] = field(default_factory=dict)
    starts: dict[tuple[QueueName, str], Starts] = field(default_factory=dict)

    # -- looking

    def in_state(self, state: str, queue: QueueName | None = None) -> list[Workflow]:
        """Return the workflows in a state, by seq."""
        return [
            w for w in self.workflows.values()
            if w.state == state and (queue is None or w.queue == queue)
        ]  # fmt: skip

    def places(self, queue: QueueName, key: str | None = None) -> int:
        """Count places of a queue, or of one of its keys."""
        return sum(key is None or w.key == key for w in self.in_state("running", queue))

    def parts(self, queue: QueueName) -> Partitions:
        """Return the keys of a queue."""
        return self.partitions.setdefault(queue, Partitions())

    def starts_of(self, queue: QueueName, key: str = "") -> Starts:
        """Return the starts of a limiter."""
        return self.starts.setdefault((queue, key), Starts())

    def holders(self) -> dict[tuple[str, str], Seq]:
        """Return who holds which deduplication id."""
        return {
            (w.queue, w.deduplication_id): w.seq
            for w in self.workflows.values()
            if w.deduplication_id is not None and w.there and w.visible_status in OPEN
        }

    def line(self, queue: QueueName, key: str | None) -> list[Workflow]:
        """Return the line of a queue, or of one of its keys."""
        line = [w for w in self.in_state("ready", queue) if w.key == key]
        return sorted(line, key=lambda w: w.place)

    def stray(self, queue: QueueName) -> list[Workflow]:
        """Return what waits as before partitioning was switched."""
        parted = self.settings[queue].partition_queue
        return [w for w in self.in_state("ready", queue) if (w.key is not None) != parted]

    def room(self, asked: Claiming) -> int:
        """Return how many a claim may take, beyond what partitions allow."""
        queue, living = asked.queue, self.workers.get(asked.worker)
        if living is None or living.draining or living.expired or queue in self.paused:
            return 0
        settings, most = self.settings[queue], [asked.limit]
        if settings.concurrency is not None:
            most.append(settings.concurrency - self.places(queue))
        if settings.worker_concurrency is not None:
            own = sum(w.worker == asked.worker for w in self.in_state("running", queue))
            most.append(settings.worker_concurrency - own)
        if settings.limiter is not None:
            most.append(self.starts_of(queue).tokens(settings.limiter, self.now))
        return max(0, min(most))

    def expected(self, asked: Claiming) -> list[Seq]:
        """Return what a claim must take, in the order in which it returns it."""
        room = self.room(asked)
        if not self.settings[asked.queue].partition_queue:
            line = [w for w in self.line(asked.queue, None) if asked.knows(w)]
            bounds = dict(asked.passed)
            ahead = [w for w in line if w.name not in bounds or w.place > bounds[w.name]]
            return [w.seq for w in ahead[:room]]
        folded = deepcopy(self.parts(asked.queue))
        folded.fold(lambda key: self.look(asked.queue, key), self.now)
        heads = [
            (w.rank, nth, turn, key, w)
            for key, turn in folded.tickets.items()
            for nth, w in enumerate(self.heads(asked, key, room))
        ]
        taken = [head[-1] for head in sorted(heads, key=lambda head: head[:4])[:room]]
        return [w.seq for w in sorted(taken, key=lambda w: w.place)]

    def heads(self, asked: Claiming, key: str, room: int) -> list[Workflow]:
        """Return those of a key's line that may start now; one that is not known closes the key."""
        settings = self.settings[asked.queue]
        places = (settings.partition_concurrency or 1) - self.places(asked.queue, key)
        if settings.partition_limiter is not None:
            starts = self.starts_of(asked.queue, key)
            places = min(places, starts.tokens(settings.partition_limiter, self.now))
        found: list[Workflow] = []
        for w in self.line(asked.queue, key)[: max(0, min(places, room))]:
            if not asked.knows(w):
                break
            found.append(w)
        return found

    def look(self, queue: QueueName, key: str) -> Sight:
        """Look at a key: whether something waits that has a place, and when its limiter opens."""
        settings, opens_at = self.settings[queue], None
        if settings.partition_limiter is not None:
            opens_at = self.starts_of(queue, key).opens_at(settings.partition_limiter)
        has_place = (settings.partition_concurrency or 1) > self.places(queue, key)
        return Sight(bool(self.line(queue, key)) and has_place, opens_at)

    # -- changing

    def fold(self, queue: QueueName) -> None:
        """Look anew at the keys in which something changed."""
        self.parts(queue).fold(lambda key: self.look(queue, key), self.now)

    def wake(self, w: Workflow, turn: datetime | None = None) -> None:
        """Something changed at a workflow's key."""
        self.parts(w.queue).wake(w.key, turn or self.now)

    def configure(self, queue: QueueName, wanted: QueueSettings) -> None:
        """Declare other settings; keys that the ones before held back are looked at again."""
        if wanted != self.settings[queue]:
            for w in self.in_state("running", queue):
                self.wake(w, w.started_at)
            self.parts(queue).look_at_all()
        self.settings[queue] = wanted

    def place(self, asked: Claiming, seqs: list[Seq]) -> None:
        """Take workflows from the line, as `expected` has them."""
        queue, settings = asked.queue, self.settings[asked.queue]
        if settings.partition_queue:
            self.fold(queue)
            self._close(asked, {self.workflows[seq].key or "" for seq in seqs})
        for seq in seqs:
            w = self.workflows[seq]
            w.state, w.worker, w.attempt = "running", asked.worker, w.attempt + 1
            w.progress, w.started_at = False, self.now
        if seqs and settings.limiter is not None:
            self.starts_of(queue).spend(len(seqs), settings.limiter, self.now)
        if settings.partition_limiter is not None:
            for key in sorted({self.workflows[s].key or "" for s in seqs}):
                count = sum(self.workflows[s].key == key for s in seqs)
                self.starts_of(queue, key).spend(count, settings.partition_limiter, self.now)

    def _close(self, asked: Claiming, served: set[str]) -> None:
        """Close the keys that are served, and doubt those that turn out to have nothing to start."""
        parts, room = self.parts(asked.queue), self.room(asked)
        if room > 0:
            for key, turn in parts.tickets.items():
                line = self.line(asked.queue, key)
                if line and asked.knows(line[0]) and not self.heads(asked, key, room):
                    parts.wake(key, turn)
        for key in served:
            del parts.tickets[key]
            if (self.settings[asked.queue].partition_concurrency or 1) > 1:
                parts.wake(key, self.now)

    def holds(self, seq: Seq, attempt: int) -> bool:
        """Tell whether an attempt still has its place."""
        w = self.workflows.get(seq)
        return w is not None and w.state == "running" and w.attempt == attempt

    def end(self, seq: Seq, status: str) -> bool:
        """End an attempt that holds its place; tell whether its outcome counts."""
        w = self.workflows[seq]
        self.wake(w, w.started_at)
        if w.fenced:
            self.release(w)
            return False
        w.state, w.status = "ended", status
        return True

    def release(self, w: Workflow) -> None:
        """A fenced place comes free; its workflow joins the line if it was resumed."""
        w.fenced, w.worker = False, None
        if w.resumed_line is None:
            w.state = "gone" if w.forgotten else "ended"
            return
        w.state, w.line, w.resumed_line, w.recoveries = "ready", w.resumed_line, None, 0
        w.rank = fresh(w.rank)

    def hand_back(self, seq: Seq, recoveries: int | None = None) -> None:
        """Return a workflow to its place in the line."""
        w = self.workflows[seq]
        self.wake(w, w.started_at)
        if w.fenced:
            self.release(w)
            return
        w.state, w.worker = "ready", None
        if recoveries is not None:
            w.recoveries = recoveries
        if w.key is not None:
            w.rank = fresh(w.rank) - BEGUN

    def cancel(self, w: Workflow) -> str | None:
        """Cancel a workflow; return the status that it had, None where it had ended."""
        before = w.visible_status
        if before not in OPEN:
            return None
        if w.state in ("parked", "ready"):
            self.wake(w)
            w.state = "ended"
        w.status, w.resumed_line, w.deduplication_id = "CANCELLED", None, None
        w.fenced = w.state == "running"
        return before

    def forget(self, w: Workflow) -> None:
        """Delete a workflow; code that runs keeps its place."""
        self.cancel(w)
        w.forgotten, w.resumed_line = True, None
        if w.state != "running":
            w.state = "gone"

    def resume(self, w: Workflow, line: int) -> None:
        """Put a cancelled or given-up workflow at the end of its line."""
        w.status, w.deduplication_id = "", None
        if w.state == "running":
            w.resumed_line = line
            return
        w.state, w.line, w.recoveries, w.rank, w.key = "ready", line, 0, w.first_rank, w.first_key
        self.wake(w)

    def ripen(self, queue: QueueName) -> int:
        """Let delayed workflows that are due join the line."""
        ripe = [w for w in self.in_state("parked", queue) if w.due and w.due <= self.now]
        for w in ripe:
            w.state, w.line = "ready", w.seq
            self.wake(w)
        return len(ripe)

    def gather(self, queue: QueueName) -> int:
        """Give what was left behind by a switch of partitioning the one key, or none."""
        stray = self.stray(queue)
        for w in stray:
            self.parts(queue).wake(w.key or GATHERED, self.now)
            w.key = GATHERED if w.key is None else None
        return len(stray)

    def fall(self, worker: WorkerId) -> tuple[int, int]:
        """End a worker's lease; return how many went back and how many were given up."""
        living, back, given_up = self.workers.pop(worker), 0, 0
        for w in self.in_state("running"):
            if w.worker != worker:
                continue
            count = w.recoveries if living.draining else 0 if w.progress else w.recoveries + 1
            if not w.fenced and count > MAX_RECOVERIES:
                self.end(w.seq, "MAX_RECOVERY_ATTEMPTS_EXCEEDED")
                given_up += 1
                continue
            back += not w.fenced
            self.hand_back(w.seq, count)
        return back, given_up
