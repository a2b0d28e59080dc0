"""Shows how the workflows ended."""

from __future__ import annotations

from collections.abc import Sequence

from examples.demo import page
from examples.demo.warehouse import Report
from towpath import WorkflowInfo


def show_results(ends: Sequence[WorkflowInfo], report: Report) -> None:
    """Write a line for each workflow, in the order in which they were enqueued."""
    rows = []
    for info in sorted(ends, key=lambda info: info.created_at):
        calls = len(report.of(info.args[0])) if info.name == "fulfil_order" else ""
        rows.append((info.workflow_id, info.status, info.attempt, calls, _said(info)))
    page.table(("WORKFLOW", "STATUS", "ATTEMPTS", "CALLS", "RESULT"), rows)


def _said(info: WorkflowInfo) -> str:
    if info.error is not None:
        return info.error
    if isinstance(info.result, list):
        return " ".join(info.result)
    return f"{info.result} parcels"
