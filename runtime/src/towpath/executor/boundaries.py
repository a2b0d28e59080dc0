"""The moments around each write of a workflow: where a crash makes a difference, and a test makes one."""

from __future__ import annotations

from enum import Enum


class Moment(Enum):
    """On which side of a write an attempt stands.

    A position has BEFORE and AFTER of its record; a durable wait has WAIT before these, when nothing of
    it is written, and WAITS once its row is. What a wait brings together with its record, as a message,
    has no BEFORE. At the position "" stand the workflow itself, AFTER its claim and BEFORE its outcome, and
    what its steps write to streams.
    """

    WAIT = "wait"
    WAITS = "waits"
    BEFORE = "before"
    AFTER = "after"
