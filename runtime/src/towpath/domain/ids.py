"""Names that must not be mixed up, and the two shapes of a workflow's id.

A generated id is `wf-<seq>-<16 hex>`: the row's sequence number with 64 random bits that are stored
beside it, so that it is found without an index and cannot be guessed. A chosen id is any other text
of 1 to 255 characters.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NewType

from towpath.domain.errors import InvalidWorkflowIdError

WorkflowId = NewType("WorkflowId", str)
QueueName = NewType("QueueName", str)
WorkflowName = NewType("WorkflowName", str)
WorkerId = NewType("WorkerId", int)
Seq = NewType("Seq", int)
"""The sequence number of a workflow's row: its identity in the store."""

INTERNAL_QUEUE = QueueName("_towpath")
"""The unlimited queue of direct calls and `start_workflow`."""

MAX_NAME_LENGTH = 255
_GENERATED = re.compile(r"wf-(0|[1-9][0-9]{0,18})-([0-9a-f]{16})")
_GENERATED_START = re.compile(r"wf-[0-9]+-")
_SIGN_BIT = 1 << 63


@dataclass(frozen=True, slots=True)
class GeneratedId:
    """The two numbers in a generated id, as the store keeps them (secret: signed 64 bit)."""

    seq: Seq
    secret: int


def format_generated_id(seq: int, secret: int) -> WorkflowId:
    """Write a generated id.

    >>> format_generated_id(7, -1)
    'wf-7-ffffffffffffffff'
    """
    return WorkflowId(f"wf-{seq}-{secret & 0xFFFF_FFFF_FFFF_FFFF:016x}")


def parse_generated_id(workflow_id: str) -> GeneratedId | None:
    """Read a generated id, or None where the id is a chosen one.

    >>> parse_generated_id("wf-7-ffffffffffffffff")
    GeneratedId(seq=7, secret=-1)
    >>> parse_generated_id("order-7") is None
    True
    """
    match = _GENERATED.fullmatch(workflow_id)
    if match is None or int(match[1]) >= _SIGN_BIT:
        return None
    bits = int(match[2], 16)
    return GeneratedId(Seq(int(match[1])), bits - 2 * _SIGN_BIT if bits >= _SIGN_BIT else bits)


def check_chosen_id(workflow_id: object) -> WorkflowId:
    """Return the id when a caller may choose it.

    Raises:
        InvalidWorkflowIdError: it is not a str of 1 to 255 characters, holds NUL or a lone
            surrogate, or begins with the shape of a generated id.
    """
    if not isinstance(workflow_id, str):
        raise InvalidWorkflowIdError(workflow_id=workflow_id, reason="it is not a str.")
    if not 1 <= len(workflow_id) <= MAX_NAME_LENGTH:
        raise InvalidWorkflowIdError(
            workflow_id=workflow_id[:40],
            reason=f"it has {len(workflow_id)} characters, not 1 to 255.",
        )
    if not storable_text(workflow_id):
        raise InvalidWorkflowIdError(
            workflow_id=workflow_id, reason="it holds NUL or a lone surrogate."
        )
    if _GENERATED_START.match(workflow_id):
        raise InvalidWorkflowIdError(
            workflow_id=workflow_id, reason="ids that begin with wf-<number>- are Towpath's own."
        )
    return WorkflowId(workflow_id)


def storable_text(text: str) -> bool:
    """Tell whether Postgres can hold the text: no NUL, no lone surrogate."""
    return "\x00" not in text and not any("\ud800" <= c <= "\udfff" for c in text)
