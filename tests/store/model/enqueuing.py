"""What an enqueue of several workflows must answer, and must leave behind."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TypeAlias

from hypothesis import strategies as st

from tests.store.holding import SCHEMA
from tests.store.model.ground import Ground
from tests.store.model.workflows import Workflow
from towpath.domain.errors import (
    EnqueueOptionError,
    QueueClosedError,
    QueueDeduplicatedError,
    TowpathError,
)
from towpath.domain.ids import QueueName, Seq, WorkflowId, WorkflowName
from towpath.store import enqueue


@dataclass(frozen=True)
class Asked:
    """Workflows that are enqueued together; `key` and `priority` count where the queue takes them."""

    items: tuple[enqueue.NewItem, ...]
    version: str
    refuse: bool
    unfit: bool


def items() -> st.SearchStrategy[Asked]:
    """Draw what is enqueued; ids are few, so that there are duplicates."""
    item = st.builds(
        enqueue.NewItem,
        input=st.just("{}"),
        secret=st.just(7),
        chosen_id=st.sampled_from([None, None, None, "i", "j"]).map(lambda i: i and WorkflowId(i)),
        priority=st.none() | st.integers(1, 3),
        partition_key=st.sampled_from("aaabc"),
        deduplication_id=st.sampled_from([None, None, "x", "y"]),
        delay_seconds=st.sampled_from([None, None, None, 0.0, 0.2, 2.0]),
    )
    return st.builds(
        Asked,
        items=st.lists(item, min_size=1, max_size=6).map(tuple),
        version=st.sampled_from(["", "", "", "v1"]),
        refuse=st.sampled_from([False, False, True]),
        unfit=st.sampled_from([False] * 9 + [True]),
    )


@dataclass
class _Verdict:
    """What becomes of one item: it is new, or the same as another workflow, or as another item."""

    item: enqueue.NewItem
    seq: Seq | None = None
    like: int | None = None
    deduplicated: bool = False


class Enqueuing(Ground):
    """The step that enqueues."""

    Items: TypeAlias = Asked

    def enqueue_items(self, queue: QueueName, name: str, asked: Asked) -> None:
        """Enqueue, and compare each report with what the model has."""
        limits = self.model.settings[queue]
        wanted = [
            replace(
                item,
                priority=item.priority if limits.priority_enabled else None,
                partition_key=item.partition_key if limits.partition_queue != asked.unfit else None,
                chosen_id=item.chosen_id and WorkflowId(f"{queue}-{name}-{item.chosen_id}"),
                refuse_duplicate=asked.refuse,
            )
            for item in asked.items
        ]
        new = enqueue.NewWorkflows(
            queue=queue, name=WorkflowName(name), codec="json", items=wanted, version=asked.version
        )
        done = self.run(enqueue.enqueue(self.session, SCHEMA, new))
        verdicts = self.verdicts(queue, wanted)
        refusal = self.refusal(queue, asked, verdicts)
        if refusal is not None:
            assert isinstance(done, enqueue.Refused)
            assert isinstance(done.error, refusal)
            return
        assert isinstance(done, list)
        for verdict, report in zip(verdicts, done, strict=True):
            same = verdict.seq if verdict.like is None else done[verdict.like].seq
            assert report.created == (same is None)
            if same is not None:
                assert report.seq == same
            else:
                self.add(Seq(report.seq), new, verdict.item)

    def refusal(
        self, queue: QueueName, asked: Asked, verdicts: list[_Verdict]
    ) -> type[TowpathError] | None:
        """Return the error that the call must answer with."""
        if queue in self.model.closed:
            return QueueClosedError
        if asked.unfit:
            return EnqueueOptionError
        if asked.refuse and any(v.deduplicated for v in verdicts):
            return QueueDeduplicatedError
        return None

    def verdicts(self, queue: QueueName, wanted: list[enqueue.NewItem]) -> list[_Verdict]:
        """Decide first by chosen ids, then by deduplication ids; the first of the call wins."""
        known = {w.chosen_id: w.seq for w in self.model.workflows.values() if w.there}
        holders = self.model.holders()
        by_id: dict[str, int] = {}
        by_held: dict[str, int] = {}
        found = []
        for number, item in enumerate(wanted):
            verdict, held = _Verdict(item), item.deduplication_id
            found.append(verdict)
            if item.chosen_id in known and item.chosen_id is not None:
                verdict.seq = known[item.chosen_id]
            elif item.chosen_id is not None and item.chosen_id in by_id:
                first = by_id[item.chosen_id]
                like = found[first]
                verdict.seq, verdict.deduplicated = like.seq, like.deduplicated
                verdict.like = (first if like.like is None else like.like) if not like.seq else None
            elif held is not None and (queue, held) in holders:
                verdict.seq, verdict.deduplicated = holders[queue, held], True
            elif held is not None and held in by_held:
                verdict.like, verdict.deduplicated = by_held[held], True
            elif held is not None:
                by_held[held] = number
            if item.chosen_id is not None:
                by_id.setdefault(item.chosen_id, number)
        return found

    def add(self, seq: Seq, new: enqueue.NewWorkflows, item: enqueue.NewItem) -> None:
        """Put a new workflow where it belongs."""
        rank = -(item.priority or 0)
        w = Workflow(
            seq, new.queue, new.name, new.version, rank, rank, seq, item.partition_key,
            item.partition_key, item.deduplication_id, item.chosen_id,
        )  # fmt: skip
        self.model.workflows[seq] = w
        if item.delay_seconds:
            w.state, w.due = "parked", self.model.now + timedelta(seconds=item.delay_seconds)
        else:
            self.model.wake(w)
